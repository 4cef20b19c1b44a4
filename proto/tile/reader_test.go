package tile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/tile"
)

func newLog(size int64) *prototest.Log {
	l := prototest.NewLog("log.example", prototest.NewKey("log.example", checkpoint.Ed25519, checkpoint.LogRole))
	l.Fill(size)
	return l
}

// check reads the whole log and holds it to the leaves it was made of.
func check(t *testing.T, l *prototest.Log, r *tile.Reader, from, to int64) {
	t.Helper()
	at := from
	for e, err := range r.Entries(t.Context(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != at || !bytes.Equal(e.Data, l.Leaves[at]) {
			t.Fatalf("entry %d: %d %q", at, e.Index, e.Data)
		}
		at++
	}
	if at != to {
		t.Errorf("read up to %d, want %d", at, to)
	}
}

var sizes = []int64{0, 1, 2, 3, 127, 128, 255, 256, 257, 511, 512, 513, 1000, 65535, 65536, 65537, 70_000}

func TestReader(t *testing.T) {
	l := newLog(70_000)
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := l.Resources(size)
			r := tile.NewReader(l.Checkpoint(size), prototest.Fetch(s))
			check(t, l, r, 0, size)
			check(t, l, r, size/2, size)
			check(t, l, r, size, size)
			for _, index := range []int64{0, 1, 254, 255, 256, 300, size / 2, size - 257, size - 1} {
				if index >= 0 && index < size {
					checkInclusion(t, l, r, index, size)
				}
			}
			for _, from := range append(sizes, size/3, size-1) {
				if from >= 0 && from <= size {
					checkConsistency(t, l, r, from, size)
				}
			}
		})
	}
}

