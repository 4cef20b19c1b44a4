package report

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"idlog/cmd/idlog/person"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
	"idlog/proto/event"
	"idlog/proto/seal"
)

// Cell is the first of these fields that an event has, for a column: "withheld" or "erased" where it is not shown, "-" where it
// has none.
func Cell(lines []seal.Line, paths ...string) string {
	text := ""
	for _, path := range paths {
		i := slices.IndexFunc(lines, func(l seal.Line) bool { return l.Path == path })
		switch {
		case len(lines) == 0 || i >= 0 && lines[i].State == seal.Withheld:
			text = cmp.Or(text, "withheld")
		case i >= 0 && lines[i].State == seal.Erased:
			text = cmp.Or(text, "erased")
		case i >= 0:
			return Printable(event.Text(&lines[i]))
		}
	}
	return cmp.Or(text, "-")
}

// happened is an event of a history as programs are told of it.
type happened struct {
	Index    int64           `json:"index"`
	Repeats  []int64         `json:"repeats,omitempty"`
	After    *time.Time      `json:"after,omitempty"`
	Before   *time.Time      `json:"before,omitempty"`
	Source   string          `json:"source,omitempty"`
	Received *time.Time      `json:"received,omitempty"`
	Event    json.RawMessage `json:"event,omitempty"`
	Hash     []byte          `json:"leaf_hash"`
}

// identified is an identifier of a history.
type identified struct {
	Identifier string  `json:"identifier"`
	Asked      bool    `json:"asked"`
	Events     *int    `json:"events,omitempty"` // where the lists of persons are those that answer
	Enrolments []int64 `json:"enrolments"`
	Erased     []int64 `json:"erased,omitempty"`
}

// listed is a page of a list of a history.
type listed struct {
	Field int64  `json:"field"`
	Value []byte `json:"value"`
	Of    int64  `json:"of"`
	Start int64  `json:"start"`
	Count int    `json:"count"`
}

// concluded is a verdict as programs are told of it: the last object.
type concluded struct {
	Verdict     string       `json:"verdict"` // complete, operator-attested, not-complete
	Proven      bool         `json:"proven"`
	Complete    bool         `json:"complete"`
	Origin      string       `json:"origin"`
	Size        int64        `json:"size"`
	From        int64        `json:"from"`
	To          int64        `json:"to"`
	Since       int64        `json:"since,omitempty"`
	AsOf        *time.Time   `json:"as_of,omitempty"`
	Events      int          `json:"events"`
	Identifiers []identified `json:"identifiers,omitempty"`
	Links       []int64      `json:"links,omitempty"`
	Lists       []listed     `json:"lists"`
	Witnesses   []Witness    `json:"witnesses"`
	Verifiers   []string     `json:"verifiers"`
	Trust       string       `json:"trust_sha256"`
	Text        string       `json:"text"`
}

// History writes what a verified history shows: a line for each event, then the verdict. The sum is that of the trust or policy
// file by which it was verified.
func (p *Printer) History(v *answer.Verdict, sum [32]byte) error {
	for i := range v.Events {
		if err := p.happened(&v.Events[i]); err != nil {
			return err
		}
	}
	if p.JSON {
		return p.Object(concludedOf(v, sum))
	}
	for i := range v.Links {
		l := &v.Links[i]
		if err := p.Text("%-7d  %-41s  %s\n", l.Index, "", StatementOf(l.Leaf, l.Fields)); err != nil {
			return err
		}
	}
	return p.Text("%s\n", sentence(v))
}

// sentence is the verdict, with identifiers as people write them on the command line.
func sentence(v *answer.Verdict) string {
	text := v.String()
	for _, i := range v.Identifiers {
		text = strings.Replace(text, "\n"+i.Identifier.String()+":", "\n"+Printable(person.Text(i.Identifier))+":", 1)
	}
	return text
}

