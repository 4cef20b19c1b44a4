package trie

import (
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ranges are compact ranges with the hashes of RFC 6962.
var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// A Page is a run of postings of a list with the proof that they stand there: numbers Start to Start+len(Postings)-1, in
// order, and none is left out.
type Page struct {
	Start    int64
	Postings []Posting
	// Left are the roots of the perfect subtrees that make up the postings before Start, and Right of those that make up
	// the postings after the page, each from left to right.
	Left, Right []Hash
}

// Verify checks that the page is of the list with that head, in an index over the entries [0, size): the tree over all
// postings has the head's root, and the page's indexes ascend strictly and are below size. The head must be a map's
// ([Head.Hash] binds its N, which a root alone does not).
func (p Page) Verify(h Head, size int64) error {
	if err := p.verify(h, size); err != nil {
		return fmt.Errorf("verifying a page of postings: %w", err)
	}
	return nil
}

func (p Page) verify(h Head, size int64) error {
	end := p.Start + int64(len(p.Postings))
	if h.N < 1 || p.Start < 0 || p.Start > h.N || end > h.N || end < p.Start {
		return fmt.Errorf("numbers %d to %d of a list of %d", p.Start, end, h.N)
	}
	last := int64(-1)
	for _, q := range p.Postings {
		if q.Index <= last || q.Index >= size {
			return fmt.Errorf("entry %d after entry %d of %d", q.Index, last, size)
		}
		last = q.Index
	}
	tree, err := ranges.NewRange(0, uint64(p.Start), slices32(p.Left))
	if err != nil {
		return errors.New("wrong number of hashes before the page")
	}
	for _, q := range p.Postings {
		hash := q.Hash()
		if err := tree.Append(hash[:], nil); err != nil {
			return err
		}
	}
	right, err := ranges.NewRange(uint64(end), uint64(h.N), slices32(p.Right))
	if err != nil {
		return errors.New("wrong number of hashes after the page")
	}
	if err := tree.AppendRange(right, nil); err != nil {
		return err
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	if Hash(root) != h.Root {
		return errors.New("the postings are not those of the list's head")
	}
	return nil
}

// Before returns the head of the list's first Start postings, which is what an earlier proof said of the list when it had
// no more: so a page that was verified, and the earlier proof, are one list. Start is at least one.
func (p Page) Before() (Head, error) {
	tree, err := ranges.NewRange(0, uint64(p.Start), slices32(p.Left))
	if err != nil || p.Start < 1 {
		return Head{}, fmt.Errorf("joining the %d postings before a page: %w", p.Start, err)
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return Head{}, fmt.Errorf("joining the %d postings before a page: %w", p.Start, err)
	}
	return Head{N: p.Start, Root: Hash(root)}, nil
}

// Whole reports whether the page is the whole of the list with that head.
func (p Page) Whole(h Head) bool { return p.Start == 0 && int64(len(p.Postings)) == h.N }

// Covers reports whether the page shows that no posting of the list with an index in [from, to) is outside of it: its first
// posting is the list's first or not after from, and its last is the list's last or not before to-1. The window is not
// empty; a page without postings shows nothing.
func (p Page) Covers(h Head, from, to int64) bool {
	if len(p.Postings) == 0 {
		return false
	}
	begins := p.Start == 0 || p.Postings[0].Index <= from
	ends := p.Start+int64(len(p.Postings)) == h.N || p.Postings[len(p.Postings)-1].Index >= to-1
	return begins && ends
}

func slices32(hashes []Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}
