package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// A Directory is a log on disk. It is read only, and may be in use or a copy: of
// a log in use the newest checkpoint is the one there when the audit begins.
type Directory struct {
	tree       string // holds tile/
	checkpoint string // file
	heads      string // directory of *.heads, or of checkpoints named by their size, or empty
}

// Open finds a log in a directory, which is one of
//
//	what idlogd init made      log/published/checkpoint, log/tiles/tile, heads
//	the log's own directory    published/checkpoint, tiles/tile, and heads beside it
//	a copy of what HTTP serves checkpoint, tile, and perhaps archive/<size>
//
// heads, unless empty, says where the archive is in place of the above. An error
// says what was looked for.
func Open(dir, heads string) (*Directory, error) {
	for _, l := range []Directory{
		{"log/tiles", "log/published/checkpoint", "heads"},
		{"tiles", "published/checkpoint", "../heads"},
		{"", "checkpoint", "archive"},
	} {
		if _, err := os.Stat(filepath.Join(dir, l.checkpoint)); err != nil {
			continue
		}
		d := &Directory{tree: filepath.Join(dir, l.tree), checkpoint: filepath.Join(dir, l.checkpoint), heads: heads}
		if heads != "" {
			_, err := os.Stat(heads)
			return d, err
		}
		if at := filepath.Join(dir, l.heads); isDir(at) {
			d.heads = at
		}
		return d, nil
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s holds no published log: neither log/published/checkpoint, nor published/checkpoint, nor checkpoint is there: %w", dir, fs.ErrNotExist)
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// Newest implements [Log].
func (d *Directory) Newest(context.Context) ([]byte, error) {
	return readAtMost(d.checkpoint, checkpoint.MaxNote)
}

// Resource implements [Log].
func (d *Directory) Resource(_ context.Context, path string) ([]byte, error) {
	return readAtMost(d.Where(path), tile.MaxBundle)
}

// Where returns the file of a resource.
func (d *Directory) Where(path string) string { return filepath.Join(d.tree, filepath.FromSlash(path)) }

// readAtMost reads a file of at most so many bytes; of a larger one it returns
// one more, which no caller takes for whole.
func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(info.Size(), most+1))
	for n := 0; n < len(b); {
		got, err := f.Read(b[n:])
		if n += got; err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return b, nil
}

// partials returns the widths of the partial files of a tile, ascending.
func (d *Directory) partials(c tile.Coord) ([]int, error) {
	c.Width = 1
	names, err := os.ReadDir(filepath.Dir(d.Where(c.Path())))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var widths []int
	for _, n := range names {
		if w, err := strconv.Atoi(n.Name()); err == nil && w > 0 && w < tile.Width && strconv.Itoa(w) == n.Name() {
			widths = append(widths, w)
		}
	}
	slices.Sort(widths)
	return widths, nil
}

// strays calls found for every file below tile/ that no tree of this size has.
func (d *Directory) strays(ctx context.Context, size int64, found func(path string, later bool)) error {
	return filepath.WalkDir(filepath.Join(d.tree, "tile"), func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a log in use takes away what is obsolete
			return nil
		}
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		path, err := filepath.Rel(d.tree, name)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		c, err := tile.ParsePath(path)
		if err != nil {
			found(path, false)
			return nil
		}
		if at, ok := tile.At(c.Level, c.Index, size); !ok || c.Width > at.Width {
			found(path, true)
		}
		return nil
	})
}

// Heads implements [Log].
func (d *Directory) Heads(ctx context.Context, _ int64) iter.Seq2[Head, error] {
	return func(yield func(Head, error) bool) {
		if d.heads == "" {
			return
		}
		segments, err := filepath.Glob(filepath.Join(d.heads, "*.heads"))
		if err != nil {
			yield(Head{}, err)
			return
		}
		if len(segments) == 0 {
			d.copied(yield)
			return
		}
		for i, name := range segments {
			if want := filepath.Join(d.heads, fmt.Sprintf("%08d.heads", i+1)); name != want {
				yield(Head{Problem: "there is no segment " + want + " before it", Where: name}, nil)
				return
			}
			b, err := os.ReadFile(name)
			if err != nil {
				yield(Head{}, err)
				return
			}
			heads, problem := parseSegment(b, i == len(segments)-1)
			for _, h := range heads {
				if h.Where = name; ctx.Err() != nil || !yield(h, ctx.Err()) {
					return
				}
			}
			if problem != "" && !yield(Head{Problem: problem, Where: name}, nil) {
				return
			}
		}
	}
}

// copied yields the files of an archive that was copied from HTTP.
func (d *Directory) copied(yield func(Head, error) bool) {
	names, err := os.ReadDir(d.heads)
	if err != nil {
		yield(Head{}, err)
		return
	}
	var sizes []int64
	for _, n := range names {
		if size, err := checkpoint.ParseSize(n.Name()); err == nil && size > 0 {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		name := filepath.Join(d.heads, strconv.FormatInt(size, 10))
		b, err := readAtMost(name, checkpoint.MaxNote)
		if !yield(Head{Note: b, Archived: true, Where: name}, err) || err != nil {
			return
		}
	}
}
