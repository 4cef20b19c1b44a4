package read

import (
	"context"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
)

// Checkpoint is the command `idlog checkpoint`.
func Checkpoint(s *session.Session) *cobra.Command {
	var follow bool
	var out string
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Fetch the newest checkpoint, verify it and print it as it is signed",
		Example: `  idlog checkpoint -o yesterday.checkpoint   # for idlog consistency, tomorrow
  idlog checkpoint --follow --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !follow {
				return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error {
					cp, err := c.Checkpoint(ctx)
					if err != nil {
						return err
					}
					return printCheckpoint(s, cp, out)
				})
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			defer c.Close()
			for cp, err := range c.WatchCheckpoints(cmd.Context()) {
				if err != nil {
					return err
				}
				if err := printCheckpoint(s, cp, ""); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "print each newer one as well")
	cmd.Flags().StringVarP(&out, "output", "o", "", "save it in a file in place of printing it")
	return cmd
}

func printCheckpoint(s *session.Session, cp *client.Checkpoint, out string) error {
	if out != "" {
		return durable.Replace(out, cp.Note, 0o644)
	}
	if s.JSON {
		return s.Object(report.CheckpointOf(cp))
	}
	return s.Text("%s", cp.Note)
}
