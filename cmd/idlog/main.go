// Command idlog is the reader's and submitter's command line. It trusts a
// policy file and its state directory (package client says how), and verifies
// everything that it is shown unless told otherwise.
//
// Data goes to standard output, all else to standard error. The exit code says
// what kind of failure it was: see the codes of cmd/internal/serve.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"idlog/cmd/internal/serve"
)

func main() {
	// A second signal ends the program at once, as AfterFunc restores its default.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, serve.Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Getenv))
}
