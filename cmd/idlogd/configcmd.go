package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	"idlog/proto/ticket"
)

func configCommand(env serve.Env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Judge a configuration, or print it as it takes effect",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&file, "config", config.Name, "configuration file")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "check",
			Short: "Read the configuration, its keys and its policy, and change nothing",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				c, err := config.Read(file)
				if err != nil {
					return err
				}
				for i := range c.Logs {
					if _, _, err := c.Logs[i].Signers(); err != nil {
						return err
					}
					if _, _, err := config.ReadSigner(c.Logs[i].Keys.Ticket, ticket.KeyName(c.Logs[i].Family)); err != nil {
						return err
					}
					if _, err := config.ReadPolicy(c.Logs[i].Policy); err != nil {
						return err
					}
				}
				_, err = fmt.Fprintf(env.Stdout, "%s: %d log(s), nothing to complain of\n", file, len(c.Logs))
				return err
			},
		},
		&cobra.Command{
			Use:   "print",
			Short: "Print the configuration with every default filled in",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				c, err := config.Read(file)
				if err != nil {
					return err
				}
				b, err := yaml.Marshal(c)
				if err != nil {
					return fmt.Errorf("printing the configuration: %w", err)
				}
				_, err = env.Stdout.Write(b)
				return err
			},
		})
	return cmd
}
