package client

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/client/call"
	"idlog/client/receipt"
	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// Broken says that a log did not keep its promise: the deadline of a ticket passed under a checkpoint that witnesses saw
// afterwards, and the leaf is not in the log. Evidence convinces anyone who trusts the policy.
type Broken struct {
	Ticket *Ticket
	Size   int64 // of the log that was searched
	// Evidence is an *.idlog-evidence file, claim broken-promise; nil if the entries that could be the leaf are too many to
	// be listed in one.
	Evidence []byte
	File     string // where Evidence was written; empty with a state in memory
}

func (e *Broken) Error() string {
	s := fmt.Sprintf("the log promised the event until %s, and does not have it among its %d entries",
		e.Ticket.Deadline.UTC().Format(time.RFC3339), e.Size)
	switch {
	case e.File != "":
		s += " (evidence: " + e.File + ")"
	case e.Evidence == nil:
		s += "; the entries that could be it are too many for a file of evidence"
	}
	return s
}

// maxListed is how many hashes go into a file of evidence, beside its other parts.
const maxListed = (evidence.MaxFile - 2<<20) / evidence.LineSize

// accuse settles those of the followed whose deadline has passed under a checkpoint that a quorum saw afterwards. Before
// that nothing can be shown, and it does nothing. The error says why it could not look.
func (c *Client) accuse(ctx context.Context, open []*followed) error {
	overdue := slices.DeleteFunc(slices.Clone(open), func(f *followed) bool { return f.found || !c.now().After(f.ticket.Deadline) })
	if len(overdue) == 0 {
		return nil
	}
	late, err := c.Checkpoint(ctx)
	if err != nil {
		return err
	}
	overdue = slices.DeleteFunc(overdue, func(f *followed) bool {
		return f.ticket.Origin != late.Checkpoint.Origin || late.Oldest().Unix() <= f.ticket.Deadline.Unix()
	})
	if len(overdue) == 0 {
		return nil
	}
	s, err := c.search(ctx, late, overdue)
	if err != nil {
		return fmt.Errorf("looking for what was promised: %w", err)
	}
	for _, f := range overdue {
		if f.found = s.promised[leaf.HashOf(f.ticket.Leaf)]; f.found {
			continue // late or not, it is there: its receipt comes
		}
		b := &Broken{Ticket: f.ticket, Size: late.Checkpoint.Size}
		parts, err := s.parts(f)
		if err != nil {
			return err
		}
		if parts != nil {
			if b.Evidence, b.File, err = c.accusation(evidence.BrokenPromise, parts); err != nil {
				return err
			}
			if err := c.state.BrokenTicket(leaf.HashOf(f.ticket.Leaf)); err != nil {
				return err
			}
		}
		f.result.Err, f.over = b, true
	}
	return nil
}

// accusation writes evidence that must convince by itself.
func (c *Client) accusation(claim evidence.Claim, parts []evidence.Part) ([]byte, string, error) {
	verdict, err := evidence.Judge(&evidence.Evidence{Claim: claim, Parts: parts}, c.policy)
	if err != nil {
		return nil, "", fmt.Errorf("writing evidence: %w", err)
	}
	if !verdict.Proven {
		return nil, "", errors.New("writing evidence: it proves nothing")
	}
	return c.state.SaveEvidence(claim, parts...)
}

// search is one reading of all entries of a log that could be what was promised.
type search struct {
	late     *Checkpoint
	earlier  []byte             // note of the checkpoint that it began at; nil for the first entry
	listed   []leaf.Hash        // of the consistency part
	cut      bool               // listed is too long and not whole
	promised map[leaf.Hash]bool // leaves: whether they are there
}

// search reads the entries that could be what was promised, up to late.
func (c *Client) search(ctx context.Context, late *Checkpoint, overdue []*followed) (*search, error) {
	s := &search{late: late, promised: make(map[leaf.Hash]bool)}
	for _, f := range overdue {
		s.promised[leaf.HashOf(f.ticket.Leaf)] = false
	}
	from := int64(0)
	if v := c.begin(overdue, late); v != nil {
		from, s.earlier = v.Checkpoint.Size, v.Note
		roots, err := c.peaks(ctx, from)
		if err != nil {
			return nil, err
		}
		s.list(roots...)
	}
	return s, c.scan(ctx, from, late.Checkpoint.Size, func(h leaf.Hash) {
		if _, ok := s.promised[h]; ok {
			s.promised[h] = true
		}
		s.list(h)
	})
}

