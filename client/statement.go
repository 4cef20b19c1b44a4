package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"idlog/client/call"
	"idlog/client/receipt"
	logv1 "idlog/proto/idlog/log/v1"
)

// Stranger returns which of a statement's identifiers no event has named, where that is why [Client.Link] failed.
func Stranger(err error) (i int, ok bool) {
	r, ok := errors.AsType[*Refused](err)
	if !ok || r.Reason != logv1.Reason_REASON_NOT_FOUND {
		return 0, false
	}
	text, ok := strings.CutPrefix(r.Path, "identifiers[")
	if !ok {
		return 0, false
	}
	i, err = strconv.Atoi(strings.TrimSuffix(text, "]"))
	return i, err == nil && i >= 0
}

// Statement says that identifiers are of one person, or takes that back.
type Statement = receipt.Statement

// Link logs a statement that identifiers are of one person, or that they are not, and returns its entry: in a checkpoint
// that the policy accepts, naming enrolments of these identifiers and of nobody else, by the proofs of their etags, and
// committing to authority and reason, which are its lines. Without an id the statement gets one that nobody else has; who
// may have to say it again, after an error or in another process, gives one.
//
// Errors are a *Refused (NOT_FOUND with the path of an identifier that no event has named), a *Mismatch, *trust.Fork,
// *trust.Rollback, and those of calls.
func (c *Client) Link(ctx context.Context, s Statement) (*Entry, error) {
	if s.ID == "" {
		s.ID = rand.Text()
	}
	src, err := c.sourceKeys(ctx, s.Source, true)
	if err != nil {
		return nil, err
	}
	req := &logv1.LinkSubjectsRequest{
		Log: c.log, Source: s.Source, Authority: s.Authority, Reason: s.Reason, Unlink: s.Unlink, Id: s.ID,
	}
	for _, id := range s.Identifiers {
		b, err := id.Bytes()
		if err != nil {
			return nil, fmt.Errorf("stating who is one person: %w", err)
		}
		req.Identifiers = append(req.Identifiers, b)
	}
	asked, first := c.horizon(), c.now()
	res, err := call.Do(ctx, c.attempts, c.events.LinkSubjects, req)
	if err != nil {
		return nil, fmt.Errorf("stating who is one person: %w", err)
	}
	answered := c.now()
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, fmt.Errorf("verifying statement: %w", err)
	}
	if err := c.enrol(ctx, src, s.Identifiers); err != nil {
		return nil, err
	}
	check := receipt.Checker{Source: src, Skew: c.skew, First: first, Answered: answered, Before: asked, People: c.enrolled}
	stated, err := check.CheckStatement(&s, res, cp.Verified)
	if err != nil {
		return nil, err
	}
	return &Entry{
		Index: res.GetIndex(), Leaf: stated.Leaf, Bytes: res.GetLeaf(), Checkpoint: cp,
		Lines: stated.Lines, inclusion: stated.Inclusion,
	}, nil
}
