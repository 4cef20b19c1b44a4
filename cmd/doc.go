// Package cmd holds idlog's programs, one folder each, and the tests that run them as programs.
package cmd