func (p *Printer) happened(e *answer.Event) error {
	if p.JSON {
		out := happened{Index: e.Index, Repeats: e.Repeats, After: known(e.After), Before: known(e.Before), Hash: e.Hash[:]}
		if e.Leaf != nil {
			out.Source, out.Received = e.Leaf.Source, known(time.Unix(e.Leaf.Received, 0))
		}
		if len(e.Fields) > 0 {
			fields, err := event.JSON(e.Fields)
			if err != nil {
				return fmt.Errorf("showing the fields: %w", err)
			}
			out.Event = fields
		}
		return p.Object(out)
	}
	source := ""
	if e.Leaf != nil {
		source = e.Leaf.Source
	}
	line := fmt.Sprintf("%-7d  %-41s  %-12s", e.Index, logged(e), source)
	if len(e.Fields) > 0 {
		cell := func(paths ...string) string { return Cell(e.Fields, paths...) }
		line += fmt.Sprintf("  %-24s  %-14s  %-24s  %s", cell("source.native_type"), cell("outcome.status"),
			cell("actor.login", "actor.email", "actor.id"), cell("source.native_id"))
	}
	if len(e.Repeats) > 0 {
		line += fmt.Sprintf("  again at %d", e.Repeats)
	}
	return p.Text("%s\n", strings.TrimRight(line, " "))
}

// logged is when an event was logged, as witnesses vouch for it, as an interval of ISO 8601; else the log's own word.
func logged(e *answer.Event) string {
	const form = "2006-01-02T15:04:05Z"
	switch {
	case e.Before.IsZero() && e.Leaf != nil:
		return "received " + time.Unix(e.Leaf.Received, 0).UTC().Format(form)
	case e.Before.IsZero():
		return "-"
	case e.After.IsZero():
		return "../" + e.Before.UTC().Format(form)
	}
	return e.After.UTC().Format(form) + "/" + e.Before.UTC().Format(form)
}

// known is a time for JSON; nil where there is none.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func concludedOf(v *answer.Verdict, sum [32]byte) concluded {
	c := concluded{
		Verdict: "complete", Proven: v.Proven, Complete: v.Complete, Origin: v.Origin, Size: v.Checkpoint.Checkpoint.Size, From: v.From, To: v.To,
		Since: v.Since, AsOf: known(v.AsOf.Time), Events: len(v.Events), Lists: []listed{}, Witnesses: Witnesses(v.Checkpoint.Cosignatures),
		Verifiers: append([]string{}, v.Verifiers...), Trust: hex.EncodeToString(sum[:]), Text: sentence(v),
	}
	switch {
	case !v.Complete:
		c.Verdict = "not-complete"
	case !v.Proven:
		c.Verdict = "operator-attested"
	}
	for _, i := range v.Identifiers {
		one := identified{Identifier: person.Text(i.Identifier), Asked: i.Asked, Enrolments: []int64{}}
		if first := v.Asks[0].Kind; first == answer.OfSubject || first == answer.OfActor {
			one.Events = &i.Events
		}
		for _, e := range i.Enrolments {
			one.Enrolments = append(one.Enrolments, e.Index)
			if e.Erased {
				one.Erased = append(one.Erased, e.ErasedAt)
			}
		}
		c.Identifiers = append(c.Identifiers, one)
	}
	for _, l := range v.Links {
		c.Links = append(c.Links, l.Index)
	}
	for _, l := range v.Lists {
		c.Lists = append(c.Lists, listed{int64(l.Tag.Field), l.Tag.Value[:], l.Head.N, l.Page.Start, len(l.Page.Postings)})
	}
	return c
}

// Accept turns a verdict that is not what was hoped for into an error with its exit code. A part is as good as the whole if it was
// asked for, and the operator's word if it is accepted.
func Accept(v *answer.Verdict, part, attested bool) error {
	switch {
	case !v.Complete && !part:
		return &serve.ExitError{Code: serve.CodeVerification, Err: errors.New("the answer is not complete"),
			Remedy: "the other pages with --page START,COUNT, or what came since with --since FILE and --previous FILE"}
	case !v.Proven && !attested:
		return &serve.ExitError{Code: serve.CodeQuorum, Err: errors.New("operator-attested: no verifiers vouch that nothing is missing"),
			Remedy: "-t FILE with a trust file that names verifiers, or --accept-attested"}
	}
	return nil
}
