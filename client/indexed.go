package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/client/call"
	"idlog/client/internal/pause"
	"idlog/proto/answer"
	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/tag"
	"idlog/proto/trie"
)

// ErrNoIndex says that a log answers no questions: it keeps no index, has no root leaf yet, or its index is stopped.
var ErrNoIndex = errors.New("the log answers from no index")

// Unindexed says that the index, as the log answers from it, does not come up to an entry. That shows no fault: it may be late.
type Unindexed struct {
	Index int64
	Size  int64 // the entries below are in the index
	Err   error // why it was waited for no longer: that of the context
}

func (e *Unindexed) Error() string {
	return fmt.Sprintf("the log's index has the entries below %d, and not yet entry %d: %v", e.Size, e.Index, e.Err)
}

// Unwrap returns the context's error.
func (e *Unindexed) Unwrap() error { return e.Err }

// Pauses between two looks at an index that does not come up to an entry. A server waits for it by itself, some seconds.
const (
	firstIndexed = 100 * time.Millisecond
	maxIndexed   = 5 * time.Second
)

// Indexed holds the log's index to a receipt, SPEC 3.1 step 9: its entry stands in the list of each of its tags and of its
// source, and the list of its event id holds no other event. It waits until the index comes up to the entry, as long as ctx
// lasts. It asks once for each tag, for a few postings about the entry; whoever answers sees which entries are looked at, so
// choose them by chance, or take all.
//
// No verifier of the index is needed: by the root leaf that the log signed it has the entry or has not. What is not so is a
// *Mismatch of step 9 with Evidence, claim omission, addition or duplicate, that convinces anyone. An event of another source
// that bears the event's tag is one without. Other errors are [ErrNoIndex], *[Unindexed], a *Mismatch of step 0 for an answer that
// does not hold, those of Checkpoint, and *Refused.
func (c *Client) Indexed(ctx context.Context, r *Receipt) error {
	tags := append(slices.Clone(r.Event.Tags), leaf.Tag{Field: mapfn.Source, Value: mapfn.SourceValue(r.Event.Source)})
	for _, t := range tags {
		x, err := c.listing(ctx, r, t)
		if err == nil {
			err = c.holdIndex(ctx, r, t, x)
		}
		if err != nil {
			return fmt.Errorf("holding the index to entry %d, in the list of tag %d: %w", r.Index, t.Field, err)
		}
	}
	return nil
}

// listing returns an index proof that holds, comes up to the entry, and answers what stands around it in the list of a tag; for
// a tag of field 1, the whole list.
func (c *Client) listing(ctx context.Context, r *Receipt, t leaf.Tag) (*proof.Index, error) {
	req := &logv1.HistoryRequest{
		Log: c.log, Covering: r.Index + 1, Checkpoints: 1,
		Asks: []*logv1.Ask{{Key: &logv1.Ask_Tag_{Tag: &logv1.Ask_Tag{Field: uint32(t.Field), Value: t.Value[:]}}}},
	}
	if t.Field != tag.EventID {
		req.Window = &logv1.Window{From: r.Index, To: r.Index + 1}
	}
	for late, next := (*Unindexed)(nil), firstIndexed; ; next = min(2*next, maxIndexed) {
		var b []byte
		err := call.Retry(ctx, c.attempts, func(ctx context.Context) (err error) {
			b, err = c.receive(ctx, req)
			return err
		})
		refused, isRefused := errors.AsType[*Refused](err)
		switch {
		case err != nil && late != nil && ctx.Err() != nil:
			return nil, late.because(ctx.Err())
		case isRefused && refused.Reason == logv1.Reason_REASON_NOT_FOUND, status.Code(err) == codes.Unimplemented:
			return nil, fmt.Errorf("%w: %w", ErrNoIndex, err)
		case err != nil:
			return nil, err
		}
		x, root, err := c.postings(ctx, b, t)
		switch {
		case err != nil:
			return nil, err
		case root.Origin != r.Checkpoint.Checkpoint.Origin:
			return nil, fmt.Errorf("%w of %s: it answers from %s", ErrNoIndex, r.Checkpoint.Checkpoint.Origin, root.Origin)
		case root.N > r.Index:
			return x, nil
		}
		late = &Unindexed{Index: r.Index, Size: root.N}
		if err := pause.For(ctx, next); err != nil {
			return nil, late.because(err)
		}
	}
}

func (e *Unindexed) because(err error) error {
	e.Err = err
	return e
}

