package read

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/person"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
)

// histories is the flags of the history command.
type histories struct {
	subjects, actors, targets []string
	source, event, session    string
	class, from, to, page     string
	since, out                string
	attested                  bool
	q                         client.Question
}

// History is the command `idlog history`.
func History(s *session.Session) *cobra.Command {
	var h histories
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Ask for everything about a person, a session or a thing, with proof that nothing is missing",
		Example: `  idlog history --subject alice@acme.example -t acme.idlog-trust -o alice.idlog-history
  idlog history --actor https://acme.okta.com#00u1 --class 3002/1 --from 2026-10-01 --to 2026-11-01 --fields
  idlog history --since alice.idlog-history -o alice-q4.idlog-history        # what came since
  idlog verify alice.idlog-history -t acme.idlog-trust                       # offline, on another machine`,
		Long: `Ask for the events that meet all of what is given, verify the answer and show it: each event with the times between which
it was logged, as the witnesses vouch for them, then the verdict. With -o the answer is kept as a file that anybody can
verify offline who has the trust file.

What is verified is that no event is left out: no epoch of keys, no enrolment of an identifier, no entry of a list. Who vouches
that the log's index is true is said by the trust file. With a policy alone, or where its verifiers have not cosigned, the answer
is operator-attested: its events are in the log, and that there are no others is the operator's word. That ends with 7 unless
--accept-attested is given.

An identifier is alice@acme.example, ISSUER#ID or ISSUER#account:LOGIN. Statements that identifiers are of one person are
followed, and named, unless --no-links is given. A list of more than 10,000 events comes in pages.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.read(time.Now()); err != nil {
				return err
			}
			return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error { return h.run(ctx, s, c) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&h.subjects, "subject", nil, "an identifier that events concern; may be given again")
	f.StringArrayVar(&h.actors, "actor", nil, "an identifier that acted; may be given again")
	f.StringVar(&h.session, "session", "", "session, root session or transaction")
	f.StringVar(&h.source, "source", "", "of this source")
	f.StringVar(&h.class, "class", "", "of this class and activity, as 3002/1")
	f.StringArrayVar(&h.targets, "target", nil, "a thing that was acted upon, as TYPE/ID; may be given again")
	f.StringVar(&h.event, "event", "", "the provider's id of the event")
	f.StringVar(&h.from, "from", "", "first index; or logged at this time or later: RFC 3339, a date, or 24h for a day ago")
	f.StringVar(&h.to, "to", "", "index after the last; or logged before this time")
	f.StringVar(&h.page, "page", "", "START,COUNT: so many of each list, from that number on, counted from 0")
	f.StringVar(&h.since, "since", "", "an earlier answer to the same question: only what came since")
	f.BoolVar(&h.q.NoLinks, "no-links", false, "do not follow statements that identifiers are of one person")
	f.BoolVar(&h.q.Fields, "fields", false, "show the fields of the events, and keep them in the file")
	f.BoolVar(&h.q.Strict, "strict", false, "prove also that each event is in the log, where verifiers vouch for the index")
	f.BoolVar(&h.attested, "accept-attested", false, "accept that the operator alone says that nothing is missing")
	f.StringVarP(&h.out, "output", "o", "", "save the answer, to be verified offline")
	program.Files(cmd, "since", "idlog-history")
	return cmd
}

// read makes a question of the flags.
func (h *histories) read(now time.Time) error {
	steps := []func() error{h.readPersons, h.readValues, func() error { return h.readWindow(now) }, h.readPage, h.readSince}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if len(h.q.Asks) == 0 && h.q.Since == nil {
		return &serve.ExitError{Code: serve.CodeUsage, Err: errors.New("nothing is asked"), Remedy: "--subject alice@acme.example, or another of the questions in idlog history --help"}
	}
	return nil
}

func (h *histories) readPersons() error {
	for _, of := range []struct {
		flag  string
		kind  answer.Kind
		names []string
	}{{"subject", answer.OfSubject, h.subjects}, {"actor", answer.OfActor, h.actors}} {
		for _, name := range of.names {
			id, err := person.Parse(name)
			if err != nil {
				return serve.Usagef("--%s %w", of.flag, err)
			}
			h.q.Asks = append(h.q.Asks, answer.Ask{Kind: of.kind, Identifier: id})
		}
	}
	return nil
}

func (h *histories) readValues() error {
	if h.source != "" {
		h.q.Asks = append(h.q.Asks, answer.Ask{Kind: answer.OfSource, Source: h.source})
	}
	if h.event != "" {
		h.q.Asks = append(h.q.Asks, answer.Ask{Kind: answer.OfEvent, Value: h.event})
	}
	if h.session != "" {
		h.q.Asks = append(h.q.Asks, answer.Ask{Kind: answer.OfSession, Value: h.session})
	}
	if h.class != "" {
		class, activity, both := strings.Cut(h.class, "/")
		c, err := strconv.ParseUint(class, 10, 23)
		a, err2 := strconv.ParseUint(activity, 10, 7)
		if err != nil || err2 != nil || !both || a > 99 {
			return serve.Usagef("--class is a class and an activity, as 3002/1; not %q", h.class)
		}
		h.q.Asks = append(h.q.Asks, answer.Ask{Kind: answer.OfClass, Value: strconv.FormatUint(c*100+a, 10)})
	}
	for _, target := range h.targets {
		kind, id, ok := strings.Cut(target, "/")
		if !ok || id == "" {
			return serve.Usagef("--target is TYPE/ID, as AppInstance/0oa1; not %q", target)
		}
		h.q.Asks = append(h.q.Asks, answer.Ask{Kind: answer.OfTarget, Value: kind + "\x00" + id})
	}
	return nil
}

func (h *histories) readWindow(now time.Time) error {
	for _, bound := range []struct {
		flag, text string
		index      *int64
		at         *time.Time
	}{{"from", h.from, &h.q.From, &h.q.After}, {"to", h.to, &h.q.To, &h.q.Until}} {
		if bound.text == "" {
			continue
		}
		var err error
		if *bound.index, err = strconv.ParseInt(bound.text, 10, 64); err == nil && *bound.index >= 0 {
			continue
		}
		*bound.index = 0
		if *bound.at, err = parseTime(bound.text, now); err != nil {
			return serve.Usagef("--%s is an index or a time: %w", bound.flag, err)
		}
	}
	return nil
}

func (h *histories) readPage() error {
	if h.page == "" {
		return nil
	}
	start, count, _ := strings.Cut(h.page, ",")
	var err, err2 error
	h.q.Start, err = strconv.ParseInt(start, 10, 64)
	h.q.Count, err2 = strconv.ParseInt(count, 10, 64)
	if err != nil || err2 != nil || h.q.Start < 0 || h.q.Count < 1 {
		return serve.Usagef("--page is START,COUNT, as 0,1000; not %q", h.page)
	}
	return nil
}

func (h *histories) readSince() error {
	if h.since == "" {
		return nil
	}
	if h.page != "" || h.from != "" || h.to != "" {
		return serve.Usagef("--since asks for all that came since, without --page, --from and --to")
	}
	b, err := session.ReadFile(h.since)
	if err != nil {
		return fmt.Errorf("reading the earlier answer: %w", err)
	}
	if h.q.Since, err = answer.Parse(b); err != nil {
		return serve.Usagef("%s: %w", h.since, err)
	}
	return nil
}

func (h *histories) run(ctx context.Context, s *session.Session, c *client.Client) error {
	if h.out != "" && h.out == h.since {
		return serve.Usagef("-o would overwrite %s, without which what came since proves nothing", h.since)
	}
	_, sum, err := s.TrustedOf(c.Log())
	if err != nil {
		return err
	}
	a, err := c.History(ctx, h.q)
	if err != nil {
		return err
	}
	if h.out != "" {
		if info, err := os.Stat(h.out); err == nil && info.IsDir() {
			return serve.Usagef("-o %s is a folder: %w", h.out, fs.ErrExist)
		}
		if err := durable.Replace(h.out, a.File, 0o600); err != nil {
			return err
		}
	}
	if err := s.History(a.Verdict, sum); err != nil {
		return err
	}
	if err := h.within(a.Verdict); err != nil {
		return err
	}
	return report.Accept(a.Verdict, h.page != "", h.attested)
}

// within refuses a page that begins where all lists have ended. The answer proves where that is.
func (h *histories) within(v *answer.Verdict) error {
	longest := int64(0)
	for _, l := range v.Lists {
		longest = max(longest, l.Head.N)
	}
	if h.q.Start == 0 || h.q.Start < longest {
		return nil
	}
	return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("--page begins at number %d, counted from 0, and the longest list has %d", h.q.Start, longest), Remedy: "a page that begins before the end"}
}
