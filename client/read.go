package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"idlog/client/call"
	"idlog/client/receipt"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

// Entry is an entry of the log, verified: its leaf is in the tree of the
// checkpoint, and what is shown of its fields is what the leaf commits to.
// Only this package makes one; its slices are read only.
type Entry struct {
	Index      int64
	Leaf       leaf.Leaf // *leaf.Event, *leaf.Subject and so on
	Bytes      []byte    // the leaf as it is in the log
	Checkpoint *Checkpoint
	// Lines are the fields of an event or a statement, if they were asked for and the server
	// has them; a line that is Erased or Withheld is so by the server's word.
	Lines []seal.Line
	// Raw are the bytes that the source delivered, if they were asked for: they
	// hash to the field raw.
	Raw []byte

	inclusion []leaf.Hash
}

// Proof returns a tlog-proof of the entry, whose extra is the leaf.
func (e *Entry) Proof() proof.Proof {
	return proof.Proof{Extra: e.Bytes, Index: e.Index, Hashes: e.inclusion, Checkpoint: e.Checkpoint.Note}
}

// Disclosure returns the fields of an event as a disclosure, and nil if the entry is none or shows none.
func (e *Entry) Disclosure() *seal.Disclosure {
	if _, ok := e.Leaf.(*leaf.Event); !ok || len(e.Lines) == 0 {
		return nil
	}
	return &seal.Disclosure{Lines: e.Lines, Proof: e.Proof()}
}

// Unverified is an entry as the server sent it. Nothing of it was checked.
type Unverified struct {
	Index      int64
	Leaf       []byte
	Disclosure []byte // lines of an idlog-disclosure/v1 file
	Raw        []byte
	Checkpoint []byte
}

// Show says what to ask for beside the leaf of an entry.
type Show struct {
	Fields bool
	Raw    bool // implies Fields, without which raw bytes prove nothing
}

// Checkpoint returns the newest checkpoint, verified.
func (c *Client) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	asked := c.horizon()
	res, err := call.Do(ctx, c.attempts, c.reads.GetCheckpoint, &logv1.GetCheckpointRequest{Log: c.log})
	if err != nil {
		return nil, fmt.Errorf("fetching checkpoint: %w", err)
	}
	return c.accept(ctx, res.GetCheckpoint(), asked)
}

// WatchCheckpoints yields the newest checkpoint, and each newer one as it
// comes, verified. It connects again when the stream breaks, and ends with an
// error when ctx ends or something does not verify.
func (c *Client) WatchCheckpoints(ctx context.Context) iter.Seq2[*Checkpoint, error] {
	return func(yield func(*Checkpoint, error) bool) {
		err := call.Stream(ctx, c.attempts, func(ctx context.Context, alive func()) error {
			stream, err := c.reads.WatchCheckpoints(ctx, &logv1.WatchCheckpointsRequest{Log: c.log})
			for err == nil {
				var res *logv1.WatchCheckpointsResponse
				if res, err = stream.Recv(); err != nil {
					break
				}
				alive()
				// What lay in the pipe may be older than what another call has shown
				// since, but is still a prefix of it.
				cp, err := c.accept(ctx, res.GetCheckpoint(), nil)
				if err != nil {
					return err
				}
				if !yield(cp, nil) {
					return errStop
				}
			}
			return err
		})
		if !errors.Is(err, errStop) {
			yield(nil, fmt.Errorf("watching checkpoints: %w", err))
		}
	}
}

// Entry returns the entry at an index, verified under the newest checkpoint.
func (c *Client) Entry(ctx context.Context, index int64, show Show) (*Entry, error) {
	asked := c.horizon()
	res, err := c.fetch(ctx, index, show)
	if err != nil {
		return nil, err
	}
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, fmt.Errorf("verifying entry %d: %w", index, err)
	}
	path, err := inclusion(cp, index, res.GetLeaf(), res.GetInclusion())
	if err != nil {
		return nil, err
	}
	e, err := c.verifyEntry(cp, index, res.GetLeaf(), path, res.GetDisclosure())
	if err != nil {
		return nil, &Mismatch{What: fmt.Sprintf("entry %d", index), Err: err}
	}
	if len(res.GetRaw()) > 0 {
		if err := checkRaw(e.Lines, res.GetRaw()); err != nil {
			return nil, &Mismatch{What: fmt.Sprintf("raw bytes of entry %d", index), Err: err}
		}
		e.Raw = res.GetRaw()
	}
	return e, nil
}

// FetchUnverified returns what the server says is at an index, unchecked.
func (c *Client) FetchUnverified(ctx context.Context, index int64, show Show) (*Unverified, error) {
	res, err := c.fetch(ctx, index, show)
	if err != nil {
		return nil, err
	}
	return &Unverified{
		Index: index, Leaf: res.GetLeaf(), Disclosure: res.GetDisclosure(), Raw: res.GetRaw(), Checkpoint: res.GetCheckpoint(),
	}, nil
}

func (c *Client) fetch(ctx context.Context, index int64, show Show) (*logv1.GetEntryResponse, error) {
	res, err := call.Do(ctx, c.attempts, c.reads.GetEntry, &logv1.GetEntryRequest{
		Log: c.log, Index: index, Disclose: show.Fields || show.Raw, Raw: show.Raw,
	})
	if err != nil {
		return nil, fmt.Errorf("fetching entry %d: %w", index, err)
	}
	return res, nil
}

