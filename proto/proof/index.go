package proof

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/trie"
)

const (
	// MaxIndex is the largest index proof in bytes.
	MaxIndex = 64 << 20
	// MaxAnswers and MaxPostings are the most answers of an index proof, and the most postings of all of them.
	MaxAnswers  = 4096
	MaxPostings = 131072

	indexHeader = "tlog-index-proof/v1"
	// maxEntry is the largest entry of a log in bytes.
	maxEntry = 1<<16 - 1
)

// An Index proves what stands in a log under some keys: SPEC 2.13. Nothing of it is verified before Verify returns without
// an error.
type Index struct {
	// Answers ascend by field, then value. There is at least one.
	Answers []Answer
	// At is where in the log the root leaf stands, and Root its bytes.
	At   int64
	Root []byte
	// Strict says that Hashes prove each posting to be in the log, and not only the root leaf.
	Strict     bool
	Hashes     [][32]byte // see IndexHashes
	Checkpoint []byte     // a signed note
}

// An Answer is what stands under the key of a field and value.
type Answer struct {
	Field uint16
	Value [32]byte
	Path  trie.Path
	List  *List // nil: the key is absent
}

// A List is a page of a postings list, with the entries where they are given.
type List struct {
	Head    trie.Head
	Page    trie.Page
	Entries [][]byte // one for each posting; nil, or too few, where only leaf hashes are given
}

func (l *List) entry(i int) []byte {
	if i >= len(l.Entries) {
		return nil
	}
	return l.Entries[i]
}

// Answer returns the answer for a field and value, or nil.
func (x *Index) Answer(field uint16, value [32]byte) *Answer {
	i, ok := slices.BinarySearchFunc(x.Answers, Answer{Field: field, Value: value}, compareAnswers)
	if !ok {
		return nil
	}
	return &x.Answers[i]
}

func compareAnswers(a, b Answer) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Value[:], b.Value[:]))
}

// IndexVerified is what an index proof shows once it holds.
type IndexVerified struct {
	*policy.Verified            // the checkpoint
	Root             *leaf.Root // the root leaf, which says for itself that it is true
}

// Verify judges the proof by the four rules of SPEC 2.13: all it says then follows from the root leaf, whose truth only its
// log has said, or those of the checkpoint's cosigners who verify it. How old the root leaf may be is for the caller to
// judge. If only cosignatures lack, the error is a [*policy.QuorumError].
func (x *Index) Verify(pol *policy.Policy) (*IndexVerified, error) {
	v, err := pol.Verify(x.Checkpoint)
	if err != nil {
		return nil, err
	}
	root, err := x.Under(v.Checkpoint)
	if err != nil {
		return nil, err
	}
	return &IndexVerified{Verified: v, Root: root}, nil
}

// Under is Verify for a caller that has verified x.Checkpoint for itself, and which c is; it returns the root leaf.
func (x *Index) Under(c checkpoint.Checkpoint) (*leaf.Root, error) {
	l, err := leaf.Parse(x.Root)
	if err != nil {
		return nil, fmt.Errorf("reading the root leaf at %d: %w", x.At, err)
	}
	root, ok := l.(*leaf.Root)
	if !ok {
		return nil, fmt.Errorf("entry %d is a leaf of kind %s and no root of the index", x.At, leaf.KindOf(l))
	}
	if root.Origin != c.Origin {
		return nil, fmt.Errorf("the root leaf is of %q, the checkpoint of %q", root.Origin, c.Origin)
	}
	if err := x.included(root, c); err != nil {
		return nil, err
	}
	for _, a := range x.Answers {
		if err := a.verify(root); err != nil {
			return nil, fmt.Errorf("query %d %s: %w", a.Field, text(a.Value), err)
		}
	}
	return root, nil
}

