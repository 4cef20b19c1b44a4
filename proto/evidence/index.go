package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/trie"
)

// entry is an entry of a log, of whatever kind, in a tree that the log signed.
type entry struct {
	tree  signed
	index int64
	bytes []byte
}

func openEntry(b []byte, p *policy.Policy) (entry, error) {
	pr, err := proof.Parse(b)
	if err != nil {
		return entry{}, err
	}
	if pr.Extra == nil {
		return entry{}, errors.New("the proof lacks its entry")
	}
	c, err := openSigned(pr.Checkpoint, p)
	if err != nil {
		return entry{}, err
	}
	return entry{tree: c, index: pr.Index, bytes: pr.Extra}, proof.Inclusion(leaf.HashOf(pr.Extra), pr.Index, c.Size, pr.Hashes, c.Root)
}

// openSigned is open for a checkpoint that its log must have signed.
func openSigned(note []byte, p *policy.Policy) (signed, error) {
	c, err := open(note, p)
	if err == nil && !c.byLog {
		err = fmt.Errorf("checkpoint of %s: %w", c.Origin, policy.ErrNotSigned)
	}
	return c, err
}

// openIndex reads an index proof that holds under a checkpoint which its log signed.
func openIndex(b []byte, p *policy.Policy) (*proof.Index, *leaf.Root, error) {
	x, err := proof.ParseIndex(b)
	if err != nil {
		return nil, nil, err
	}
	c, err := openSigned(x.Checkpoint, p)
	if err != nil {
		return nil, nil, err
	}
	root, err := x.Under(c.Checkpoint)
	return x, root, err
}

func rootOfIndex(b []byte) (*leaf.Root, error) {
	l, err := leaf.Parse(b)
	if err != nil {
		return nil, err
	}
	root, ok := l.(*leaf.Root)
	if !ok {
		return nil, fmt.Errorf("a leaf of kind %s is no root of the index", leaf.KindOf(l))
	}
	return root, nil
}

