package kept

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"idlog/client/receipt"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// Log is a log as its monitor sees it.
type Log struct {
	Newest *policy.Verified
	Reader *tile.Reader // of the tree of Newest
	// Late is the checkpoint up to which all entries were read: Newest, or older.
	Late *policy.Verified
	// Archived returns the smallest archived checkpoint of at least a size that the
	// policy accepts. Any error is that there is none.
	Archived func(ctx context.Context, size int64) (*policy.Verified, error)
	// Continues verifies that Newest continues a checkpoint of the log.
	Continues func(ctx context.Context, v *policy.Verified) error
}

// skew is how far the clocks of a log and its witnesses may disagree (SPEC 3.1).
const skew = 60 * time.Second

// maxListed is how many hashes go into a file of evidence, beside its other parts.
const maxListed = (evidence.MaxFile - 2<<20) / evidence.LineSize

// Promise is what became of a ticket.
type Promise struct {
	// Index is the entry that is the leaf; -1 if none is, and the promise is broken.
	Index int64
	// Other is an entry that is the event in another leaf; -1 if none is known.
	Other int64
	// Parts are the evidence that it is broken, which was judged; nil if the entries
	// that could be the leaf are too many to be listed in a file.
	Parts []evidence.Part
}

// Promised looks for what a ticket promises among all the entries that could be it.
// other is an entry that may be the event in another leaf, -1 for none. Unless the
// leaf is found, Late must be later than the deadline. Errors are those of reading
// the log.
func (r *Room) Promised(ctx context.Context, t *receipt.Ticket, other int64, l Log) (Promise, error) {
	early, err := r.early(ctx, t, l)
	if err != nil {
		return Promise{}, err
	}
	want, from, size := leaf.HashOf(t.Leaf), int64(0), l.Late.Checkpoint.Size
	var listed []leaf.Hash
	if early != nil {
		from = early.Checkpoint.Size
		all, err := l.Reader.Ranges(ctx, from)
		if err != nil {
			return Promise{}, err
		}
		listed = slices.Clone(all[:bits.OnesCount64(uint64(from))])
	}
	cut := false
	for i := from; i < size; i++ {
		h, err := l.Reader.Leaf(ctx, i)
		if err != nil {
			return Promise{}, err
		}
		if h == want {
			return Promise{Index: i, Other: -1}, nil
		}
		if cut = cut || len(listed) == maxListed; !cut {
			listed = append(listed, h)
		}
	}
	parts, err := t.Parts()
	if err != nil {
		return Promise{}, err
	}
	late := evidence.Part{Type: evidence.Checkpoint, Data: l.Late.Note}
	// An entry that is another leaf of the event is the shorter proof.
	if other >= 0 {
		b, err := l.proof(ctx, other)
		if err != nil {
			return Promise{}, err
		}
		short := append(slices.Clone(parts), late, evidence.Part{Type: evidence.Proof, Data: b})
		if r.proven(short) == nil {
			return Promise{Index: -1, Other: other, Parts: short}, nil
		}
	}
	if cut {
		return Promise{Index: -1, Other: -1}, nil
	}
	if early != nil {
		parts = append(parts, evidence.Part{Type: evidence.Checkpoint, Data: early.Note})
	}
	parts = append(parts, late, evidence.Hashes(listed...))
	if err := r.proven(parts); err != nil {
		return Promise{}, fmt.Errorf("proving that a promise is broken: %w", err)
	}
	return Promise{Index: -1, Other: -1, Parts: parts}, nil
}

// early returns the newest checkpoint that is known to be too old to hold the leaf: the
// ticket's own, or else one of the archive, where the log shows it. It returns nil if
// there is none, so that every entry could be the leaf.
func (r *Room) early(ctx context.Context, t *receipt.Ticket, l Log) (*policy.Verified, error) {
	old := func(v *policy.Verified) bool {
		before := time.Unix(t.Event.Received, 0).Add(-skew)
		return v.Checkpoint.Origin == r.origin && v.Checkpoint.Size >= 1 && v.Checkpoint.Size <= l.Late.Checkpoint.Size && len(v.Cosignatures) > 0 &&
			!slices.ContainsFunc(v.Cosignatures, func(c policy.Cosignature) bool { return !c.Time.Before(before) })
	}
	var best *policy.Verified
	if t.Earlier != nil {
		if v, err := r.policy.Verify(t.Earlier); err == nil && old(v) {
			best = v
		}
	}
	if best != nil {
		return best, l.Continues(ctx, best)
	}
	for low, high := int64(1), l.Late.Checkpoint.Size; low <= high; {
		middle := low + (high-low)/2
		if v, err := l.Archived(ctx, middle); err == nil && old(v) {
			best, low = v, v.Checkpoint.Size+1
		} else {
			high = middle - 1
		}
	}
	if best == nil {
		return nil, ctx.Err()
	}
	return best, l.Continues(ctx, best)
}

// proof is that of an entry under the newest checkpoint.
func (l Log) proof(ctx context.Context, index int64) ([]byte, error) {
	e, err := l.Reader.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	hashes, err := l.Reader.Inclusion(ctx, index)
	if err != nil {
		return nil, err
	}
	return proof.Proof{Extra: e.Data, Index: index, Hashes: hashes, Checkpoint: l.Newest.Note}.Format()
}

// proven judges the evidence of a broken promise as anybody would.
func (r *Room) proven(parts []evidence.Part) error {
	v, err := evidence.Judge(&evidence.Evidence{Claim: evidence.BrokenPromise, Parts: parts}, r.policy)
	if err == nil && !v.Proven {
		err = errors.New("it proves nothing")
	}
	return err
}
