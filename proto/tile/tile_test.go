package tile_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math"
	"slices"
	"strings"
	"testing"

	"idlog/proto/prototest"
	"idlog/proto/tile"
)

var update = flag.Bool("update", false, "write the vectors")

func TestPathVectors(t *testing.T) {
	prototest.Vectors(t, "tile-path.json", *update, []prototest.Case{
		prototest.Accept("first tile", "tile/0/000"),
		prototest.Accept("first bundle", "tile/entries/000"),
		prototest.Accept("two elements", "tile/0/x001/000"),
		prototest.Accept("the specification's", "tile/0/x001/x234/067"),
		prototest.Accept("partial", "tile/1/x001/x234/067.p/8"),
		prototest.Accept("partial of 1", "tile/0/000.p/1"),
		prototest.Accept("partial of 255", "tile/entries/999.p/255"),
		prototest.Accept("zeros inside", "tile/0/x001/x000/000"),
		prototest.Accept("highest level", "tile/7/000.p/127"),
		prototest.Accept("last bundle", "tile/entries/x036/x028/x797/x018/x963/967.p/255"),

		prototest.Refuse("empty", ""),
		prototest.Refuse("checkpoint", "checkpoint"),
		prototest.Refuse("leading slash", "/tile/0/000"),
		prototest.Refuse("trailing slash", "tile/0/000/"),
		prototest.Refuse("two slashes", "tile//0/000"),
		prototest.Refuse("no index", "tile/0"),
		prototest.Refuse("empty index", "tile/0/"),
		prototest.Refuse("one digit", "tile/0/0"),
		prototest.Refuse("four digits", "tile/0/1000"),
		prototest.Refuse("padded with x000", "tile/0/x000/001"),
		prototest.Refuse("padded twice", "tile/0/x000/x000/001"),
		prototest.Refuse("last element with x", "tile/0/x001"),
		prototest.Refuse("first element without x", "tile/0/001/234"),
		prototest.Refuse("upper case x", "tile/0/X001/234"),
		prototest.Refuse("two x", "tile/0/xx01/234"),
		prototest.Refuse("level with leading zero", "tile/00/000"),
		prototest.Refuse("level with plus", "tile/+1/000"),
		prototest.Refuse("negative level", "tile/-1/000"),
		prototest.Refuse("level 8", "tile/8/000.p/1"),
		prototest.Refuse("level 64", "tile/64/000"),
		prototest.Refuse("level in words", "tile/entry/000"),
		prototest.Refuse("width 0", "tile/0/000.p/0"),
		prototest.Refuse("width 256", "tile/0/000.p/256"),
		prototest.Refuse("width 257", "tile/0/000.p/257"),
		prototest.Refuse("width with leading zero", "tile/0/000.p/08"),
		prototest.Refuse("width with plus", "tile/0/000.p/+8"),
		prototest.Refuse("empty width", "tile/0/000.p/"),
		prototest.Refuse("no width", "tile/0/000.p"),
		prototest.Refuse("two widths", "tile/0/000.p/8.p/8"),
		prototest.Refuse("dots", "tile/0/../0/000"),
		prototest.Refuse("dots in the index", "tile/entries/../../checkpoint"),
		prototest.Refuse("one dot", "tile/./0/000"),
		prototest.Refuse("escaped dots", "tile/%2e%2e/000"),
		prototest.Refuse("escaped slash", "tile/0%2f000"),
		prototest.Refuse("backslash", "tile\\0\\000"),
		prototest.Refuse("NUL", "tile/0/000\x00"),
		prototest.Refuse("newline", "tile/0/000\n"),
		prototest.Refuse("query", "tile/0/000?"),
		prototest.Refuse("other digits", "tile/0/٠٠٠"),
		prototest.Refuse("beyond the last bundle", "tile/entries/x036/x028/x797/x018/x963/967"),
		prototest.Refuse("index 2^63", "tile/0/x009/x223/x372/x036/x854/x775/808"),
		prototest.Refuse("index 2^64", "tile/0/x018/x446/x744/x073/x709/x551/616"),
		prototest.Refuse("long", "tile/0/"+strings.Repeat("x001/", 100)+"000"),
		prototest.Refuse("highest level, too wide", "tile/7/000.p/128"),
		prototest.Refuse("highest level, second tile", "tile/7/001.p/1"),
	}, func(b []byte) ([]byte, error) {
		c, err := tile.ParsePath(string(b))
		return []byte(c.Path()), err
	})
}

