package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/server"
	"idlog/cmd/internal/serve"
)

func serveCommand(env serve.Env) *cobra.Command {
	var file, profile string
	var listen config.Listen
	var o server.Options
	cmd := &cobra.Command{
		Use:     "serve --config FILE",
		Short:   "Serve the logs of a configuration",
		Example: "  idlogd serve --config acme/idlogd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Read(file)
			if err != nil {
				return err
			}
			if listen.GRPC != "" {
				c.Listen.GRPC = listen.GRPC
			}
			if listen.HTTP != "" {
				c.Listen.HTTP = listen.HTTP
			}
			o.Logger = serve.Logger(env.Stderr, slog.LevelInfo)
			return profiled(profile, func() error { return server.Serve(cmd.Context(), c, o) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", config.Name, "configuration file, as idlogd init writes it")
	f.StringVar(&listen.GRPC, "listen-grpc", "", "address of the API, in place of the file's")
	f.StringVar(&listen.HTTP, "listen-http", "", "address of the tiles, in place of the file's")
	f.StringVar(&o.ReadyFile, "ready-file", "", "file to write the addresses to, once they accept")
	f.StringVar(&profile, "cpu-profile", "", "file to write a CPU profile of the whole run to, in pprof's format; it must not exist")
	f.StringSliceVar(&o.WithoutWitness, "without-witness", nil, "sign after this start without the word of this witness on what it has seen")
	return cmd
}
