package log_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log"
	"idlog/proto/checkpoint"
)

// damages are what disks, restores and people do to one file. Each reports
// whether it changed anything.
var damages = []struct {
	name string
	do   func(t *testing.T, file, old string) bool
}{
	{"flip first", func(t *testing.T, file, _ string) bool { return flip(t, file, 0) }},
	{"flip middle", func(t *testing.T, file, _ string) bool { return flip(t, file, 0.5) }},
	{"flip last", func(t *testing.T, file, _ string) bool { return flip(t, file, 1) }},
	{"truncate", func(t *testing.T, file, _ string) bool {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size() > 0 && os.Truncate(file, info.Size()/2) == nil
	}},
	{"delete", func(t *testing.T, file, _ string) bool { return os.Remove(file) == nil }},
	{"old copy", func(t *testing.T, file, old string) bool {
		b, err := os.ReadFile(old)
		if err != nil {
			return false // it was not there yet
		}
		now, err := os.ReadFile(file)
		return err == nil && string(now) != string(b) && os.WriteFile(file, b, 0o644) == nil
	}},
}

func flip(t *testing.T, file string, at float64) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		return false
	}
	b[int(at*float64(len(b)-1))] ^= 0x04
	return os.WriteFile(file, b, 0o644) == nil
}

// Whatever happens to a file while the log is closed: it opens and everything it
// published still stands, or it refuses, names the file, and leaves all as it is.
// It never signs over it: the witness and check police that.
func TestCorruption(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.open()
	r.publish(700)
	r.close()
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.dir, old)
	r = w.open()
	r.publish(90)
	last := r.publish(10) // bundles 000 to 002 full, 003.p/32
	r.close()
	good := filepath.Join(t.TempDir(), "good")
	copyDir(t, w.dir, good)
	leaves := w.leaves

	// Files that nobody builds on, or that the heads file has again.
	harmless := func(file, damage string) bool {
		switch {
		case strings.Contains(file, "/.state/") && strings.HasSuffix(file, ".lock"), strings.HasSuffix(file, "gcState"), file == "log/LOCK" && damage != "delete":
			return true // empty, or Tessera's
		case file == "log/tiles/checkpoint":
			return true // the internal one
		case file == "log/published/checkpoint":
			return damage == "delete" || damage == "old copy"
		case strings.Contains(file, ".p/"):
			return !strings.HasSuffix(file, "003.p/32") && !strings.HasSuffix(file, "1/000.p/3") // an earlier edge
		}
		return false
	}
	names := snapshot(t, good)
	for file := range names {
		for _, d := range damages {
			os.RemoveAll(w.dir)
			copyDir(t, good, w.dir)
			if !d.do(t, filepath.Join(w.dir, file), filepath.Join(old, file)) {
				continue
			}
			t.Run(strings.ReplaceAll(d.name+" "+file, "/", ":"), func(t *testing.T) {
				w.t, w.leaves = t, leaves
				before := snapshot(t, w.dir)
				l, err := log.Open(t.Context(), w.config)
				var refused *log.RefusedError
				switch {
				case err == nil:
					l.Close()
					if !harmless(file, d.name) && d.name != "old copy" {
						t.Error("it opened")
					}
					r := w.open()
					p, ok := r.Published()
					if !ok || p.Size > last.Size {
						t.Errorf("published %d", p.Size)
					}
					r.check(r.publish(1))
					r.close()
					// The next damage starts from the good directory, of which the witness now knows more.
					w.witnesses[0].set(func(x *witness) { x.latest.Size, x.latest.Root, x.note = last.Size, last.Root, last.Note })
				case errors.Is(err, log.ErrNotInitialised) && file == "log/identity":
				case !errors.As(err, &refused):
					t.Errorf("not a refusal: %v", err)
				case harmless(file, d.name):
					t.Errorf("refused for a file that does not matter: %v", err)
				default:
					// The state and what it claims are known by one another; heads by their directory.
					name := filepath.Join(w.dir, file)
					if refused.File != name && refused.File != filepath.Dir(name) {
						t.Errorf("it names %s: %v", refused.File, err)
					}
				}
				if err != nil {
					if diff := cmp.Diff(before, snapshot(t, w.dir)); diff != "" {
						t.Errorf("the refusal changed something:\n%s", diff)
					}
				}
			})
		}
	}
}

