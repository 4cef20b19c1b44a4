package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"idlog/client/call"
	"idlog/client/receipt"
	"idlog/client/trust"
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

	attempts int // in place of Config.Attempts, if not 0
}

// Result is what became of one event: a Receipt, or an error that is a
// *Refused, a *Ticket, a *Mismatch, or that of the call it was in.
type Result struct {
	Receipt *Receipt
	Err     error
}

// Submit logs events of one source and returns one result for each, in order.
// It sends them in calls of at most 500 events and 8 MiB, one after the other;
// a [Writer] has several in flight. Every receipt is verified in full before it
// is returned. The events are the caller's and must not change until Submit
// returns.
//
// What fails for a reason that passes is sent again, and of a call only what was
// not answered: see the package comment. The error is that of the first call
// that failed as a whole, which also stands in the results of all events that
// were not answered. It is nil when each event was answered, however it was
// answered.
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
		it, bad := newItem(e)
		if bad != nil {
			results[i].Err = bad
			continue
		}
		it.first, it.result = opts.FirstSent, &results[i]
		if len(batch) == maxBatch || size+it.size > maxBatchBytes {
			err = c.submitBatch(ctx, src, batch, opts, err)
			batch, size = nil, 0
		}
		batch, size = append(batch, it), size+it.size
	}
	return results, c.submitBatch(ctx, src, batch, opts, err)
}

// item is one event on its way. It belongs to the goroutine that submits it.
type item struct {
	sub      *receipt.Submission
	size     int       // as it is in a call
	first    time.Time // when it was first sent
	before   horizon   // what was known of the log then
	asked    horizon   // what was known when this answer was asked for
	answered time.Time
	ticket   *Ticket // that is followed, or nil
	promised error   // what a ticket that came says
	renamed  bool
	done     bool
	result   *Result
	settled  func() // called once it is done, if it is not nil
}

// newItem returns the item of an event. The error is a *Refused for what no server takes.
func newItem(e *eventv1.Event) (*item, error) {
	it := &item{size: proto.Size(e) + 16}
	return it, it.set(e)
}

// set makes e the event that is sent.
func (it *item) set(e *eventv1.Event) (err error) {
	if it.size > maxBatchBytes {
		return &Refused{Reason: logv1.Reason_REASON_TOO_LARGE, Code: codes.InvalidArgument, Message: "the event does not fit into a call", Index: -1}
	}
	if it.sub, err = receipt.Read(e); err != nil {
		return refusedEvent(err)
	}
	return nil
}

// settle gives an item its result, once.
func (it *item) settle(r *Receipt, err error) {
	it.result.Receipt, it.result.Err, it.done = r, err, true
	if it.settled != nil {
		it.settled()
	}
}

// held says which leaves were promised when they were first sent, so that their time may be earlier than this sending.
func (it *item) held(state *trust.State) func(leaf.Hash) bool {
	return func(h leaf.Hash) bool {
		return it.ticket != nil && !it.ticket.Repeat && h == leaf.HashOf(it.ticket.Leaf) || state.HoldsTicket(h)
	}
}

// submitBatch sends a batch until each event of it is answered or trying again
// is of no use. A batch before it that failed leaves it unsent.
func (c *Client) submitBatch(ctx context.Context, src *receipt.Source, batch []*item, opts Options, before error) error {
	if before == nil && len(batch) > 0 {
		before = call.Retry(ctx, cmp.Or(opts.attempts, c.attempts), func(ctx context.Context) error {
			for {
				again, err := c.submitOnce(ctx, src, batch, opts)
				if !again || err != nil {
					return err
				}
			}
		})
	}
	for _, it := range batch {
		if !it.done {
			it.settle(nil, before)
		}
	}
	return before
}

