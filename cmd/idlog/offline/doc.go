// Package offline is the commands that need no log: verify, policy and key, each
// in a file of its name.
package offline
