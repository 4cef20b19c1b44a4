package main

import (
	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/monitoring"
	"idlog/cmd/internal/serve"
)

func monitoringCommand(env serve.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "monitoring rules|dashboard",
		Short:   "Print alerts for Prometheus, or a dashboard for Grafana",
		Example: "  idlogd monitoring rules > /etc/prometheus/rules.d/idlogd.yaml\n  idlogd monitoring dashboard > idlogd.json    # Grafana: Dashboards, Import",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, file := range []struct {
		name, short string
		text        []byte
	}{
		{"rules", "Print alerts for Prometheus; the scrape job is to be called idlogd", monitoring.Rules},
		{"dashboard", "Print a dashboard for Grafana", monitoring.Dashboard},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: file.name, Short: file.short, Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := env.Stdout.Write(file.text)
				return err
			},
		})
	}
	return cmd
}