func judgeBadRoot(e *Evidence, p *policy.Policy) (Verdict, error) {
	if len(e.Parts) == 0 || e.Parts[0].Type != Proof {
		return Verdict{}, errParts
	}
	at, err := openEntry(e.Parts[0].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	root, err := rootOfIndex(at.bytes)
	if err != nil {
		return Verdict{}, err
	}
	guilty := func(format string, args ...any) (Verdict, error) {
		return Verdict{Proven: true, Accused: at.tree.Origin, Statement: fmt.Sprintf(
			"the root of the index at entry %d of %s is false: ", at.index, at.tree.Origin) + fmt.Sprintf(format, args...)}, nil
	}
	switch {
	case e.want(Proof):
		switch {
		case root.Origin != at.tree.Origin:
			return guilty("it is a root of %q", root.Origin)
		case root.N == 0:
			return guilty("it speaks of no entries")
		case root.N > at.index:
			return guilty("it speaks of %d entries, more than there were before it", root.N)
		}
		return Verdict{}, errors.New("the root leaf may stand where it stands")
	case e.want(Proof, Proof):
		other, err := openEntry(e.Parts[1].Data, p)
		if err != nil {
			return Verdict{}, err
		}
		second, err := rootOfIndex(other.bytes)
		switch {
		case err != nil:
			return Verdict{}, err
		case at.tree.Origin != other.tree.Origin || root.Origin != at.tree.Origin || second.Origin != at.tree.Origin:
			return Verdict{}, errors.New("the root leaves are of two logs")
		case root.N == second.N && !root.Agrees(second):
			return guilty("entry %d is another root of the same %d entries", other.index, root.N)
		case at.index < other.index && root.N > second.N:
			return guilty("or that at entry %d is, which is later and speaks of fewer entries", other.index)
		}
		return Verdict{}, errors.New("the root leaves do not contradict each other")
	case e.want(Proof, Consistency):
		first, whole, err := roots(e.Parts[1].Data, root.N, at.tree.Size)
		switch {
		case err != nil:
			return Verdict{}, err
		case whole != at.tree.Root:
			return Verdict{}, fmt.Errorf("the hashes do not give the root of size %d", at.tree.Size)
		case first == root.LogRoot && root.Origin == at.tree.Origin:
			return Verdict{}, fmt.Errorf("it names the true root of the entries 0 to %d", root.N-1)
		}
		return guilty("the entries 0 to %d have another root than it says", root.N-1)
	case e.want(Proof, Leaf):
		own, err := rootOfIndex(e.Parts[1].Data)
		switch {
		case err != nil:
			return Verdict{}, err
		case own.Origin != root.Origin || own.N != root.N || root.Origin != at.tree.Origin:
			return Verdict{}, errors.New("the two roots are not of the same entries")
		case own.Agrees(root):
			return Verdict{}, errors.New("the two roots are the same")
		}
		return Verdict{Accused: at.tree.Origin, Statement: fmt.Sprintf(
			"the log %s says at entry %d that the index of its first %d entries has another root than its accuser came to. "+
				"Which of them is right is for whoever indexes these entries to see: the file does not show it",
			at.tree.Origin, at.index, root.N)}, nil
	}
	return Verdict{}, errParts
}

func judgeOmission(e *Evidence, p *policy.Policy) (Verdict, error) {
	if !e.want(Proof, IndexProof) {
		return Verdict{}, errParts
	}
	left, err := openEntry(e.Parts[0].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	x, root, err := openIndex(e.Parts[1].Data, p)
	switch {
	case err != nil:
		return Verdict{}, err
	case left.tree.Origin != root.Origin:
		return Verdict{}, errors.New("the entry and the index are of two logs")
	case left.index >= root.N:
		return Verdict{}, fmt.Errorf("the index speaks of the entries below %d, and not of entry %d", root.N, left.index)
	}
	keys := mapfn.OfEntry(left.bytes)
	is := trie.Posting{Index: left.index, Leaf: leaf.HashOf(left.bytes)}
	for _, a := range x.Answers {
		if !slices.Contains(keys, mapfn.Key(a.Field, a.Value)) {
			continue
		}
		if a.List == nil || a.List.Page.Covers(a.List.Head, left.index, left.index+1) && !slices.Contains(a.List.Page.Postings, is) {
			return Verdict{Proven: true, Accused: root.Origin, Statement: fmt.Sprintf(
				"entry %d of %s belongs into the list of field %d, and by the root of the index at entry %d it is not there",
				left.index, root.Origin, a.Field, x.At)}, nil
		}
	}
	return Verdict{}, errors.New("no answer leaves the entry out where it belongs")
}

func judgeAddition(e *Evidence, p *policy.Policy) (Verdict, error) {
	if !e.want(IndexProof, Proof) {
		return Verdict{}, errParts
	}
	x, root, err := openIndex(e.Parts[0].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	real, err := openEntry(e.Parts[1].Data, p)
	switch {
	case err != nil:
		return Verdict{}, err
	case real.tree.Origin != root.Origin:
		return Verdict{}, errors.New("the entry and the index are of two logs")
	}
	keys, hash := mapfn.OfEntry(real.bytes), leaf.HashOf(real.bytes)
	for _, a := range x.Answers {
		if a.List == nil {
			continue
		}
		belongs := slices.Contains(keys, mapfn.Key(a.Field, a.Value))
		for _, q := range a.List.Page.Postings {
			if q.Index == real.index && !(belongs && bytes.Equal(q.Leaf[:], hash[:])) {
				return Verdict{Proven: true, Accused: root.Origin, Statement: fmt.Sprintf(
					"by the root of the index at entry %d of %s, entry %d stands in the list of field %d; the entry that the log has there does not belong into it",
					x.At, root.Origin, real.index, a.Field)}, nil
			}
		}
	}
	return Verdict{}, errors.New("no answer has the entry where it does not belong")
}
