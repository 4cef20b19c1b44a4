package receipt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// Checker is what the answers of one call are held to. Before and Held may be nil.
type Checker struct {
	Source    *Source
	Assurance leaf.Assurance // how the events were sent
	Skew      time.Duration  // how far two clocks may disagree
	// First is when the event was first sent, Answered when its answer was there.
	First, Answered time.Time
	// Before returns the size of a log, by its origin, that this reader knew before it sent the event for the first time;
	// nil means 0 of each.
	Before map[string]int64
	// People returns the enrolments of an identifier; none if it has none.
	People func(subject.Identifier) []Enrolment
	// Held reports whether a ticket for a leaf is held, which vouches for its time; nil means that none is.
	Held func(leaf.Hash) bool
}

// Early reports whether a time is before that of sending, however far the clocks may be apart.
func (c *Checker) Early(at time.Time) bool {
	return at.Before(c.First.Add(-c.Skew).Truncate(time.Second))
}

// Check is SPEC 3.1: the whole check of a receipt, from the bytes that were sent, in one piece. The steps bear the
// numbers of the specification. Of step 8 the caller has done the first half: cp is the receipt's checkpoint, accepted
// by the policy and by what was seen of its log; 2 measures by it. 3 and 4 follow 7 because owners are positions among
// the tags that 5 to 7 settle. Step 9 (the lists of an index) is not in this version.
//
// The error is a *Mismatch without evidence.
func (c *Checker) Check(sent *Submission, r *logv1.Receipt, cp *policy.Verified) (*Receipt, error) {
	fail := func(step int, err error, format string, args ...any) (*Receipt, error) {
		return nil, &Mismatch{Step: step, What: fmt.Sprintf(format, args...), Err: err}
	}

	// 1. SPEC: "strict parse; kind event; log = pinned family; source = mine; assurance = how I sent it; keys = an
	// epoch whose keys leaf I hold with inclusion".
	ev, keys, err := c.header(r.GetLeaf())
	if err != nil {
		return nil, err
	}
	if keys.index >= r.GetIndex() {
		return fail(1, nil, "the keys of epoch %d were announced at entry %d, after the event", ev.Keys, keys.index)
	}

	// 2. SPEC: "received in [send-skew, receive+skew] and <= oldest cosignature + skew". An idempotent answer is the
	// first one's: what stood in the log before we sent it was received earlier, and so was what we hold a ticket for.
	leafHash := leaf.HashOf(r.GetLeaf())
	received := r.GetOpening().GetReceived()
	if !received.IsValid() || received.GetSeconds() != ev.Received {
		return fail(2, nil, "the time of the opening is not that of the leaf")
	}
	at := received.AsTime()
	repeat := r.GetIndex() < c.Before[cp.Checkpoint.Origin]
	held := !repeat && c.Early(at) && c.Held != nil && c.Held(leafHash)
	if err := c.dated(at, repeat || held, cp); err != nil {
		return fail(2, nil, "%v", err)
	}

	// 5. SPEC: "neutral tags: recompute with K_1,s K_4,s K_7,s K_6, each against its commit". The commits were
	// checked when the keys came.
	// 6. SPEC: "persons: TagFn over the principals of my fields gives the identifiers; for each: pi verifies to an
	// etag of an included enrolment with index < mine, commit opens to T, tags 2/3 from T". All but the index was
	// checked when the enrolments came; a person with several has the one that the leaf was tagged with.
	handles := make([][32]byte, len(sent.Persons))
	for i, id := range sent.Persons {
		var enrolled bool
		if handles[i], enrolled = c.handleOf(id, ev, r.GetIndex()); !enrolled {
			return fail(6, nil, "%s was not enrolled before the event", id)
		}
	}
	tagged := sent.roll.Tag(sent.stamp(at), keys.neutral, handles)
	for _, t := range tagged.Tags {
		if _, ok := slices.BinarySearchFunc(ev.Tags, t, leaf.CompareTags); !ok {
			step := 5
			if personal(t) {
				step = 6
			}
			return fail(step, nil, "the leaf lacks a tag of field %d that the event has", t.Field)
		}
	}

	// 7. SPEC: "tags equal as sets; owners of each field cover the principals TagFn names for its path". The owners
	// that TagFn gives go into the digest below: other owners give another one.
	for _, t := range ev.Tags {
		if _, ok := slices.BinarySearchFunc(tagged.Tags, t, leaf.CompareTags); !ok {
			return fail(7, nil, "the leaf has a tag of field %d that the event does not give", t.Field)
		}
	}

	// 3. SPEC: "disclosure whole: n lines, all shown, paths ascending". The lines are ours; the server adds one seed
	// per set of owners that occurs, and no other.
	seeds, err := seedsOf(r.GetOpening())
	if err != nil {
		return fail(3, err, "opening")
	}
	lines := make([]seal.Line, len(tagged.Fields))
	for i, f := range tagged.Fields {
		s := seedOf(seeds, f.Owners)
		if s == nil {
			return fail(3, nil, "there is no seed for the owners of %s", f.Path)
		}
		s.used = true
		salt := seal.Salt(s.seed, f.Path)
		lines[i] = seal.Line{
			Path: f.Path, Owners: f.Owners, State: seal.Shown, Salt: salt, Value: f.Value,
			Commitment: seal.Commitment(salt, f.Path, f.Value),
		}
	}
	if slices.ContainsFunc(seeds, func(s seed) bool { return !s.used }) {
		return fail(3, nil, "there is a seed for owners of no field")
	}

	// 4. SPEC: "each field I sent: value bytes = my encoding; none missing; none extra but the server-added list; raw
	// = H of my masked bytes"; and of 3 "D matches". One comparison: the digest binds every path, its owners and value.
	digest, err := seal.Digest(lines)
	if err != nil {
		return fail(4, err, "fields")
	}
	if digest != ev.Fields {
		return fail(4, nil, "the leaf commits to other fields than were sent")
	}

	// 8, second half. SPEC: "inclusion".
	inclusion, err := Hashes(r.GetInclusion())
	if err != nil {
		return fail(8, err, "inclusion proof")
	}
	if err := proof.Inclusion(leafHash, r.GetIndex(), cp.Checkpoint.Size, inclusion, cp.Checkpoint.Root); err != nil {
		return fail(8, err, "inclusion proof")
	}
	return &Receipt{
		Index: r.GetIndex(), Event: ev, Leaf: r.GetLeaf(), Checkpoint: cp,
		NativeID: sent.Event.GetSource().GetNativeId(), Received: at, Repeat: repeat, Sent: sent,
		inclusion: inclusion, lines: lines,
	}, nil
}

