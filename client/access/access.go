// Package access tells from the history of a thing, as a group, a role or an application, who held it at a time: it
// folds the events that gave it and that took it away.
//
// It is a pure function of events that were verified, which package answer says how. It says what these events say, and
// no more: what was given before a source was followed, or where it is not, is in none of them. Where an event does not
// show what it did, or to whom, the outcome is unknown and the entry is named.
//
// Events are ordered by the time at which their source says that they occurred, and those of one time by their index. That
// is a claim; an event whose claim does not fit when it was logged is flagged. One without a time of its own takes the
// second at which the log received it.
//
// The same person under two identifiers of which neither is shown with the other is two persons here.
package access

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"idlog/proto/answer"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
)

// A Target is the thing that is held.
type Target struct{ Type, ID string }

// A State is how somebody stands to a thing.
type State string

// The states.
const (
	Held    State = "held"
	NotHeld State = "not held"
	Unknown State = "unknown"
)

// A Person is somebody to whom an event gave a thing, or who did.
type Person struct {
	// Identifier is the primary one; zero if no event shows it.
	Identifier subject.Identifier
	// Name is the login, the address or the name for people that the newest event shows; it may be empty.
	Name string
	// Tag is that of the primary identifier in the leaves, nil if there is none: the same tag is the same identifier.
	Tag *leaf.Hash
	// Erased says that it is not shown because it was erased.
	Erased bool
}

// A Holding is how one person stands to the thing.
type Holding struct {
	Person   Person
	Relation string // how it is held: member, role, privilege, policy, resource; empty if nobody knows
	State    State
	// Entry is the event by which it is so, and Since when that occurred. For a thing that is taken later, and no event
	// gives, it is the event that takes it.
	Entry int64
	Since time.Time
	By    *Person // who did it; nil if the event names nobody
	Why   string  // it is unknown
}

// A Via is another thing that was given the target: whoever holds that holds this.
type Via struct {
	Target   Target // an ID may be missing, where it is not shown
	Name     string
	Relation string
	State    State
	Entry    int64
	Since    time.Time
}

// A Flag is what is odd about an entry on which the outcome rests.
type Flag struct {
	Entry   int64
	Problem string
}

// Coverage is what was seen of one source: the first and the last of its events, by when they occurred.
type Coverage struct {
	Source      string
	First, Last Seen
	Events      int
}

// Seen is an event and when it occurred.
type Seen struct {
	Entry int64
	Time  time.Time
}

// A Table is who held a thing at a time, from events seen.
type Table struct {
	Holdings []Holding // by state, then in the order in which they first were given something
	Vias     []Via
	Flags    []Flag // ascending by entry
	Coverage []Coverage
	Used     int // events that gave or took, by At
	Later    int // events that gave or took after At
	Others   int // events that did neither
}

