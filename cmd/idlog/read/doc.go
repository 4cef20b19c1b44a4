// Package read is the commands that ask a log's server and verify the answer:
// get, list, share, watch, prove, checkpoint and consistency, each in a file of
// its name.
package read
