package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
)

const (
	maxBatch      = 500
	maxBatchBytes = 8<<20 - 4<<10 // leaves room for the envelope of a call of 8 MiB
)

// Options of Submit. The zero value waits for receipts.
type Options struct {
	// Sequenced asks for tickets as soon as the events are durable, in place of
	// receipts once they are witnessed.
	Sequenced bool
	// KeepConflicts submits an event whose id the log knows with other content
	// as ID!xxxxxxxx (SPEC 2.10, Ids), so that no evidence is dropped.
	KeepConflicts bool
	// FirstSent is when these events were submitted for the first time, if that
	// was long ago, they may not have been published since, and the State does
	// not hold their tickets. Zero means now.
	FirstSent time.Time
}

// Result is what became of one event: a Receipt, or an error that is a
// *Refused, a *Ticket, a *Mismatch, or that of the call it was in.
type Result struct {
	Receipt *Receipt
	Err     error
}

// Submit logs events of one source and returns one result for each, in order.
// It sends them in calls of at most 500 events and 8 MiB, and again while that
// may help: a repeat is answered by the first one's receipt. Every receipt is
// verified in full before it is returned. The events are the caller's and must
// not change until Submit returns.
//
// The error is that of the first call that failed as a whole, which also
// stands in the results of all events that were not answered. It is nil when
// each event was answered, however it was answered. Without a deadline or
// Config.Attempts, Submit waits for the server as long as ctx lasts.
func (c *Client) Submit(ctx context.Context, source string, events []*eventv1.Event, opts Options) ([]Result, error) {
	results := make([]Result, len(events))
	src, err := c.sourceKeys(ctx, source, false)
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results, err
	}
	var batch []*item
	size := 0
	for i, e := range events {
		it := &item{result: &results[i], size: proto.Size(e) + 16}
		if it.result.Err = it.set(e); it.result.Err != nil {
			continue
		}
		it.sent.first = opts.FirstSent
		if len(batch) == maxBatch || size+it.size > maxBatchBytes {
			err = c.submitBatch(ctx, src, batch, opts, err)
			batch, size = nil, 0
		}
		batch, size = append(batch, it), size+it.size
	}
	return results, c.submitBatch(ctx, src, batch, opts, err)
}

// item is one event on its way.
type item struct {
	sent    submission
	size    int // as it is in a call
	renamed bool
	result  *Result
	done    bool
}

// set makes e the event that is sent. It returns a *Refused for what no server takes.
func (it *item) set(e *eventv1.Event) error {
	if it.size > maxBatchBytes {
		return &Refused{Reason: logv1.Reason_REASON_TOO_LARGE, Code: codes.InvalidArgument, Message: "the event does not fit into a call", Index: -1}
	}
	if err := event.Check(e); err != nil {
		return refusedField(err)
	}
	fields, err := event.Fields(e)
	if err != nil {
		return refusedField(err)
	}
	persons, err := event.Persons(e)
	if err != nil {
		return &Refused{Reason: logv1.Reason_REASON_TOO_MANY_PERSONS, Code: codes.InvalidArgument, Message: err.Error(), Index: -1}
	}
	it.sent.event, it.sent.fields, it.sent.persons = e, fields, nil
	for _, p := range persons {
		for _, id := range append([]subject.Identifier{p.Primary}, p.Secondary...) {
			if !slices.Contains(it.sent.persons, id) {
				it.sent.persons = append(it.sent.persons, id)
			}
		}
	}
	return nil
}

// refusedField is what a server would say of an event that breaks the schema.
func refusedField(err error) error {
	r := &Refused{Reason: logv1.Reason_REASON_FIELD_INVALID, Code: codes.InvalidArgument, Message: err.Error(), Index: -1}
	if f, ok := errors.AsType[*event.FieldError](err); ok {
		r.Path, r.Message = f.Path, f.Reason
		switch f.Fault {
		case event.Missing:
			r.Reason = logv1.Reason_REASON_FIELD_MISSING
		case event.TooLarge:
			r.Reason = logv1.Reason_REASON_TOO_LARGE
		}
	}
	return r
}

// submitBatch sends a batch until each event of it is answered or trying again
// is of no use. A batch before it that failed leaves it unsent.
func (c *Client) submitBatch(ctx context.Context, src *source, batch []*item, opts Options, before error) error {
	if before == nil && len(batch) > 0 {
		before = retry(ctx, c.attempts, func() error {
			for {
				again, err := c.submitOnce(ctx, src, batch, opts)
				if !again || err != nil {
					return err
				}
			}
		})
	}
	for _, it := range batch {
		if !it.done && it.result.Err == nil {
			it.result.Err = before
		}
	}
	return before
}

// submitOnce sends what is not yet answered in one call. It reports true when
// some event was renamed and is to be sent at once, and an error when the call,
// or an event of it, may be or may not be worth trying again.
func (c *Client) submitOnce(ctx context.Context, src *source, batch []*item, opts Options) (again bool, err error) {
	req := &logv1.SubmitEventsRequest{Log: c.log, Source: src.name, Wait: logv1.Wait_WAIT_PUBLISHED}
	if opts.Sequenced {
		req.Wait = logv1.Wait_WAIT_SEQUENCED
	}
	asked, now := c.horizon(), c.now()
	var open []*item
	for _, it := range batch {
		if it.done {
			continue
		}
		if it.sent.before == nil {
			it.sent.before = asked
			if it.sent.first.IsZero() {
				it.sent.first = now
			}
		}
		it.sent.asked, it.result.Err = asked, nil
		req.Events = append(req.Events, it.sent.event)
		open = append(open, it)
	}
	if len(open) == 0 {
		return false, nil
	}
	res, err := c.events.SubmitEvents(ctx, req)
	if err != nil {
		return false, asError(err)
	}
	answered := c.now()
	if len(res.GetResults()) != len(open) {
		return false, &Mismatch{What: fmt.Sprintf("%d results for %d events", len(res.GetResults()), len(open))}
	}
	if err := c.prepare(ctx, src, open, res); err != nil {
		return false, err
	}
	var wait error
	for i, it := range open {
		it.sent.answered = answered
		switch err := c.take(ctx, src, it, res.GetResults()[i], res.GetCheckpoints(), opts); {
		case errors.Is(err, errRenamed):
			again = true
		case err != nil && wait == nil:
			wait = err
		}
	}
	return again && wait == nil, wait
}

