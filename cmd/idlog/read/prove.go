package read

import (
	"context"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
)

// Prove is the command `idlog prove`.
func Prove(s *session.Session) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "prove INDEX -o FILE",
		Short:   "Save a tlog-proof of an entry, for anyone with the policy to verify offline",
		Example: "  idlog prove 42 -o 42.tlog-proof && idlog verify 42.tlog-proof -p policy.tlog-policy",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := parseIndex(args[0])
			if err != nil {
				return err
			}
			return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				e, err := c.Entry(ctx, index, client.Show{})
				if err != nil {
					return err
				}
				b, err := e.Proof().Format()
				if err != nil {
					return err
				}
				switch {
				case out != "":
					return durable.Replace(out, b, 0o644)
				case s.JSON:
					return s.Object(struct {
						Index int64  `json:"index"`
						Size  int64  `json:"size"`
						Proof string `json:"proof"`
					}{index, e.Checkpoint.Checkpoint.Size, string(b)})
				}
				return s.Text("%s", b)
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write; standard output unless given")
	return cmd
}
