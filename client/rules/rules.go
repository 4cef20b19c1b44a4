// Package rules is what a leaf must be where it stands in its log, as far as
// anybody can see who holds no secret: its grammar, its family, what entries 0
// and 1 are, which keys were announced before they are used, and when it was
// received. What audits a whole log and what follows one ask here.
//
// It trusts that the leaves are the log's, one after the other, and that the
// windows are made of verified checkpoints; whoever calls has proven both. It
// fetches nothing, keeps nothing on disk, and judges no signature. A [History]
// belongs to one goroutine; all else may be called concurrently.
//
// A [Finding] is something that an honest operator of this version does not do.
// It says what was found and not who is at fault. SPEC 2.1, 2.4, 2.10, F13, F38.
package rules

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"idlog/proto/leaf"
	"idlog/proto/tag"
	"idlog/proto/ticket"
)

// Rule names a rule that a finding is about. Programs may switch on it.
type Rule string

// The rules of this package. Who sees more of a log than its leaves has more.
const (
	Grammar   Rule = "grammar"   // the entry is a leaf
	Family    Rule = "family"    // it is of the log's family
	Genesis   Rule = "genesis"   // entry 0, and no other, opens the shard
	Keys      Rule = "keys"      // keys are announced once, before they are used
	Tags      Rule = "tags"      // an event has the tags that every event has
	Received  Rule = "received"  // the log's clock agrees with the witnesses'
	Duplicate Rule = "duplicate" // one event is one leaf
	Enrolment Rule = "enrolment" // a person is enrolled before an event names them
	Range     Rule = "range"     // a leaf that speaks of entries comes after them
)

var meanings = map[Rule]string{
	Grammar:   "No reader can say what this entry is, and no index finds it. An honest log adds none.",
	Family:    "A leaf of another log is no evidence here, and whoever verifies it is told that it is elsewhere.",
	Genesis:   "Readers take the map function, the first keys and the ticket key from entry 0: another beginning is another log.",
	Keys:      "Under keys that nobody saw announced, an event can be given tags by which it is never found.",
	Tags:      "Searches find events by these tags: an event without them, or with others, is hidden or found where it does not belong.",
	Received:  "The event bears a time at which, by the witnesses' clocks, it cannot have been logged: it was dated back or forward.",
	Duplicate: "Two readers can be shown different leaves for one event.",
	Range:     "What it says of entries that did not exist is said of whatever comes to stand there: it erases or excuses in advance.",
	Enrolment: "Somebody is named by a handle that was never enrolled: a search for that person cannot be complete.",
}

// Meaning says in a sentence why a finding of this rule matters; it is empty
// for rules of others.
func (r Rule) Meaning() string { return meanings[r] }

// A Finding is one leaf that breaks one rule.
type Finding struct {
	Index   int64  `json:"index"` // the entry
	Rule    Rule   `json:"rule"`
	Problem string `json:"problem"` // in one sentence without a full stop
}

func (f Finding) String() string { return fmt.Sprintf("entry %d: %s: %s", f.Index, f.Rule, f.Problem) }

const (
	// Skew is how far two honest clocks may disagree.
	Skew = 60 * time.Second
	// Backlog is how long an event may wait for its place in the log: as long as
	// the longest promise (SPEC 2.10).
	Backlog = ticket.Longest
)

// A Window is when an entry was logged, by the witnesses' clocks (F13): after
// the largest checkpoint without it was cosigned, and before the smallest one
// with it was. A zero time is not known, as where no witness signs.
//
// Both are the time from which on a quorum vouches for the checkpoint,
// policy.Verified.Oldest: a witness that signs late moves neither.
type Window struct {
	After, Before time.Time
	// Backlog is how long before After an entry may have been received; 0 is the
	// constant of that name.
	Backlog time.Duration
}

// Alone returns how a leaf breaks the rules that need no other leaf, nil if it
// does not. l is nil where the entry did not parse, and problem says why.
func Alone(index int64, family string, l leaf.Leaf, problem error, w Window) []Finding {
	a := alone{index: index}
	if l == nil {
		a.find(Grammar, "is no leaf of ours: %v", problem)
		return a.findings
	}
	if named, ok := leaf.LogOf(l); ok && named != family {
		a.find(Family, "the leaf is of log %s, and the log's family is %s", named, family)
	}
	if root, ok := l.(*leaf.Root); ok && !strings.HasPrefix(root.Origin, family+"/") {
		a.find(Family, "the root is of %s, which is no shard of %s", root.Origin, family)
	}
	if shard, ok := l.(*leaf.Shard); ok && shard.Genesis != nil {
		a.genesis(family, shard.Genesis)
	} else if index == 0 {
		a.find(Genesis, "entry 0 is not the genesis of the shard")
	}
	switch l := l.(type) {
	case *leaf.Event:
		a.tags(l)
	case *leaf.Subject:
		a.etags(l)
	case *leaf.Erasure:
		a.below(l.To)
	case *leaf.Loss:
		a.below(l.To)
	case *leaf.Root:
		a.below(l.N)
	}
	return append(a.findings, Dated(index, l, w)...)
}

