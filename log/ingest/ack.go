package ingest

import (
	"context"
	"fmt"
	"time"

	ilog "idlog/log"
	"idlog/log/journal"
	"idlog/log/vault"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/ticket"
)

// answerIn is what a call keeps back of its deadline to answer in.
const answerIn = 100 * time.Millisecond

// Answer is what became of one event: exactly one of the three is set.
type Answer struct {
	Receipt *Receipt
	Ticket  *Ticket
	Err     error // a *Refusal
}

// Receipt proves that an event is in the published log.
type Receipt struct {
	Index      int64
	Leaf       []byte
	Inclusion  []leaf.Hash
	Checkpoint []byte // equal for all receipts of a call
	Opening    Opening
}

// Ticket promises that an event will be in the log; SPEC 2.10.
type Ticket struct {
	Note    []byte
	Leaf    []byte
	Opening Opening
}

// Opening is what the submitter lacks to open its event: one seed per set of
// owners that occurs.
type Opening struct {
	Received time.Time
	Seeds    []vault.Seed
}

// acknowledge waits until the items are published, as long as the caller wants
// and may, and answers.
func (in *Ingest) acknowledge(ctx context.Context, items []*item, wait logv1.Wait) ([]Answer, error) {
	var published ilog.Published
	if wait != logv1.Wait_WAIT_SEQUENCED {
		published = in.await(ctx, items)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(items))
	for i, it := range items {
		if it.err != nil {
			answers[i].Err = it.err
			continue
		}
		opening := Opening{Received: it.opening.Received, Seeds: it.opening.Seeds}
		index := it.row.Index()
		if index < 0 || index >= published.Size {
			t, err := in.promise(it.row, opening)
			if err != nil {
				return nil, fmt.Errorf("making ticket: %w", err)
			}
			answers[i].Ticket = t
			continue
		}
		hashes, err := in.log.Inclusion(ctx, index, published.Size)
		if err != nil {
			return nil, fmt.Errorf("making receipt: %w", err)
		}
		r := &Receipt{Index: index, Leaf: it.row.Leaf, Inclusion: hashes, Checkpoint: published.Note, Opening: opening}
		if err := in.cheat.receipt(ctx, in, published.Size, r); err != nil {
			return nil, err
		}
		answers[i].Receipt = r
	}
	return answers, nil
}

// await waits for one checkpoint that covers all items. If it does not come in
// time, it is the newest that there is, and may cover some.
func (in *Ingest) await(ctx context.Context, items []*item) ilog.Published {
	limit := in.cfg.AckTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-answerIn)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// When Run ends nothing more comes; what is journalled is still promised.
	defer context.AfterFunc(in.life, cancel)()
	size := int64(0)
	for _, it := range items {
		if it.err != nil {
			continue
		}
		index, err := it.row.Wait(ctx)
		if err != nil {
			break
		}
		size = max(size, index+1)
	}
	if size > 0 {
		if p, err := in.log.Await(ctx, size); err == nil {
			return p
		}
	}
	p, _ := in.log.Published()
	return p
}

// promise signs a ticket for a row that is durable (SPEC 2.10).
func (in *Ingest) promise(row *journal.Row, o Opening) (*Ticket, error) {
	received := o.Received.Unix()
	note, err := ticket.Sign(&ticket.Ticket{
		Log: in.cfg.Family, Leaf: leaf.HashOf(row.Leaf),
		Received: received, Deadline: received + int64(in.cfg.TicketDeadline/time.Second),
	}, in.ticket)
	if err != nil {
		return nil, err
	}
	return &Ticket{Note: note, Leaf: row.Leaf, Opening: o}, nil
}