// dated is step 2 as far as it concerns the time: of what was known before, it may be any time before.
func (c *Checker) dated(at time.Time, known bool, cp *policy.Verified) error {
	switch oldest := cp.Oldest(); {
	case !known && c.Early(at):
		return fmt.Errorf("received at %s, before it was sent at %s", stamp(at), stamp(c.First))
	case at.After(c.Answered.Add(c.Skew)):
		return fmt.Errorf("received at %s, after the answer came at %s", stamp(at), stamp(c.Answered))
	case !oldest.IsZero() && at.After(oldest.Add(c.Skew)):
		return fmt.Errorf("received at %s, after it was cosigned at %s", stamp(at), stamp(oldest))
	}
	return nil
}

// header is step 1 as far as it concerns the leaf alone, which a ticket has as well.
func (c *Checker) header(b []byte) (*leaf.Event, epoch, error) {
	fail := func(err error, format string, args ...any) (*leaf.Event, epoch, error) {
		return nil, epoch{}, &Mismatch{Step: 1, What: fmt.Sprintf(format, args...), Err: err}
	}
	parsed, err := leaf.Parse(b)
	if err != nil {
		return fail(err, "leaf")
	}
	ev, ok := parsed.(*leaf.Event)
	switch {
	case !ok:
		return fail(nil, "the leaf is not an event")
	case ev.Log != c.Source.log:
		return fail(nil, "the leaf is of log %s", ev.Log)
	case ev.Source != c.Source.Name:
		return fail(nil, "the leaf is of source %s", ev.Source)
	case ev.Assurance != c.Assurance:
		return fail(nil, "the leaf says that the event came %s, and it was sent %s", ev.Assurance, c.Assurance)
	}
	keys, ok := c.Source.epochs[ev.Keys]
	if !ok {
		return fail(nil, "the leaf is tagged under epoch %d, of which no keys leaf is known", ev.Keys)
	}
	return ev, keys, nil
}

// handleOf returns the handle of an identifier that was enrolled before the event and that the leaf was tagged with; if
// none was, one that it was not, so that the tags differ.
func (c *Checker) handleOf(id subject.Identifier, ev *leaf.Event, index int64) (t [32]byte, ok bool) {
	list := c.People(id)
	for i := range list {
		e := &list[i]
		if e.index >= index {
			continue
		}
		if !ok {
			t, ok = e.handle, true
		}
		if len(list) == 1 {
			break
		}
		if _, found := slices.BinarySearchFunc(ev.Tags, leaf.Tag{Field: tag.Person, Value: e.mark}, leaf.CompareTags); found {
			return e.handle, true
		}
	}
	return t, ok
}

// personal reports whether a tag is a person's.
func personal(t leaf.Tag) bool { return t.Field == tag.Person || t.Field == tag.Actor }

// seed opens the fields of one set of owners.
type seed struct {
	owners []uint8
	seed   leaf.Hash
	used   bool
}

func seedsOf(o *logv1.Opening) ([]seed, error) {
	out := make([]seed, 0, len(o.GetSeeds()))
	for _, s := range o.GetSeeds() {
		if len(s.GetSeed()) != 32 {
			return nil, errors.New("a seed is not of 32 bytes")
		}
		if seedOf(out, s.GetOwners()) != nil {
			return nil, errors.New("two seeds are for the same owners")
		}
		out = append(out, seed{owners: s.GetOwners(), seed: leaf.Hash(s.GetSeed())})
	}
	return out, nil
}

// seedOf returns the seed of a set of owners, or nil.
func seedOf(seeds []seed, owners []uint8) *seed {
	for i := range seeds {
		if bytes.Equal(seeds[i].owners, owners) {
			return &seeds[i]
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