// bundle packs entries.
func bundle(t *testing.T, entries ...[]byte) []byte {
	t.Helper()
	var b []byte
	for _, e := range entries {
		var err error
		if b, err = tile.AppendBundle(b, e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestBundleVectors reads bundles of three entries.
func TestBundleVectors(t *testing.T) {
	three := bundle(t, []byte("one"), nil, []byte("three"))
	prototest.Vectors(t, "tile-bundle-of-3.json", *update, []prototest.Case{
		prototest.Accept("three entries", three),
		prototest.Accept("three empty entries", make([]byte, 6)),
		prototest.Refuse("empty", ""),
		prototest.Refuse("two entries", bundle(t, []byte("one"), nil)),
		prototest.Refuse("four entries", append(three[:len(three):len(three)], 0, 0)),
		prototest.Refuse("ends in a length", append(bundle(t, nil, nil), 0)),
		prototest.Refuse("ends in an entry", three[:len(three)-1]),
		prototest.Refuse("trailing byte", append(three[:len(three):len(three)], 0)),
		prototest.Refuse("length beyond the end", append(bundle(t, nil, nil), 0xff, 0xff, 1)),
	}, func(b []byte) ([]byte, error) {
		entries, err := tile.Bundle(b, 3)
		if err != nil {
			return nil, err
		}
		return bundle(t, entries...), nil
	})
}

func TestBundleLimits(t *testing.T) {
	big := bytes.Repeat([]byte{1}, tile.MaxEntry)
	var all [][]byte
	for range tile.Width {
		all = append(all, big)
	}
	b := bundle(t, all...)
	if len(b) != tile.MaxBundle {
		t.Errorf("%d bytes, want MaxBundle", len(b))
	}
	got, err := tile.Bundle(b, tile.Width)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(all, got, bytes.Equal) {
		t.Error("the entries differ")
	}
	if _, err := tile.AppendBundle(nil, append(big, 1)); err == nil {
		t.Error("an entry of 65536 bytes: written")
	}
	for _, n := range []int{-1, 0, 257} {
		if _, err := tile.Bundle(nil, n); err == nil {
			t.Errorf("%d entries: read", n)
		}
		if _, err := tile.Hashes(nil, n); err == nil {
			t.Errorf("%d hashes: read", n)
		}
	}
	for _, size := range []int{0, 31, 33, 63, 65, 96} {
		if _, err := tile.Hashes(make([]byte, size), 2); err == nil {
			t.Errorf("2 hashes of %d bytes: read", size)
		}
	}
}

// TestAt holds the specification's own example, and the edges.
func TestAt(t *testing.T) {
	for _, test := range []struct {
		level int
		index int64
		size  int64
		path  string // empty if there is none
	}{
		{0, 272, 70_000, "tile/0/272"},
		{0, 273, 70_000, "tile/0/273.p/112"},
		{0, 274, 70_000, ""},
		{1, 0, 70_000, "tile/1/000"},
		{1, 1, 70_000, "tile/1/001.p/17"},
		{2, 0, 70_000, "tile/2/000.p/1"},
		{3, 0, 70_000, ""},
		{tile.Entries, 273, 70_000, "tile/entries/273.p/112"},
		{0, 0, 256, "tile/0/000"},
		{0, 1, 256, ""},
		{1, 0, 256, "tile/1/000.p/1"},
		{1, 0, 255, ""},
		{0, 0, 0, ""},
		{0, 0, 1, "tile/0/000.p/1"},
		{7, 0, math.MaxInt64, "tile/7/000.p/127"},
		{8, 0, math.MaxInt64, ""},
		{-2, 0, 1, ""},
		{0, -1, 1, ""},
		{0, 0, -1, ""},
		{0, math.MaxInt64, math.MaxInt64, ""},
		{0, math.MaxInt64 >> 8, math.MaxInt64, "tile/0/x036/x028/x797/x018/x963/967.p/255"},
	} {
		c, ok := tile.At(test.level, test.index, test.size)
		if ok != (test.path != "") || ok && c.Path() != test.path {
			t.Errorf("level %d, index %d, size %d: %s, %v, want %q", test.level, test.index, test.size, c.Path(), ok, test.path)
		}
		if !ok {
			continue
		}
		if again, err := tile.ParsePath(c.Path()); err != nil || again != c {
			t.Errorf("%s: %v, %v", c.Path(), again, err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, p := range []string{"tile/0/000", "tile/entries/x001/x234/067.p/8", "tile/7/000.p/127"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		c, err := tile.ParsePath(path)
		if err == nil && c.Path() != path {
			t.Errorf("%q is written %q", path, c.Path())
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 0}, 2)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		entries, err := tile.Bundle(b, n)
		if err != nil {
			return
		}
		if again := bundle(t, entries...); len(entries) != n || !bytes.Equal(again, b) {
			t.Errorf("%d entries, written again %x, want %x", len(entries), again, b)
		}
		if len(b) > 1 && int(binary.BigEndian.Uint16(b)) != len(entries[0]) {
			t.Errorf("first entry of %d bytes", len(entries[0]))
		}
	})
}
