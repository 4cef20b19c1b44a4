package read

import (
	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/session"
)

// Watch is the command `idlog watch`.
func Watch(s *session.Session) *cobra.Command {
	var from, count int64
	var fields bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the log, verifying every entry",
		Example: `  idlog watch                       # what comes from now on
  idlog watch --from 0 --json > everything.ndjson
  idlog watch --from 100 --count 5 --fields`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			defer c.Close()
			if from < 0 {
				ctx, cancel := s.Within(cmd.Context())
				defer cancel()
				cp, err := c.Checkpoint(ctx)
				if err != nil {
					return err
				}
				from = cp.Checkpoint.Size
			}
			for e, err := range c.Watch(cmd.Context(), from, client.Show{Fields: fields}) {
				if err != nil {
					return err
				}
				if err := watched(s, e); err != nil {
					return err
				}
				if count--; count == 0 {
					return nil
				}
			}
			return nil
		},
	}
	cmd.Flags().Int64Var(&from, "from", -1, "index to begin at; the end of the log unless given")
	cmd.Flags().Int64Var(&count, "count", 0, "stop after so many entries; 0 goes on for ever")
	cmd.Flags().BoolVar(&fields, "fields", false, "show the fields of events and statements as well")
	return cmd
}

func watched(s *session.Session, e *client.Entry) error {
	shown, err := describe(s, e)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.Object(shown)
	}
	if shown.Statement != nil {
		return s.Text("%d  %s  %s\n", shown.Index, shown.Kind, shown.Statement)
	}
	if shown.Source == "" {
		return s.Text("%d  %s\n", shown.Index, shown.Kind)
	}
	if err := s.Text("%d  %s  %s  %s  %s\n", shown.Index, shown.Kind, shown.Source, shown.Received.Format("2006-01-02T15:04:05Z"), shown.Assurance); err != nil {
		return err
	}
	if shown.Event != nil {
		return s.Text("%s", shown.Event)
	}
	return nil
}
