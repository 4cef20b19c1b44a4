package monitor

import (
	"context"
	"fmt"
	"time"

	"idlog/client/internal/lru"
	"idlog/client/monitor/memory"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// The kinds of faults, each a rule of SPEC 2 that an entry breaks.
const (
	notALeaf      = "not-a-leaf"       // 2.1: the grammar
	foreignLeaf   = "foreign-leaf"     // 2.1: another family or log
	outOfPlace    = "out-of-place"     // 2.1: genesis and first keys; a range that is not below
	badTags       = "bad-tags"         // 2.4: what TagFn cannot have given
	keysChanged   = "keys-changed"     // 2.1: an epoch with two keys
	unannounced   = "unannounced-keys" // 2.1: keys that no leaf before announced
	notEnrolled   = "not-enrolled"     // 2.1: an enrolment that no leaf before made
	backdated     = "backdated"        // F13
	postdated     = "postdated"        // F13
	repeated      = "repeat"           // F34: no fault
	neutralFields = 1<<1 | 1<<4 | 1<<6 | 1<<7
)

// factOf parses an entry and judges it by what stands in it alone.
func (m *Monitor) factOf(e tile.Entry) fact {
	f := fact{index: e.Index, hash: e.Hash}
	say := func(kind, format string, args ...any) {
		f.problems = append(f.problems, problem{kind, fmt.Sprintf(format, args...)})
	}
	l, err := leaf.Parse(e.Data)
	if err != nil {
		say(notALeaf, "it is no leaf: %v", err)
		return f
	}
	f.leaf = l
	family, ok := leaf.LogOf(l)
	if root, is := l.(*leaf.Root); is {
		family, ok = root.Origin, root.Origin == m.origin
	} else {
		ok = ok && family == m.family
	}
	if !ok {
		say(foreignLeaf, "it is a leaf of %+q", family)
	}
	switch l := l.(type) {
	case *leaf.Event:
		if text := tagsProblem(l.Tags); text != "" {
			say(badTags, "%s", text)
		}
		l.Tags = neutral(l.Tags)
	case *leaf.Erasure:
		if l.To > f.index {
			say(outOfPlace, "it erases entries up to %d, which are not before it", l.To)
		}
		l.Tags = nil
	case *leaf.Loss:
		if l.To > f.index {
			say(outOfPlace, "it speaks of the loss of entries up to %d, which are not before it", l.To)
		}
	case *leaf.Root:
		if l.N > f.index {
			say(outOfPlace, "it is a root over %d entries, which are not before it", l.N)
		}
	}
	shard, isShard := l.(*leaf.Shard)
	genesis := isShard && shard.Genesis != nil
	_, keys := l.(*leaf.Keys)
	if genesis != (f.index == 0) {
		say(outOfPlace, "the genesis is entry 0, and nothing else")
	} else if f.index == 1 && !keys {
		say(outOfPlace, "entry 1 is the first keys leaf")
	}
	return f
}

// tagsProblem says why TagFn gave no such tags: SPEC 2.4.
func tagsProblem(tags []leaf.Tag) string {
	var n [8]int
	for _, t := range tags {
		if t.Field < 1 || t.Field > 7 || t.Field == 5 {
			return fmt.Sprintf("it has a tag %d, which nothing gives", t.Field)
		}
		n[t.Field]++
	}
	switch {
	case n[1] != 1:
		return fmt.Sprintf("it has %d tags of an event id", n[1])
	case n[6] != 1:
		return fmt.Sprintf("it has %d tags of a class", n[6])
	case n[3] > n[2] || n[3] > 3:
		return fmt.Sprintf("it has %d tags of an actor, and %d of persons", n[3], n[2])
	case n[4] > 3:
		return fmt.Sprintf("it has %d tags of sessions", n[4])
	}
	return ""
}

// neutral returns the tags that are made with a source's keys, one of each field.
func neutral(tags []leaf.Tag) []leaf.Tag {
	var out []leaf.Tag
	for _, t := range tags {
		if t.Field < 8 && neutralFields>>t.Field&1 == 1 && (len(out) == 0 || out[len(out)-1].Field != t.Field) {
			out = append(out, t)
		}
	}
	return out
}

// judge is one step: entries in their order, by what was before them.
type judge struct {
	*Monitor
	tree  tree
	batch memory.Batch
	after time.Time // the entry is later than this; zero if nothing says
	found []Finding
	stops bool // found ends with a contradiction
}

func (j *judge) say(f *fact, s Severity, kind, format string, args ...any) {
	n := j.finding(s, kind, fmt.Sprintf("%d %x", f.index, f.hash), "entry %d: %s", f.index, fmt.Sprintf(format, args...))
	n.Index = &f.index
	j.found = append(j.found, n)
}

// entry judges one entry. Its errors are those of a look.
func (j *judge) entry(ctx context.Context, f *fact) error {
	for _, p := range f.problems {
		j.say(f, Fault, p.kind, "%s", p.text)
	}
	if f.leaf == nil {
		return nil
	}
	if err := j.bound(ctx, f.index); err != nil {
		return err
	}
	j.time(f)
	var err error
	switch l := f.leaf.(type) {
	case *leaf.Keys:
		err = j.keys(f, l)
	case *leaf.Subject:
		err = j.subject(f, l)
	case *leaf.Erasure:
		err = j.enrolled(f, l.Enrolments)
	case *leaf.Event:
		if err = j.announcedFor(f, l); err == nil {
			err = j.event(ctx, f)
		}
	}
	return err
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

// time holds `received` to the cosignatures before and after.
func (j *judge) time(f *fact) {
	received, ok := receivedOf(f.leaf)
	if !ok {
		return
	}
	at := time.Unix(received, 0)
	if before := j.segment.before; !before.IsZero() && at.After(before.Add(skew)) {
		j.say(f, Fault, postdated, "it was received at %s, it says, and witnesses had cosigned it at %s", stamp(at), stamp(before))
	}
	if !j.after.IsZero() && at.Before(j.after.Add(-j.cfg.Backlog)) {
		j.say(f, Fault, backdated, "it was received at %s, it says, and was not in the tree that witnesses cosigned at %s, more than %s later",
			stamp(at), stamp(j.after), j.cfg.Backlog)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func receivedOf(l leaf.Leaf) (seconds int64, ok bool) {
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
	case *leaf.Root:
		return l.Millis / 1000, true
	}
	return 0, false
}

// announced remembers which keys were announced, of those asked for lately.
type announced struct {
	vrf     *lru.Map[int64, leaf.Hash]
	commits *lru.Map[commitment, leaf.Hash]
}

type commitment struct {
	epoch  int64
	field  uint16
	source string
}

func newAnnounced() *announced {
	return &announced{lru.New[int64, leaf.Hash](64), lru.New[commitment, leaf.Hash](4096)}
}

// keys learns the keys that a leaf announces; those of an epoch never change.
func (j *judge) keys(f *fact, l *leaf.Keys) error {
	if err := j.announce(f, memory.VRF(l.Epoch), l.VRF, "the VRF key of epoch %d", l.Epoch); err != nil {
		return err
	}
	for _, c := range l.Commits {
		if err := j.announce(f, memory.Commit(l.Epoch, c.Field, c.Source), c.Commit, "the key of tag %d of source %s in epoch %d", c.Field, c.Source, l.Epoch); err != nil {
			return err
		}
	}
	return nil
}

func (j *judge) announce(f *fact, k memory.Key, value leaf.Hash, format string, args ...any) error {
	p, known, err := j.find(k)
	switch {
	case err != nil:
		return err
	case !known:
		j.batch.Learn(k, memory.Place{Index: f.index, Hash: value})
	case p.Hash != value:
		j.say(f, Fault, keysChanged, "it announces another key than entry %d: %s", p.Index, fmt.Sprintf(format, args...))
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

// announcedFor verifies that the keys of an event's tags were announced before.
// In a log that was not read from its beginning nobody can tell.
func (j *judge) announcedFor(f *fact, l *leaf.Event) error {
	if j.at.base > 0 {
		return nil
	}
	if ok, err := j.epoch(l.Keys); err != nil {
		return err
	} else if !ok {
		j.say(f, Fault, unannounced, "its tags are of epoch %d, which no entry before announces", l.Keys)
		return nil
	}
	for _, t := range l.Tags {
		c := commitment{l.Keys, t.Field, l.Source}
		if t.Field == 1 {
			c.epoch = 1 // SPEC 2.4: always
		}
		if _, ok := j.announced.commits.Get(c); ok {
			continue
		}
		p, ok, err := j.find(memory.Commit(c.epoch, c.field, c.source))
		if err != nil {
			return err
		}
		if !ok {
			j.say(f, Fault, unannounced, "no entry before announces the key of its tag %d for source %s in epoch %d", c.field, c.source, c.epoch)
			return nil
		}
		j.announced.commits.Put(c, p.Hash)
	}
	return nil
}

// epoch reports whether a VRF key of the epoch was announced.
func (j *judge) epoch(n int64) (bool, error) {
	if _, ok := j.announced.vrf.Get(n); ok {
		return true, nil
	}
	p, ok, err := j.find(memory.VRF(n))
	if ok && err == nil {
		j.announced.vrf.Put(n, p.Hash)
	}
	return ok, err
}

// subject learns an enrolment, and looks for those that a link names.
func (j *judge) subject(f *fact, l *leaf.Subject) error {
	if j.at.base == 0 {
		if ok, err := j.epoch(l.Keys); err != nil {
			return err
		} else if !ok {
			j.say(f, Fault, unannounced, "its etag is of epoch %d, which no entry before announces", l.Keys)
		}
	}
	if l.Commit == nil {
		return j.enrolled(f, append(l.Links, l.Unlinks...))
	}
	if _, known, err := j.find(memory.Enrolment(f.hash)); known || err != nil {
		return err
	}
	j.batch.Learn(memory.Enrolment(f.hash), memory.Place{Index: f.index, Hash: f.hash})
	return nil
}

func (j *judge) enrolled(f *fact, hashes []leaf.Hash) error {
	if j.at.base > 0 {
		return nil
	}
	for _, h := range hashes {
		if _, ok, err := j.find(memory.Enrolment(h)); err != nil {
			return err
		} else if !ok {
			j.say(f, Fault, notEnrolled, "it names an enrolment that no entry before is: %x", h)
		}
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
		j.say(f, Info, repeated, "it is entry %d once more, byte for byte, and counts once", first.Index)
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