// begin returns the checkpoint below which none of the leaves can be: the one that was seen first of those that the tickets
// have. It returns nil if one of them has none that the policy still accepts.
func (c *Client) begin(overdue []*followed, late *Checkpoint) (first *policy.Verified) {
	for _, f := range overdue {
		if f.ticket.Earlier == nil {
			return nil
		}
		v, err := c.verify(f.ticket.Earlier)
		if err != nil || v.Checkpoint.Origin != late.Checkpoint.Origin || v.Checkpoint.Size < 1 || v.Checkpoint.Size > late.Checkpoint.Size {
			return nil
		}
		if first == nil || newest(v).Before(newest(first)) {
			first = v
		}
	}
	return first
}

func (s *search) list(hashes ...leaf.Hash) {
	for _, h := range hashes {
		if s.cut = s.cut || len(s.listed) == maxListed; !s.cut {
			s.listed = append(s.listed, h)
		}
	}
}

// parts are those of the evidence against a promise, nil if they do not fit into a file.
func (s *search) parts(f *followed) ([]evidence.Part, error) {
	parts, err := f.ticket.Parts()
	if err != nil {
		return nil, err
	}
	late := evidence.Part{Type: evidence.Checkpoint, Data: s.late.Note}
	switch {
	case f.other != nil:
		other, err := f.other.Proof().Format()
		if err != nil {
			return nil, err
		}
		return append(parts, late, evidence.Part{Type: evidence.Proof, Data: other}), nil
	case s.cut:
		return nil, nil
	case s.earlier != nil:
		parts = append(parts, evidence.Part{Type: evidence.Checkpoint, Data: s.earlier})
	}
	return append(parts, late, evidence.Hashes(s.listed...)), nil
}

// scan yields the leaf hashes of the entries [from, to), each proven under a checkpoint of the log. What the entries are
// does not matter: an operator who logs what is no leaf hides nothing by it.
func (c *Client) scan(ctx context.Context, from, to int64, yield func(leaf.Hash)) error {
	if from == to {
		return nil
	}
	err := call.Stream(ctx, c.attempts, func(ctx context.Context, alive func()) error {
		stream, err := c.reads.WatchEntries(ctx, &logv1.WatchEntriesRequest{Log: c.log, From: from})
		if err != nil {
			return err
		}
		for cp := (*Checkpoint)(nil); ; {
			res, err := stream.Recv()
			if err != nil {
				return err
			}
			alive()
			if _, err := c.included(ctx, &cp, from, res); err != nil {
				return err
			}
			yield(leaf.HashOf(res.GetLeaf()))
			if from++; from == to {
				return errStop
			}
		}
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// peaks returns the roots of the perfect subtrees that make up the first size entries, from left to right: the left
// siblings on the way of the last of them to the root, and itself.
func (c *Client) peaks(ctx context.Context, size int64) ([]leaf.Hash, error) {
	index, asked := size-1, c.horizon()
	res, err := c.fetch(ctx, index, Show{})
	if err != nil {
		return nil, err
	}
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, err
	}
	path, err := inclusion(cp, index, res.GetLeaf(), res.GetInclusion())
	if err != nil {
		return nil, err
	}
	inner := bits.Len64(uint64(index ^ (cp.Checkpoint.Size - 1)))
	var left [][]byte
	for level := range path {
		if level >= inner || index>>level&1 == 1 {
			left = append(left, path[level][:])
		}
	}
	slices.Reverse(left)
	f := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	r, err := f.NewRange(0, uint64(index), left)
	if err != nil {
		return nil, err
	}
	h := leaf.HashOf(res.GetLeaf())
	if err := r.Append(h[:], nil); err != nil {
		return nil, err
	}
	return receipt.Hashes(r.Hashes())
}
