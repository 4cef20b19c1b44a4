package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/ticket"
)

// skew is how far the clocks of a log and its witnesses may disagree (SPEC 3.1).
const skew = 60 * time.Second

// promise is what the first three parts of a broken promise show: the ticket, the leaf that it promises, and the genesis
// whose key signed it.
type promise struct {
	*ticket.Ticket
	origin string // of the log that made it
	leaf   *leaf.Event
}

// judgeBrokenPromise is the one judge who needs a quorum: that a deadline has passed is the witnesses' to say.
func judgeBrokenPromise(e *Evidence, p *policy.Policy) (Verdict, error) {
	if len(e.Parts) < 3 || !(&Evidence{Parts: e.Parts[:3]}).want(Ticket, Leaf, Proof) {
		return Verdict{}, errParts
	}
	made, err := openPromise(e.Parts, p)
	if err != nil {
		return Verdict{}, err
	}
	rest := &Evidence{Parts: e.Parts[3:]}
	switch {
	case rest.want(Submission), rest.want(Checkpoint, Submission):
		return Verdict{Accused: made.origin, Statement: fmt.Sprintf(
			"log %s promised the leaf %s by %s. Whether it kept its word this file does not show: it is a ticket as its holder keeps it",
			made.origin, leafText(made.Leaf), stamp(made.Deadline))}, nil
	case rest.want(Checkpoint, Proof):
		return made.displaced(rest.Parts, p)
	case rest.want(Checkpoint, Consistency):
		return made.absent(nil, rest.Parts[0].Data, rest.Parts[1].Data, p)
	case rest.want(Checkpoint, Checkpoint, Consistency):
		return made.absent(rest.Parts[0].Data, rest.Parts[1].Data, rest.Parts[2].Data, p)
	}
	return Verdict{}, errParts
}

// openPromise verifies that a log made a promise: its genesis has the key that signed it.
func openPromise(parts []Part, p *policy.Policy) (*promise, error) {
	genesis, err := proof.Parse(parts[2].Data)
	if err != nil {
		return nil, err
	}
	l, err := leaf.Parse(genesis.Extra)
	if err != nil {
		return nil, err
	}
	shard, ok := l.(*leaf.Shard)
	if !ok || shard.Genesis == nil || genesis.Index != 0 {
		return nil, errors.New("the proof is not of a genesis at entry 0")
	}
	origin, err := openAt(genesis, shard.Log, p)
	if err != nil {
		return nil, err
	}
	key, err := checkpoint.NewVerifier(shard.Genesis.Ticket)
	if err != nil {
		return nil, err
	}
	made := &promise{origin: origin}
	if made.Ticket, err = ticket.Open(parts[0].Data, key); err != nil {
		return nil, err
	}
	if l, err = leaf.Parse(parts[1].Data); err != nil {
		return nil, err
	}
	if made.leaf, ok = l.(*leaf.Event); !ok {
		return nil, errors.New("the promised leaf is not an event")
	}
	if made.Log != shard.Log || made.leaf.Log != shard.Log || made.Received != made.leaf.Received || made.Leaf != leaf.HashOf(parts[1].Data) {
		return nil, errors.New("the ticket promises another leaf")
	}
	return made, nil
}

// late opens the checkpoint that shows that the deadline has passed: every witness that counts cosigned it afterwards.
func (m *promise) late(note []byte, p *policy.Policy) (*policy.Verified, error) {
	v, err := p.Verify(note)
	if err != nil {
		return nil, err
	}
	if v.Checkpoint.Origin != m.origin {
		return nil, fmt.Errorf("the later checkpoint is of log %s", v.Checkpoint.Origin)
	}
	if oldest := v.Oldest(); oldest.IsZero() || oldest.Unix() <= m.Deadline {
		return nil, errors.New("the deadline has not passed: the checkpoint has no quorum of cosignatures after it")
	}
	return v, nil
}

// early opens a checkpoint that is too old to hold the leaf: every witness that counts cosigned it before the event was
// received, and the skew before that.
func (m *promise) early(note []byte, p *policy.Policy) (*policy.Verified, error) {
	v, err := p.Verify(note)
	if err != nil {
		return nil, err
	}
	if v.Checkpoint.Origin != m.origin {
		return nil, fmt.Errorf("the earlier checkpoint is of log %s", v.Checkpoint.Origin)
	}
	before := m.Received - int64(skew/time.Second)
	if len(v.Cosignatures) == 0 || slices.ContainsFunc(v.Cosignatures, func(c policy.Cosignature) bool { return c.Time.Unix() >= before }) {
		return nil, errors.New("the earlier checkpoint may hold the leaf: it was not cosigned before the event was received")
	}
	return v, nil
}

