package heads_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log/heads"
	"idlog/proto/checkpoint"
)

const origin = "audit.example/id"

// A signature line that parses.
func line(name string, b byte) []checkpoint.Signature {
	return []checkpoint.Signature{{Name: name, ID: uint32(b), Bytes: bytes.Repeat([]byte{b}, 72)}}
}

func at(size int64) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: origin, Size: size, Root: [32]byte{byte(size), 1}}
}

// writeHeads makes a heads file of n archived heads, one every step.
func writeHeads(t *testing.T, dir string, n int, from time.Time, step time.Duration, segment int64) *heads.File {
	t.Helper()
	empty := checkpoint.Checkpoint{Origin: origin, Root: sha256.Sum256(nil)}
	if err := heads.Create(dir, origin, empty, from); err != nil {
		t.Fatal(err)
	}
	h, err := heads.Open(dir, origin)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(from); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		h.RollAt(segment)
		now := from.Add(time.Duration(i) * step)
		for _, err := range []error{
			h.AppendHead(at(int64(i)), now), h.AppendSignatures(line(origin, 1)), h.AppendQuorum(line("w1", byte(i))),
			h.AppendLate(int64(i)-1, line("w2", byte(i))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

// what a heads file says: its high-water mark and its archive.
func read(dir string, n int64) (string, error) {
	h, err := heads.Open(dir, origin)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", h.Last().Note())
	for i := range n + 2 {
		note, err := h.Archived(i)
		fmt.Fprintf(&b, "%d %v\n%s\n", i, err, note)
	}
	return b.String(), nil
}

// Every flipped bit of every byte is detected or harmless.
func TestHeadsFlips(t *testing.T) {
	dir := t.TempDir()
	writeHeads(t, dir, 3, time.Now(), time.Second, 300).Close() // two segments
	want, err := read(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.heads"))
	if err != nil || len(names) < 2 {
		t.Fatalf("%d segments, %v", len(names), err)
	}
	for _, name := range names {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(good) {
			if _, err := f.WriteAt([]byte{good[i/8] ^ 1<<(i%8)}, int64(i/8)); err != nil {
				t.Fatal(err)
			}
			got, err := read(dir, 3)
			var corrupt *heads.CorruptError
			if err == nil && got != want || err != nil && !errors.As(err, &corrupt) {
				t.Fatalf("bit %d of byte %d of %s: %v\n%s", i%8, i/8, name, err, cmp.Diff(want, got))
			}
			if _, err := f.WriteAt(good[i/8:i/8+1], int64(i/8)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.WriteFile(name, good, 0o644), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The last segment may end anywhere after its first record, also in zeros, and
// is then cut; an earlier one may not.
func TestHeadsTorn(t *testing.T) {
	dir := t.TempDir()
	writeHeads(t, dir, 3, time.Now(), time.Second, 300).Close()
	names, err := filepath.Glob(filepath.Join(dir, "*.heads"))
	if err != nil {
		t.Fatal(err)
	}
	last := names[len(names)-1]
	good, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	first := 12 + 9 + len(origin) + 1
	for n := range len(good) {
		for _, zeros := range []int{0, 1, 5, len(good) - n} {
			if err := os.WriteFile(last, append(bytes.Clone(good[:n]), make([]byte, zeros)...), 0o644); err != nil {
				t.Fatal(err)
			}
			h, err := heads.Open(dir, origin)
			if n < first {
				var corrupt *heads.CorruptError
				if !errors.As(err, &corrupt) {
					t.Fatalf("cut at %d: %v", n, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("cut at %d, %d zeros: %v", n, zeros, err)
			}
			// Whatever was cut off, the file goes on.
			if err := errors.Join(h.Start(time.Now()), h.AppendHead(at(100), time.Now()), h.AppendSignatures(line(origin, 1)), h.Close()); err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			if h, err = heads.Open(dir, origin); err != nil || !bytes.HasPrefix(h.Last().Note(), at(100).Format()) {
				t.Fatalf("cut at %d: reopened with %v", n, err)
			}
		}
	}
	if err := os.WriteFile(last, good, 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(names[0], info.Size()-1); err != nil {
		t.Fatal(err)
	}
	if _, err := heads.Open(dir, origin); err == nil {
		t.Error("a torn record before the end was accepted")
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := heads.Open(dir, origin); err == nil {
		t.Error("a missing segment was accepted")
	}
}

func TestArchiveAndThinning(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := writeHeads(t, dir, 100, start, 10*time.Second, 8<<10) // six a minute
	for i := int64(1); i <= 100; i++ {
		note, err := h.Archived(i)
		if err != nil || !bytes.HasPrefix(note, at(i).Format()) {
			t.Fatalf("archived %d: %v", i, err)
		}
	}
	if note, _ := h.Archived(7); !bytes.Contains(note, []byte("— w2 ")) || !bytes.Contains(note, []byte("— w1 ")) {
		t.Errorf("the archive lost a cosignature:\n%s", note)
	}
	if _, err := h.Archived(101); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("beyond the last: %v", err)
	}
	for index, want := range map[int64][2]int64{0: {0, 1}, 1: {1, 2}, 42: {42, 43}, 99: {99, 100}, 100: {100, 0}, 1000: {100, 0}} {
		if after, before := h.Around(index); after != want[0] || before != want[1] {
			t.Errorf("entry %d is logged after size %d and before %d, want %v", index, after, before, want)
		}
	}
	h.Close()
	size := func() (n int64) {
		for _, b := range snapshot(t, dir) {
			n += int64(len(b))
		}
		return n
	}
	before := size()

	reopen := func(now time.Time) *heads.File {
		h, err := heads.Open(dir, origin)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Start(now); err != nil {
			t.Fatal(err)
		}
		return h
	}
	reopen(start.Add(time.Hour)).Close()
	if size() != before {
		t.Error("thinned within a day")
	}
	h = reopen(start.Add(48 * time.Hour))
	if after := size(); after > before/2 {
		t.Errorf("thinned from %d to %d bytes", before, after)
	}
	last := int64(0)
	for i := int64(1); i <= 100; i++ {
		note, err := h.Archived(i)
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := checkpoint.Split(note)
		if err != nil {
			t.Fatal(err)
		}
		c, err := checkpoint.Parse(text)
		if err != nil || c.Size < i || c.Size < last || c.Size > i+6 {
			t.Fatalf("archived %d: size %d, %v", i, c.Size, err)
		}
		last = c.Size
	}
	h.Close()
	again := snapshot(t, dir)
	reopen(start.Add(72 * time.Hour)).Close()
	if diff := cmp.Diff(again, snapshot(t, dir)); diff != "" {
		t.Errorf("thinning twice is not thinning once:\n%s", diff)
	}
}

func FuzzHeads(f *testing.F) {
	dir := f.TempDir()
	if err := heads.Create(dir, origin, checkpoint.Checkpoint{Origin: origin, Root: sha256.Sum256(nil)}, time.Now()); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "00000001.heads"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000001.heads"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if h, err := heads.Open(dir, origin); err == nil {
			h.Archived(0)
			h.Last().Note()
		}
	})
}

// snapshot returns all files below dir with their contents.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
