package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log/backup"
	"idlog/log/journal"
	"idlog/proto/leaf"
)

// A second backup into the folder of the first copies what is new, and takes away what is in it no longer.
func TestSecondBackup(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 300)...)
	first := w.backup("backup")
	full := w.path("backup/tiles/tile/entries/000")
	before, err := os.Stat(full)
	must(t, err)
	w.submit("ada", ids("b", 300)...)
	second := w.backup("backup")
	after, err := os.Stat(full)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("a full tile was copied again")
	}
	if second.Generation != first.Generation+1 || second.Size <= first.Size {
		t.Errorf("generation %d of size %d after %d of %d", second.Generation, second.Size, first.Generation, first.Size)
	}
	want := []string{"LOCK", "MANIFEST", "ORIGIN"}
	for _, f := range second.Files {
		want = append(want, f.Path)
	}
	var got []string
	for name := range tree(t, w.path("backup")) {
		got = append(got, strings.TrimPrefix(name, "/"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the folder has not just what is in the manifest:\n%s", diff)
	}
	// Nothing new: the same tree again.
	third := w.backup("backup")
	if third.Size != second.Size || third.Root != second.Root {
		t.Errorf("a backup of the same tree is of size %d", third.Size)
	}
}

// A segment of the journal that is full does not change: it is linked, and one that the backup before has is not read again.
func TestFullSegmentsAreLinked(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 10)...)
	payload := make([]byte, 8<<20)
	for i := range 9 { // a segment has 64 MiB
		_, err := w.journal.Put(t.Context(), []*journal.Row{{Key: leaf.Hash{0: 1, 1: byte(i)}, Leaf: fmt.Appendf(nil, "bulk %d", i), Payload: payload}})
		must(t, err)
	}
	live, err := os.Stat(w.path("journal/00000001.rows"))
	must(t, err)
	for n := range 2 {
		w.backup("backup")
		copied, err := os.Stat(w.path(fmt.Sprintf("backup/state-%d/journal/00000001.rows", n+1)))
		must(t, err)
		if !os.SameFile(live, copied) {
			t.Errorf("backup %d has a copy of a segment that is full", n+1)
		}
	}
	_, err = os.Stat(w.path("backup/state-2/journal/00000002.rows"))
	must(t, err)

	// What was damaged before it was copied has the sum that the manifest says, and is found all the same.
	w.submit("ada", ids("b", 10)...)
	segment, err := os.OpenFile(w.path("journal/00000001.rows"), os.O_RDWR, 0)
	must(t, err)
	_, err = segment.WriteAt([]byte("damage"), 32<<20)
	must(t, err, segment.Close())
	_, err = backup.Make(t.Context(), w.source(), w.path("other"), time.Now(), nil)
	must(t, err)
	_, err = backup.Verify(t.Context(), w.path("other"), nil)
	if err == nil || !strings.Contains(err.Error(), "state-1/journal/00000001.rows: byte ") {
		t.Errorf("a backup of a damaged journal: %v", err)
	}
}

// A log that takes events in while it is copied: what the copy has is whole, and what came later is in the next one.
func TestBackupUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 10)...)
	must(t, os.WriteFile(w.path("note"), nil, 0o600))
	done := make(chan error, 1)
	source := w.source()
	go func() {
		var err error
		for i := 0; i < 5 && err == nil; i++ {
			_, err = backup.Make(t.Context(), source, w.path("backup"), time.Now(), nil)
		}
		done <- err
	}()
	for n := 0; ; n++ {
		select {
		case err := <-done:
			must(t, err)
			if n == 0 {
				t.Error("no event was taken in meanwhile")
			}
		default:
			w.submit(fmt.Sprintf("person-%d", n%7), ids(fmt.Sprintf("load-%d", n), 20)...)
			continue
		}
		break
	}
	w.stop()
	// Everything but heads and journal is lost.
	w.replace("log", "")
	w.replace("subjects", "")
	p, err := backup.Prepare(t.Context(), w.target(backup.PartJournal), w.path("backup"), nil)
	must(t, err)
	must(t, p.Run(t.Context()), p.Close())
	w.start()
	w.submit("ada", ids("z", 1)...)
	w.verify()
}

