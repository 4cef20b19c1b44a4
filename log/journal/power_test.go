package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"idlog/log/journal"
)

// powered is a journal and what it promised: whatever becomes of the machine,
// rows that were put are there, and those with an index keep it.
type powered struct {
	t      *testing.T
	random *rand.Rand
	dir    string
	j      *journal.Journal
	n      int // rows put so far
	index  []string
	open   []string
}

// step puts some rows or sequences some, with one write.
func (p *powered) step() {
	if p.random.IntN(3) > 0 || len(p.open) == 0 {
		var rows []*journal.Row
		for range 1 + p.random.IntN(4) {
			r := row(fmt.Sprint(p.n))
			r.Raw = bytes.Repeat([]byte("raw "), p.random.IntN(400))
			rows, p.open = append(rows, r), append(p.open, fmt.Sprint(p.n))
			p.n++
		}
		put(p.t, p.j, rows...)
		return
	}
	rows := take(p.t, p.j, 1+p.random.IntN(6))
	if err := p.j.Sequenced(int64(len(p.index)), rows); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range names(rows) {
		p.index, p.open = append(p.index, name), p.open[1:]
	}
}

// holds says what of the promise a journal breaks.
func (p *powered) holds(j *journal.Journal) error {
	if j.Cursor() < int64(len(p.index)) {
		return fmt.Errorf("cursor %d, want %d", j.Cursor(), len(p.index))
	}
	for i, name := range append(append([]string(nil), p.index...), p.open...) {
		r, err := j.Get(p.t.Context(), key(name))
		if err != nil || r == nil {
			return fmt.Errorf("row %s: %v, %w", name, r, err)
		}
		if i < len(p.index) && r.Index() != int64(i) {
			return fmt.Errorf("row %s is at %d, want %d", name, r.Index(), i)
		}
	}
	return nil
}

// lastSegment returns the name and the length of the last segment.
func lastSegment(t *testing.T, dir string) (string, int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.rows"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments %v, %v", names, err)
	}
	info, err := os.Stat(names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	return names[len(names)-1], info.Size()
}

// TestPower cuts the power in the last of many writes: any of its sectors got to
// the disk, in any order, and the file ends where it did or where it was to. Now
// and then the disk has also flipped a bit, or lost a sector, of what it had kept:
// that is told, whatever the write left behind it, and nothing is passed over.
func TestPower(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		dir := filepath.Join(t.TempDir(), "journal")
		if err := journal.Create(dir); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		journal.SetSegmentSize(j, 6000)
		p := &powered{t: t, random: random, dir: dir, j: j}
		for range 5 + random.IntN(30) {
			p.step()
		}
		name, kept := lastSegment(t, dir)
		promised := *p
		p.step()
		after, whole := lastSegment(t, dir)
		if after != name {
			name, kept = after, 21 // the record that begins a segment comes with it
		}
		full, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			left, damaged := bytes.Clone(full), false
			for at := kept; at < whole; at = (at/512 + 1) * 512 {
				if random.IntN(3) == 0 {
					clear(left[at:min(whole, (at/512+1)*512)])
				}
			}
			switch random.IntN(4) {
			case 0:
				left = left[:kept+random.Int64N(whole-kept+1)]
			case 1:
				left = append(left, make([]byte, 512*random.IntN(4))...)
			}
			switch at := random.Int64N(kept); random.IntN(4) {
			case 0:
				left[at] ^= 1 << random.IntN(8)
				damaged = true
			}
			crash := filepath.Join(t.TempDir(), "journal")
			if err := errors.Join(os.CopyFS(crash, os.DirFS(dir)), os.RemoveAll(filepath.Join(crash, "index")),
				os.WriteFile(filepath.Join(crash, filepath.Base(name)), left, 0o600)); err != nil {
				t.Fatal(err)
			}
			j, err := journal.Open(crash, nil)
			if corrupt := (*journal.CorruptError)(nil); damaged && errors.As(err, &corrupt) && corrupt.File == filepath.Join(crash, filepath.Base(name)) {
				continue
			}
			if err != nil {
				t.Fatalf("seed %d, damaged %v: %v", seed, damaged, err)
			}
			if err := promised.holds(j); err != nil {
				t.Errorf("seed %d, damaged %v: %v", seed, damaged, err)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A sector of zeros is what a torn write leaves, and what a disk that loses a
// write leaves: what was written behind it later tells the two apart.
func TestLostWrite(t *testing.T) {
	dir := filled(t, 100, 0)
	name, size := lastSegment(t, dir)
	b, err := os.ReadFile(name)
	if err != nil || size < 1500 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	clear(b[512:1024])
	if err := errors.Join(os.WriteFile(name, b, 0o600), os.RemoveAll(filepath.Join(dir, "index"))); err != nil {
		t.Fatal(err)
	}
	if j, err := journal.Open(dir, nil); err == nil {
		rows, _ := j.Queued()
		j.Close()
		t.Errorf("opened, and %d rows of 100 are left", rows)
	} else if !errors.As(err, new(*journal.CorruptError)) {
		t.Error(err)
	}
}

// The index knows more than the segments, though it reads on at a row long before
// their end.
func TestOlderSegmentsWithOpenRows(t *testing.T) {
	j, dir := create(t)
	put(t, j, row("needed"), row("blocked", "needed"))
	take(t, j, 1)
	for i := range 10 {
		put(t, j, row(fmt.Sprint(i)))
		if err := j.Sequenced(int64(i), take(t, j, 1)); err != nil {
			t.Fatal(err)
		}
	}
	_, size := lastSegment(t, dir)
	put(t, j, row("late"))
	older := filepath.Join(t.TempDir(), "journal")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again, err := journal.Open(older, nil)
	if err == nil {
		err = again.Close() // which tells the index
	}
	if err != nil {
		t.Fatal(err)
	}
	name, _ := lastSegment(t, older)
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
	if j, err := journal.Open(older, nil); err == nil {
		rows, _ := j.Queued()
		j.Close()
		t.Errorf("opened with %d of 3 rows without index", rows)
	} else if !errors.As(err, new(*journal.CorruptError)) {
		t.Error(err)
	}
}

// A disk that is full in the middle of a write costs what was not acknowledged,
// and nothing else: also after an orderly end the journal opens again.
func TestFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	for _, room := range []int64{0, 1, 20, 21, 22, 34, 100, 200} {
		dir := filepath.Join(t.TempDir(), "journal")
		if err := journal.Create(dir); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, j, row("a"), row("b"))
		if err := j.Sequenced(0, take(t, j, 10)); err != nil {
			t.Fatal(err)
		}
		_, size := lastSegment(t, dir)
		err = limited(t, size+room, func() error {
			_, err := j.Put(t.Context(), []*journal.Row{row("c"), row("d"), row("e")})
			return err
		})
		if !errors.Is(err, journal.ErrFatal) || !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		if _, err := j.Put(t.Context(), []*journal.Row{row("f")}); !errors.Is(err, journal.ErrFatal) {
			t.Errorf("a put after it: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if j, err = journal.Open(dir, nil); err != nil {
			t.Errorf("room for %d bytes: %v", room, err)
			continue
		}
		for i, name := range []string{"a", "b"} {
			if r, err := j.Get(t.Context(), key(name)); err != nil || r == nil || r.Index() != int64(i) {
				t.Errorf("room for %d bytes: row %s: %+v, %v", room, name, r, err)
			}
		}
		put(t, j, row("c"), row("d"), row("e"))
		if err := j.Sequenced(2, take(t, j, 10)); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// limited calls f while no file may grow beyond a size.
func limited(t *testing.T, size int64, f func() error) error {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(size), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	return f()
}