// prepare fetches the enrolments of a batch's persons that are not cached, all
// in as few calls as there can be.
func (c *Client) prepare(ctx context.Context, src *source, open []*item, res *logv1.SubmitEventsResponse) error {
	var unknown []subject.Identifier
	seen := make(map[subject.Identifier]bool)
	for i, it := range open {
		if res.GetResults()[i].GetReceipt() == nil {
			continue
		}
		for _, id := range it.sent.persons {
			if seen[id] {
				continue
			}
			seen[id] = true
			if list, _ := c.enrolments.Get(id); len(list) == 0 {
				unknown = append(unknown, id)
			}
		}
	}
	if err := c.enrol(ctx, src, unknown); err != nil && !verdict(err) {
		return err
	}
	// What does not verify is found again, and told, for each event it concerns.
	return nil
}

// errRenamed says that an event goes out again under its name of a conflict.
var errRenamed = errors.New("renamed")

// take judges the answer to one event. It returns an error only for what is to
// be tried again; a final outcome is in the item.
func (c *Client) take(ctx context.Context, src *source, it *item, r *logv1.Result, notes [][]byte, opts Options) error {
	switch out := r.GetOutcome().(type) {
	case *logv1.Result_Receipt:
		var note []byte
		if i := out.Receipt.GetCheckpoint(); int(i) < len(notes) {
			note = notes[i]
		}
		receipt, err := c.judge(ctx, src, &it.sent, out.Receipt, note)
		if err != nil && !verdict(err) {
			return err // of a call; the event may be asked for again
		}
		if err == nil {
			err = c.state.RedeemTicket(leaf.HashOf(receipt.Leaf))
		}
		it.result.Receipt, it.result.Err, it.done = receipt, err, true
	case *logv1.Result_Ticket:
		ticket, err := c.checkTicket(src, &it.sent, out.Ticket)
		// One that is older than the sending is a repeat's, or back-dated: it proves nothing for later.
		if err == nil && !it.sent.early(time.Unix(ticket.Event.Received, 0), c.skew) {
			err = c.state.KeepTicket(leaf.HashOf(ticket.Leaf), ticket.Note)
		}
		if err == nil {
			err = ticket
		}
		it.result.Err, it.done = err, true
	case *logv1.Result_Error:
		err := asRefused(status.FromProto(out.Error))
		if _, again := transient(err); again {
			return err
		}
		if renamed := conflicting(err, it, opts); renamed != nil {
			it.renamed = true
			if err = it.set(renamed); err == nil {
				return errRenamed
			}
		}
		it.result.Err, it.done = err, true
	default:
		it.result.Err, it.done = &Mismatch{What: "a result is neither receipt nor ticket nor error"}, true
	}
	return nil
}

// conflicting returns the event under its name of a conflict (SPEC 2.10, Ids), or nil if it is not refused for one or
// bears it already.
func conflicting(err error, it *item, opts Options) *eventv1.Event {
	r, ok := errors.AsType[*Refused](err)
	if !ok || r.Reason != logv1.Reason_REASON_ID_CONFLICT || !opts.KeepConflicts || it.renamed {
		return nil
	}
	return event.Conflicting(it.sent.event, it.sent.fields)
}

// Sent is a call of SubmitEvents that somebody else made, over a connection of
// their own, to be judged by CheckAnswer.
type Sent struct {
	Source   string
	Events   []*eventv1.Event
	At       time.Time // when the call began
	Answered time.Time // when its answer was there
}

// CheckAnswer verifies the answer to a call as Submit would, some time later:
// that the log was not smaller than known at the time of the call is not
// checked, all else is.
func (c *Client) CheckAnswer(ctx context.Context, sent Sent, res *logv1.SubmitEventsResponse) ([]Result, error) {
	src, err := c.sourceKeys(ctx, sent.Source, false)
	if err != nil {
		return nil, err
	}
	if len(res.GetResults()) != len(sent.Events) {
		return nil, &Mismatch{What: fmt.Sprintf("%d results for %d events", len(res.GetResults()), len(sent.Events))}
	}
	results := make([]Result, len(sent.Events))
	items := make([]*item, len(sent.Events))
	for i, e := range sent.Events {
		items[i] = &item{result: &results[i]}
		if err := items[i].set(e); err != nil {
			return nil, err
		}
		items[i].sent.first, items[i].sent.answered = sent.At, sent.Answered
	}
	if err := c.prepare(ctx, src, items, res); err != nil {
		return nil, err
	}
	for i, it := range items {
		if err := c.take(ctx, src, it, res.GetResults()[i], res.GetCheckpoints(), Options{}); err != nil {
			it.result.Err = err
		}
	}
	return results, nil
}