func TestRefusedBackups(t *testing.T) {
	w := newWorld(t)
	w.start()
	refused := func(t *testing.T, s backup.Source, want string) {
		t.Helper()
		before := tree(t, w.path("backup"))
		_, err := backup.Make(t.Context(), s, w.path("backup"), time.Now(), nil)
		var refused *backup.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a refusal with %q", err, want)
		}
		if diff := cmp.Diff(before, tree(t, w.path("backup"))); diff != "" {
			t.Errorf("the refusal changed something:\n%s", diff)
		}
	}
	must(t, os.Mkdir(w.path("backup"), 0o700), os.WriteFile(w.path("note"), nil, 0o600))
	t.Run("nothing published", func(t *testing.T) { refused(t, w.source(), "nothing is published yet") })
	w.submit("ada", ids("a", 10)...)
	t.Run("something else", func(t *testing.T) {
		name := w.path("backup/thesis.txt")
		must(t, os.WriteFile(name, []byte("mine"), 0o600))
		refused(t, w.source(), "it is not empty, and not a backup")
		must(t, os.Remove(name))
	})
	w.backup("backup")
	t.Run("another log", func(t *testing.T) {
		other := w.source()
		other.Origin = "other.example/id/0"
		refused(t, other, "a backup of another log: origin acme.example/id/0")
	})
	t.Run("another tree", func(t *testing.T) {
		other := newWorld(t)
		other.start()
		other.submit("ada", ids("x", 20)...)
		s := other.source()
		refused(t, s, "this log does not continue")
	})
	t.Run("a smaller tree", func(t *testing.T) {
		other := newWorld(t)
		other.start()
		other.submit("ada", ids("x", 2)...)
		refused(t, other.source(), "and the log has published 5")
	})
	t.Run("in use", func(t *testing.T) {
		f, err := os.Open(w.path("backup/LOCK"))
		must(t, err)
		must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
		refused(t, w.source(), "another backup or restore uses this folder")
		must(t, f.Close())
	})
	t.Run("a manifest that was changed", func(t *testing.T) {
		must(t, os.Truncate(w.path("backup/MANIFEST"), 300))
		refused(t, w.source(), "MANIFEST")
	})
}

// TestInterruptedBackup ends a second backup at each of its steps: the first one stays whole, and the next completes it.
func TestInterruptedBackup(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 300)...)
	must(t, os.WriteFile(w.path("note"), nil, 0o600))
	for end := 1; ; end++ {
		must(t, os.RemoveAll(w.path("backup")))
		if end%2 == 0 { // of the odd ones it is the first
			w.backup("backup")
			w.submit("ada", ids("b-"+time.Now().String(), 3)...)
		}
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		made, err := backup.Make(ctx, w.source(), w.path("backup"), time.Now(), func(string, int64, int64) {
			if steps++; steps == end {
				cancel()
			}
		})
		cancel()
		if err == nil && steps < end {
			if end < 4 {
				t.Errorf("only %d steps", end)
			}
			return
		}
		kept, verr := backup.Verify(t.Context(), w.path("backup"), nil)
		switch {
		case err == nil: // the last step was done all the same
			must(t, verr)
		case end%2 == 0:
			must(t, verr)
			if made != nil || kept.Generation != 1 {
				t.Errorf("an interrupted backup is generation %d", kept.Generation)
			}
		case verr == nil:
			t.Error("an interrupted first backup verifies")
		}
		w.backup("backup")
	}
}

// What a crash between the manifest and the sweep leaves is taken away by the next backup, and belongs to none.
func TestStraysAreSwept(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 10)...)
	w.backup("backup")
	for _, name := range []string{"state-7/journal/000001.sst", "tiles/tile/0/000.p/3", "tiles/tile/entries/x001/000"} {
		must(t, os.MkdirAll(filepath.Dir(w.path("backup/"+name)), 0o700), os.WriteFile(w.path("backup/"+name), []byte("stray"), 0o600))
	}
	_, err := backup.Verify(t.Context(), w.path("backup"), nil)
	must(t, err)
	made := w.backup("backup")
	if n := len(tree(t, w.path("backup"))); n != len(made.Files)+3 {
		t.Errorf("%d files, want %d", n, len(made.Files)+3)
	}
}