// submitOnce sends what is not yet answered in one call. It reports true when
// some event was renamed and is to be sent at once, and an error when the call,
// or an event of it, may be or may not be worth trying again.
func (c *Client) submitOnce(ctx context.Context, src *receipt.Source, batch []*item, opts Options) (again bool, err error) {
	req := &logv1.SubmitEventsRequest{Log: c.log, Source: src.Name, Wait: logv1.Wait_WAIT_PUBLISHED}
	if opts.Sequenced {
		req.Wait = logv1.Wait_WAIT_SEQUENCED
	}
	asked, now := c.horizon(), c.now()
	var open []*item
	for _, it := range batch {
		if it.done {
			continue
		}
		if it.before == nil {
			it.before = asked
			if it.first.IsZero() {
				it.first = now
			}
		}
		it.asked = asked
		req.Events = append(req.Events, it.sub.Event)
		open = append(open, it)
	}
	if len(open) == 0 {
		return false, nil
	}
	res, err := call.Once(ctx, c.events.SubmitEvents, req)
	if err != nil {
		return false, err
	}
	return c.answer(ctx, src, open, res, c.now(), opts)
}

// answer judges what a server says of the items of a call. It reports true when some event was renamed.
func (c *Client) answer(ctx context.Context, src *receipt.Source, open []*item, res *logv1.SubmitEventsResponse, at time.Time, opts Options) (again bool, err error) {
	if len(res.GetResults()) != len(open) {
		return false, &Mismatch{What: fmt.Sprintf("%d results for %d events", len(res.GetResults()), len(open))}
	}
	if err := c.prepare(ctx, src, open, res); err != nil {
		return false, err
	}
	if err := c.keep(src, open, res, at); err != nil {
		return false, err
	}
	var wait error
	notes := &notes{list: res.GetCheckpoints()}
	for i, it := range open {
		it.answered = at
		switch err := c.take(ctx, src, it, res.GetResults()[i], notes, opts); {
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
func (c *Client) prepare(ctx context.Context, src *receipt.Source, open []*item, res *logv1.SubmitEventsResponse) error {
	var unknown []subject.Identifier
	seen := make(map[subject.Identifier]bool)
	for i, it := range open {
		if res.GetResults()[i].GetReceipt() == nil {
			continue
		}
		for _, id := range it.sub.Persons {
			if seen[id] {
				continue
			}
			seen[id] = true
			if len(c.enrolled(id)) == 0 {
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
func (c *Client) take(ctx context.Context, src *receipt.Source, it *item, r *logv1.Result, notes *notes, opts Options) error {
	switch out := r.GetOutcome().(type) {
	case *logv1.Result_Receipt:
		got, err := c.judge(ctx, src, it, out.Receipt, notes)
		if err != nil && !verdict(err) {
			return err // of a call; the event may be asked for again
		}
		if err == nil {
			err = c.state.RedeemTicket(leaf.HashOf(got.Leaf))
		}
		it.settle(got, err)
	case *logv1.Result_Ticket:
		it.settle(nil, it.promised)
	case *logv1.Result_Error:
		err := call.RefusalOf(status.FromProto(out.Error))
		if _, again := call.Passes(err); again {
			return err
		}
		if renamed := conflicting(err, it, opts); renamed != nil {
			it.renamed = true
			if err = it.set(renamed); err == nil {
				return errRenamed
			}
		}
		it.settle(nil, err)
	default:
		it.settle(nil, &Mismatch{What: "a result is neither receipt nor ticket nor error"})
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
	return it.sub.Conflicting()
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
	results := make([]Result, len(sent.Events))
	items := make([]*item, len(sent.Events))
	for i, e := range sent.Events {
		if items[i], err = newItem(e); err != nil {
			return nil, err
		}
		items[i].first, items[i].result = sent.At, &results[i]
	}
	_, err = c.answer(ctx, src, items, res, sent.Answered, Options{})
	if verdict(err) {
		return nil, err
	}
	for _, it := range items {
		if !it.done {
			it.settle(nil, err)
		}
	}
	return results, nil
}