// Watch yields every entry from an index on, in order and without a gap, each
// verified, for as long as ctx lasts. It connects again when the stream breaks.
func (c *Client) Watch(ctx context.Context, from int64, show Show) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		next := from
		err := call.Stream(ctx, c.attempts, func(ctx context.Context, alive func()) error {
			stream, err := c.reads.WatchEntries(ctx, &logv1.WatchEntriesRequest{Log: c.log, From: next, Disclose: show.Fields})
			if err != nil {
				return err
			}
			var cp *Checkpoint
			for {
				res, err := stream.Recv()
				if err != nil {
					return err
				}
				alive()
				e, err := c.watched(ctx, &cp, next, res)
				if err != nil {
					return err
				}
				next++
				if !yield(e, nil) {
					return errStop
				}
			}
		})
		if !errors.Is(err, errStop) {
			yield(nil, fmt.Errorf("watching entry %d: %w", next, err))
		}
	}
}

// watched verifies one message of a stream of entries.
func (c *Client) watched(ctx context.Context, cp **Checkpoint, want int64, res *logv1.WatchEntriesResponse) (*Entry, error) {
	path, err := c.included(ctx, cp, want, res)
	if err != nil {
		return nil, err
	}
	e, err := c.verifyEntry(*cp, want, res.GetLeaf(), path, res.GetDisclosure())
	if err != nil {
		return nil, &Mismatch{What: fmt.Sprintf("entry %d", want), Err: err}
	}
	return e, nil
}

// included verifies that a message of a stream of entries is the one that follows, in the tree of its checkpoint, which
// is the last one sent.
func (c *Client) included(ctx context.Context, cp **Checkpoint, want int64, res *logv1.WatchEntriesResponse) ([]leaf.Hash, error) {
	if note := res.GetCheckpoint(); len(note) > 0 {
		v, err := c.accept(ctx, note, nil)
		if err != nil {
			return nil, err
		}
		*cp = v
	}
	if *cp == nil || res.GetIndex() != want {
		return nil, &Mismatch{What: fmt.Sprintf("the stream shows entry %d where %d follows, or no checkpoint", res.GetIndex(), want)}
	}
	return inclusion(*cp, want, res.GetLeaf(), res.GetInclusion())
}

// inclusion verifies that a leaf is at an index of the tree, and returns the proof. The error is a *Mismatch.
func inclusion(cp *Checkpoint, index int64, b []byte, wire [][]byte) ([]leaf.Hash, error) {
	path, err := receipt.Hashes(wire)
	if err == nil {
		err = proof.Inclusion(leaf.HashOf(b), index, cp.Checkpoint.Size, path, cp.Checkpoint.Root)
	}
	if err != nil {
		return nil, &Mismatch{What: fmt.Sprintf("entry %d", index), Err: err}
	}
	return path, nil
}

// errStop says that the caller of an iterator has had enough.
var errStop = errors.New("stopped")

// verifyEntry reads an entry that is included by a path, and verifies what is shown of its fields.
func (c *Client) verifyEntry(cp *Checkpoint, index int64, b []byte, path []leaf.Hash, disclosure []byte) (*Entry, error) {
	e := &Entry{Index: index, Bytes: b, Checkpoint: cp, inclusion: path}
	var err error
	if e.Leaf, err = leaf.Parse(b); err != nil {
		return nil, err
	}
	// SPEC F38: "the leaf's log must equal the family of the checkpoint's origin".
	if family, named := leaf.LogOf(e.Leaf); named && family != c.log {
		return nil, fmt.Errorf("the leaf is of log %s", family)
	}
	if len(disclosure) == 0 {
		return e, nil
	}
	lines, rest, err := seal.ParseLines(disclosure)
	if err != nil {
		return nil, err
	}
	if rest != nil {
		return nil, errors.New("something follows the lines of the disclosure")
	}
	switch l := e.Leaf.(type) {
	case *leaf.Event:
		e.Lines, err = seal.OpenLines(l, lines)
	case *leaf.Subject:
		e.Lines, err = seal.OpenStatement(l, lines)
	default:
		err = errors.New("fields are shown of a leaf that has none")
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func checkRaw(lines []seal.Line, raw []byte) error {
	for _, l := range lines {
		if l.Path == "raw" && l.State == seal.Shown {
			return l.Value.CheckRaw(raw)
		}
	}
	return errors.New("the field raw, which they would be checked by, is not shown")
}

// Consistency verifies that the log continues an older checkpoint, given as a
// signed note, and returns the older and the newest one, both verified.
// The older one must satisfy the policy as well.
func (c *Client) Consistency(ctx context.Context, old []byte) (from, to *Checkpoint, err error) {
	v, err := c.verify(old)
	if err != nil {
		return nil, nil, fmt.Errorf("older checkpoint: %w", err)
	}
	if to, err = c.Checkpoint(ctx); err != nil {
		return nil, nil, err
	}
	if to.Checkpoint.Size < v.Checkpoint.Size {
		return nil, nil, c.state.RolledBack(trust.SeenIn(v), to.Verified)
	}
	if err := c.state.Connect(ctx, v.Checkpoint.Origin, trust.SeenIn(v), trust.SeenIn(to.Verified), c.prove); err != nil {
		return nil, nil, err
	}
	return &Checkpoint{v}, to, nil
}
