package main

import (
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/server"
	"idlog/cmd/internal/serve"
)

func serveCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var profile string
	var o server.Options
	cmd := &cobra.Command{
		Use:     "serve --config FILE",
		Short:   "Serve the logs of a configuration",
		Example: "  idlogd serve --config acme/idlogd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.read(env)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(env.Environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
				// Collecting garbage is a tenth of the work on an event; with twice the room for it, half as much.
				debug.SetGCPercent(200)
			}
			o.Stderr = env.Stderr
			o.Reread = func() (*config.Config, error) { return flags.read(env) }
			return profiled(profile, func() error { return server.Serve(cmd.Context(), c, o) })
		},
	}
	flags.add(cmd, env)
	flags.alias("listen-grpc", "listen.grpc", "address of the API, in place of the file's")
	flags.alias("listen-http", "listen.http", "address of the tiles, in place of the file's")
	flags.alias("listen-admin", "listen.admin", "address of metrics, health and profiles, in place of the file's")
	flags.alias("shutdown-timeout", "shutdown_timeout", "how long SIGTERM waits for calls in flight, in place of the file's")
	flags.alias("log-level", "log_level", "debug, info, warn or error, in place of the file's")
	flags.alias("log-format", "log_format", "auto, json or text, in place of the file's")
	f := cmd.Flags()
	f.StringVar(&o.ReadyFile, "ready-file", "", "file to write the addresses to, once they accept")
	f.StringVar(&profile, "cpu-profile", "", "file to write a CPU profile of the whole run to, in pprof's format; it must not exist")
	f.StringSliceVar(&o.WithoutWitness, "without-witness", nil, "sign after this start without the word of this witness on what it has seen")
	return cmd
}