// At folds the events of a thing's history. They are distinct, and are all that the history has up to its end. The skew is by
// how much clocks may differ.
func At(events []answer.Event, target Target, at time.Time, skew time.Duration) (*Table, error) {
	f := fold{target: target, names: make(map[leaf.Hash]Person), persons: make(map[string]*holder)}
	steps := make([]*step, 0, len(events))
	sources := make(map[string]*Coverage)
	readers := make([]*reader, len(events))
	for i := range events {
		var err error
		if readers[i], err = newReader(&events[i]); err != nil {
			return nil, fmt.Errorf("reading entry %d: %w", events[i].Index, err)
		}
		readers[i].learn(f.names)
	}
	for i := range events {
		steps = append(steps, f.read(&events[i], readers[i]))
	}
	slices.SortStableFunc(steps, func(a, b *step) int {
		return cmp.Or(a.when.Compare(b.when), cmp.Compare(a.index, b.index))
	})
	t := &Table{}
	for _, s := range steps {
		if s.source != "" {
			c := sources[s.source]
			if c == nil {
				c = &Coverage{Source: s.source, First: Seen{s.index, s.when}}
				sources[s.source] = c
			}
			c.Last = Seen{s.index, s.when}
			c.Events++
		}
		switch {
		case s.effect == neither:
			t.Others++
		case s.when.After(at):
			t.Later++
			f.later(s)
		default:
			t.Used++
			f.apply(s)
			t.Flags = append(t.Flags, s.flags(skew)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		t.Coverage = append(t.Coverage, *sources[name])
	}
	slices.SortFunc(t.Flags, func(a, b Flag) int { return cmp.Compare(a.Entry, b.Entry) })
	f.fill(t)
	return t, nil
}

// fold is what is known so far.
type fold struct {
	target  Target
	names   map[leaf.Hash]Person // by the tag of the primary identifier, where any event shows it
	persons map[string]*holder
	order   []*holder
	vias    []*Via
}

// holder is a person and how they stand, by relation.
type holder struct {
	person   Person
	relation map[string]*Holding
	order    []string
}

// key is the same for the same person.
func (f *fold) key(p Person) (Person, string) {
	if p.Tag != nil {
		if named, ok := f.names[*p.Tag]; ok {
			named.Tag = p.Tag
			p = named
		}
	}
	switch {
	case p.Identifier != (subject.Identifier{}):
		return p, "identifier\n" + p.Identifier.String()
	case p.Tag != nil:
		return p, "tag\n" + string(p.Tag[:])
	}
	return p, ""
}

// holder finds or makes that of a person of an entry. Who cannot be told from others has one of their own.
func (f *fold) holder(p Person, entry int64) *holder {
	p, key := f.key(p)
	if key == "" {
		key = fmt.Sprintf("nobody\n%d %d", entry, len(f.order))
	}
	h := f.persons[key]
	if h == nil {
		h = &holder{relation: make(map[string]*Holding)}
		f.persons[key] = h
		f.order = append(f.order, h)
	}
	h.person = p
	return h
}

func (h *holder) set(relation string, x Holding) {
	if h.relation[relation] == nil {
		h.order = append(h.order, relation)
	}
	x.Relation = relation
	h.relation[relation] = &x
}

// apply is told of an event that occurred by the time that is asked for.
func (f *fold) apply(s *step) {
	x := Holding{Entry: s.index, Since: s.when, By: s.by, State: Held}
	switch {
	case s.why != "":
		x.State, x.Why = Unknown, s.why
	case s.effect == takes || s.effect == ends:
		x.State = NotHeld
	}
	if s.effect == ends || s.everybody {
		for _, h := range f.order {
			for _, r := range h.order {
				h.set(r, x)
			}
		}
		for _, v := range f.vias {
			v.State, v.Entry, v.Since = x.State, x.Entry, x.Since
		}
	}
	for _, v := range s.vias {
		f.via(Via{Target: v.Target, Name: v.Name, Relation: s.relation, State: x.State, Entry: x.Entry, Since: x.Since})
	}
	for _, p := range s.persons {
		h := f.holder(p, s.index)
		if s.relation != "" {
			// What was not known of them in general is settled in this respect, and stays unknown in others.
			h.set(s.relation, x)
			continue
		}
		if len(h.order) == 0 {
			h.set("", x)
		}
		for _, r := range h.order {
			h.set(r, x)
		}
	}
}

func (f *fold) via(v Via) {
	for _, old := range f.vias {
		if old.Target == v.Target && v.Target.ID != "" && old.Relation == v.Relation {
			*old = v
			return
		}
	}
	f.vias = append(f.vias, &v)
}

// later is told of an event that occurred afterwards: who is taken what nobody gave may have had it.
func (f *fold) later(s *step) {
	if s.effect == takes && s.why == "" {
		for _, p := range s.persons {
			h := f.holder(p, s.index)
			if h.relation[s.relation] == nil {
				h.set(s.relation, Holding{Entry: s.index, Since: s.when, By: s.by, State: Unknown,
					Why: fmt.Sprintf("entry %d takes it away later, and no entry before gives it", s.index)})
			}
		}
	}
	if s.effect == gives && s.why == "" {
		for _, p := range s.persons {
			h := f.holder(p, s.index)
			if h.relation[s.relation] == nil {
				h.relation[s.relation] = &Holding{} // given later: it is not in order, and so not shown
			}
		}
	}
}

func (f *fold) fill(t *Table) {
	for _, state := range []State{Held, Unknown, NotHeld} {
		for _, h := range f.order {
			for _, r := range h.order {
				if x := *h.relation[r]; x.State == state {
					x.Person = h.person
					t.Holdings = append(t.Holdings, x)
				}
			}
		}
	}
	for i := range t.Holdings {
		if by := t.Holdings[i].By; by != nil {
			named, _ := f.key(*by)
			t.Holdings[i].By = &named
		}
	}
	for _, v := range f.vias {
		t.Vias = append(t.Vias, *v)
	}
}

// step is what one event did to the thing.
type step struct {
	index     int64
	source    string
	when      time.Time
	claimed   bool // when is the source's word
	after     time.Time
	before    time.Time
	effect    effect
	relation  string
	persons   []Person
	vias      []Via
	by        *Person
	why       string // it is unknown
	everybody bool   // it may be of anybody
}

// flags says what is odd about an event on which something rests.
func (s *step) flags(skew time.Duration) (flags []Flag) {
	say := func(format string, args ...any) { flags = append(flags, Flag{s.index, fmt.Sprintf(format, args...)}) }
	switch {
	case !s.claimed:
		say("does not show when it occurred, and is taken by when the log received it")
	case !s.before.IsZero() && s.when.Sub(s.before) > skew:
		say("says that it occurred at %s, and was in the log before %s", clock(s.when), clock(s.before))
	case !s.after.IsZero() && s.after.Sub(s.when) > skew:
		say("says that it occurred at %s, and was not in the log at %s", clock(s.when), clock(s.after))
	}
	return flags
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// read makes a step of an event.
func (f *fold) read(e *answer.Event, r *reader) *step {
	s := &step{index: e.Index, after: e.After, before: e.Before, when: e.Before}
	if e.Leaf != nil {
		s.source, s.when = e.Leaf.Source, time.Unix(e.Leaf.Received, 0)
	}
	if at := r.event.GetTimes().GetOccurred(); at != nil {
		s.when, s.claimed = at.AsTime(), true
	}
	s.by = r.person("actor", r.event.GetActor())
	hidden := r.fields.hidden("class.class_uid", "class.activity_id", "outcome.status")
	switch {
	case len(e.Fields) == 0:
		// Only the leaf is known. It may have done anything, to those whose tags it has.
		s.effect, s.why = gives, fmt.Sprintf("entry %d withholds what it did", e.Index)
		for _, tag := range r.tags {
			if _, ok := f.names[tag]; ok {
				s.persons = append(s.persons, Person{Tag: &tag})
			}
		}
		s.everybody = e.Leaf == nil
	case hidden != "":
		s.effect, s.why = gives, fmt.Sprintf("entry %d withholds %s", e.Index, hidden)
		s.persons = r.subjects()
		s.everybody = len(s.persons) == 0
	default:
		r.judge(s, f.target)
	}
	if s.why != "" && len(s.persons) == 0 && len(s.vias) == 0 && s.effect != ends {
		s.persons = []Person{{}} // somebody
	}
	return s
}

// judge finds out whether an event gave or took the target, and to whom.
func (r *reader) judge(s *step, target Target) {
	c, ok := changes[r.event.GetClass().GetClassUid()*100+r.event.GetClass().GetActivityId()]
	if !ok || !r.about(c, target) {
		return
	}
	switch r.event.GetOutcome().GetStatus() {
	case eventv1.Outcome_STATUS_SUCCESS:
	case eventv1.Outcome_STATUS_PARTIAL:
		s.why = fmt.Sprintf("entry %d says that some of it was done", s.index)
	case eventv1.Outcome_STATUS_UNSPECIFIED:
		s.why = fmt.Sprintf("entry %d does not say how it ended", s.index)
	default:
		return // it was tried
	}
	s.effect, s.relation = c.effect, c.relation
	switch {
	case c.effect == ends:
	case c.to == things:
		s.vias = r.things(target)
	default:
		s.persons = r.subjects()
		if len(s.persons) == 0 && c.to == either {
			s.vias = r.things(target)
		}
	}
	if c.effect != ends && len(s.persons) == 0 && len(s.vias) == 0 {
		s.why = cmp.Or(s.why, fmt.Sprintf("entry %d does not name to whom", s.index))
	}
}

// like reports whether the type of a thing has a word in it.
func like(kind, word string) bool { return strings.Contains(strings.ToLower(kind), word) }

func sameTag(a, b *leaf.Hash) bool { return a != nil && b != nil && bytes.Equal(a[:], b[:]) }