// The log directory alone put back from an old copy: the high-water mark knows.
func TestOldCopyOfLog(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(4)
	r.close()
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.config.Dir, old)
	r = w.open()
	r.publish(4)
	r.close()
	os.RemoveAll(w.config.Dir)
	copyDir(t, old, w.config.Dir)
	wantRefused(t, w.config, ".state/treeState")
}

// The heads directory alone put back: what was published knows.
func TestOldCopyOfHeads(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(4)
	r.close()
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.config.Heads, old)
	r = w.open()
	r.publish(4)
	r.close()
	os.RemoveAll(w.config.Heads)
	wantRefused(t, w.config, "heads")
	if err := os.Mkdir(w.config.Heads, 0o755); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, w.config, "heads")
	os.RemoveAll(w.config.Heads)
	copyDir(t, old, w.config.Heads)
	wantRefused(t, w.config, "heads")
}

// Damage while the log runs: the guard finds it before the next signature, and
// what was published stays readable.
func TestCorruptionWhileRunning(t *testing.T) {
	for _, tc := range []struct{ name, file string }{
		{"bundle", "tiles/tile/entries/000.p/10"},
		{"tile", "tiles/tile/0/000.p/10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			r := w.open()
			before := r.publish(10)
			if !flip(t, filepath.Join(w.config.Dir, tc.file), 0.5) {
				t.Fatal("nothing flipped")
			}
			r.add(5) // Tessera builds on it without a word
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var readOnly *log.ReadOnlyError
			if _, err := r.Await(ctx, 15); !errors.As(err, &readOnly) {
				t.Fatalf("awaiting: %v, want a ReadOnlyError", err)
			}
			if p, ok := r.Published(); !ok || p.Size != before.Size {
				t.Errorf("published %d", p.Size)
			}
			if w.witnesses[0].latest.Size != before.Size {
				t.Error("a witness has seen it")
			}
			if err := r.close(); err != nil {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}

// Tessera takes a missing state for a new log, also while it runs.
func TestStateLostWhileRunning(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(3)
	if err := os.Remove(filepath.Join(w.config.Dir, "tiles/.state/treeState")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(t.Context(), [][]byte{[]byte("x")}); !errors.Is(err, log.ErrFatal) {
		t.Errorf("appending: %v, want ErrFatal", err)
	}
	if _, err := r.Append(t.Context(), [][]byte{[]byte("x")}); !errors.Is(err, log.ErrFatal) {
		t.Errorf("appending again: %v, want ErrFatal", err)
	}
	if err := <-r.done; !errors.Is(err, log.ErrFatal) {
		t.Errorf("Run: %v, want ErrFatal", err)
	}
	r.done <- nil
	r.close()
	wantRefused(t, w.config, "treeState")
}

func TestAppendHearsContext(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Append(ctx, [][]byte{[]byte("x")}); err != nil && !errors.Is(err, log.ErrFatal) {
		t.Errorf("got %v", err)
	}
}

// A crash keeps any prefix of the writes that were not yet synced, and all that
// were. Each subtest puts back what one step of publishing had not yet done.
func TestCrashBetweenSteps(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.open()
	r.publish(5)
	r.close()
	before := filepath.Join(t.TempDir(), "before")
	copyDir(t, w.dir, before)
	r = w.open()
	last := r.publish(4)
	r.close()
	after := filepath.Join(t.TempDir(), "after")
	copyDir(t, w.dir, after)
	segment, published := "heads/00000001.heads", "log/published/checkpoint"
	old, err := os.ReadFile(filepath.Join(before, segment))
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(filepath.Join(after, segment))
	if err != nil {
		t.Fatal(err)
	}
	leaves := w.leaves
	text, _, err := checkpoint.Split(last.Note)
	if err != nil {
		t.Fatal(err)
	}
	durable := bytes.Index(all, text) + len(text) + 1 // the end of the head's record
	// Cut the heads file everywhere between the last two publications.
	for n := len(old); n <= len(all); n += 7 {
		os.RemoveAll(w.dir)
		copyDir(t, after, w.dir)
		if err := os.Truncate(filepath.Join(w.dir, segment), int64(n)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(before, published))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.dir, published), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if n < durable { // nobody has asked the witness yet
			w.witnesses[0].set(func(x *witness) { x.latest, x.note = checkpoint.Checkpoint{}, nil })
		}
		w.leaves = leaves
		r := w.open()
		r.Release(r.Integrated())
		p := r.await(last.Size)
		if p.Root != last.Root {
			t.Fatalf("cut at %d: another root", n)
		}
		r.check(p)
		r.close()
	}
}
