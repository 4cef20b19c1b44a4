package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"idlog/client/call"
	"idlog/client/internal/pause"
	"idlog/client/receipt"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// keep verifies the tickets of an answer and makes them durable, all at once, before anybody is told of one.
func (c *Client) keep(src *receipt.Source, open []*item, res *logv1.SubmitEventsResponse, at time.Time) error {
	var kept []trust.Ticket
	for i, it := range open {
		wire := res.GetResults()[i].GetTicket()
		if wire == nil {
			continue
		}
		it.answered = at
		t, err := c.checker(src, it).Ticket(it.sub, wire)
		if err != nil {
			it.promised = err
			continue
		}
		t.Earlier = c.older(t.Origin, time.Unix(t.Event.Received, 0).Add(-defaultSkew))
		it.promised = t
		if t.Repeat {
			continue // it vouches for nothing; if it was new once, it is kept since
		}
		b, err := t.Format()
		if err != nil {
			return err
		}
		kept = append(kept, trust.Ticket{Leaf: leaf.HashOf(t.Leaf), File: b})
	}
	return c.state.KeepTickets(kept)
}

// Tickets yields the tickets that the state directory keeps: the promises that are open. Those of other logs are passed
// over. An error is the last thing it yields; a ticket that cannot be read is one.
func (c *Client) Tickets() iter.Seq2[*Ticket, error] {
	return func(yield func(*Ticket, error) bool) {
		for b, err := range c.state.Tickets() {
			if err != nil {
				yield(nil, err)
				return
			}
			t, err := receipt.ParseTicket(b, c.policy)
			if errors.Is(err, policy.ErrNotSigned) || err == nil && t.Event.Log != c.log {
				continue
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// ParseTicket reads a ticket that [Ticket.Format] wrote, and verifies that this log made the promise.
func (c *Client) ParseTicket(b []byte) (*Ticket, error) {
	t, err := receipt.ParseTicket(b, c.policy)
	if err == nil && t.Event.Log != c.log {
		err = fmt.Errorf("the ticket is of log %s", t.Event.Log)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Pauses between two looks at what is promised. A server answers a repeat after ten seconds if the quorum is away, so
// this is what a server has to bear from everybody who waits for it.
const (
	firstLook = time.Second
	maxLook   = 30 * time.Second
	looks     = 3 // how often a look is tried before the next pause
)

// Follow follows tickets until each event has its receipt, its promise is shown to be broken, or ctx ends, and returns one
// result for each, in order: a Receipt, verified in full, or an error that is
//
//   - a *Broken, with evidence;
//   - the *Ticket, joined with what stood in the way, if ctx ended first;
//   - a *Refused or *Mismatch, for an event that is neither logged nor can be any more, before its deadline.
//
// It submits the events again, which a log answers by the first one's receipt. It ends what the state directory keeps of
// a ticket for which the receipt came. Several tickets are asked for in one call, and may be of several sources.
func (c *Client) Follow(ctx context.Context, tickets []*Ticket) []Result {
	results := make([]Result, len(tickets))
	open := make([]*followed, len(tickets))
	for i, t := range tickets {
		open[i] = &followed{ticket: t, result: &results[i]}
		open[i].result.Err = t
	}
	for next := firstLook; ; next = min(2*next, maxLook) {
		c.ask(ctx, open)
		open = slices.DeleteFunc(open, (*followed).settled)
		if err := c.accuse(ctx, open); err != nil {
			for _, f := range open {
				f.trouble = err
			}
		}
		open = slices.DeleteFunc(open, (*followed).settled)
		if len(open) == 0 {
			return results
		}
		if err := pause.For(ctx, next); err != nil {
			for _, f := range open {
				if f.result.Err = f.ticket; f.trouble != nil {
					f.result.Err = fmt.Errorf("%w; meanwhile: %w", f.ticket, f.trouble)
				}
			}
			return results
		}
	}
}

// followed is a ticket on its way. It belongs to the goroutine of Follow.
type followed struct {
	ticket  *Ticket
	result  *Result
	other   *Receipt // the event as another leaf than was promised
	found   bool     // the leaf is in the log
	trouble error    // of the last look, which may pass
	over    bool
}

func (f *followed) settled() bool { return f.over }

// ask submits what is promised again, in calls of one source each.
func (c *Client) ask(ctx context.Context, open []*followed) {
	bySource := make(map[string][]*followed)
	for _, f := range open {
		bySource[f.ticket.Event.Source] = append(bySource[f.ticket.Event.Source], f)
	}
	for source, list := range bySource {
		src, err := c.sourceKeys(ctx, source, false)
		for chunk := range batches(list) {
			results := make([]Result, len(chunk))
			items := make([]*item, len(chunk))
			for i, f := range chunk {
				items[i] = &item{sub: f.ticket.Sent, ticket: f.ticket, result: &results[i]}
			}
			if err == nil {
				c.submitBatch(ctx, src, items, Options{attempts: looks}, nil) // its error stands in the results
			}
			for i, f := range chunk {
				if err != nil {
					results[i].Err = err
				}
				c.heard(f, results[i])
			}
		}
	}
}

// batches cuts what is followed into calls.
func batches(list []*followed) iter.Seq[[]*followed] {
	return func(yield func([]*followed) bool) {
		for len(list) > 0 {
			n, size := 0, 0
			for n < len(list) && n < maxBatch {
				if size += list[n].ticket.Sent.Size() + 16; n > 0 && size > maxBatchBytes {
					break
				}
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

// heard takes in what became of a promised event. What is not settled by it may be later.
func (c *Client) heard(f *followed, r Result) {
	past := c.now().After(f.ticket.Deadline)
	switch refused, isRefused := errors.AsType[*Refused](r.Err); {
	case r.Receipt != nil && leaf.HashOf(r.Receipt.Leaf) == leaf.HashOf(f.ticket.Leaf):
		*f.result, f.over = r, true
	case r.Receipt != nil:
		// The event is in the log as another leaf than was promised, which is evidence once the deadline has passed.
		f.other = r.Receipt
		f.trouble = errors.New("the log shows another leaf of the event")
	case verdict(r.Err):
		*f.result, f.over = r, true
	case isRefused && !past && !passes(refused):
		*f.result, f.over = r, true
	default:
		if _, promised := errors.AsType[*Ticket](r.Err); promised {
			f.trouble = nil
		} else if f.trouble == nil || !errors.Is(r.Err, context.Canceled) {
			f.trouble = r.Err // that the caller has had enough explains nothing
		}
	}
}

func passes(err error) bool {
	_, again := call.Passes(err)
	return again || errors.Is(err, call.ErrGaveUp)
}

// older returns the newest checkpoint of a log that was accepted in this process and that witnesses saw before a time,
// all of them that count; nil if there is none.
func (c *Client) older(origin string, before time.Time) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cp := range slices.Backward(c.past[origin]) {
		if newest(cp).Before(before) {
			return cp.Note
		}
	}
	return nil
}

// remember keeps a few checkpoints of a log that are some time apart; c.mu is held.
func (c *Client) remember(cp *policy.Verified) {
	const kept = 4
	at := newest(cp)
	past := c.past[cp.Checkpoint.Origin]
	if at.IsZero() || len(past) > 0 && at.Before(newest(past[len(past)-1]).Add(defaultSkew)) {
		return
	}
	if len(past) == kept {
		past = slices.Delete(past, 0, 1)
	}
	c.past[cp.Checkpoint.Origin] = append(past, cp)
}

// newest returns the time of the newest cosignature; zero if there is none.
func newest(cp *policy.Verified) (at time.Time) {
	for _, s := range cp.Cosignatures {
		if s.Time.After(at) {
			at = s.Time
		}
	}
	return at
}
