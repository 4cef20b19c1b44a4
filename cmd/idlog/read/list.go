package read

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	"idlog/proto/event"
	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// window is how many entries are read at once from the newest backwards.
const window = 512

// listing is one run of the list command.
type listing struct {
	s      *session.Session
	filter filter
	oldest bool
	limit  int64
	quiet  bool

	policy [32]byte // SHA-256 of the file
	shown  bool     // whether fields are asked for
	bar    *progress.Line
	span   int64 // entries that may be read
	tally  struct {
		Origin    string `json:"origin"`
		Size      int64  `json:"size"`
		Read      int64  `json:"read"`
		Matched   int64  `json:"matched"`
		Undecided int64  `json:"undecided"`
	}
}

// List is the command `idlog list`.
func List(s *session.Session) *cobra.Command {
	l := &listing{s: s}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries that match, each of them verified",
		Example: `  idlog list                                        # the newest 50
  idlog list --actor 'alice@*' --since 24h
  idlog list --source okta-prod --class 3002/1 --field outcome.status=STATUS_FAILURE --json
  idlog list --kind subject --limit 0 -q              # how many`,
		Long: `Read entries, verify each of them under a verified checkpoint, and list those that match every filter. In a
value, * stands for any text; in a path, for one segment.

What is listed is in the log. What is not listed may be there as well: a server can leave entries of a stream out of
your sight by showing none of their fields, and a field that you may not read cannot match. Absence from this list
proves nothing. The last line says how many entries could not be decided.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.filter.prepare(time.Now()); err != nil {
				return serve.Usagef("%w", err)
			}
			return l.run(cmd.Context())
		},
	}
	l.filter.flags(cmd)
	program.Values(cmd, "kind", "event", "subject", "keys", "erasure", "loss", "shard", "root")
	cmd.Flags().BoolVar(&l.oldest, "oldest-first", false, "begin with the oldest")
	cmd.Flags().Int64VarP(&l.limit, "limit", "n", 50, "stop after so many; 0 lists all")
	cmd.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "count all that match, and list none")
	return cmd
}

func (l *listing) run(ctx context.Context) error {
	_, sum, err := l.s.Trusted()
	if err != nil {
		return err
	}
	l.policy = sum
	l.shown = !l.quiet || len(l.filter.wants) > 0
	if l.quiet {
		l.limit = 0
	}
	c, err := l.s.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	short, cancel := l.s.Within(ctx)
	defer cancel()
	cp, err := c.Checkpoint(short)
	if err != nil {
		return err
	}
	l.tally.Origin, l.tally.Size = cp.Checkpoint.Origin, cp.Checkpoint.Size
	to := l.filter.to
	if to < 0 || to > cp.Checkpoint.Size {
		to = cp.Checkpoint.Size
	}
	if err := l.head(); err != nil {
		return err
	}
	if l.quiet { // rows would be written over it
		l.bar = progress.New(l.s.Stderr)
	}
	l.span = to - l.filter.from
	if l.oldest {
		err = l.read(ctx, c, l.filter.from, to)
	} else {
		err = l.backwards(ctx, c, to)
	}
	l.bar.Clear()
	if err != nil {
		return err
	}
	return l.sum()
}

// full reports whether as many are listed as were asked for.
func (l *listing) full() bool { return l.limit > 0 && l.tally.Matched >= l.limit }

// read lists the entries [from, to) as they come.
func (l *listing) read(ctx context.Context, c *client.Client, from, to int64) error {
	return l.each(ctx, c, from, to, func(e *client.Entry) error { return l.take(e) })
}

// backwards lists the entries below to, the newest first: a stream goes forward,
// so it is read in windows.
func (l *listing) backwards(ctx context.Context, c *client.Client, to int64) error {
	for to > l.filter.from && !l.full() {
		from := max(l.filter.from, to-window)
		var entries []*client.Entry
		if err := l.each(ctx, c, from, to, func(e *client.Entry) error { entries = append(entries, e); return nil }); err != nil {
			return err
		}
		for _, e := range slices.Backward(entries) {
			if err := l.take(e); err != nil {
				return err
			}
		}
		to = from
	}
	return nil
}

// each calls f for the entries [from, to), verified, until the list is full.
func (l *listing) each(ctx context.Context, c *client.Client, from, to int64, f func(*client.Entry) error) error {
	if from >= to {
		return nil
	}
	for e, err := range c.Watch(ctx, from, client.Show{Fields: l.shown}) {
		if err != nil {
			return err
		}
		if err := f(e); err != nil || e.Index == to-1 || l.full() {
			return err
		}
	}
	return nil
}

// take lists one entry if it matches.
func (l *listing) take(e *client.Entry) error {
	if l.full() {
		return nil
	}
	l.tally.Read++
	l.bar.Show("entries", l.tally.Read, l.span)
	switch l.filter.judge(e) {
	case no:
		return nil
	case unknown:
		l.tally.Undecided++
		return nil
	}
	l.tally.Matched++
	if l.quiet {
		return nil
	}
	if l.s.JSON {
		shown, err := report.EntryOf(e, l.policy)
		if err != nil {
			return err
		}
		return l.s.Object(shown)
	}
	return l.row(e)
}

// form is a row of the table; what is longer moves the rest of its line.
const form = "%-7v  %-20s  %-8s  %-12s  %-24s  %-14s  %-24s  %s\n"

// stampForm is RFC 3339, of a time in UTC.
const stampForm = "2006-01-02T15:04:05Z"

// head names the columns for people.
func (l *listing) head() error {
	f, ok := l.s.Stdout.(*os.File)
	if !ok || l.s.JSON || l.quiet || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return l.s.Text(form, "INDEX", "RECEIVED", "KIND", "SOURCE", "TYPE", "STATUS", "ACTOR", "ID")
}

func (l *listing) row(e *client.Entry) error {
	if st := report.StatementOf(e.Leaf, e.Lines); st != nil {
		return l.s.Text("%-7d  %-20s  %-8s  %s\n", e.Index, st.Received.Format(stampForm), leaf.KindOf(e.Leaf), st)
	}
	ev, ok := e.Leaf.(*leaf.Event)
	if !ok {
		return l.s.Text("%-7d  %-20s  %s\n", e.Index, "", leaf.KindOf(e.Leaf))
	}
	cell := func(paths ...string) string {
		text := ""
		for _, path := range paths {
			i := slices.IndexFunc(e.Lines, func(l seal.Line) bool { return l.Path == path })
			switch {
			case len(e.Lines) == 0 || i >= 0 && e.Lines[i].State == seal.Withheld:
				text = cmp.Or(text, "withheld")
			case i >= 0 && e.Lines[i].State == seal.Erased:
				text = cmp.Or(text, "erased")
			case i >= 0:
				return report.Printable(event.Text(&e.Lines[i]))
			}
		}
		return cmp.Or(text, "-")
	}
	return l.s.Text(form, e.Index, time.Unix(ev.Received, 0).UTC().Format(stampForm), "event", ev.Source,
		cell("source.native_type"), cell("outcome.status"), cell("actor.login", "actor.email", "actor.id"), cell("source.native_id"))
}

// sum says how many there were, and of how many nothing can be said.
func (l *listing) sum() error {
	t := l.tally
	text := fmt.Sprintf("%d of %d entries match", t.Matched, t.Read)
	if t.Undecided > 0 {
		text += fmt.Sprintf("; of %d more the fields that decide are not shown to you", t.Undecided)
	}
	switch {
	case l.quiet && l.s.JSON:
		return l.s.Object(t)
	case l.quiet:
		return l.s.Text("%s, of %d in %s\n", text, t.Size, t.Origin)
	case l.full():
		text += ", and there may be more: --limit 0 lists all"
	}
	if !l.s.JSON {
		l.s.Note("%s", text)
	}
	return nil
}