// Dated is the part of Alone that looks at the window, for callers that judge a
// leaf before they know when it was logged: they give Alone an empty one.
func Dated(index int64, l leaf.Leaf, w Window) []Finding {
	received, ok := receivedOf(l)
	if !ok {
		return nil
	}
	a := alone{index: index}
	a.received(time.Unix(received, 0), w)
	return a.findings
}

// alone collects the findings of one leaf.
type alone struct {
	index    int64
	findings []Finding
}

func (a *alone) find(r Rule, format string, args ...any) {
	a.findings = append(a.findings, Finding{Index: a.index, Rule: r, Problem: fmt.Sprintf(format, args...)})
}

func (a *alone) genesis(family string, g *leaf.Genesis) {
	if a.index != 0 {
		a.find(Genesis, "the shard is opened again")
		return
	}
	if g.MapFn != leaf.MapFn {
		a.find(Genesis, "the map function is %s, which this version does not know", g.MapFn)
	}
	if name, _, _ := strings.Cut(g.Ticket, "+"); name != ticket.KeyName(family) {
		a.find(Genesis, "the ticket key is named %s, not %s", name, ticket.KeyName(family))
	}
	if p := g.Previous; p != nil && !strings.HasPrefix(p.Origin, family+"/") {
		a.find(Genesis, "the shard before, %s, is none of %s", p.Origin, family)
	}
}

// below judges a leaf that speaks of the entries before to.
func (a *alone) below(to int64) {
	if to > a.index {
		a.find(Range, "speaks of entries up to %d, which are not before it", to)
	}
}

// etags judges a statement of sameness: it has the etags of the enrolments that it names, each of which has one.
func (a *alone) etags(s *leaf.Subject) {
	if n := len(s.Links) + len(s.Unlinks); s.Commit == nil && len(s.Etags) > n {
		a.find(Enrolment, "has %d etags, and names only %d enrolments", len(s.Etags), n)
	}
}

// tags counts the tags of an event. SPEC 2.4: its id and its class are one each,
// a principal has up to three identifiers, sessions are up to three.
func (a *alone) tags(e *leaf.Event) {
	var n [tag.Target + 1]int
	for _, t := range e.Tags {
		if int(t.Field) >= len(n) || t.Field == 5 {
			a.find(Tags, "has a tag of field %d, which no event has", t.Field)
			return
		}
		n[t.Field]++
	}
	switch {
	case n[tag.EventID] != 1:
		a.find(Tags, "has %d tags of the event's id, not one", n[tag.EventID])
	case n[tag.Class] != 1:
		a.find(Tags, "has %d tags of its class, not one", n[tag.Class])
	case n[tag.Session] > 3:
		a.find(Tags, "has %d tags of sessions, more than three", n[tag.Session])
	case n[tag.Actor] > 3:
		a.find(Tags, "has %d tags of its actor, more than three", n[tag.Actor])
	case n[tag.Actor] > n[tag.Person]:
		a.find(Tags, "has %d tags of its actor and only %d of persons", n[tag.Actor], n[tag.Person])
	}
}

func (a *alone) received(at time.Time, w Window) {
	const form = time.RFC3339
	if !w.Before.IsZero() && at.After(w.Before.Add(Skew)) {
		a.find(Received, "received at %s, later than %s, when witnesses had cosigned it", at.UTC().Format(form), w.Before.UTC().Format(form))
	}
	backlog := cmp.Or(w.Backlog, Backlog)
	if !w.After.IsZero() && at.Before(w.After.Add(-backlog-Skew)) {
		a.find(Received, "received at %s, more than %s before %s, when witnesses had cosigned the log without it",
			at.UTC().Format(form), backlog, w.After.UTC().Format(form))
	}
}

// receivedOf returns the second that a leaf bears, and false for the root of an index.
func receivedOf(l leaf.Leaf) (int64, bool) {
	switch l := l.(type) {
	case *leaf.Event:
		return l.Received, true
	case *leaf.Subject:
		return l.Received, true
	case *leaf.Keys:
		return l.Received, true
	case *leaf.Erasure:
		return l.Received, true
	case *leaf.Loss:
		return l.Received, true
	case *leaf.Shard:
		return l.Received, true
	}
	return 0, false
}

// EventID returns the value of an event's tag 1, by which its source's events
// are told apart, and false if it has none.
func EventID(e *leaf.Event) (leaf.Hash, bool) {
	if len(e.Tags) == 0 || e.Tags[0].Field != tag.EventID { // they ascend
		return leaf.Hash{}, false
	}
	return e.Tags[0].Value, true
}

// SameEvent says why two events that are not one leaf are one event, "" if they
// are not: they have the digest of all fields, or the id within one source, in
// common. Evidence of the claim duplicate shows it to others.
func SameEvent(a, b *leaf.Event) string {
	if a.Fields == b.Fields {
		return "they have one digest of all fields"
	}
	x, ok := EventID(a)
	y, ok2 := EventID(b)
	if ok && ok2 && a.Source == b.Source && x == y {
		return "they have one event id of source " + a.Source
	}
	return ""
}
