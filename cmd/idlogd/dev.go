package main

import (
	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/dev"
	"idlog/cmd/internal/serve"
)

func devCommand(env serve.Env) *cobra.Command {
	var o dev.Options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Show all of it on this machine: a log, three witnesses, sample events, a verified receipt",
		Long: `Makes a log with a fresh key and three witnesses with keys and stores of their
own, logs sample events over the public API, and verifies a receipt offline.
Then it serves until it is interrupted. Everything lies in one folder, which is
removed at the end unless --dir names it.`,
		Example: "  idlogd dev\n  idlogd dev --once",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return dev.Run(cmd.Context(), env, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder to keep it in; a temporary one unless given")
	f.BoolVar(&o.Once, "once", false, "end after the verified receipt")
	f.StringVar(&o.Listen.GRPC, "listen-grpc", "127.0.0.1:0", "address of the API")
	f.StringVar(&o.Listen.HTTP, "listen-http", "127.0.0.1:0", "address of the tiles")
	f.StringVar(&o.Listen.Admin, "listen-admin", "127.0.0.1:0", "address of metrics, health and profiles")
	f.StringVar(&o.ReadyFile, "ready-file", "", "file to write the addresses to, once they accept")
	return cmd
}