func checkInclusion(t *testing.T, l *prototest.Log, r *tile.Reader, index, size int64) {
	t.Helper()
	got, err := r.Inclusion(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Inclusion(index, size), got); diff != "" {
		t.Errorf("proof of %d: %s", index, diff)
	}
	e, err := r.Entry(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err := r.Leaf(t.Context(), index); err != nil || leaf != e.Hash {
		t.Errorf("leaf hash of %d: %v", index, err)
	}
	if err := proof.Inclusion(e.Hash, index, size, got, l.Checkpoint(size).Root); err != nil {
		t.Error(err)
	}
}

func checkConsistency(t *testing.T, l *prototest.Log, r *tile.Reader, from, size int64) {
	t.Helper()
	got, err := r.Consistency(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Consistency(from, size), got); diff != "" {
		t.Errorf("proof from %d: %s", from, diff)
	}
	root, err := r.Root(t.Context(), from)
	if err != nil || root != l.Checkpoint(from).Root {
		t.Errorf("root of %d: %v", from, err)
	}
}

// TestSubtrees: the roots of any part of a tree, across tiles and at its edge, are those of its leaves.
func TestSubtrees(t *testing.T) {
	l := newLog(1000)
	r := tile.NewReader(l.Checkpoint(1000), prototest.Fetch(l.Resources(1000)))
	places := []int64{0, 1, 3, 128, 255, 256, 257, 511, 512, 768, 769, 896, 999, 1000}
	for i, from := range places {
		for _, to := range places[i:] {
			got, err := r.Subtrees(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l.Subtrees(from, to), got); diff != "" {
				t.Errorf("entries %d to %d (-want +got):\n%s", from, to, diff)
			}
		}
	}
}

func TestReaderOutside(t *testing.T) {
	l := newLog(300)
	r := tile.NewReader(l.Checkpoint(300), prototest.Fetch(l.Resources(300)))
	for _, span := range [][2]int64{{-1, 1}, {2, 1}, {0, 301}, {301, 301}} {
		n := 0
		for e, err := range r.Entries(t.Context(), span[0], span[1]) {
			if n++; err == nil {
				t.Errorf("%v: yields entry %d", span, e.Index)
			}
		}
		if n != 1 {
			t.Errorf("%v: yields %d times", span, n)
		}
		if hashes, err := r.Subtrees(t.Context(), span[0], span[1]); err == nil {
			t.Errorf("%v: subtrees %x", span, hashes)
		}
	}
	for _, i := range []int64{-1, 300, 1 << 62} {
		_, err1 := r.Entry(t.Context(), i)
		_, err2 := r.Leaf(t.Context(), i)
		_, err3 := r.Inclusion(t.Context(), i)
		_, err4 := r.Consistency(t.Context(), i+1)
		if err1 == nil || err2 == nil || err3 == nil || (err4 == nil) != (i == -1) {
			t.Errorf("%d: %v, %v, %v, %v", i, err1, err2, err3, err4)
		}
	}
}

// TestEveryTileAltered alters each kind of resource of a log all over, once so
// that it keeps its form and some times not; whoever reads below it notices, and
// is given nothing false.
func TestEveryTileAltered(t *testing.T) {
	const size = 66_100 // three levels, all of them partial at the end
	l := newLog(size)
	honest := l.Resources(size)
	for _, path := range slices.Sorted(maps.Keys(honest)) {
		c, err := tile.ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		if c.Index > 1 && c.Width == tile.Width && c.Index != 100 {
			continue // one full tile like another
		}
		step := 32 // every hash
		if c.Level == tile.Entries {
			step = 13 // every entry, its length too
		}
		for at := 0; at < len(honest[path]); at += step {
			altered := bytes.Clone(honest[path])
			altered[at] ^= 0x10
			checkNoticed(t, l, honest, c, altered)
		}
		checkNoticed(t, l, honest, c, honest[path][:len(honest[path])-1])
		checkNoticed(t, l, honest, c, append(bytes.Clone(honest[path]), 0))
		checkNoticed(t, l, honest, c, nil)
	}
}

// checkNoticed reads the entries under one resource that was altered.
func checkNoticed(t *testing.T, l *prototest.Log, honest map[string][]byte, c tile.Coord, altered []byte) {
	t.Helper()
	size := int64(len(l.Leaves))
	r := tile.NewReader(l.Checkpoint(size), func(ctx context.Context, path string) ([]byte, error) {
		if path == c.Path() {
			return altered, nil
		}
		return prototest.Fetch(honest)(ctx, path)
	})
	first := c.Index << (8 * (max(c.Level, 0) + 1))
	for e, err := range r.Entries(t.Context(), first, min(first+1, size)) {
		if err != nil {
			if m, ok := errors.AsType[*tile.MismatchError](err); !ok || m.Checkpoint.Size != size || m.Path != "" && m.Path != c.Path() {
				t.Errorf("%s altered: %v", c.Path(), err)
			}
			return
		}
		if !bytes.Equal(e.Data, l.Leaves[e.Index]) {
			t.Fatalf("%s altered: entry %d is false", c.Path(), e.Index)
		}
	}
	if c.Level <= 0 {
		t.Errorf("%s altered: not noticed", c.Path())
		return
	}
	// A full tile of a higher level proves each of its hashes by their sum.
	if _, err := r.Inclusion(t.Context(), first); err == nil {
		t.Errorf("%s altered: not noticed", c.Path())
	}
}

// TestTilesSwapped serves one true tile in the place of another.
func TestTilesSwapped(t *testing.T) {
	l := newLog(1000)
	for _, swap := range [][2]string{
		{"tile/0/000", "tile/0/001"}, {"tile/entries/000", "tile/entries/001"}, {"tile/0/000", "tile/entries/000"},
	} {
		s := l.Resources(1000)
		s[swap[0]], s[swap[1]] = s[swap[1]], s[swap[0]]
		r := tile.NewReader(l.Checkpoint(1000), prototest.Fetch(s))
		if e, err := r.Entry(t.Context(), 5); err == nil {
			t.Errorf("%v swapped: read %q", swap, e.Data)
		}
	}
}

// TestOtherRoot reads honest tiles under a checkpoint that they do not give.
func TestOtherRoot(t *testing.T) {
	l := newLog(1000)
	s := l.Resources(1000)
	c := l.Checkpoint(1000)
	c.Root[0] ^= 1
	_, err := tile.NewReader(c, prototest.Fetch(s)).Entry(t.Context(), 0)
	if m, ok := errors.AsType[*tile.MismatchError](err); !ok || m.Path != "" {
		t.Error(err)
	}
	empty := checkpoint.Checkpoint{Origin: "log.example", Root: [32]byte{1}}
	if _, err := tile.NewReader(empty, prototest.Fetch(s)).Root(t.Context(), 0); err == nil {
		t.Error("the empty tree has another root")
	}
}

// TestPartialDeleted reads a log that has grown and deleted its partial tiles.
func TestPartialDeleted(t *testing.T) {
	l := newLog(2000)
	s := l.Resources(2000)
	for path := range s {
		if strings.Contains(path, ".p/") && !strings.HasPrefix(path, "tile/1") {
			delete(s, path)
		}
	}
	maps.DeleteFunc(s, func(path string, _ []byte) bool { return strings.HasPrefix(path, "tile/1") })
	s["tile/1/000.p/3"] = l.Resources(1000)["tile/1/000.p/3"]
	r := tile.NewReader(l.Checkpoint(1000), prototest.Fetch(s))
	check(t, l, r, 0, 1000)
	s["tile/entries/003"] = bytes.Replace(s["tile/entries/003"], []byte("entry 769 "), []byte("entry 768 "), 1)
	if _, err := r.Entry(t.Context(), 800); err == nil {
		t.Error("an altered full bundle in place of a partial one: not noticed")
	}
}

// TestFetches pins the cost: reading a log in order fetches each resource once,
// and one entry its bundle, its tile, and the partial tiles.
func TestFetches(t *testing.T) {
	l := newLog(66_100)
	s := l.Resources(66_100)
	var paths []string
	fetch := func(ctx context.Context, path string) ([]byte, error) {
		paths = append(paths, path)
		return prototest.Fetch(s)(ctx, path)
	}
	check(t, l, tile.NewReader(l.Checkpoint(66_100), fetch), 0, 66_100)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(s)), slices.Sorted(slices.Values(paths))); diff != "" {
		t.Error(diff)
	}
	paths = nil
	if _, err := tile.NewReader(l.Checkpoint(66_100), fetch).Entry(t.Context(), 300); err != nil {
		t.Fatal(err)
	}
	want := []string{"tile/2/000.p/1", "tile/1/001.p/2", "tile/0/258.p/52", "tile/1/000", "tile/0/001", "tile/entries/001"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
}

// TestStop holds that leaving the loop leaves the rest unfetched.
func TestStop(t *testing.T) {
	l := newLog(1000)
	s := l.Resources(1000)
	delete(s, "tile/entries/001")
	for range tile.NewReader(l.Checkpoint(1000), prototest.Fetch(s)).Entries(t.Context(), 0, 1000) {
		break
	}
	var last error
	for _, last = range tile.NewReader(l.Checkpoint(1000), prototest.Fetch(s)).Entries(t.Context(), 0, 1000) {
	}
	if !errors.Is(last, fs.ErrNotExist) {
		t.Errorf("a missing bundle: %v", last)
	}
}
