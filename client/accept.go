package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// Checkpoint is a checkpoint that the policy accepted and that agrees with all
// that this reader has seen of its log. Only this package makes one.
type Checkpoint struct{ *policy.Verified }

// maxChase is how often a moving log is asked for a pair of proofs that end in
// one checkpoint before the attempt counts as unavailable.
const maxChase = 64

var errMoving = errors.New("the log grows faster than its consistency proofs can be fetched")

// accept judges a note: by the policy, and by the rule of state that SPEC F33
// keys by origin. asked is the horizon from before the question whose answer
// the note is.
//
// Errors are *Mismatch (the policy), *Fork, *Rollback, and those of calls.
func (c *Client) accept(ctx context.Context, note []byte, asked horizon) (*Checkpoint, error) {
	id := sha256.Sum256(note)
	cp, cached := c.checkpoints.get(id)
	if !cached {
		v, err := c.verify(note)
		if err != nil {
			return nil, err
		}
		cp = &Checkpoint{v}
	}
	if known := asked[cp.Checkpoint.Origin]; cp.Checkpoint.Size < known {
		return nil, c.rolledBack(cp.Verified, known, nil)
	}
	if cached {
		return cp, nil
	}
	select {
	case <-c.advancing:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := c.advance(ctx, cp.Verified)
	c.advancing <- struct{}{}
	if err != nil {
		return nil, err
	}
	c.checkpoints.put(id, cp)
	return cp, nil
}

// verify judges a note by the policy, and by whose log it is; not by the state.
func (c *Client) verify(note []byte) (*policy.Verified, error) {
	v, err := c.policy.Verify(note)
	if err != nil {
		return nil, &Mismatch{What: "checkpoint", Err: err}
	}
	if familyOf(v.Checkpoint.Origin) != c.log {
		return nil, &Mismatch{What: fmt.Sprintf("checkpoint is of log %q, not of %s", v.Checkpoint.Origin, c.log)}
	}
	return v, nil
}

// advance brings v and the state of its origin together: both must be prefixes
// of one history, which the state then remembers the end of. A proof always
// leads to the newest checkpoint, and the log moves, so the state may go past v.
func (c *Client) advance(ctx context.Context, v *policy.Verified) error {
	origin := v.Checkpoint.Origin
	for range maxChase {
		seen, known, err := c.state.Seen(origin)
		if err != nil {
			return err
		}
		next := v
		switch {
		case known && v.Checkpoint.Size == seen.Size:
			if v.Checkpoint.Root != seen.Root {
				return c.forked(origin, seen.Note, v.Note, nil, nil)
			}
			c.learned(origin, seen.Size)
			return nil
		case known && v.Checkpoint.Size < seen.Size:
			// Older than the state, which another call has moved since.
			end, err := c.bridge(ctx, v.Checkpoint.Size, v.Checkpoint.Root, v.Note)
			if err != nil {
				return err
			}
			switch {
			case end.Checkpoint.Size < seen.Size:
				return c.rolledBack(end, seen.Size, seen.Note)
			case end.Checkpoint.Size == seen.Size && end.Checkpoint.Root != seen.Root:
				return c.forked(origin, seen.Note, end.Note, nil, nil)
			case end.Checkpoint.Size == seen.Size:
				return nil
			}
			// v is a prefix of end. If the state's next step is to end as well, the
			// two are of one history; else go round with a newer state.
			if next, err = c.bridge(ctx, seen.Size, seen.Root, seen.Note); err != nil {
				return err
			}
			if next.Checkpoint.Size == end.Checkpoint.Size {
				if next.Checkpoint.Root != end.Checkpoint.Root {
					return c.forked(origin, next.Note, end.Note, nil, nil)
				}
				if _, err := c.replace(origin, seen, known, next); err != nil {
					return err
				}
				return nil
			}
		case known && seen.Size > 0:
			if next, err = c.bridge(ctx, seen.Size, seen.Root, seen.Note); err != nil {
				return err
			}
			if next.Checkpoint.Size < v.Checkpoint.Size {
				return c.rolledBack(next, v.Checkpoint.Size, v.Note)
			}
		}
		if _, err := c.replace(origin, seen, known, next); err != nil {
			return err
		}
		// Whether replaced or not: the next turn compares v with what stands there now.
	}
	return &Refused{Reason: logv1.Reason_REASON_OVERLOAD, Code: codes.Unavailable, Message: errMoving.Error(), Index: -1}
}

// replace moves the state of an origin, unless another process has.
func (c *Client) replace(origin string, old Seen, known bool, next *policy.Verified) (bool, error) {
	done, err := c.state.swap(origin, old, known, Seen{Size: next.Checkpoint.Size, Root: next.Checkpoint.Root, Note: next.Note})
	if done {
		c.learned(origin, next.Checkpoint.Size)
	}
	return done, err
}

// bridge fetches the newest checkpoint and verifies it, and that it continues
// the tree of the given size, root and note.
func (c *Client) bridge(ctx context.Context, size int64, root leaf.Hash, old []byte) (*policy.Verified, error) {
	res, err := call(ctx, c, c.reads.GetConsistencyProof, &logv1.GetConsistencyProofRequest{Log: c.log, From: size})
	if r, ok := errors.AsType[*Refused](err); ok && r.Reason == logv1.Reason_REASON_INDEX_OUT_OF_RANGE {
		// The log knows no such size: its newest checkpoint shows how far it went back.
		newest, err := call(ctx, c, c.reads.GetCheckpoint, &logv1.GetCheckpointRequest{Log: c.log})
		if err != nil {
			return nil, fmt.Errorf("fetching checkpoint: %w", err)
		}
		v, err := c.verify(newest.GetCheckpoint())
		if err != nil {
			return nil, err
		}
		if v.Checkpoint.Size < size {
			return nil, c.rolledBack(v, size, old)
		}
		return nil, &Refused{Reason: logv1.Reason_REASON_OVERLOAD, Code: codes.Unavailable, Message: errMoving.Error(), Index: -1}
	}
	if err != nil {
		return nil, fmt.Errorf("fetching consistency proof: %w", err)
	}
	v, err := c.verify(res.GetCheckpoint())
	if err != nil {
		return nil, err
	}
	if v.Checkpoint.Size < size {
		return nil, c.rolledBack(v, size, old)
	}
	path, err := hashes(res.GetConsistency())
	if err != nil {
		return nil, &Mismatch{What: "consistency proof", Err: err}
	}
	if size == v.Checkpoint.Size && root != v.Checkpoint.Root {
		return nil, c.forked(v.Checkpoint.Origin, old, v.Note, nil, nil)
	}
	if err := proof.Consistency(size, v.Checkpoint.Size, root, v.Checkpoint.Root, path); err != nil {
		return nil, c.forked(v.Checkpoint.Origin, old, v.Note, path, err)
	}
	return v, nil
}

// forked makes the error of two histories and writes its evidence.
func (c *Client) forked(origin string, old, shown []byte, path []leaf.Hash, cause error) error {
	// For two sizes the file holds the notes alone: a proof that fails shows
	// nothing to others.
	_, file, err := c.state.save(evidence.Fork,
		evidence.Part{Type: evidence.Checkpoint, Data: old}, evidence.Part{Type: evidence.Checkpoint, Data: shown})
	return errors.Join(&Fork{Origin: origin, Old: old, New: shown, Proof: path, File: file, Err: cause}, err)
}

// rolledBack makes the error of a smaller tree than one that is known by its
// note, or by the state if note is nil, and writes its evidence.
func (c *Client) rolledBack(v *policy.Verified, known int64, note []byte) error {
	r := &Rollback{Origin: v.Checkpoint.Origin, Known: known, Shown: v.Checkpoint.Size, KnownNote: note, ShownNote: v.Note}
	if note == nil {
		seen, ok, err := c.state.Seen(r.Origin)
		if err != nil || !ok {
			return errors.Join(r, err)
		}
		r.KnownNote = seen.Note
	}
	var err error
	if _, r.File, err = c.state.save(evidence.Rollback,
		evidence.Part{Type: evidence.Checkpoint, Data: r.KnownNote}, evidence.Part{Type: evidence.Checkpoint, Data: v.Note}); err != nil {
		return errors.Join(r, err)
	}
	return r
}
