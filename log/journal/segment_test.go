package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/log/journal"
)

// filled makes a journal of several segments and closes it: rows 0 to n-1, of
// which the first placed stand in the log at their own number.
func filled(t *testing.T, n, placed int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "journal")
	if err := journal.Create(dir); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	journal.SetSegmentSize(j, 2000)
	fill(t, j, 0, n, placed)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fill(t *testing.T, j *journal.Journal, from, n, placed int) {
	t.Helper()
	for i := from; i < n; i += 10 {
		var rows []*journal.Row
		for k := range min(10, n-i) {
			r := row(fmt.Sprint(i + k))
			r.Raw = fmt.Appendf(nil, "raw %d", i+k)
			r.Control = (i+k)%50 == 0
			rows = append(rows, r)
		}
		put(t, j, rows...)
		if i < placed {
			if err := j.Sequenced(int64(i), take(t, j, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// holds asserts that a journal holds what filled put in.
func holds(t *testing.T, j *journal.Journal, n, placed int) {
	t.Helper()
	if c := j.Cursor(); c != int64(placed) {
		t.Errorf("cursor %d, want %d", c, placed)
	}
	controls := 0
	for i := range n {
		r, err := j.Get(t.Context(), key(fmt.Sprint(i)))
		if err != nil || r == nil {
			t.Fatalf("row %d: %v, %v", i, r, err)
		}
		want := int64(i)
		if i >= placed {
			want = -1
		}
		payload, err1 := j.Payload(r)
		raw, err2 := j.Raw(r)
		if err := errors.Join(err1, err2); err != nil || r.Index() != want || string(r.Leaf) != fmt.Sprint("leaf ", i) ||
			string(payload) != fmt.Sprint("payload ", i) || string(raw) != fmt.Sprint("raw ", i) || r.Control != (i%50 == 0) {
			t.Errorf("row %d: %+v at %d, %q, %q, %v", i, r, r.Index(), payload, raw, err)
		}
		if r.Control {
			controls++
		}
	}
	if rows, err := j.Controls(); err != nil || len(rows) != controls {
		t.Errorf("%d controls, %v, want %d", len(rows), err, controls)
	}
	if queued, _ := j.Queued(); queued != int64(n-placed) {
		t.Errorf("%d rows are queued, want %d", queued, n-placed)
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.rows"))
	if err != nil || len(names) < 3 {
		t.Fatalf("segments %v, %v", names, err)
	}
	return names
}

// The database beside the segments is a convenience: what it never had, or lost,
// is read again.
func TestWithoutIndex(t *testing.T) {
	for _, placed := range []int{0, 60, 100} {
		dir := filled(t, 100, placed)
		holds(t, open(t, dir), 100, placed)

		dir = filled(t, 100, placed)
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			t.Fatal(err)
		}
		j := open(t, dir)
		holds(t, j, 100, placed)
		journal.SetSegmentSize(j, 2000)
		for placed := placed; placed < 100; placed += 10 {
			if err := j.Sequenced(int64(placed), take(t, j, 10)); err != nil {
				t.Fatal(err)
			}
		}
		holds(t, j, 100, 100)
		holds(t, crashed(t, dir), 100, 100)
	}
}

// What a crash left of a write is cut off, wherever it stopped, and writing goes
// on there.
func TestTorn(t *testing.T) {
	dir := filled(t, 100, 60)
	last := segments(t, dir)[len(segments(t, dir))-1]
	before, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, dir)
	put(t, j, row("late"), row("later"))
	after, err := os.ReadFile(last)
	if err != nil || len(after) <= len(before) {
		t.Fatalf("the last segment has %d bytes, %v", len(after), err)
	}
	for _, cut := range []int{len(before) + 1, len(before) + 12, len(before) + 13, len(before) + 40, len(after) - 1} {
		for _, zeros := range []int{0, 5000} {
			left := append(bytes.Clone(after[:cut]), make([]byte, zeros)...)
			copied := filepath.Join(t.TempDir(), "journal")
			if err := errors.Join(os.CopyFS(copied, os.DirFS(dir)), os.WriteFile(filepath.Join(copied, filepath.Base(last)), left, 0o600)); err != nil {
				t.Fatal(err)
			}
			j := open(t, copied)
			rows := int64(40)
			if late, err := j.Get(t.Context(), key("late")); err != nil {
				t.Fatal(err)
			} else if late != nil { // it was first in the write
				rows++
			}
			if n, _ := j.Queued(); n != rows {
				t.Errorf("cut at %d of %d to %d, then %d zeros: %d rows, want %d", cut, len(before), len(after), zeros, n, rows)
			}
			put(t, j, row("late"), row("later"))
			if again := crashed(t, copied); len(take(t, again, 100)) != 42 {
				t.Errorf("cut at %d, then %d zeros: what was put after it is not there", cut, zeros)
			}
		}
	}
}

// Whatever else is not as it was written is refused, and says where.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(names []string) error{
		"a bit of the first": func(names []string) error { return flip(names[0], 700) },
		"a bit of the last":  func(names []string) error { return flip(names[len(names)-1], 100) },
		"the end of one":     func(names []string) error { return os.Truncate(names[1], 1000) },
		"the last is empty":  func(names []string) error { return os.Truncate(names[len(names)-1], 0) },
		"one is missing":     func(names []string) error { return os.Rename(names[len(names)-1], names[1]) },
		"they are mixed up":  func(names []string) error { return os.Rename(names[0], names[len(names)-1]) },
		"the second is gone": func(names []string) error { return os.Remove(names[1]) },
	} {
		dir := filled(t, 100, 60)
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, "index")), damage(segments(t, dir))); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(dir, nil)
		if err == nil {
			t.Errorf("%s: opened", name)
			j.Close()
			continue
		}
		if damaged := (*journal.CorruptError)(nil); !errors.As(err, &damaged) && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func flip(name string, at int) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(name, b, 0o600)
}

