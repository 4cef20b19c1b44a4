package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup makes a copy of the journal in a folder that must not exist: all that
// was durable when it was called, and perhaps rows that came since. On the same
// file system the bulk of it is linked, not copied. Taking and sequencing go on
// meanwhile. When it returns nil the copy is durable; if we die before, its
// folder is to be removed.
func (j *Journal) Backup(dir string) error {
	if err := j.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copying journal: %w", err)
	}
	return nil
}

// A View reads a journal that nobody writes, without changing a byte of it: it
// takes no lock either, so the caller knows that nobody does.
type View struct {
	j      Journal // db alone
	cursor int64
}

// OpenView opens the journal in a folder; one without a journal is an error.
func OpenView(dir string) (*View, error) {
	o := options(nil)
	o.ErrorIfNotExists, o.ReadOnly, o.FS = true, true, unlocked{vfs.Default}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("reading journal %s: %w", dir, err)
	}
	v := &View{j: Journal{db: db}}
	b, err := v.j.value([]byte{kindCursor})
	if err == nil && b != nil {
		var n uint64
		n, err = number(b)
		v.cursor = int64(n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading journal %s: %w", dir, errors.Join(err, db.Close()))
	}
	return v, nil
}

// Cursor is [Journal.Cursor].
func (v *View) Cursor() int64 { return v.cursor }

// Leaf returns the leaf that stands in the log at an index below Cursor, or
// fs.ErrNotExist. The caller owns it.
func (v *View) Leaf(index int64) ([]byte, error) {
	if index < 0 || index >= v.cursor {
		return nil, fmt.Errorf("reading entry %d: %w", index, fs.ErrNotExist)
	}
	b, err := v.j.value(numbered(kindEntry, uint64(index)))
	if err == nil && b == nil {
		err = fs.ErrNotExist
	}
	var seq uint64
	if err == nil {
		seq, err = number(b)
	}
	var r *Row
	if err == nil {
		r, err = v.j.readRow(seq)
	}
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	return r.Leaf, nil
}

// Close closes the view.
func (v *View) Close() error { return v.j.db.Close() }

// unlocked is a file system on which whoever only reads leaves no lock file.
type unlocked struct{ vfs.FS }

// Lock takes none.
func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
