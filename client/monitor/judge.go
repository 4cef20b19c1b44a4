package monitor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"idlog/client/monitor/index"
	"idlog/client/monitor/memory"
	"idlog/client/rules"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/tag"
	"idlog/proto/tile"
)

// keyed are the fields whose tags are made with a source's keys.
const keyed = 1<<tag.EventID | 1<<tag.Session | 1<<tag.Class | 1<<tag.Target

// factOf parses an entry and judges it by what stands in it alone.
func (m *Monitor) factOf(e tile.Entry) fact {
	l, err := leaf.Parse(e.Data)
	f := fact{index: e.Index, hash: e.Hash, leaf: l, alone: rules.Alone(e.Index, m.family, l, err, rules.Window{})}
	if m.room != nil {
		f.filed = mapfn.Of(l)
	}
	if e, ok := l.(*leaf.Event); ok {
		// Of its tags, what comes needs one of each field that has a key. An event
		// may have hundreds of others, and a step thousands of events.
		e.Tags = slices.DeleteFunc(e.Tags, func(t leaf.Tag) bool { return t.Field > tag.Target || keyed>>t.Field&1 == 0 })
		e.Tags = slices.Clone(slices.CompactFunc(e.Tags, func(a, b leaf.Tag) bool { return a.Field == b.Field }))
	}
	return f
}

// judge is one step: entries in their order, by what was before them.
type judge struct {
	*Monitor
	tree  tree
	batch memory.Batch
	after time.Time // the entry is later than this; zero if nothing says
	keys  bool      // the step has keys leaves
	found []Finding
	stops bool // found ends with a contradiction
}

func (j *judge) say(f *fact, s Severity, kind, format string, args ...any) {
	n := 0 // of this kind, of this entry
	for i := len(j.found) - 1; i >= 0 && j.found[i].Index != nil && *j.found[i].Index == f.index; i-- {
		if j.found[i].Kind == kind {
			n++
		}
	}
	found := j.finding(s, kind, fmt.Sprintf("%d %x %d", f.index, f.hash, n), "entry %d: %s", f.index, fmt.Sprintf(format, args...))
	found.Index = &f.index
	j.found = append(j.found, found)
}

func (j *judge) broken(f *fact, list []rules.Finding) {
	for _, r := range list {
		j.say(f, Fault, string(r.Rule), "%s", r.Problem)
	}
}

// entry judges one entry. Its errors are those of a look.
func (j *judge) entry(ctx context.Context, f *fact) error {
	if err := j.rules(ctx, f); err != nil || j.stops || j.room == nil {
		return err
	}
	logged := time.Now()
	if before := j.segment.before; f.index < j.segment.to && !before.IsZero() {
		logged = before
	}
	root, _ := f.leaf.(*leaf.Root)
	return j.index(ctx, index.Entry{Index: f.index, Leaf: f.hash, Keys: f.filed, Root: root, Logged: logged})
}

// rules holds an entry to what it must be where it stands.
func (j *judge) rules(ctx context.Context, f *fact) error {
	j.broken(f, f.alone)
	if j.at.base == 0 {
		// Elsewhere nobody can tell what was announced before.
		j.broken(f, j.history.Follow(f.leaf))
	}
	if f.leaf == nil {
		return nil
	}
	if err := j.bound(ctx, f.index); err != nil {
		return err
	}
	j.broken(f, rules.Dated(f.index, f.leaf, rules.Window{After: j.after, Before: j.segment.before, Backlog: j.cfg.Backlog}))
	switch l := f.leaf.(type) {
	case *leaf.Keys:
		j.keys = true
	case *leaf.Subject:
		if l.Commit != nil {
			return j.enrol(f)
		}
		return j.enrolled(f, append(l.Links, l.Unlinks...))
	case *leaf.Erasure:
		return j.enrolled(f, l.Enrolments)
	case *leaf.Event:
		return j.event(ctx, f)
	}
	return nil
}

// event holds an event to the first one with its id, and if that is itself, to
// the first one with its digest.
func (j *judge) event(ctx context.Context, f *fact) error {
	for _, k := range f.keys {
		if first, err := j.once(ctx, f, k); err != nil || !first {
			return err
		}
	}
	return nil
}

func (j *judge) find(k memory.Key) (memory.Place, bool, error) {
	p, ok, err := j.memory.Find(&j.batch, k)
	if err != nil {
		return p, ok, &StateError{err}
	}
	return p, ok, nil
}

// enrol remembers an enrolment.
func (j *judge) enrol(f *fact) error {
	k := memory.Enrolment(f.hash)
	if _, known, err := j.find(k); known || err != nil {
		return err
	}
	j.batch.Learn(k, memory.Place{Index: f.index, Hash: f.hash})
	return nil
}

// enrolled verifies that what a leaf links or erases was enrolled before.
func (j *judge) enrolled(f *fact, hashes []leaf.Hash) error {
	if j.at.base > 0 {
		return nil
	}
	unknown := 0
	var first leaf.Hash
	for _, h := range hashes {
		_, ok, err := j.find(memory.Enrolment(h))
		if err != nil {
			return err
		}
		if !ok {
			if unknown++; unknown == 1 {
				first = h
			}
		}
	}
	if unknown > 0 { // a leaf may name a thousand
		j.say(f, Fault, string(rules.Enrolment), "names %d enrolments that no entry before it is, the first of them %x", unknown, first)
	}
	return nil
}

// once holds an event to the first one under a key, and reports whether that is
// itself. Otherwise it is a repeat of the first one's bytes, or a contradiction.
//
// SPEC 2.10: the bytes of a leaf are fixed before it is added, so one that is
// added twice is the same leaf.
func (j *judge) once(ctx context.Context, f *fact, k remembered) (bool, error) {
	first, known := k.first, k.known
	if !known {
		first, known = j.batch.Learned(k.key)
	}
	switch {
	case !known:
		j.batch.Learn(k.key, memory.Place{Index: f.index, Hash: f.hash})
		return true, nil
	case first.Index == f.index:
		return true, nil // a step that was cut off, again
	case first.Hash == f.hash:
		j.say(f, Info, "repeat", "is entry %d once more, byte for byte, and counts once", first.Index)
		return false, nil
	}
	var parts []evidence.Part
	for _, index := range []int64{first.Index, f.index} {
		b, err := j.proof(ctx, index)
		if err != nil {
			return false, fmt.Errorf("proving that entry %d is the event of entry %d in another leaf: %w", f.index, first.Index, err)
		}
		parts = append(parts, evidence.Part{Type: evidence.Proof, Data: b})
	}
	n, err := j.contradiction(evidence.Duplicate, fmt.Sprintf("%d %d", first.Index, f.index),
		fmt.Sprintf("one event is in the log as two leaves, entry %d and entry %d", first.Index, f.index), parts...)
	if err != nil {
		return false, err
	}
	n.Index = &f.index
	j.found = append(j.found, n)
	j.stops = n.Severity == Contradiction
	return false, nil
}

// proof writes the proof of an entry under the tree's checkpoint.
func (j *judge) proof(ctx context.Context, index int64) ([]byte, error) {
	e, err := j.tree.reader.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	hashes, err := j.tree.reader.Inclusion(ctx, index)
	if err != nil {
		return nil, err
	}
	return proof.Proof{Extra: e.Data, Index: index, Hashes: hashes, Checkpoint: j.tree.Note}.Format()
}
