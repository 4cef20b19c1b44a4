package read

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/proto/event"
	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// A verdict says whether an entry is one that is asked for.
type verdict int

const (
	no      verdict = iota
	unknown         // what decides it is not shown
	yes
)

// A filter is what the flags of list ask for. Nothing asked for is everything.
type filter struct {
	from, to     int64
	since, until string
	source, kind string
	class        string
	id           string
	subject      string
	actor        string
	session      string
	target       string
	fields       []string

	after, before time.Time
	wants         []want
}

// want is a field that must have a value: one at least of those that a pattern names.
type want struct {
	patterns []pattern
	value    string
}

func (f *filter) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Int64Var(&f.from, "from", 0, "first index")
	fl.Int64Var(&f.to, "to", -1, "index after the last; the end of the log unless given")
	fl.StringVar(&f.since, "since", "", "received at this time or later: RFC 3339, a date, or 24h for a day ago")
	fl.StringVar(&f.until, "until", "", "received before this time")
	fl.StringVar(&f.source, "source", "", "of this source")
	fl.StringVar(&f.kind, "kind", "", "event, subject, keys, erasure, loss, shard or root")
	fl.StringVar(&f.class, "class", "", "of this class, as 3002, or class and activity, as 3002/1")
	fl.StringVar(&f.id, "id", "", "the provider's id of the event")
	fl.StringVar(&f.subject, "subject", "", "a person or principal, in any part of the event, by id, login or e-mail")
	fl.StringVar(&f.actor, "actor", "", "who did it, by id, login or e-mail")
	fl.StringVar(&f.session, "session", "", "session, root session or transaction")
	fl.StringVar(&f.target, "target", "", "what was acted upon, by id, name, login or e-mail")
	fl.StringArrayVar(&f.fields, "field", nil, "PATH=VALUE, such as network.ip=203.0.113.9; may be given again")
}

// person lists the paths of a principal's identifiers below these paths.
func person(prefixes ...string) (list []string) {
	for _, p := range prefixes {
		for _, name := range []string{"id", "login", "email"} {
			list = append(list, p+"."+name)
		}
	}
	return list
}

// prepare reads the texts of the flags.
func (f *filter) prepare(now time.Time) (err error) {
	if f.after, err = parseTime(f.since, now); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if f.before, err = parseTime(f.until, now); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	if f.from < 0 || f.to >= 0 && f.to < f.from {
		return fmt.Errorf("--from %d and --to %d: no index is in between", f.from, f.to)
	}
	if !strings.Contains(" event subject keys erasure loss shard root unknown ", " "+f.kind+" ") && f.kind != "" {
		return fmt.Errorf("--kind is event, subject, keys, erasure, loss, shard or root, not %q", f.kind)
	}
	class, activity, both := strings.Cut(f.class, "/")
	const digits = "0123456789*" // "*" stands for any, as everywhere
	if strings.Trim(class, digits) != "" || strings.Trim(activity, digits) != "" || both && activity == "" {
		return fmt.Errorf("--class is a number, as 3002, or two, as 3002/1; not %q", f.class)
	}
	add := func(value string, paths ...string) {
		if value != "" && err == nil {
			var p []pattern
			p, err = parsePatterns(paths)
			f.wants = append(f.wants, want{p, value})
		}
	}
	add(class, "class.class_uid")
	if both {
		add(activity, "class.activity_id")
	}
	add(f.id, "source.native_id")
	add(f.subject, person("actor", "act.*", "targets.*.principal", "hops.*.subject")...)
	add(f.actor, person("actor")...)
	add(f.session, "correlation.session", "correlation.root_session", "correlation.transaction")
	add(f.target, append(person("targets.*.principal"), "targets.*.id", "targets.*.name")...)
	for _, field := range f.fields {
		path, value, ok := strings.Cut(field, "=")
		if !ok || value == "" {
			return fmt.Errorf("--field is PATH=VALUE, not %q", field)
		}
		add(value, path)
	}
	return err
}

// parseTime reads a time, or how long it was ago; "" is the zero time.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("a time is 2026-11-23T08:00:00Z, 2026-11-23, or 24h for a day ago, not " + s)
}

// judge says whether an entry is asked for.
func (f *filter) judge(e *client.Entry) verdict {
	if f.kind != "" && f.kind != leaf.KindOf(e.Leaf) {
		return no
	}
	var received int64
	text := event.Text
	switch l := e.Leaf.(type) {
	case *leaf.Event:
		if received = l.Received; f.source != "" && f.source != l.Source {
			return no
		}
	default:
		st := report.StatementOf(l, e.Lines)
		if st != nil && f.source == "" {
			received, text = st.Received.Unix(), report.StatementText
			break
		}
		if f.source != "" || !f.after.IsZero() || !f.before.IsZero() || len(f.wants) > 0 {
			return no
		}
		return yes
	}
	at := time.Unix(received, 0)
	if !f.after.IsZero() && at.Before(f.after) || !f.before.IsZero() && !at.Before(f.before) {
		return no
	}
	result := yes
	for _, w := range f.wants {
		result = min(result, w.judge(e, text))
	}
	return result
}

func (w want) judge(e *client.Entry, text func(*seal.Line) string) verdict {
	lines := e.Lines
	if report.StatementOf(e.Leaf, lines) != nil && len(lines) == 0 {
		lines = []seal.Line{{Path: "authority"}, {Path: "reason"}} // its only fields
	}
	if len(lines) == 0 {
		return unknown
	}
	result := no
	for i := range lines {
		l := &lines[i]
		switch {
		case !matchAny(w.patterns, l.Path):
		case l.State != seal.Shown:
			result = max(result, unknown)
		case wildcard(w.value, text(l)):
			return yes
		}
	}
	return result
}
