// Package posix keeps a log in a directory of a POSIX file system, written by
// Tessera's POSIX driver.
//
// Tessera sequences and integrates. It never holds a key of ours: the
// checkpoints it writes beside the tiles are signed with a throw-away key under
// the origin "<origin>/internal", are never served, and only tell its garbage
// collection how far it may go.
//
// After a crash the directory holds, beyond the state that Tessera wrote last,
// perhaps bundles and tiles of a batch that was never acknowledged, even at the
// paths of full ones, and temporary files. The next batch overwrites the
// former, Sweep removes the latter. Nothing here notices corruption: package
// log does, before it opens the directory and before each signature.
//
// Files are as c2sp.org/tlog-tiles names them, and .state/treeState holds size
// and root as JSON.
package posix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"idlog/log/internal/atomicfile"
	"idlog/log/store"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// Dir is a log's directory. It is stateless: all reads go to disk, and all
// methods but Create, Sweep and Open may be called concurrently. It implements
// store.Backend.
type Dir struct {
	path, origin string
}

// New returns the backend for the directory path of the log called origin.
// Nothing is read or written before a method is called.
func New(path, origin string) *Dir { return &Dir{path: path, origin: origin} }

// Where returns the path of the file for c.
func (d *Dir) Where(c tile.Coord) string { return filepath.Join(d.path, filepath.FromSlash(c.Path())) }

// WhereState returns the path of Tessera's state file.
func (d *Dir) WhereState() string { return filepath.Join(d.path, ".state", "treeState") }