// Segments that are older than the database beside them lack what was promised.
func TestOlderSegments(t *testing.T) {
	dir := filled(t, 100, 100)
	last := segments(t, dir)[len(segments(t, dir))-1]
	info, err := os.Stat(last)
	if err == nil {
		err = os.Truncate(last, info.Size()-1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if j, err := journal.Open(dir, nil); err == nil {
		j.Close()
		t.Error("opened")
	}
}

// A backup is whole while the journal is written, and a view of it has every leaf.
func TestBackup(t *testing.T) {
	dir := filled(t, 100, 60)
	j := open(t, dir)
	journal.SetSegmentSize(j, 2000)
	to := filepath.Join(t.TempDir(), "backup")
	if err := j.Backup(to); err != nil {
		t.Fatal(err)
	}
	if err := j.Backup(to); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second backup into the same folder: %v", err)
	}
	if err := j.Sequenced(60, take(t, j, 40)); err != nil {
		t.Fatal(err)
	}
	v, err := journal.OpenView(to)
	if err != nil {
		t.Fatal(err)
	}
	if v.Cursor() != 60 {
		t.Errorf("cursor %d of the view, want 60", v.Cursor())
	}
	var got []string
	for _, i := range []int64{59, 58, 41, 3, 0, 60, -1} {
		b, err := v.Leaf(i)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if diff := cmp.Diff([]string{"leaf 59", "leaf 58", "leaf 41", "leaf 3", "leaf 0", "", ""}, got); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, open(t, to), 100, 60)
	holds(t, j, 100, 100)
}

// Rows leave memory for the database, and are found at every moment.
func TestManyRows(t *testing.T) {
	const n = 70_000
	j, dir := create(t)
	early, _ := looked(t, j, "0")
	for i := 0; i < n; i += 2000 {
		var rows []*journal.Row
		for k := range 2000 {
			rows = append(rows, &journal.Row{Key: key(fmt.Sprint(i + k)), Leaf: []byte{1}})
		}
		put(t, j, rows...)
		if err := j.Sequenced(int64(i), take(t, j, 2000)); err != nil {
			t.Fatal(err)
		}
	}
	if o := put(t, j, early)[0]; o.New {
		t.Error("a key that was put long ago has a second row")
	}
	for _, j := range []*journal.Journal{j, crashed(t, dir)} {
		for i := 0; i < n; i += 777 {
			r, err := j.Get(t.Context(), key(fmt.Sprint(i)))
			if err != nil || r == nil || r.Index() != int64(i) {
				t.Fatalf("row %d: %+v, %v", i, r, err)
			}
		}
		if j.Cursor() != n {
			t.Errorf("cursor %d, want %d", j.Cursor(), n)
		}
	}
}

// An index that is damaged is told from segments that are.
func TestDamagedIndex(t *testing.T) {
	for _, pattern := range []string{"*.sst", "MANIFEST-*"} {
		dir := filled(t, 100, 60)
		names, err := filepath.Glob(filepath.Join(dir, "index", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("files %v, %v", names, err)
		}
		for _, name := range names {
			if err := flip(name, 20); err != nil {
				t.Fatal(err)
			}
		}
		if j, err := journal.Open(dir, nil); err == nil {
			j.Close()
			t.Errorf("%s: opened", pattern)
		} else if !strings.Contains(err.Error(), "the index is damaged") {
			t.Errorf("%s: %v", pattern, err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
			t.Fatal(err)
		}
		holds(t, crashed(t, dir), 100, 60)
	}
}