func (x *Index) included(root *leaf.Root, c checkpoint.Checkpoint) error {
	if root.N > x.At || x.At >= c.Size {
		return fmt.Errorf("a root over %d entries at index %d of a tree of %d", root.N, x.At, c.Size)
	}
	known, err := x.known(root.N)
	if err != nil {
		return err
	}
	ranges := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := ranges.NewEmptyRange(0)
	rest := x.Hashes
	// fill appends the subtrees that make up what lies before an entry.
	fill := func(to int64) error {
		n := compact.RangeSize(tree.End(), uint64(to))
		if n > len(rest) {
			return fmt.Errorf("hashes end before entry %d", to)
		}
		gap, err := ranges.NewRange(tree.End(), uint64(to), siblings(rest[:n]))
		if err != nil {
			return err
		}
		rest = rest[n:]
		return tree.AppendRange(gap, nil)
	}
	is := func(want [32]byte, of string) error {
		got := rfc6962.DefaultHasher.EmptyRoot()
		if tree.End() > 0 {
			if got, err = tree.GetRootHash(nil); err != nil {
				return err
			}
		}
		if [32]byte(got) != want {
			return fmt.Errorf("the hashes do not give the root of %s", of)
		}
		return nil
	}
	for _, p := range known {
		if err := fill(p.Index); err != nil {
			return err
		}
		if err := tree.Append(p.Leaf[:], nil); err != nil {
			return err
		}
	}
	if err := fill(root.N); err != nil {
		return err
	}
	if err := is(root.LogRoot, fmt.Sprintf("the entries 0 to %d, which the root leaf names", root.N-1)); err != nil {
		return err
	}
	if err := fill(x.At); err != nil {
		return err
	}
	hash := leaf.HashOf(x.Root)
	if err := tree.Append(hash[:], nil); err != nil {
		return err
	}
	if err := fill(c.Size); err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d hashes too many", len(rest))
	}
	return is(c.Root, "the checkpoint")
}

// known returns the postings that the hashes leave out: in strict mode each one of the lists, ascending, once.
func (x *Index) known(n int64) ([]trie.Posting, error) {
	if !x.Strict {
		return nil, nil
	}
	var all []trie.Posting
	for _, a := range x.Answers {
		if a.List != nil {
			all = append(all, a.List.Page.Postings...)
		}
	}
	slices.SortFunc(all, func(a, b trie.Posting) int { return cmp.Compare(a.Index, b.Index) })
	all = slices.Compact(all)
	for i, p := range all {
		if i > 0 && p.Index == all[i-1].Index {
			return nil, fmt.Errorf("two leaf hashes for entry %d", p.Index)
		}
		if p.Index >= n {
			return nil, fmt.Errorf("entry %d is not below the %d of the root leaf", p.Index, n)
		}
	}
	return all, nil
}

func (a Answer) verify(root *leaf.Root) error {
	key := mapfn.Key(a.Field, a.Value)
	present, err := a.Path.Verify(key, root.MapRoot)
	switch {
	case err != nil:
		return err
	case present != (a.List != nil):
		return fmt.Errorf("the way to the key says present %v, the answer %v", present, a.List != nil)
	case !present:
		return nil
	}
	if a.List.Head.Hash() != a.Path.Head {
		return errors.New("the list is not the one that the map has")
	}
	if err := a.List.Page.Verify(a.List.Head, root.N); err != nil {
		return err
	}
	for i, p := range a.List.Page.Postings {
		entry := a.List.entry(i)
		if entry == nil {
			continue
		}
		if leaf.HashOf(entry) != p.Leaf {
			return fmt.Errorf("entry %d is not the one that stands in the list", p.Index)
		}
		if !slices.Contains(mapfn.OfEntry(entry), key) {
			return fmt.Errorf("entry %d does not belong under the key", p.Index)
		}
	}
	return nil
}

// IndexHashes returns the hashes of an index proof over a log of a size, whose root leaf at index at speaks of the first n
// entries, in strict mode with the indexes of all its postings, else with none. Subtrees returns the roots of the perfect
// subtrees that make up the entries from one index up to another, from left to right, as [idlog/proto/tile.Reader] does.
func IndexHashes(size, n, at int64, entries []int64, subtrees func(from, to int64) ([][32]byte, error)) ([][32]byte, error) {
	entries = slices.Compact(slices.Sorted(slices.Values(entries)))
	var hashes [][32]byte
	var end int64
	fill := func(to int64) error {
		if to < end {
			return fmt.Errorf("making an index proof: entry %d after %d", to, end)
		}
		gap, err := subtrees(end, to)
		hashes, end = append(hashes, gap...), to
		return err
	}
	for _, i := range entries {
		if err := fill(i); err != nil {
			return nil, err
		}
		end++
	}
	if err := fill(n); err != nil {
		return nil, err
	}
	if err := fill(at); err != nil {
		return nil, err
	}
	end++
	if err := fill(size); err != nil {
		return nil, err
	}
	return hashes, nil
}
