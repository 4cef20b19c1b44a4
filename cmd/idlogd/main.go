// Idlogd is the operator's program: it makes a log, serves it, and shows the
// whole of it in one command.
//
//	idlogd dev                     a log, three witnesses and sample events on this machine
//	idlogd init --dir DIR ...      make a new log and its configuration
//	idlogd serve --config FILE     serve it
//	idlogd backup --to DIR         copy it to a folder, while it is served or not
//	idlogd restore --from DIR      put it back
//	idlogd recover-heads           make its lost heads anew, of what its witnesses have seen
//	idlogd key add|retire|list     change the keys that it signs with
//	idlogd clear-refusal           let a log sign again that refused to
//	idlogd config check|print      judge a configuration
//	idlogd monitoring              print alerts and a dashboard
//	idlogd version
//
// Exit codes: 0 done, 1 error, 2 usage or configuration, 3 a receipt did not
// verify (dev) or a backup is damaged, 4 nothing of that name, 5 unavailable, 6 a
// key file is open to others or a key must stay, 7 quorum, 9 initialised already
// or not at all, 75 storage failed: nothing acknowledged is lost, look at the
// machine and start again. `serve` and `dev` end with 0 at SIGTERM or SIGINT, when what was in
// flight is answered.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
)

func main() { os.Exit(serve.Main(run)) }

func run(ctx context.Context, env serve.Env) error {
	root := &cobra.Command{
		Use:     "idlogd",
		Short:   "idlogd runs a witnessed transparency log for identity events",
		Example: "  idlogd dev\n  idlogd init --dir acme --family acme.example/id --source okta\n  idlogd serve --config acme/idlogd.yaml",
	}
	root.AddCommand(devCommand(env), initCommand(env), serveCommand(env), backupCommand(env), restoreCommand(env), recoverHeadsCommand(env), keyCommand(env), clearRefusalCommand(env), configCommand(env), monitoringCommand(env))
	return program.Run(ctx, root, env)
}

// noArgs is cobra.NoArgs as a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return serve.Usagef("%s takes no argument %q", cmd.CommandPath(), args[0])
	}
	return nil
}
