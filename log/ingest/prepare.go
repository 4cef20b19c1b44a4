package ingest

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// Request is one batch of events of one source.
type Request struct {
	Source, Principal string
	// Assurance of every event; empty means pushed.
	Assurance leaf.Assurance
	// Events are read and not changed, and not kept after Submit.
	Events []*eventv1.Event
	Wait   logv1.Wait
}

// item is one event of a request on its way. It belongs to the goroutine of Submit.
type item struct {
	event   *eventv1.Event
	fields  []seal.Field // with those that the server adds, until it is sealed
	roll    *event.Roll  // when no row of the key was found
	persons []*person    // of each identifier of the roll
	key     leaf.Hash    // tag 1
	absent  journal.Mark // when no row of the key was found
	row     *journal.Row // the event's own, or the first one under its id
	opening *vault.Opening
	err     error // a *Refusal
}

// Submit takes events in and answers each, in order. What is not refused is
// durable. The error is the call's: a *Refusal, ctx's error, or a failure of
// storage; then events may have been taken all the same, and submitting them
// again is safe.
func (in *Ingest) Submit(ctx context.Context, req Request) ([]Answer, error) {
	began := time.Now()
	answers, err := in.submit(ctx, req)
	in.cfg.Metrics.submitted(req, began, answers, err)
	return answers, err
}

func (in *Ingest) submit(ctx context.Context, req Request) ([]Answer, error) {
	size, err := in.admit(req)
	if err != nil {
		return nil, err
	}
	count := int64(len(req.Events))
	if rows, bytes := in.journal.Queued(); !in.backlog.reserve(count, size, rows, bytes) {
		return nil, refuse(logv1.Reason_REASON_BACKLOG_FULL, "too much waits to be published; try again later")
	}
	items, err := in.take(ctx, req)
	in.backlog.release(count, size)
	if err != nil {
		return nil, fmt.Errorf("taking events: %w", err)
	}
	return in.acknowledge(ctx, items, req.Wait)
}

// admit judges a request as a whole and returns its size in bytes.
func (in *Ingest) admit(req Request) (size int64, err error) {
	if err := in.Bound(req.Source, req.Principal); err != nil {
		return 0, err
	}
	if n := len(req.Events); n < 1 || n > MaxEvents {
		r := refuse(logv1.Reason_REASON_TOO_LARGE, fmt.Sprintf("%d events in one call, not 1 to %d", n, MaxEvents))
		r.Path = "events"
		return 0, r
	}
	for _, e := range req.Events {
		size += int64(proto.Size(e))
	}
	if size > MaxBytes {
		r := refuse(logv1.Reason_REASON_TOO_LARGE, fmt.Sprintf("events of %d bytes in one call, at most %d", size, MaxBytes))
		r.Path = "events"
		return 0, r
	}
	return size, in.writable()
}

// writable refuses everything while nothing may be written.
func (in *Ingest) writable() error {
	if err := in.log.ReadOnly(); err != nil {
		return refuse(logv1.Reason_REASON_READ_ONLY, err.Error())
	}
	if err := in.cfg.Room(); err != nil {
		return refuse(logv1.Reason_REASON_READ_ONLY, err.Error())
	}
	if in.life.Err() != nil {
		return refuse(logv1.Reason_REASON_SHUTTING_DOWN, "the log is shutting down")
	}
	return nil
}

// take makes the events durable. Afterwards every item has a row and what opens
// it, or an error of its own.
func (in *Ingest) take(ctx context.Context, req Request) ([]*item, error) {
	src, received := in.sources[req.Source], in.now()
	if req.Assurance == "" {
		req.Assurance = leaf.AssurancePushed
	}
	d, _ := in.desks.Get().(*desk)
	if d == nil {
		d = new(desk)
	}
	if n := len(req.Events) - len(d.buffers); n > 0 {
		d.buffers = append(d.buffers, make([]event.Buffer, n)...)
	}
	items := make([]*item, len(req.Events))
	for i, e := range req.Events {
		items[i] = &item{event: e}
		if err := in.read(ctx, src, received, items[i], &d.buffers[i]); err != nil {
			if items[i].err = err; !errors.As(err, new(*Refusal)) {
				return nil, err
			}
		}
	}
	if err := in.enrol(ctx, received, items); err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	// The journal gives back the rows in the order of these.
	var fresh []*item
	var rows []*journal.Row
	for _, it := range items {
		if it.roll == nil {
			continue
		}
		row, err := in.seal(src, req, received, it, d)
		if err != nil {
			return nil, err
		}
		fresh, rows = append(fresh, it), append(rows, row)
	}
	for _, it := range items { // who waits to be published keeps little
		it.fields, it.roll, it.persons = nil, nil, nil
	}
	in.desks.Put(d)
	outcomes, err := in.journal.Put(ctx, rows)
	if err != nil {
		return nil, err
	}
	for i, o := range outcomes {
		it := fresh[i]
		it.row = o.Row
		if !o.New {
			it.opening = nil // that of a leaf which nobody stored
		}
	}
	for _, it := range items {
		if it.err == nil && it.opening == nil {
			if it.err = in.repeat(it, req.Principal); it.err != nil && !errors.As(it.err, new(*Refusal)) {
				return nil, it.err
			}
		}
	}
	return items, nil
}

