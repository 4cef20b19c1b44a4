package read

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
)

// Consistency is the command `idlog consistency`.
func Consistency(s *session.Session) *cobra.Command {
	var from int64
	cmd := &cobra.Command{
		Use:   "consistency FILE | consistency --from SIZE",
		Short: "Verify that the log continues an older checkpoint",
		Example: `  idlog consistency yesterday.checkpoint
  idlog consistency --from 1200   # the one of this size that this machine saw last`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: program.FileArgs("checkpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (from >= 0) {
				return serve.Usagef("one of FILE, an older checkpoint, and --from SIZE is needed")
			}
			old, err := older(s, args, from)
			if err != nil {
				return err
			}
			return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				a, b, err := c.Consistency(ctx, old)
				if err != nil {
					return err
				}
				if s.JSON {
					return s.Object(struct {
						From report.Checkpoint `json:"from"`
						To   report.Checkpoint `json:"to"`
					}{report.CheckpointOf(a), report.CheckpointOf(b)})
				}
				return s.Text("%s: size %d continues size %d; cosigned by %s\n",
					b.Checkpoint.Origin, b.Checkpoint.Size, a.Checkpoint.Size, report.Names(b.Cosignatures))
			})
		},
	}
	cmd.Flags().Int64Var(&from, "from", -1, "size of the checkpoint that this machine saw last")
	return cmd
}

// older returns the note of an older checkpoint: a file's, or the one of that
// size in the state. A size alone proves nothing: its root must be known.
func older(s *session.Session, args []string, from int64) ([]byte, error) {
	if len(args) == 1 {
		b, err := session.ReadFile(args[0])
		if err != nil {
			return nil, fmt.Errorf("reading the older checkpoint: %w", err)
		}
		if _, _, err := checkpoint.Split(b); err != nil {
			return nil, serve.Usagef("%s is no checkpoint: %w", args[0], err)
		}
		return b, nil
	}
	p, _, err := s.Trusted()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.State); err != nil {
		return nil, unknownSize(from)
	}
	state, err := trust.Open(s.State)
	if err != nil {
		return nil, err
	}
	for _, l := range p.Logs {
		seen, ok, err := state.Seen(l.Origin)
		if err != nil {
			return nil, err
		}
		if ok && seen.Size == from {
			return seen.Note, nil
		}
	}
	return nil, unknownSize(from)
}

func unknownSize(size int64) error {
	return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("no checkpoint of size %d is remembered here", size),
		Remedy: "idlog consistency FILE, with a checkpoint that you kept"}
}
