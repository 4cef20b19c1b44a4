package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/trie"
)

// A root is a root leaf of the index that a log signed for.
type root struct {
	*leaf.Root
	origin string // of the log that it is in
	at     int64
	signed signed
}

// openRoot reads a proof whose extra data is a root leaf, and verifies that it is
// in a tree which its log signed.
func openRoot(b []byte, p *policy.Policy) (root, error) {
	pr, err := proof.Parse(b)
	if err != nil {
		return root{}, err
	}
	l, err := leaf.Parse(pr.Extra)
	if err != nil {
		return root{}, err
	}
	r, ok := l.(*leaf.Root)
	if !ok {
		return root{}, errors.New("leaf is no root leaf")
	}
	c, err := open(pr.Checkpoint, p)
	if err != nil {
		return root{}, err
	}
	if !c.byLog {
		return root{}, fmt.Errorf("checkpoint of %s: %w", c.Origin, policy.ErrNotSigned)
	}
	if err := proof.Inclusion(leaf.HashOf(pr.Extra), pr.Index, c.Size, pr.Hashes, c.Root); err != nil {
		return root{}, err
	}
	return root{Root: r, origin: c.Origin, at: pr.Index, signed: c}, nil
}

// judgeBadRoot judges a root leaf that its log should not have. What only a second
// index shows is in order, and proves nothing by itself.
func judgeBadRoot(e *Evidence, p *policy.Policy) (Verdict, error) {
	if len(e.Parts) == 0 || e.Parts[0].Type != Proof {
		return Verdict{}, errParts
	}
	r, err := openRoot(e.Parts[0].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Proven: true, Accused: r.origin}
	fault := func(format string, args ...any) (Verdict, error) {
		v.Statement = fmt.Sprintf("log %s has a false root leaf at %d: %s", r.origin, r.at, fmt.Sprintf(format, args...))
		return v, nil
	}
	switch {
	case e.want(Proof):
		empty := sha256.Sum256(nil)
		switch {
		case r.Origin != r.origin:
			return fault("it names log %s", r.Origin)
		case r.N > r.at:
			return fault("it speaks of %d entries", r.N)
		case r.N == 0 && (r.LogRoot != empty || r.Keys != 0 || r.MapRoot != trie.Empty()):
			return fault("it names other roots than those of no entries")
		}
		return Verdict{}, errors.New("nothing is wrong with the root leaf alone")
	case e.want(Proof, Proof):
		next, err := openRoot(e.Parts[1].Data, p)
		if err != nil {
			return Verdict{}, err
		}
		first := r
		switch r = next; {
		case first.origin != r.origin:
			return Verdict{}, fmt.Errorf("the root leaves are of two logs, %s and %s", first.origin, r.origin)
		case first.at >= r.at:
			return Verdict{}, errors.New("the indexes of the root leaves do not ascend")
		case r.N < first.N:
			return fault("it speaks of %d entries, and the one at %d of %d", r.N, first.at, first.N)
		case r.N == first.N && (r.LogRoot != first.LogRoot || r.Keys != first.Keys || r.MapRoot != first.MapRoot):
			return fault("it names the size %d with other hashes than the one at %d", r.N, first.at)
		}
		return Verdict{}, errors.New("the root leaves do not contradict each other")
	case e.want(Proof, Consistency):
		first, second, err := roots(e.Parts[1].Data, r.N, r.signed.Size)
		switch {
		case err != nil:
			return Verdict{}, err
		case second != r.signed.Root:
			return Verdict{}, fmt.Errorf("the hashes do not give the root of size %d", r.signed.Size)
		case first == r.LogRoot:
			return Verdict{}, fmt.Errorf("the root leaf names the root of size %d", r.N)
		}
		return fault("it names another root of the first %d entries than they have", r.N)
	case e.want(Proof, Leaf):
		l, err := leaf.Parse(e.Parts[1].Data)
		if err != nil {
			return Verdict{}, err
		}
		mine, ok := l.(*leaf.Root)
		if !ok || mine.Origin != r.Origin || mine.N != r.N || mine.LogRoot != r.LogRoot || mine.Keys == r.Keys && mine.MapRoot == r.MapRoot {
			return Verdict{}, errors.New("the leaf is not another root leaf of the same entries")
		}
		return Verdict{Accused: r.origin, Statement: fmt.Sprintf(
			"log %s says with the root leaf at %d that its first %d entries have %d keys and the map root %x, and the accuser says %d and %x. "+
				"Which is true shows whoever computes the index of these entries; nothing here does",
			r.origin, r.at, r.N, r.Keys, r.MapRoot[:8], mine.Keys, mine.MapRoot[:8])}, nil
	}
	return Verdict{}, errParts
}