// absent judges the hashes of all entries from the earlier checkpoint on: the leaf is not among them.
func (m *promise) absent(first, last, hashes []byte, p *policy.Policy) (Verdict, error) {
	late, err := m.late(last, p)
	if err != nil {
		return Verdict{}, err
	}
	var size int64
	if first != nil {
		early, err := m.early(first, p)
		if err != nil {
			return Verdict{}, err
		}
		if size = early.Checkpoint.Size; size < 1 || size > late.Checkpoint.Size {
			return Verdict{}, errors.New("the sizes of the checkpoints do not ascend from 1")
		}
		if err := m.missing(hashes, size, early.Checkpoint.Root, late); err != nil {
			return Verdict{}, err
		}
	} else if err := m.missing(hashes, 0, [32]byte{}, late); err != nil {
		return Verdict{}, err
	}
	among := "them"
	if size > 0 {
		among = fmt.Sprintf("those from %d on, which are all that could be it", size)
	}
	return Verdict{Proven: true, Accused: m.origin, Statement: fmt.Sprintf(
		"log %s promised the leaf %s by %s. Witnesses saw the log later, with %d entries, and it is none of %s",
		m.origin, leafText(m.Leaf), stamp(m.Deadline), late.Checkpoint.Size, among)}, nil
}

// missing verifies the roots of the perfect subtrees of the first n entries and the leaf hash of every later one against
// both roots, and that the promised leaf is not among the latter.
func (m *promise) missing(part []byte, n int64, root [32]byte, late *policy.Verified) error {
	tree, err := grow(part, n, late.Checkpoint.Size)
	if err != nil {
		return err
	}
	if n > 0 && tree.first != root {
		return fmt.Errorf("the hashes do not give the root of size %d", n)
	}
	if tree.second != late.Checkpoint.Root {
		return fmt.Errorf("the hashes do not give the root of size %d", late.Checkpoint.Size)
	}
	if i := slices.Index(tree.leaves, m.Leaf); i >= 0 {
		return fmt.Errorf("the promise was kept: entry %d is the leaf", n+int64(i))
	}
	return nil
}

// displaced judges another leaf of the promised event, which has one.
func (m *promise) displaced(parts []Part, p *policy.Policy) (Verdict, error) {
	if _, err := m.late(parts[0].Data, p); err != nil {
		return Verdict{}, err
	}
	other, err := openProof(parts[1].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	switch {
	case other.origin != m.origin:
		return Verdict{}, fmt.Errorf("the other leaf is in log %s", other.origin)
	case leaf.HashOf(other.bytes) == m.Leaf:
		return Verdict{}, fmt.Errorf("the promise was kept: entry %d is the leaf", other.index)
	case !sameEventID(m.leaf, other.event):
		return Verdict{}, errors.New("the other leaf is of another event")
	}
	return Verdict{Proven: true, Accused: m.origin, Statement: fmt.Sprintf(
		"log %s promised the leaf %s by %s. Entry %d holds that event in another leaf, and an event has one",
		m.origin, leafText(m.Leaf), stamp(m.Deadline), other.index)}, nil
}

// openAt verifies that a leaf of a family is in a log of that family, which signed for it, and returns its origin.
func openAt(pr proof.Proof, family string, p *policy.Policy) (origin string, err error) {
	c, err := open(pr.Checkpoint, p)
	if err != nil {
		return "", err
	}
	// Without this a log could put leaves into itself that accuse another.
	if !leaf.InFamily(c.Origin, family) {
		return "", fmt.Errorf("leaf of log %s is in log %s", family, c.Origin)
	}
	if !c.byLog {
		return "", fmt.Errorf("checkpoint of %s: %w", c.Origin, policy.ErrNotSigned)
	}
	return c.Origin, proof.Inclusion(leaf.HashOf(pr.Extra), pr.Index, c.Size, pr.Hashes, c.Root)
}

func leafText(h leaf.Hash) string { return fmt.Sprintf("%x", h[:8]) }

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// lines reads lines of one hash each.
func lines(part []byte) ([]leaf.Hash, error) {
	text, ok := bytes.CutSuffix(part, []byte("\n"))
	if !ok {
		return nil, errors.New("the last line of hashes has no end")
	}
	hashes := make([]leaf.Hash, 0, len(part)/LineSize+1)
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		h, err := checkpoint.ParseHash(string(line))
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}
