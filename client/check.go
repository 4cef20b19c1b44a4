package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"idlog/client/trust"
	"idlog/proto/event"
	"idlog/proto/evidence"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// submission is one event as it was sent, and all that its answer is judged by.
// Nothing of it comes from the server.
type submission struct {
	event    *eventv1.Event
	fields   []seal.Field // of the event, ascending, without owners
	persons  []subject.Identifier
	first    time.Time // when it was first sent
	before   horizon   // what was known of the log then
	asked    horizon   // what was known when this answer was asked for
	answered time.Time
}

// early reports whether a time is before that of sending, however far the
// clocks may be apart.
func (s *submission) early(at time.Time, skew time.Duration) bool {
	return at.Before(s.first.Add(-skew).Truncate(time.Second))
}

// checkReceipt is SPEC 3.1: the whole check of a receipt, from the bytes that
// were sent, in one piece. The steps bear the numbers of the specification; 8
// begins first because 2 measures by its checkpoint, and 3 and 4 follow 7
// because owners are positions among the tags that 5 to 7 settle.
//
// A failed step is a *Mismatch; any other error is that of a call, and says
// nothing about the receipt. Step 9 (the lists of an index) is not in this version.
func (c *Client) checkReceipt(ctx context.Context, src *source, sent *submission, r *logv1.Receipt, note []byte) (*Receipt, error) {
	fail := func(step int, err error, format string, args ...any) (*Receipt, error) {
		return nil, &Mismatch{Step: step, What: fmt.Sprintf(format, args...), Err: err}
	}

	// 8, first half. SPEC: "log keys, quorum, state rule by origin".
	cp, err := c.accept(ctx, note, sent.asked)
	if err != nil {
		if !verdict(err) {
			return nil, err
		}
		if m, ok := errors.AsType[*Mismatch](err); ok {
			return fail(8, m.Err, "%s", m.What)
		}
		return fail(8, err, "checkpoint")
	}

	// 1. SPEC: "strict parse; kind event; log = pinned family; source = mine; assurance = how I sent it; keys = an
	// epoch whose keys leaf I hold with inclusion".
	parsed, err := leaf.Parse(r.GetLeaf())
	if err != nil {
		return fail(1, err, "leaf")
	}
	ev, ok := parsed.(*leaf.Event)
	switch {
	case !ok:
		return fail(1, nil, "the leaf is not an event")
	case ev.Log != c.log:
		return fail(1, nil, "the leaf is of log %s", ev.Log)
	case ev.Source != src.name:
		return fail(1, nil, "the leaf is of source %s", ev.Source)
	case ev.Assurance != c.assurance:
		return fail(1, nil, "the leaf says that the event came %s, and it was sent %s", ev.Assurance, c.assurance)
	}
	keys, ok := src.epochs[ev.Keys]
	if !ok {
		return fail(1, nil, "the leaf is tagged under epoch %d, of which no keys leaf is known", ev.Keys)
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
	repeat := r.GetIndex() < sent.before[cp.Checkpoint.Origin]
	switch oldest := cp.Oldest(); {
	case !repeat && sent.early(at, c.skew) && !c.state.HoldsTicket(leafHash):
		return fail(2, nil, "received at %s, before it was sent at %s", stamp(at), stamp(sent.first))
	case at.After(sent.answered.Add(c.skew)):
		return fail(2, nil, "received at %s, after the answer came at %s", stamp(at), stamp(sent.answered))
	case !oldest.IsZero() && at.After(oldest.Add(c.skew)):
		return fail(2, nil, "received at %s, after it was cosigned at %s", stamp(at), stamp(oldest))
	}

	// 5. SPEC: "neutral tags: recompute with K_1,s K_4,s K_7,s K_6, each against its commit". The commits were
	// checked when the keys came.
	// 6. SPEC: "persons: TagFn over the principals of my fields gives the identifiers; for each: pi verifies to an
	// etag of an included enrolment with index < mine, commit opens to T, tags 2/3 from T". All but the index was
	// checked when the enrolments came; a person with several has the one that the leaf was tagged with.
	for _, id := range sent.persons {
		list, _ := c.enrolments.Get(id)
		if !slices.ContainsFunc(list, func(e enrolment) bool { return e.index < r.GetIndex() }) {
			return fail(6, nil, "%s was not enrolled before the event", id)
		}
	}
	// SPEC 2.2: "Server-added fields are exactly schema, times.received, and mapper = direct/1 where none was sent."
	fields := withField(slices.Clone(sent.fields), seal.Field{Path: "schema", Value: seal.String(event.Schema)})
	fields = withField(fields, seal.Field{Path: "times.received", Value: seal.Time(at.UnixNano())})
	fields = withField(fields, seal.Field{Path: "mapper", Value: seal.String(event.DirectMapper)})
	tagged, err := event.Tag(sent.event, fields, keys.neutral, func(id subject.Identifier) ([32]byte, bool) {
		return c.handleOf(id, ev, r.GetIndex())
	})
	if err != nil {
		return fail(6, err, "tags of the event")
	}
	for _, t := range tagged.Tags {
		if _, ok := slices.BinarySearchFunc(ev.Tags, t, leaf.CompareTags); !ok {
			step := 5
			if t.Field == tag.Person || t.Field == tag.Actor {
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
	inclusion, err := hashes(r.GetInclusion())
	if err != nil {
		return fail(8, err, "inclusion proof")
	}
	if err := proof.Inclusion(leafHash, r.GetIndex(), cp.Checkpoint.Size, inclusion, cp.Checkpoint.Root); err != nil {
		return fail(8, err, "inclusion proof")
	}
	return &Receipt{
		Index: r.GetIndex(), Event: ev, Leaf: r.GetLeaf(), Checkpoint: cp,
		NativeID: sent.event.GetSource().GetNativeId(), Received: at, Repeat: repeat,
		inclusion: inclusion, lines: lines,
	}, nil
}

// checkTicket verifies a ticket as far as it can be before anything is
// published: steps 1, 2 and 5 of SPEC 3.1, and the promise itself.
func (c *Client) checkTicket(src *source, sent *submission, t *logv1.Ticket) (*Ticket, error) {
	fail := func(step int, err error, format string, args ...any) (*Ticket, error) {
		return nil, &Mismatch{Step: step, What: "ticket: " + fmt.Sprintf(format, args...), Err: err}
	}
	parsed, err := leaf.Parse(t.GetLeaf())
	if err != nil {
		return fail(1, err, "leaf")
	}
	ev, ok := parsed.(*leaf.Event)
	if !ok || ev.Log != c.log || ev.Source != src.name || ev.Assurance != c.assurance {
		return fail(1, nil, "the leaf is not an event of log %s and source %s, sent %s", c.log, src.name, c.assurance)
	}
	keys, ok := src.epochs[ev.Keys]
	if !ok {
		return fail(1, nil, "the leaf is tagged under epoch %d, of which no keys leaf is known", ev.Keys)
	}
	deadline, err := c.promised(src, t.GetNote(), leaf.HashOf(t.GetLeaf()), ev.Received)
	if err != nil {
		return fail(1, err, "promise")
	}
	// A ticket for a repeat is the first one's; what was promised first still binds.
	if at := time.Unix(ev.Received, 0); at.After(sent.answered.Add(c.skew)) {
		return fail(2, nil, "received at %s, after the answer came at %s", stamp(at), stamp(sent.answered))
	}
	// A handle that is anybody's will do here: only the neutral tags are compared.
	tags, err := event.Tags(sent.event, keys.neutral, func(subject.Identifier) ([32]byte, bool) { return [32]byte{}, true })
	if err != nil {
		return fail(5, err, "tags of the event")
	}
	neutral := func(tags []leaf.Tag) []leaf.Tag {
		return slices.DeleteFunc(slices.Clone(tags), func(t leaf.Tag) bool { return t.Field == tag.Person || t.Field == tag.Actor })
	}
	if !slices.Equal(neutral(tags), neutral(ev.Tags)) {
		return fail(5, nil, "the leaf has other tags than the event")
	}
	return &Ticket{Event: ev, Leaf: t.GetLeaf(), Note: t.GetNote(), Deadline: deadline}, nil
}

// handleOf returns the handle of an enrolled identifier that the leaf was
// tagged with; if none was, one that it was not, so that the tags differ.
func (c *Client) handleOf(id subject.Identifier, ev *leaf.Event, index int64) (t [32]byte, ok bool) {
	list, _ := c.enrolments.Get(id)
	for _, e := range list {
		if e.index >= index {
			continue
		}
		if !ok {
			t, ok = e.handle, true
		}
		mark := leaf.Tag{Field: tag.Person, Value: tag.OfPerson(e.handle, tag.Person)}
		if _, found := slices.BinarySearchFunc(ev.Tags, mark, leaf.CompareTags); found {
			return e.handle, true
		}
	}
	return t, ok
}

func seedsOf(o *logv1.Opening) ([]seed, error) {
	var out []seed
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

// judge runs the check of one receipt. What may be stale is what was cached: on
// a mismatch of keys or persons these are fetched afresh, and the check is
// repeated once. The mismatch that remains is written as evidence.
func (c *Client) judge(ctx context.Context, src *source, sent *submission, r *logv1.Receipt, note []byte) (*Receipt, error) {
	receipt, err := c.checkReceipt(ctx, src, sent, r, note)
	if m, ok := errors.AsType[*Mismatch](err); ok && (m.Step == 1 || 5 <= m.Step && m.Step <= 7) {
		fresh, err2 := c.sourceKeys(ctx, src.name, true)
		if err2 == nil {
			err2 = c.enrol(ctx, fresh, sent.persons)
		}
		if err2 != nil {
			if !verdict(err2) {
				return nil, err2
			}
			err = &Mismatch{Step: 6, What: "evidence of keys and persons", Err: err2}
		} else {
			receipt, err = c.checkReceipt(ctx, fresh, sent, r, note)
		}
	}
	if m, ok := errors.AsType[*Mismatch](err); ok {
		return nil, errors.Join(m, c.convict(m, src.name, sent, r, note))
	}
	return receipt, err
}

// verdict reports whether an error says something about the operator, and not
// about the network.
func verdict(err error) bool {
	if _, ok := errors.AsType[*Mismatch](err); ok {
		return true
	}
	if _, ok := errors.AsType[*trust.Fork](err); ok {
		return true
	}
	_, ok := errors.AsType[*trust.Rollback](err)
	return ok
}

// convict adds the evidence to a mismatch: what was sent, and what came back.
func (c *Client) convict(m *Mismatch, source string, sent *submission, r *logv1.Receipt, note []byte) error {
	submission, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.SubmitEventsRequest{
		Log: c.log, Source: source, Events: []*eventv1.Event{sent.event},
	})
	if err != nil {
		return fmt.Errorf("writing evidence: %w", err)
	}
	// The proof holds the leaf and the checkpoint; what is no proof is kept in pieces.
	parts := []evidence.Part{{Type: evidence.Leaf, Data: r.GetLeaf()}, {Type: evidence.Checkpoint, Data: note}}
	if path, err := hashes(r.GetInclusion()); err == nil {
		p := proof.Proof{Extra: r.GetLeaf(), Index: r.GetIndex(), Hashes: path, Checkpoint: note}
		if b, err := p.Format(); err == nil {
			parts = []evidence.Part{{Type: evidence.Proof, Data: b}}
		}
	}
	m.Evidence, m.File, err = c.state.SaveEvidence(evidence.ReceiptMismatch, append(parts, evidence.Part{Type: evidence.Submission, Data: submission})...)
	return err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
