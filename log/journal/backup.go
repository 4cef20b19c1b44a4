package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"idlog/log/internal/atomicfile"
)

// Backup makes a copy of the journal in a folder that must not exist: all that
// was durable when it was called. On the same file system the bulk of it is
// linked, not copied: a segment that is followed by another never changes. Taking
// and sequencing go on meanwhile. When it returns nil the copy is durable; if we
// die before, its folder is to be removed.
func (j *Journal) Backup(dir string) error {
	j.commit <- struct{}{}
	end := j.segments.end
	<-j.commit
	if err := j.segments.copy(dir, end); err != nil {
		return fmt.Errorf("copying journal: %w", err)
	}
	return nil
}

// copy copies what stands before a position.
func (s *segments) copy(dir string, end position) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	to := segments{dir: dir}
	for n := int64(1); n <= end.segment(); n++ {
		if n < end.segment() && os.Link(s.name(n), to.name(n)) == nil {
			continue
		}
		size := end.offset()
		if n < end.segment() {
			info, err := os.Stat(s.name(n))
			if err != nil {
				return err
			}
			size = info.Size()
		}
		if err := copyFile(s.name(n), to.name(n), size); err != nil {
			return err
		}
	}
	return errors.Join(atomicfile.SyncDir(dir), atomicfile.SyncDir(filepath.Dir(dir)))
}

func copyFile(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(out, in, size)
	return errors.Join(err, out.Sync(), out.Close())
}

// A View reads a journal that nobody writes, without changing a byte of it: it
// takes no lock either, so the caller knows that nobody does. It belongs to one
// goroutine.
type View struct {
	segments segments
	last     int64    // number of the last segment
	next     int64    // the segment before those that were read; 0 when all were
	places   []placed // what those that were read say, ascending by index
}

// placed is a record that says where rows stand.
type placed struct {
	first int64
	rows  []position
}

// OpenView opens the journal in a folder; one without a journal is an error.
func OpenView(dir string) (*View, error) {
	v := &View{segments: segments{dir: dir}}
	var err error
	if v.next, err = v.segments.count(); err == nil && v.next == 0 {
		err = fmt.Errorf("%s: %w", v.segments.name(1), fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	v.last = v.next
	for len(v.places) == 0 && v.next > 0 {
		if err := v.load(); err != nil {
			return nil, fmt.Errorf("reading journal: %w", err)
		}
	}
	return v, nil
}

// load reads one segment more, from the last to the first: who rebuilds a log
// needs its newest entries.
func (v *View) load() error {
	var places []placed
	_, err := v.segments.scanSegment(at(v.next, 0), v.next == v.last, func(_ position, kind byte, body []byte) error {
		if kind != kindPlace {
			return nil
		}
		first, rows, err := parsePlace(body)
		places = append(places, placed{first, rows})
		return err
	})
	v.next--
	v.places = append(places, v.places...)
	return err
}

// Check reads every record of what Backup copied. A damaged one, also one that was
// damaged before it was copied, is a *CorruptError.
func (v *View) Check() error {
	for n := int64(1); n <= v.last; n++ {
		if _, err := v.segments.scanSegment(at(n, 0), false, func(position, byte, []byte) error { return nil }); err != nil {
			return fmt.Errorf("checking journal: %w", err)
		}
	}
	return nil
}

// Cursor is [Journal.Cursor].
func (v *View) Cursor() int64 {
	if len(v.places) == 0 {
		return 0
	}
	last := v.places[len(v.places)-1]
	return last.first + int64(len(last.rows))
}

// Leaf returns the leaf that stands in the log at an index below Cursor, or
// fs.ErrNotExist. The caller owns it.
func (v *View) Leaf(index int64) ([]byte, error) {
	if index < 0 || index >= v.Cursor() {
		return nil, fmt.Errorf("reading entry %d: %w", index, fs.ErrNotExist)
	}
	for v.places[0].first > index && v.next > 0 {
		if err := v.load(); err != nil {
			return nil, fmt.Errorf("reading entry %d: %w", index, err)
		}
	}
	i, found := slices.BinarySearchFunc(v.places, index, func(p placed, index int64) int { return cmp.Compare(p.first, index) })
	if !found {
		i--
	}
	if i < 0 || index-v.places[i].first >= int64(len(v.places[i].rows)) {
		return nil, fmt.Errorf("reading entry %d: %w", index, fs.ErrNotExist)
	}
	r, _, _, err := v.segments.row(v.places[i].rows[index-v.places[i].first])
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	return r.Leaf, nil
}

// Close closes the view.
func (v *View) Close() error { return nil }
