package read

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/client/access"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
	"idlog/proto/policy"
)

// accesses is one run of the command.
type accesses struct {
	target, out string
	attested    bool
	at          time.Time
}

// AccessAt is the command `idlog access-at`.
func AccessAt(s *session.Session) *cobra.Command {
	var a accesses
	cmd := &cobra.Command{
		Use:   "access-at TIME --target TYPE/ID | access-at TIME FILE",
		Short: "Say who held a group, a role or an application at a time",
		Example: `  idlog access-at 2026-11-20T09:00:00Z --target UserGroup/00g1 -t acme.idlog-trust -o group.idlog-history
  idlog access-at 2026-11-20 group.idlog-history -t acme.idlog-trust       # offline, on another machine
  idlog access-at 24h --target AppInstance/0oa1 --json`,
		Long: `Say who held a thing at a time, from the events that gave it and took it away: each person with the entry by which it is so,
when that occurred, and who did it. It rests on the complete history of the thing, which is asked for and verified as "idlog
history" does, or is in a file of it that has the fields (idlog history --target TYPE/ID --fields -o FILE).

The answer is "from events seen": what was given before a source was followed, or where it is not, is in no event. Where an entry
does not show what it did, the state is unknown, and the entry is named. Attempts that failed change nothing. A group or role
that was given the thing is named, as whoever is in it holds the thing too. When an event occurred is its source's word; where
that does not fit when it was logged, there is a note.

It ends as "idlog history" does: with 3 if the history does not verify or is not complete, and with 7 if the operator alone
says that nothing is missing, unless --accept-attested is given.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if a.at, err = parseTime(args[0], time.Now()); err != nil {
				return serve.Usagef("TIME: %w", err)
			}
			if len(args) == 2 {
				return a.offline(s, args[1])
			}
			return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error { return a.online(ctx, s, c) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.target, "target", "", "the thing, as TYPE/ID: UserGroup/00g1, role/rol_1")
	f.BoolVar(&a.attested, "accept-attested", false, "accept that the operator alone says that nothing is missing")
	f.StringVarP(&a.out, "output", "o", "", "save the history on which it rests, to be verified offline")
	cmd.ValidArgsFunction = program.FileArgs("idlog-history")
	return cmd
}

// targetOf reads TYPE/ID.
func targetOf(s string) (access.Target, error) {
	kind, id, ok := strings.Cut(s, "/")
	if !ok || id == "" {
		return access.Target{}, serve.Usagef("--target is TYPE/ID, as UserGroup/00g1; not %q", s)
	}
	return access.Target{Type: kind, ID: id}, nil
}

func (a *accesses) online(ctx context.Context, s *session.Session, c *client.Client) error {
	target, err := targetOf(a.target)
	if err != nil {
		return err
	}
	t, sum, err := s.TrustedOf(c.Log())
	if err != nil {
		return err
	}
	h, err := c.History(ctx, client.Question{Asks: []answer.Ask{{Kind: answer.OfTarget, Value: target.Type + "\x00" + target.ID}}, Fields: true})
	if err != nil {
		return err
	}
	if a.out != "" {
		if err := durable.Replace(a.out, h.File, 0o600); err != nil {
			return err
		}
	}
	return a.say(s, h.Verdict, target, t, sum)
}

// offline reads a history that was kept. However old it is, it says what was so at its time.
func (a *accesses) offline(s *session.Session, file string) error {
	if a.out != "" {
		return serve.Usagef("-o keeps what a server answers, and %s is kept", file)
	}
	b, err := session.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the history: %w", err)
	}
	h, err := answer.Parse(b)
	if err != nil {
		return &serve.ExitError{Code: serve.CodeVerification, Err: fmt.Errorf("%s: %w", file, err)}
	}
	target, err := a.askedIn(h, file)
	if err != nil {
		return err
	}
	t, sum, err := s.TrustedOf(h.Log)
	if err != nil {
		return err
	}
	v, err := client.VerifyEarlier(h, t, time.Now())
	if err != nil {
		code, remedy := report.ClassOf(err)
		if code == serve.CodeError {
			code = serve.CodeVerification
		}
		return &serve.ExitError{Code: code, Err: fmt.Errorf("%s: %w", file, err), Remedy: remedy}
	}
	return a.say(s, v, target, t, sum)
}

// askedIn returns the thing that a file is the history of. It must be all of its history.
func (a *accesses) askedIn(h *answer.History, file string) (access.Target, error) {
	again := func(format string, args ...any) error {
		return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("%s "+format, append([]any{file}, args...)...),
			Remedy: "idlog history --target TYPE/ID --fields -o FILE"}
	}
	if len(h.Asks) != 1 || h.Asks[0].Kind != answer.OfTarget {
		return access.Target{}, again("is not the whole history of one thing")
	}
	kind, id, _ := strings.Cut(h.Asks[0].Value, "\x00")
	target := access.Target{Type: kind, ID: id}
	if a.target != "" {
		if want, err := targetOf(a.target); err != nil || want != target {
			return target, errors.Join(err, again("is the history of %s", target))
		}
	}
	if h.Window != nil && h.Window.From > 0 {
		return target, again("begins at entry %d, and who was given the thing before is not in it", h.Window.From)
	}
	return target, nil
}

func (a *accesses) say(s *session.Session, v *answer.Verdict, target access.Target, t *policy.Trust, sum [32]byte) error {
	table, err := access.At(v.Events, target, a.at, t.Skew)
	if err != nil {
		return &serve.ExitError{Code: serve.CodeVerification, Err: err}
	}
	if err := s.Access(table, target, a.at, v, sum); err != nil {
		return err
	}
	return report.Accept(v, false, a.attested)
}
