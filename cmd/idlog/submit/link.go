package submit

import (
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/person"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/serve"
	"idlog/proto/subject"
)

// Link is `idlog link`.
func Link(g *session.Session) *cobra.Command {
	var names []string
	var s client.Statement
	cmd := &cobra.Command{
		Use:   "link",
		Args:  cobra.NoArgs,
		Short: "State in the log that identifiers are of one person, or take it back",
		Example: `  idlog link --source okta --subject https://acme.okta.com#00u1 --subject alice@acme.example \
    --authority hr.acme.example --reason "joiner 4711"
  idlog link --undo --source okta --subject https://acme.okta.com#00u1 --subject alice@acme.example \
    --authority hr.acme.example --reason "the address is another Alice's since May"`,
		Long: `State in the log that identifiers are of one person, or with --undo that they are not, and verify the entry. Authority and
reason are fields of it: who may read events' fields may read them, and no erasure of a person reaches them, so name nobody there.

An identifier is alice@acme.example, ISSUER#ID or ISSUER#account:LOGIN. An event must have named each one before. The log does
not judge: it keeps who said what, and when; histories say which statements they followed.

Each run is a statement of its own. Give an --id to make it once, however often it is run.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case s.Source == "":
				return serve.Usagef("--source is missing")
			case len(names) < 2:
				return serve.Usagef("--subject is needed twice or more: a statement is about two identifiers at least")
			case s.Authority == "":
				return serve.Usagef("--authority is missing: who says that they are one person")
			}
			for _, name := range names {
				id, err := person.Parse(name)
				if err != nil {
					return serve.Usagef("--subject %w", err)
				}
				s.Identifiers = append(s.Identifiers, id)
			}
			return g.With(cmd.Context(), func(ctx context.Context, c *client.Client) error { return link(ctx, g, c, s) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Source, "source", "", "source that you may write to (required)")
	f.StringArrayVar(&names, "subject", nil, "an identifier; 2 to 16 are given")
	f.StringVar(&s.Authority, "authority", "", "who says so (required)")
	f.StringVar(&s.Reason, "reason", "", "why")
	f.BoolVar(&s.Unlink, "undo", false, "take back that they are of one person")
	f.StringVar(&s.ID, "id", "", "makes the same statement once, however often it is made")
	return cmd
}

func link(ctx context.Context, g *session.Session, c *client.Client, s client.Statement) error {
	_, sum, err := g.Trusted()
	if err != nil {
		return err
	}
	drawn := s.ID == ""
	if drawn {
		s.ID = rand.Text()
	}
	e, err := c.Link(ctx, s)
	if err != nil {
		if code, _ := report.ClassOf(err); drawn && (code == serve.CodeUnavailable || code == serve.CodeInterrupted) {
			g.Note("it may be in the log: the same with --id %s asks for it, and states nothing twice", s.ID)
		}
		return stranger(err, s.Identifiers)
	}
	shown, err := report.EntryOf(e, sum)
	if err != nil {
		return err
	}
	return g.Entry(shown)
}

// stranger names the identifier that a log does not know.
func stranger(err error, ids []subject.Identifier) error {
	i, ok := client.Stranger(err)
	if !ok || i >= len(ids) {
		return err
	}
	return &serve.ExitError{
		Code: serve.CodeNotFound, Err: &unknown{report.Printable(person.Text(ids[i])), err},
		Remedy: "the identifier as an event has it: idlog list --subject shows those",
	}
}

// unknown is a refusal about an identifier, with its name.
type unknown struct {
	name string
	err  error
}

func (u *unknown) Error() string { return "no event has named " + u.name }
func (u *unknown) Unwrap() error { return u.err }
