package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"idlog/client/call"
	"idlog/client/receipt"
	"idlog/client/trust"
	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// Checkpoint is a checkpoint that the policy accepted and that agrees with all
// that this reader has seen of its log. Only this package makes one.
type Checkpoint struct{ *policy.Verified }

// accept judges a note: by the policy, and by the rule of state that SPEC F33
// keys by origin. asked is the horizon from before the question whose answer
// the note is.
//
// Errors are *Mismatch (the policy), *trust.Fork, *trust.Rollback, and those of calls.
func (c *Client) accept(ctx context.Context, note []byte, asked horizon) (*Checkpoint, error) {
	id := sha256.Sum256(note)
	cp, cached := c.checkpoints.Get(id)
	if !cached {
		v, err := c.verify(note)
		if err != nil {
			return nil, err
		}
		cp = &Checkpoint{v}
	}
	if known := asked[cp.Checkpoint.Origin]; cp.Checkpoint.Size < known {
		return nil, c.state.RolledBack(trust.Seen{Size: known}, cp.Verified)
	}
	if cached {
		return cp, nil
	}
	select {
	case <-c.advancing:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := c.state.Advance(ctx, cp.Verified, c.prove)
	c.advancing <- struct{}{}
	if err != nil {
		return nil, err
	}
	c.learned(cp.Verified)
	c.checkpoints.Put(id, cp)
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

// prove fetches the proof between two checkpoints that the log has shown. If it
// knows no such size any more, its newest checkpoint shows how far it went back.
func (c *Client) prove(ctx context.Context, from, to trust.Seen) ([]leaf.Hash, error) {
	res, err := call.Do(ctx, c.attempts, c.reads.GetConsistencyProof, &logv1.GetConsistencyProofRequest{Log: c.log, From: from.Size, To: to.Size})
	if r, ok := errors.AsType[*Refused](err); ok && r.Reason == logv1.Reason_REASON_INDEX_OUT_OF_RANGE {
		newest, err := call.Do(ctx, c.attempts, c.reads.GetCheckpoint, &logv1.GetCheckpointRequest{Log: c.log})
		if err != nil {
			return nil, fmt.Errorf("fetching checkpoint: %w", err)
		}
		v, err := c.verify(newest.GetCheckpoint())
		if err != nil {
			return nil, err
		}
		if v.Checkpoint.Size < to.Size {
			return nil, c.state.RolledBack(to, v)
		}
		// Another server of the log answered, and one of the two lags.
		return nil, &Refused{Reason: logv1.Reason_REASON_OVERLOAD, Code: codes.Unavailable, Message: "the log knew no size that it knows now", Index: -1}
	}
	if err != nil {
		return nil, fmt.Errorf("fetching consistency proof: %w", err)
	}
	path, err := receipt.Hashes(res.GetConsistency())
	if err != nil {
		return nil, &Mismatch{What: "consistency proof", Err: err}
	}
	return path, nil
}

// verdict reports whether an error says something about the operator, and not
// about the network.
func verdict(err error) bool {
	if _, ok := errors.AsType[*Mismatch](err); ok {
		return true
	}
	if _, ok := errors.AsType[*trust.Fork](err); ok {
		return true
	}
	_, ok := errors.AsType[*trust.Rollback](err)
	return ok
}

// convict adds the evidence to a mismatch: what was sent, and what came back.
func (c *Client) convict(m *Mismatch, source string, sent *receipt.Submission, r *logv1.Receipt, note []byte) error {
	submission, err := sent.Bytes(c.log, source)
	if err != nil {
		return fmt.Errorf("writing evidence: %w", err)
	}
	// The proof holds the leaf and the checkpoint; what is no proof is kept in pieces.
	parts := []evidence.Part{{Type: evidence.Leaf, Data: r.GetLeaf()}, {Type: evidence.Checkpoint, Data: note}}
	if path, err := receipt.Hashes(r.GetInclusion()); err == nil {
		p := proof.Proof{Extra: r.GetLeaf(), Index: r.GetIndex(), Hashes: path, Checkpoint: note}
		if b, err := p.Format(); err == nil {
			parts = []evidence.Part{{Type: evidence.Proof, Data: b}}
		}
	}
	m.Evidence, m.File, err = c.state.SaveEvidence(evidence.ReceiptMismatch, append(parts, evidence.Part{Type: evidence.Submission, Data: submission})...)
	return err
}
