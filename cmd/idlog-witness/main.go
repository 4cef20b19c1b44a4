// Command idlog-witness is a witness of transparency logs: it remembers the
// latest checkpoint of each log it is told of and cosigns what continues it,
// for any log of c2sp.org/tlog-witness. README.md is its manual.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
)

func main() { os.Exit(serve.Main(run)) }

// run is the program: it returns when the command is done or, for serve, when
// ctx has ended and requests in flight were answered.
func run(ctx context.Context, env serve.Env) error {
	root := &cobra.Command{
		Use:   "idlog-witness",
		Short: "Cosign the checkpoints of transparency logs",
		Example: `  idlog-witness init --dir w1 --name witness.example.com/w1
  idlog-witness add-log --dir w1 --logs policy.tlog-policy
  idlog-witness serve --dir w1`,
	}
	root.AddCommand(initCommand(), addLogCommand(), serveCommand())
	return program.Run(ctx, root, env)
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return serve.Usagef("%s: unexpected argument %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// dirFlag adds --dir, which every command needs and none guesses.
func dirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", "", "directory of the witness (required)")
}

func needed(name, value string) error {
	if value == "" {
		return serve.Usagef("--%s is required", name)
	}
	return nil
}

func initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "init --dir DIR --name NAME",
		Short:   "Make a new witness and print its public keys",
		Example: "  idlog-witness init --dir /var/lib/idlog-witness/w1 --name witness.example.com/w1",
		Args:    noArgs,
	}
	dir := dirFlag(cmd)
	name := cmd.Flags().String("name", "", "name of the keys, a URL without schema (required)")
	keyType := cmd.Flags().String("key-type", "both", "ed25519, ml-dsa-44 or both")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needed("dir", *dir); err != nil {
			return err
		}
		if err := needed("name", *name); err != nil {
			return err
		}
		vkeys, err := initialise(*dir, *name, *keyType)
		if err != nil {
			return err
		}
		for _, v := range vkeys {
			fmt.Fprintln(cmd.OutOrStdout(), v)
		}
		return nil
	}
	return cmd
}

func addLogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add-log --dir DIR [VKEY [URL]]",
		Short: "Add a log, or the logs of a file, to those that are cosigned",
		Long: "Add a log by its public key, whose name is the log's origin, or with --logs the\n" +
			"lines `log VKEY [URL]` of a file. Keys that are there already are left alone.\n" +
			"A running witness reads the list again on SIGHUP.",
	}
	dir := dirFlag(cmd)
	file := cmd.Flags().String("logs", "", "file of lines: log VKEY [URL]; or a policy that has such lines")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if (len(args) == 0) == (*file == "") || len(args) > 2 {
			return serve.Usagef("add-log wants either VKEY [URL] or --logs FILE")
		}
		return nil
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := needed("dir", *dir); err != nil {
			return err
		}
		return addLogs(*dir, *file, args)
	}
	return cmd
}

func serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --dir DIR",
		Short: "Answer add-checkpoint requests until SIGTERM or SIGINT",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needed("dir", o.dir); err != nil {
				return err
			}
			if o.webhook == "" {
				o.webhook = os.Getenv("IDLOG_WITNESS_WEBHOOK")
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "directory of the witness (required)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:7380", "host:port; other than loopback needs TLS and a client CA")
	f.StringVar(&o.admin, "admin", "", "host:port of /metrics, /livez, /readyz and profiles, on loopback; usually 127.0.0.1:7390, none if empty")
	f.Float64Var(&o.logRate, "log-rate", 1000, "checkpoints of one log that are cosigned per second; 0 is no limit")
	f.Float64Var(&o.clientRate, "client-rate", 400, "requests of one address per second, none of this machine's; 0 is no limit")
	f.BoolVar(&o.forwarded, "forwarded", false, "a proxy on this machine stands before, and the last X-Forwarded-For of it is the client's address")
	f.BoolVar(&o.verifyIndex, "verify-index", false, "cosign only what was read, with every root of the index in it computed again; the list must have the logs' URLs")
	f.StringVar(&o.log.ca, "log-ca", "", "with --verify-index: authorities of the logs' certificates, PEM; those of the machine if empty")
	f.StringVar(&o.log.cert, "log-cert", "", "with --verify-index: certificate to show to the logs, PEM")
	f.StringVar(&o.log.key, "log-key", "", "private key of that certificate, PEM")
	f.StringVar(&o.webhook, "webhook", "", "URL to POST each contradiction to; better in the variable IDLOG_WITNESS_WEBHOOK, for it is often a secret")
	f.StringVar(&o.ready, "ready-file", "", "written once requests are answered: {\"http\":\"host:port\",\"admin\":\"host:port\"}")
	f.StringVar(&o.tls.Cert, "tls-cert", "", "certificate chain, PEM")
	f.StringVar(&o.tls.Key, "tls-key", "", "private key of the certificate, PEM")
	f.StringVar(&o.tls.ClientCA, "client-ca", "", "CA that client certificates chain to, PEM")
	return cmd
}
