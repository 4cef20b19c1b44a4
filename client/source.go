package client

import (
	"context"
	"errors"
	"fmt"

	"idlog/client/call"
	"idlog/client/receipt"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/subject"
)

// sourceKeys returns the verified keys of a source; fresh asks the server again.
func (c *Client) sourceKeys(ctx context.Context, name string, fresh bool) (*receipt.Source, error) {
	c.mu.Lock()
	src := c.sources[name]
	c.mu.Unlock()
	if src != nil && !fresh {
		return src, nil
	}
	asked := c.horizon()
	res, err := call.Do(ctx, c.attempts, c.events.GetSourceKeys, &logv1.GetSourceKeysRequest{Log: c.log, Source: name})
	if err != nil {
		return nil, fmt.Errorf("fetching the keys of source %s: %w", name, err)
	}
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, fmt.Errorf("verifying the keys of source %s: %w", name, err)
	}
	if src, err = receipt.ReadSource(c.log, name, res, cp.Verified); err != nil {
		return nil, fmt.Errorf("verifying the keys of source %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.sources[name]; old != nil {
		if err := src.Continues(old); err != nil {
			return nil, err
		}
	}
	c.sources[name] = src
	return src, nil
}

// maxIdentifiers is the most identifiers that one GetEnrolments may ask for.
const maxIdentifiers = 1000

// enrol fetches and verifies the enrolments of the identifiers and caches them.
// An identifier without any is cached as such: the next call for it asks again.
func (c *Client) enrol(ctx context.Context, src *receipt.Source, ids []subject.Identifier) error {
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), maxIdentifiers)]
		ids = ids[len(chunk):]
		req := &logv1.GetEnrolmentsRequest{Log: c.log, Source: src.Name}
		for _, id := range chunk {
			b, err := id.Bytes()
			if err != nil {
				return fmt.Errorf("asking for enrolments: %w", err)
			}
			req.Identifiers = append(req.Identifiers, b)
		}
		asked := c.horizon()
		res, err := call.Do(ctx, c.attempts, c.events.GetEnrolments, req)
		if err != nil {
			return fmt.Errorf("fetching enrolments: %w", err)
		}
		if len(res.GetEnrolments()) != len(chunk) {
			return &Mismatch{What: fmt.Sprintf("%d enrolments for %d identifiers", len(res.GetEnrolments()), len(chunk))}
		}
		cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
		if err != nil {
			return fmt.Errorf("verifying enrolments: %w", err)
		}
		for i, id := range chunk {
			list, err := src.Enrolments(id, res.GetEnrolments()[i], cp.Verified)
			if err != nil {
				return err
			}
			c.enrolments.Put(id, list)
		}
	}
	return nil
}

// enrolled returns the enrolments of an identifier that are known.
func (c *Client) enrolled(id subject.Identifier) []receipt.Enrolment {
	list, _ := c.enrolments.Get(id)
	return list
}

// judge runs the check of one receipt. What may be stale is what was cached: on
// a mismatch of keys or persons these are fetched afresh, and the check is
// repeated once. The mismatch that remains is written as evidence.
func (c *Client) judge(ctx context.Context, src *receipt.Source, it *item, r *logv1.Receipt, notes *notes) (*Receipt, error) {
	got, err := c.check(ctx, src, it, r, notes)
	if m, ok := errors.AsType[*Mismatch](err); ok && (m.Step == 1 || 5 <= m.Step && m.Step <= 7) {
		fresh, err2 := c.sourceKeys(ctx, src.Name, true)
		if err2 == nil {
			err2 = c.enrol(ctx, fresh, it.sub.Persons)
		}
		switch {
		case err2 == nil:
			got, err = c.check(ctx, fresh, it, r, notes)
		case !verdict(err2):
			return nil, err2
		default:
			err = &Mismatch{Step: 6, What: "evidence of keys and persons", Err: err2}
		}
	}
	if m, ok := errors.AsType[*Mismatch](err); ok {
		return nil, errors.Join(m, c.convict(m, src.Name, it.sub, r, notes.of(r)))
	}
	return got, err
}

// check is the check of one receipt, from the first half of step 8 on. A failed step is a *Mismatch; any other error is
// that of a call, and says nothing about the receipt.
func (c *Client) check(ctx context.Context, src *receipt.Source, it *item, r *logv1.Receipt, notes *notes) (*Receipt, error) {
	cp, err := notes.last, error(nil)
	if cp == nil || r.GetCheckpoint() != notes.at {
		cp, err = c.accept(ctx, notes.of(r), it.asked)
	}
	if err != nil {
		if !verdict(err) {
			return nil, err
		}
		if m, ok := errors.AsType[*Mismatch](err); ok {
			return nil, &Mismatch{Step: 8, What: m.What, Err: m.Err}
		}
		return nil, &Mismatch{Step: 8, What: "checkpoint", Err: err}
	}
	notes.last, notes.at = cp, r.GetCheckpoint()
	return c.checker(src, it).Check(it.sub, r, cp.Verified)
}

// notes are the checkpoints of one answer, of whose events all were asked for at once. Mostly there is one, and it is
// accepted once.
type notes struct {
	list [][]byte
	last *Checkpoint // accepted
	at   uint32      // its position
}

// of returns the note that a receipt refers to; nil if there is none.
func (n *notes) of(r *logv1.Receipt) []byte {
	if i := r.GetCheckpoint(); int64(i) < int64(len(n.list)) {
		return n.list[i]
	}
	return nil
}

// checker is what the answer to an event is held to.
func (c *Client) checker(src *receipt.Source, it *item) *receipt.Checker {
	return &receipt.Checker{
		Source: src, Assurance: c.assurance, Skew: c.skew, First: it.first, Answered: it.answered, Before: it.before,
		People: c.enrolled, Held: it.held(c.state),
	}
}