// postings reads what an answer proves of a list, without the entries in it: what these are is for the log to show, and not
// for the answer, which could otherwise hide a stranger by not holding. That the list is that of the tag is all that is taken
// from the question; an error is a *Mismatch, or as of accept.
func (c *Client) postings(ctx context.Context, b []byte, t leaf.Tag) (*proof.Index, *leaf.Root, error) {
	refuse := func(err error) (*proof.Index, *leaf.Root, error) {
		file, err2 := c.state.SaveAnswer(b)
		return nil, nil, errors.Join(&Mismatch{What: "history", Err: err, File: file}, err2)
	}
	h, err := answer.Parse(b)
	if err != nil {
		return refuse(err)
	}
	if h.Index.Answer(t.Field, t.Value) == nil {
		return refuse(errors.New("it is the answer to another question"))
	}
	for _, a := range h.Index.Answers {
		if a.List != nil {
			a.List.Entries = nil
		}
	}
	cp, err := c.accept(ctx, h.Index.Checkpoint, nil)
	if err != nil {
		return nil, nil, err
	}
	root, err := h.Index.Under(cp.Checkpoint)
	if err != nil {
		return refuse(err)
	}
	return h.Index, root, nil
}

// holdIndex holds a verified list to a receipt.
func (c *Client) holdIndex(ctx context.Context, r *Receipt, t leaf.Tag, x *proof.Index) error {
	list := x.Answer(t.Field, t.Value).List
	own := trie.Posting{Index: r.Index, Leaf: leaf.HashOf(r.Leaf)}
	var page trie.Page
	covered := true // the key is absent
	if list != nil {
		page = list.Page
		covered = page.Covers(list.Head, r.Index, r.Index+1)
	}
	index, err := x.Format()
	if err != nil {
		return err
	}
	switch {
	case covered && !slices.Contains(page.Postings, own):
		entry, err := r.Proof().Format()
		if err != nil {
			return err
		}
		return c.misindexed(fmt.Sprintf("by the root leaf at %d the index lacks it", x.At), evidence.Omission,
			evidence.Part{Type: evidence.Proof, Data: entry}, evidence.Part{Type: evidence.IndexProof, Data: index})
	case !covered:
		return &Mismatch{What: "the answer does not show what stands at the entry"}
	case t.Field != tag.EventID:
		return nil
	case !page.Whole(list.Head):
		return &Mismatch{What: fmt.Sprintf("the list has %d postings, and the answer shows %d", list.Head.N, len(page.Postings))}
	}
	for _, p := range page.Postings {
		if p.Leaf == own.Leaf {
			continue // the leaf again, byte for byte, which counts once
		}
		if err := c.stranger(ctx, r, t, p, index); err != nil {
			return err
		}
	}
	return nil
}

// stranger looks at what the log has where another leaf stands in the list of a receipt's event id.
func (c *Client) stranger(ctx context.Context, r *Receipt, t leaf.Tag, p trie.Posting, index []byte) error {
	is, entry, err := c.proven(ctx, p.Index)
	if err != nil {
		return err
	}
	other := evidence.Part{Type: evidence.Proof, Data: entry}
	if leaf.HashOf(is) != p.Leaf || !slices.Contains(mapfn.OfEntry(is), mapfn.Key(t.Field, t.Value)) {
		return c.misindexed(fmt.Sprintf("entry %d stands there too, and does not belong there", p.Index), evidence.Addition,
			evidence.Part{Type: evidence.IndexProof, Data: index}, other)
	}
	l, err := leaf.Parse(is)
	if err != nil {
		return err // MapFn gives no key of a tag for what is no leaf
	}
	e, isEvent := l.(*leaf.Event)
	switch {
	case !isEvent:
		return nil // an erasure names the tags of what it is about
	case e.Source != r.Event.Source && e.Fields != r.Event.Fields:
		return &Mismatch{Step: 9, What: fmt.Sprintf("entry %d, of source %s, bears the tag of the event's id", p.Index, e.Source)}
	}
	own, err := r.Proof().Format()
	if err != nil {
		return err
	}
	return c.misindexed(fmt.Sprintf("entry %d is the event once more, as another leaf", p.Index), evidence.Duplicate,
		evidence.Part{Type: evidence.Proof, Data: own}, other)
}

// misindexed is the mismatch of step 9 with its evidence, written.
func (c *Client) misindexed(what string, claim evidence.Claim, parts ...evidence.Part) error {
	b, file, err := c.accusation(claim, parts)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return &Mismatch{Step: 9, What: fmt.Sprintf("%s: %s", claim, what), Evidence: b, File: file}
}
