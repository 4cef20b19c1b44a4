package report

import (
	"fmt"
	"slices"
	"time"

	"idlog/client/access"
	"idlog/cmd/idlog/person"
	"idlog/proto/answer"
	"idlog/proto/subject"
)

// held is how one person, or one thing, stands to the thing that was asked for, as programs are told of it.
type held struct {
	Person   string    `json:"person,omitempty"`
	Name     string    `json:"name,omitempty"`
	Tag      []byte    `json:"tag,omitempty"` // of a person whose identifier is not shown
	Erased   bool      `json:"erased,omitempty"`
	Via      string    `json:"via,omitempty"` // a thing, and no person
	Relation string    `json:"relation,omitempty"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Entry    int64     `json:"entry"`
	LeafHash []byte    `json:"leaf_hash,omitempty"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"`
}

// covered is what was seen of a source.
type covered struct {
	Source     string    `json:"source"`
	First      time.Time `json:"first"`
	FirstEntry int64     `json:"first_entry"`
	Last       time.Time `json:"last"`
	LastEntry  int64     `json:"last_entry"`
	Events     int       `json:"events"`
}

// flagged is what is odd about an entry.
type flagged struct {
	Entry   int64  `json:"entry"`
	Problem string `json:"problem"`
}

// tabled is all that goes before the verdict.
type tabled struct {
	Target   string    `json:"target"`
	At       time.Time `json:"at"`
	Holdings []held    `json:"holdings"`
	Flags    []flagged `json:"flags"`
	Coverage []covered `json:"coverage"`
	Used     int       `json:"events_used"`
	Later    int       `json:"events_later"`
	Others   int       `json:"events_other"`
	// Beyond says that the time is later than what the history covers.
	Beyond bool `json:"beyond_history"`
}

// Access writes who held a thing at a time, then the verdict on the history that says so.
func (p *Printer) Access(t *access.Table, target access.Target, at time.Time, v *answer.Verdict, sum [32]byte) error {
	hashes := make(map[int64][]byte)
	for i := range v.Events {
		hashes[v.Events[i].Index] = v.Events[i].Hash[:]
	}
	out := tabled{Target: target.String(), At: at.UTC(), Holdings: []held{}, Flags: []flagged{}, Coverage: []covered{},
		Used: t.Used, Later: t.Later, Others: t.Others, Beyond: !v.AsOf.Time.IsZero() && at.After(v.AsOf.Time)}
	for _, h := range t.Holdings {
		one := held{Person: textOf(h.Person), Name: h.Person.Name, Erased: h.Person.Erased, Relation: h.Relation, State: string(h.State),
			Since: h.Since.UTC(), Entry: h.Entry, LeafHash: hashes[h.Entry], Why: h.Why}
		if h.Person.Tag != nil && one.Person == "" {
			one.Tag = h.Person.Tag[:]
		}
		if h.By != nil {
			one.By = textOf(*h.By)
		}
		out.Holdings = append(out.Holdings, one)
	}
	for _, h := range t.Vias {
		out.Holdings = append(out.Holdings, held{Via: h.Target.String(), Name: h.Name, Relation: h.Relation, State: string(h.State),
			Since: h.Since.UTC(), Entry: h.Entry, LeafHash: hashes[h.Entry]})
	}
	for _, f := range t.Flags {
		out.Flags = append(out.Flags, flagged(f))
	}
	for _, c := range t.Coverage {
		out.Coverage = append(out.Coverage, covered{c.Source, c.First.Time.UTC(), c.First.Entry, c.Last.Time.UTC(), c.Last.Entry, c.Events})
	}
	if p.JSON {
		if err := p.Object(out); err != nil {
			return err
		}
		return p.Object(concludedOf(v, sum))
	}
	return p.access(out, v)
}

func (p *Printer) access(t tabled, v *answer.Verdict) error {
	for _, h := range t.Holdings {
		if err := p.Text("%s\n", h.text()); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(t.Holdings, func(h held) bool { return h.State == string(access.Held) }) {
		if err := p.Text("nobody is known to have held %s at %s\n", Printable(t.Target), t.At.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	for _, f := range t.Flags {
		if err := p.Text("note: entry %d %s\n", f.Entry, f.Problem); err != nil {
			return err
		}
	}
	words := "from events seen"
	for _, c := range t.Coverage {
		words += fmt.Sprintf("; coverage of source %s: %s (entry %d) .. %s (entry %d), %d events", c.Source,
			c.First.Format(time.RFC3339), c.FirstEntry, c.Last.Format(time.RFC3339), c.LastEntry, c.Events)
	}
	words += fmt.Sprintf("\n%d of them give or take it by %s, %d later, %d do neither", t.Used, t.At.Format(time.RFC3339), t.Later, t.Others)
	if t.Beyond {
		words += fmt.Sprintf("; nothing is known of what came after %s", v.AsOf.Time.UTC().Format(time.RFC3339))
	}
	return p.Text("%s\n%s\n", words, v)
}

func (h held) text() string {
	who := "somebody"
	switch {
	case h.Via != "":
		who = Printable(h.Via)
	case h.Person != "":
		who = Printable(h.Person)
	case h.Erased:
		who = fmt.Sprintf("an erased person (tag %x)", h.short())
	case h.Tag != nil:
		who = fmt.Sprintf("a withheld person (tag %x)", h.short())
	}
	if h.Name != "" {
		who += " (" + Printable(h.Name) + ")"
	}
	line := fmt.Sprintf("%-8s  %-44s  %-9s  since %s by entry %d", h.State, who, h.Relation, h.Since.Format(time.RFC3339), h.Entry)
	if h.By != "" {
		line += ", by " + Printable(h.By)
	}
	if h.Why != "" {
		line += ": " + h.Why
	}
	if h.Via != "" {
		line += ": whoever holds that holds this"
	}
	return line
}

// short is the beginning of the tag, enough to tell persons apart.
func (h held) short() []byte { return h.Tag[:min(8, len(h.Tag))] }

// textOf is the identifier of a person, "" if none is shown.
func textOf(p access.Person) string {
	if p.Identifier == (subject.Identifier{}) {
		return ""
	}
	return person.Text(p.Identifier)
}