// read judges an event, finds out whether its id is known, and if not, calls
// its roll. Errors of the event are a *Refusal.
func (in *Ingest) read(ctx context.Context, src *source, received time.Time, it *item, b *event.Buffer) error {
	e := it.event
	if e == nil || e.Schema != nil || e.GetTimes().GetReceived() != nil {
		if err := event.Check(e); err != nil { // its rules beyond those of Fields
			return refusalOf(err)
		}
	}
	fields, err := b.Fields(e)
	if err != nil {
		if r := refusalOf(err); r != nil {
			return r
		}
		return err
	}
	if it.fields = event.StampFields(fields, received); len(it.fields) > event.MaxFields {
		return refuse(logv1.Reason_REASON_TOO_LARGE, fmt.Sprintf("more than %d fields", event.MaxFields))
	}
	roll, err := event.NewRoll(e)
	if err != nil {
		if r := refusalOf(err); r != nil {
			return r
		}
		return err
	}
	it.key = src.keys.EventID.Tag([]byte(e.GetSource().GetNativeId()))
	it.absent = in.journal.Mark()
	if it.row, err = in.journal.Get(ctx, it.key); err != nil || it.row != nil {
		return err
	}
	it.roll = roll
	return nil
}

// desk is what take works on, used again by other calls.
type desk struct {
	buffers []event.Buffer // one for each event of the largest call so far
	lines   []seal.Line
	bytes   []byte
}

// seal makes the leaf of an event and all that is stored with it.
func (in *Ingest) seal(src *source, req Request, received time.Time, it *item, d *desk) (*journal.Row, error) {
	var few [8][32]byte
	handles := few[:0]
	for _, p := range it.persons {
		handles = append(handles, p.enrolment.Handle.T)
	}
	tagged := it.roll.Tag(it.fields, src.keys, handles)
	fields, tags := in.cheat.fields(tagged.Fields), tagged.Tags
	it.opening = vault.NewOpening(received, it.owners(tagged))
	digest, err := in.commit(it.opening, fields, d)
	if err != nil {
		return nil, err
	}
	l := &leaf.Event{
		Log: in.cfg.Family, Source: src.name, Received: received.Unix(), Assurance: req.Assurance,
		Keys: vault.Epoch, Fields: digest, Tags: in.cheat.tags(tags),
	}
	in.cheat.header(l)
	b, err := l.Format()
	if err != nil {
		return nil, fmt.Errorf("making leaf: %w", err)
	}
	row := &journal.Row{
		Key: it.key, Absent: it.absent, Leaf: b, Needs: it.needs(), Principal: req.Principal,
		Submission: d.submission(it.opening, it.fields),
	}
	var raw []byte
	if it.event.Raw != nil {
		raw = it.event.GetRaw()
	}
	row.Payload, row.Raw, err = in.vault.Seal(it.key, it.opening, fields, raw)
	return row, err
}

// commit returns the hash that the leaf carries for the fields of an event.
func (in *Ingest) commit(o *vault.Opening, fields []seal.Field, d *desk) (leaf.Hash, error) {
	d.lines = d.lines[:0]
	for i := range fields {
		f := &fields[i]
		salt := seal.Salt(o.Seed(f.Owners), f.Path)
		d.lines = append(d.lines, seal.Line{Path: f.Path, Owners: f.Owners, Commitment: seal.Commitment(salt, f.Path, f.Value)})
	}
	return in.cheat.digest(d.lines)
}

// owners returns the persons of an event with their places among the tags of field 2.
func (it *item) owners(t *event.Tagged) []vault.Owner {
	list := make([]vault.Owner, len(t.Persons))
	for i, p := range it.roll.PersonOf {
		if p >= 0 {
			list[p] = vault.Owner{Position: t.Positions[p], Enrolment: it.persons[i].enrolment}
		}
	}
	return list
}

// needs are the rows of enrolments that are not in the log yet.
func (it *item) needs() []leaf.Hash {
	var keys []leaf.Hash
	for _, p := range it.persons {
		if p.row != nil && p.row.Index() < 0 && !slices.Contains(keys, p.row.Key) {
			keys = append(keys, p.row.Key)
		}
	}
	return keys
}

// submission is what two submissions under one id are compared by.
//
// SPEC 2.3: "Submissions are compared (F20, F21) by an HMAC under the seed of all persons".
func (d *desk) submission(o *vault.Opening, fields []seal.Field) leaf.Hash {
	all := o.All()
	d.bytes = event.Submission(d.bytes[:0], fields)
	return leaf.MAC(&all, d.bytes)
}

// repeat opens the first event under an id for a submission that has the same,
// or refuses it.
func (in *Ingest) repeat(it *item, principal string) error {
	conflict := refuse(logv1.Reason_REASON_ID_CONFLICT, "another event of this source has this id")
	if it.row.Principal == principal {
		conflict.Index = it.row.Index()
	}
	payload, err := in.journal.Payload(it.row)
	if err != nil {
		return err
	}
	opening, err := in.vault.Open(it.key, payload)
	switch {
	case errors.Is(err, vault.ErrLost):
		r := refuse(logv1.Reason_REASON_OPENING_LOST, "an event with this id is in the log, but what opens it is lost")
		r.Index = conflict.Index
		return r
	case errors.Is(err, vault.ErrCorrupt):
		return corrupt(conflict.Index, err)
	case err != nil:
		return err
	}
	fields, err := event.Fields(it.event)
	if err != nil {
		return err
	}
	if s := new(desk).submission(opening, fields); !hmac.Equal(s[:], it.row.Submission[:]) {
		return conflict
	}
	it.opening = opening
	in.cfg.Metrics.duplicates.Inc()
	return nil
}