// State reads Tessera's state file. It also refuses a directory of another
// version of Tessera's layout.
func (d *Dir) State(context.Context) (int64, leaf.Hash, error) {
	version := filepath.Join(d.path, ".state", "version")
	b, err := os.ReadFile(version)
	if err != nil {
		return 0, leaf.Hash{}, err
	}
	if string(b) != "1" {
		return 0, leaf.Hash{}, &store.DamagedError{File: version, Problem: fmt.Sprintf("layout %.20q is not 1", b)}
	}
	raw, err := os.ReadFile(d.WhereState())
	if err != nil {
		return 0, leaf.Hash{}, err
	}
	var s struct {
		Size int64  `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, leaf.Hash{}, &store.DamagedError{File: d.WhereState(), Problem: err.Error()}
	}
	if s.Size < 0 || len(s.Root) != len(leaf.Hash{}) {
		return 0, leaf.Hash{}, &store.DamagedError{File: d.WhereState(), Problem: "it does not hold a size and a root"}
	}
	return s.Size, leaf.Hash(s.Root), nil
}

// Stored returns the file at c's own path.
func (d *Dir) Stored(_ context.Context, c tile.Coord) ([]byte, error) {
	b, err := d.file(c)
	if err != nil {
		return nil, err
	}
	return d.cut(b, c, c.Width)
}

// Read returns the resource at c, cut out of the full file or of a fuller
// partial one if its own is gone or was never written.
func (d *Dir) Read(_ context.Context, c tile.Coord) ([]byte, error) {
	b, err := d.file(c)
	if err == nil {
		return d.cut(b, c, c.Width)
	}
	if !errors.Is(err, fs.ErrNotExist) || c.Width == tile.Width {
		return nil, err
	}
	// The order matters: the collection of partial files, which may run now,
	// begins only after the full one is there.
	fuller := c
	if fuller.Width = d.fuller(c); fuller.Width != 0 {
		if b, err := d.file(fuller); err == nil {
			return d.cut(b, fuller, c.Width)
		}
	}
	fuller.Width = tile.Width
	if b, err = d.file(fuller); err != nil {
		return nil, err
	}
	return d.cut(b, fuller, c.Width)
}

// fuller returns the width of the smallest partial file that holds c, or 0.
func (d *Dir) fuller(c tile.Coord) int {
	names, err := os.ReadDir(filepath.Dir(d.Where(c)))
	if err != nil {
		return 0
	}
	best := 0
	for _, n := range names {
		w, err := strconv.Atoi(n.Name())
		if err == nil && w > c.Width && w < tile.Width && (best == 0 || w < best) {
			best = w
		}
	}
	return best
}

func (d *Dir) file(c tile.Coord) ([]byte, error) {
	name := d.Where(c)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > tile.MaxBundle {
		return nil, &store.DamagedError{File: name, Problem: fmt.Sprintf("%d bytes are too many", info.Size())}
	}
	return os.ReadFile(name)
}

// cut returns the first width hashes or entries of b, which is the resource at
// c and must have exactly c.Width of them.
func (d *Dir) cut(b []byte, c tile.Coord, width int) ([]byte, error) {
	if c.Level != tile.Entries {
		if _, err := tile.Hashes(b, c.Width); err != nil {
			return nil, &store.DamagedError{File: d.Where(c), Problem: err.Error()}
		}
		return b[:width*len(leaf.Hash{})], nil
	}
	entries, err := tile.Bundle(b, c.Width)
	if err != nil {
		return nil, &store.DamagedError{File: d.Where(c), Problem: err.Error()}
	}
	n := 0
	for _, e := range entries[:width] {
		n += 2 + len(e)
	}
	return b[:n], nil
}

var (
	strayTile  = regexp.MustCompile(`^[0-9]{4,}$`)
	strayState = regexp.MustCompile(`^(treeState|gcState|version|checkpoint)[0-9]+$`)
)

// Sweep removes the temporary files that a crash of Tessera left: they are
// called like the file that they were to become with a number appended. It
// looks where a writer of the present size, or of the next few batches, writes,
// and makes those directories durable: Tessera does not sync the parent of a
// directory that it finds, though a crash may have kept it from ever doing so.
func (d *Dir) Sweep(ctx context.Context) error {
	size, _, err := d.State(ctx)
	if err != nil {
		return err
	}
	dirs := map[string]*regexp.Regexp{d.path: strayState, filepath.Join(d.path, ".state"): strayState}
	for level := -1; level < 8; level++ {
		n := size >> (8 * max(level, 0)) / tile.Width
		for i := range int64(2 * maxBatch / tile.Width) {
			c := tile.Coord{Level: level, Index: n + i, Width: 1}
			partial := filepath.Dir(d.Where(c))
			dirs[partial] = strayTile
			for up := filepath.Dir(partial); up != d.path; up = filepath.Dir(up) {
				dirs[up] = strayTile
			}
		}
	}
	for dir, stray := range dirs {
		names, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
		for _, n := range names {
			if !n.Type().IsRegular() || !stray.MatchString(n.Name()) {
				continue
			}
			if err := os.Remove(filepath.Join(dir, n.Name())); err != nil {
				return fmt.Errorf("sweeping: %w", err)
			}
		}
		if err := atomicfile.SyncDir(dir); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	return nil
}

// Adopt makes a log of tiles and bundles that were put into the directory: all
// those of a tree of this size and root. Nobody has the directory open. It
// verifies nothing. If we die within it, State fails until it is called again.
func (d *Dir) Adopt(size int64, root leaf.Hash) error {
	if err := os.MkdirAll(filepath.Dir(d.WhereState()), 0o755); err != nil {
		return fmt.Errorf("adopting tiles: %w", err)
	}
	state, err := json.Marshal(struct {
		Size int64  `json:"size"`
		Root []byte `json:"root"`
	}{size, root[:]})
	if err == nil {
		err = atomicfile.Write(filepath.Join(filepath.Dir(d.WhereState()), "version"), []byte("1"))
	}
	if err == nil {
		err = atomicfile.Write(d.WhereState(), state)
	}
	if err == nil {
		err = atomicfile.SyncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("adopting tiles: %w", err)
	}
	return nil
}
