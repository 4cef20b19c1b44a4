// Command idlog is the reader's and submitter's command line. It trusts a
// policy file and its state directory (package client says how), and verifies
// everything that it is shown unless told otherwise.
//
// Data goes to standard output, all else to standard error. The exit code says
// what kind of failure it was: see the codes of cmd/internal/serve.
//
// Each command is a file of its name: submit, read (what asks a log), audit
// (what watches one as a whole) and offline (what needs none). What they share is session, which is what a
// command starts from, and report, which is how it says what it found.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/audit"
	"idlog/cmd/idlog/offline"
	"idlog/cmd/idlog/read"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/idlog/submit"
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
	root := command(s, getenv)
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return s.Fail(root.ExecuteContext(ctx))
}

func command(s *session.Session, getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:   "idlog",
		Short: "Submit identity events and check what a log says, without trusting it",
		Example: `  idlog submit events.ndjson --server 127.0.0.1:7443 -p policy.tlog-policy --source okta --format okta
  idlog get 42 --server 127.0.0.1:7443 -p policy.tlog-policy
  idlog verify 42.idlog-disclosure -p policy.tlog-policy`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a command of its own the root prints its help, and an unknown word is an error.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return serve.Usagef("%w", err) })
	s.Flags(root, getenv)
	root.AddCommand(submit.Command(s), read.Get(s), read.List(s), read.Share(s), read.Watch(s),
		read.Checkpoint(s), read.Prove(s), read.Consistency(s),
		audit.Audit(s), offline.Verify(s), offline.Policy(s), offline.Key(s))
	usage(root)
	return root
}

// version is that of the build, as the go command recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// usage makes every wrong number of arguments an error of usage.
func usage(cmd *cobra.Command) {
	if judge := cmd.Args; judge != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := judge(cmd, args); err != nil {
				return &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: cmd.CommandPath() + " --help"}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usage(sub)
	}
}
