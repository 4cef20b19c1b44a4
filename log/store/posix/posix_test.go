package posix_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/log/store"
	"idlog/log/store/posix"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

func open(t *testing.T, sizes ...int) (*posix.Dir, string, [][]byte) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiles")
	d := posix.New(dir, "posix.example/id")
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	var all [][]byte
	for _, n := range sizes {
		var batch [][]byte
		for range n {
			batch = append(batch, fmt.Appendf(nil, "leaf %d", len(all)+len(batch)))
		}
		first, err := a.Append(t.Context(), batch)
		if err != nil || first != int64(len(all)) {
			t.Fatalf("first %d, %v", first, err)
		}
		all = append(all, batch...)
	}
	return d, dir, all
}

func TestReadCutsAnyWidth(t *testing.T) {
	d, dir, all := open(t, 3, 40, 300, 1) // files of widths 3, 43, full, 87, 88
	for _, c := range []struct {
		index  int64
		widths []int
		none   []int
	}{{0, []int{1, 3, 4, 43, 44, 255, 256}, nil}, {1, []int{1, 87, 88}, []int{89, 256}}, {2, nil, []int{1, 256}}} {
		for _, w := range c.widths {
			b, err := d.Read(t.Context(), tile.Coord{Level: tile.Entries, Index: c.index, Width: w})
			if err != nil {
				t.Fatalf("%d.p/%d: %v", c.index, w, err)
			}
			got, err := tile.Bundle(b, w)
			if err != nil {
				t.Fatal(err)
			}
			want := all[c.index*256 : c.index*256+int64(w)]
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			b, err = d.Read(t.Context(), tile.Coord{Level: 0, Index: c.index, Width: w})
			if err != nil {
				t.Fatal(err)
			}
			hashes, err := tile.Hashes(b, w)
			if err != nil || hashes[w-1] != leaf.HashOf(want[w-1]) {
				t.Errorf("tile %d.p/%d: %v", c.index, w, err)
			}
		}
		for _, w := range c.none {
			if _, err := d.Read(t.Context(), tile.Coord{Level: 0, Index: c.index, Width: w}); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d.p/%d: %v, want fs.ErrNotExist", c.index, w, err)
			}
		}
	}
	// A partial file that was collected is cut out of the full one.
	if err := os.RemoveAll(filepath.Join(dir, "tile/entries/000.p")); err != nil {
		t.Fatal(err)
	}
	c := tile.Coord{Level: tile.Entries, Index: 0, Width: 43}
	if _, err := d.Read(t.Context(), c); err != nil {
		t.Error(err)
	}
	if _, err := d.Stored(t.Context(), c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stored: %v, want fs.ErrNotExist", err)
	}
	// Bytes that are not what the name says are named.
	name := d.Where(tile.Coord{Level: 0, Index: 1, Width: 88})
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	var damaged *store.DamagedError
	if _, err := d.Read(t.Context(), tile.Coord{Level: 0, Index: 1, Width: 88}); !errors.As(err, &damaged) || damaged.File != name {
		t.Errorf("a cut tile: %v", err)
	}
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	d, _, _ := open(t)
	if err := d.Create(t.Context()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if size, _, err := d.State(t.Context()); size != 0 || err != nil {
		t.Errorf("a new log has size %d, %v", size, err)
	}
}

func TestSweepTakesStraysOnly(t *testing.T) {
	d, dir, _ := open(t, 300)
	strays := []string{
		"tile/0/000123456", "tile/0/001.p/441234567", "tile/entries/0011", "tile/entries/001.p/44999", "tile/1/000.p/11888888",
		".state/treeState77", ".state/gcState1", "checkpoint123",
	}
	before := files(t, dir)
	for _, s := range strays {
		if err := os.WriteFile(filepath.Join(dir, s), []byte("stray"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("after the sweep:\n%s", diff)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What Tessera would take for a new log is an error.
func TestAppendWatchesState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tiles")
	d := posix.New(dir, "posix.example/id")
	if err := d.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Append(t.Context(), [][]byte{[]byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.WhereState()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Append(t.Context(), [][]byte{[]byte("y")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/entries/000.p/2")); err == nil {
		t.Error("it was written all the same")
	}
}
