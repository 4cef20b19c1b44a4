// Command idlog is the reader's and submitter's command line. It trusts a
// policy file and its state directory (package client says how), and verifies
// everything that it is shown unless told otherwise.
//
// Data goes to standard output, all else to standard error. The exit code says
// what kind of failure it was: see the codes of cmd/internal/serve.
//
// Each command is a file of its name: submit, read (what asks a log), audit
// (what watches one as a whole) and offline (what needs none). What they share is
// session, which is what a command starts from, and report, which is how it says
// what it found.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/audit"
	"idlog/cmd/idlog/offline"
	"idlog/cmd/idlog/pin"
	"idlog/cmd/idlog/read"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/idlog/submit"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
)

func main() {
	// A second signal ends the program at once, as AfterFunc restores its default.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, serve.Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, os.Getenv))
}

// run is the whole program but for its process: it returns the exit code.
func run(ctx context.Context, env serve.Env, getenv func(string) string) int {
	s := &session.Session{Stdin: env.Stdin, Printer: report.Printer{Stdout: env.Stdout, Stderr: env.Stderr}}
	err := program.Run(ctx, command(s, getenv), env)
	if err != nil && slices.Contains(env.Args, "--json") {
		s.JSON = true // also where reading the flags ended before it
	}
	return s.Fail(err)
}

func command(s *session.Session, getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:   "idlog",
		Short: "Submit identity events and check what a log says, without trusting it",
		Long: `Submit identity events and check what a log says, without trusting it.

Data goes to standard output, all else to standard error; --json makes both JSON, one object a line. Exit codes:
0 done, 1 error, 2 usage, 3 does not verify, 4 not found, 5 unavailable, 6 not allowed, 7 too few witnesses,
8 too old, 9 exists already, 75 the disk failed, 130 interrupted.`,
		Example: `  idlog submit events.ndjson --server 127.0.0.1:7443 -p policy.tlog-policy --source okta --format okta
  idlog get 42 --server 127.0.0.1:7443 -p policy.tlog-policy
  idlog verify 42.idlog-disclosure -p policy.tlog-policy`,
	}
	s.Flags(root, getenv)
	root.AddCommand(submit.Command(s), submit.Follow(s), submit.Link(s),
		read.Get(s), read.List(s), read.Share(s), read.Watch(s), read.Checkpoint(s), read.Prove(s), read.Consistency(s),
		audit.Audit(s), audit.Monitor(s, getenv), pin.Command(s), offline.Verify(s), offline.Policy(s), offline.Key(s))
	return root
}
