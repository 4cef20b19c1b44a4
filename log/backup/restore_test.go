package backup_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	ilog "idlog/log"
	"idlog/log/backup"
)

// Parts of a log that are lost, that survived as they were, or that are an old copy.
const (
	lost = "lost"
	now  = "now"
	old  = "old" // as they were at the first backup
)

// TestMatrix is the matrix of SPEC F31: each part of a log lost, whole, or put back from an old copy, and a backup that is
// as new as the log or older. What is restored is a log of which every event that it ever acknowledged is there, once.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 300)...)
	w.backup("backup-old")
	oldEvents := len(w.sent)
	w.stop()
	for _, part := range []string{"log", "journal", "subjects", "heads"} {
		w.replace("old-"+part, part)
	}
	w.start()
	w.submit("ada", ids("b", 30)...)
	w.submit("grace", ids("c", 20)...)
	w.backup("backup-new")
	w.stop()
	all := len(w.sent)

	const (
		oldBackup = "backup-old"
		newBackup = "backup-new"
	)
	cases := []struct {
		name                          string
		log, journal, subjects, heads string
		from                          string
		keep                          []backup.Part
		refused                       string // by whom, part of its text; or what follows
		opened                        int    // events that are opened when they are submitted again
		lostPersons                   int64
	}{
		{"all lost", lost, lost, lost, now, newBackup, nil, "", all, 0},
		{"all lost, old backup", lost, lost, lost, now, oldBackup, nil, "those from 303 to 353 are in neither", 0, 0},
		{"all lost but the journal", lost, now, lost, now, oldBackup, []backup.Part{"journal"}, "", all - 20, 1},
		{"log lost", lost, now, now, now, oldBackup, []backup.Part{"journal", "subjects"}, "", all, 0},
		{"log lost, new backup", lost, now, now, now, newBackup, []backup.Part{"journal", "subjects"}, "", all, 0},
		{"log lost, old journal", lost, old, now, now, oldBackup, []backup.Part{"journal", "subjects"}, "those from 303 to 353 are in neither", 0, 0},
		{"log lost, old journal, new backup", lost, old, now, now, newBackup, []backup.Part{"journal", "subjects"}, "", oldEvents, 0},
		{"journal lost", now, lost, now, now, oldBackup, []backup.Part{"log", "subjects"}, "", oldEvents, 0},
		{"journal and persons lost", now, lost, lost, now, oldBackup, []backup.Part{"log"}, "", oldEvents, 1},
		{"persons lost", now, now, lost, now, oldBackup, []backup.Part{"log", "journal"}, "", all - 20, 1},
		{"persons lost, old journal", now, old, lost, now, newBackup, []backup.Part{"log", "journal"}, "", oldEvents, 0},
		{"old log, journal lost", old, lost, now, now, newBackup, []backup.Part{"log", "subjects"}, "it has 303 entries, and 354 were signed", 0, 0},
		{"old log", old, now, lost, now, newBackup, []backup.Part{"log", "journal"}, "it has 303 entries, and 354 were signed", 0, 0},
		{"heads lost", lost, lost, lost, lost, newBackup, nil, "the high-water mark is missing", 0, 0},
		{"old heads", lost, lost, lost, old, newBackup, nil, "the heads are an older copy", 0, 0},
		{"old heads, old backup", lost, lost, lost, old, oldBackup, nil, "", oldEvents, 0},
		{"nothing lost", now, now, now, now, newBackup, nil, "never replaces what is there", 0, 0},
		{"nothing lost, all kept", now, now, now, now, newBackup, []backup.Part{"log", "journal", "subjects"}, "there is nothing to restore", 0, 0},
		{"what is to be kept is lost", lost, lost, lost, now, newBackup, []backup.Part{"journal"}, "there is none", 0, 0},
		{"no backup", lost, lost, lost, now, "heads", nil, "it has no MANIFEST", 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := w.copy()
			w.t = t
			for part, state := range map[string]string{"log": c.log, "journal": c.journal, "subjects": c.subjects, "heads": c.heads} {
				switch state {
				case lost:
					w.replace(part, "")
				case old:
					w.replace(part, "old-"+part)
				}
			}
			before := tree(t, w.dir)
			p, err := backup.Prepare(t.Context(), w.target(c.keep...), w.path(c.from), nil)
			if diff := cmp.Diff(before, tree(t, w.dir)); diff != "" {
				t.Errorf("preparing changed something:\n%s", diff)
			}
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("got %v, want a refusal with %q", err, c.refused)
				}
				return
			}
			must(t, err)
			if p.LostPersons != c.lostPersons {
				t.Errorf("%d persons are said to be lost, want %d", p.LostPersons, c.lostPersons)
			}
			// An event whose payload is gone is between the two ends; the other way round is not so: persons
			// may be the reason, and a journal knows more than its cursor says.
			if lostPayloads := p.LostPayloads[1] - p.LostPayloads[0]; c.opened == all && lostPayloads > 0 {
				t.Errorf("%d payloads are said to be lost", lostPayloads)
			}
			must(t, p.Run(t.Context()), p.Close())

			w.start()
			if c.heads == old { // the fork of the log that the old heads and nobody else know
				w.sent = map[string]int64{}
				w.submit("ada", ids("a", 300)...)
				w.submit("ada", ids("d", 5)...)
				w.verify()
				return
			}
			opened := w.submit("ada", ids("a", 300)...) + w.submit("ada", ids("b", 30)...) + w.submit("grace", ids("c", 20)...)
			if opened != c.opened {
				t.Errorf("%d of %d events are opened, want %d", opened, all, c.opened)
			}
			w.submit("ada", ids("d", 5)...)
			w.submit("grace", ids("e", 5)...)
			w.verify()
			w.stop()
			w.start() // and again
			w.submit("grace", ids("e", 5)...)
			w.verify()
		})
	}
}

// tree is the names and bytes of all files below a folder but the databases' logs of their own.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir)] = string(b)
		return err
	}))
	return files
}

// TestRefusedRestores are the mistakes of a person: nothing may be touched.
func TestRefusedRestores(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 10)...)
	w.backup("backup")
	refused := func(t *testing.T, w *world, want string, keep ...backup.Part) {
		t.Helper()
		before := tree(t, w.dir)
		p, err := backup.Prepare(t.Context(), w.target(keep...), w.path("backup"), nil)
		if err == nil {
			p.Close()
			t.Fatal("it was not refused")
		}
		var ours *backup.RefusedError
		var logs *ilog.RefusedError
		if !errors.As(err, &ours) && !errors.As(err, &logs) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a refusal with %q", err, want)
		}
		if diff := cmp.Diff(before, tree(t, w.dir)); diff != "" {
			t.Errorf("the refusal changed something:\n%s", diff)
		}
	}
	t.Run("a log that runs", func(t *testing.T) { refused(t, w, "the log is open already") })
	w.stop()

	empty := func(w *world) *world {
		for _, part := range []string{"log", "journal", "subjects"} {
			w.replace(part, "")
		}
		return w
	}
	t.Run("another log's backup", func(t *testing.T) {
		other := newWorld(t)
		other.start()
		other.submit("ada", ids("x", 20)...)
		other.stop()
		must(t, os.CopyFS(other.path("backup"), os.DirFS(w.path("backup"))))
		for _, part := range []backup.Part{"journal", "subjects"} {
			other.replace(string(part), "")
		}
		refused(t, other, "it is of another tree of 13 entries than the log has: it is of a log of this name that has other keys", "log")
		other.replace("log", "")
		refused(t, other, "those from 13 to 22 are in neither")
	})
	t.Run("another origin", func(t *testing.T) {
		w := empty(w.copy())
		b, err := os.ReadFile(w.path("backup/MANIFEST"))
		must(t, err)
		m, err := backup.ParseManifest(b)
		must(t, err)
		m.Origin = "other.example/id/0"
		must(t, os.WriteFile(w.path("backup/MANIFEST"), m.Format(), 0o600))
		refused(t, w, "it is a backup of other.example/id/0, not of acme.example/id/0")
	})
	t.Run("a broken manifest", func(t *testing.T) {
		w := empty(w.copy())
		must(t, os.Truncate(w.path("backup/MANIFEST"), 700))
		refused(t, w, "MANIFEST")
	})
	t.Run("a file that changed, or is missing", func(t *testing.T) {
		good := empty(w.copy())
		b, err := os.ReadFile(good.path("backup/MANIFEST"))
		must(t, err)
		m, err := backup.ParseManifest(b)
		must(t, err)
		for _, f := range m.Files {
			name := good.path(filepath.Join("backup", f.Path))
			b, err := os.ReadFile(name)
			must(t, err)
			if len(b) > 0 {
				b[len(b)/2] ^= 1
				must(t, os.WriteFile(name, b, 0o600))
				refused(t, good, "it is not what was backed up")
				b[len(b)/2] ^= 1
			}
			must(t, os.Remove(name))
			refused(t, good, "it is missing")
			must(t, os.WriteFile(name, b, 0o600))
		}
		p, err := backup.Prepare(t.Context(), good.target(), good.path("backup"), nil)
		must(t, err)
		must(t, p.Close())
	})
	t.Run("heads of another log", func(t *testing.T) {
		w := empty(w.copy())
		other := w.config
		other.Dir, other.Heads = filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "heads")
		o := newWorld(t)
		must(t, os.CopyFS(other.Heads, os.DirFS(o.config.Heads)))
		names, err := filepath.Glob(filepath.Join(other.Heads, "*"))
		must(t, err)
		for _, n := range names { // same length of name, so the frames stay whole but for their checksums
			b, err := os.ReadFile(n)
			must(t, err)
			must(t, os.WriteFile(n, []byte(strings.ReplaceAll(string(b), "acme", "emca")), 0o600))
		}
		w.replace("heads", "")
		must(t, os.CopyFS(w.path("heads"), os.DirFS(other.Heads)))
		refused(t, w, "00000001.heads")
	})
}

// TestInterruptedRestore ends a restore at every file it copies: nobody opens what is half there, and the same restore
// begins anew.
func TestInterruptedRestore(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 300)...)
	w.backup("backup")
	w.submit("ada", ids("b", 10)...)
	w.stop()
	w.replace("log", "")
	w.replace("subjects", "")
	var steps int
	for end := 1; ; end++ {
		w := w.copy()
		ctx, cancel := context.WithCancel(t.Context())
		steps = 0
		p, err := backup.Prepare(t.Context(), w.target(backup.PartJournal), w.path("backup"), func(string, int64, int64) {
			if steps++; steps == end {
				cancel()
			}
		})
		must(t, err)
		err = p.Run(ctx)
		must(t, p.Close())
		if ctx.Err() == nil {
			must(t, err)
			if end < 5 {
				t.Errorf("only %d steps", end)
			}
			return
		}
		if err == nil {
			continue // the last step was done all the same
		}
		var refused *backup.RefusedError
		if err := w.open(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "has not ended") {
			t.Fatalf("opening a half restored log: %v", err)
		}
		p, err = backup.Prepare(t.Context(), w.target(backup.PartJournal), w.path("backup"), nil)
		must(t, err)
		must(t, p.Run(t.Context()), p.Close())
		w.start()
		w.submit("ada", ids("a", 300)...)
		w.submit("ada", ids("b", 10)...)
		w.verify()
		w.stop()
	}
}

// The first and the last steps of a restore, which no progress is told of: a crash while the first marker is written, and
// one while the markers are taken away.
func TestInterruptedAtItsEnds(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.submit("ada", ids("a", 10)...)
	w.backup("backup")
	w.stop()
	for _, part := range []string{"log", "journal", "subjects"} {
		w.replace(part, "")
	}
	restore := func(w *world) {
		t.Helper()
		p, err := backup.Prepare(t.Context(), w.target(), w.path("backup"), nil)
		must(t, err)
		must(t, p.Run(t.Context()), p.Close())
	}
	begun := w.copy()
	must(t, os.Mkdir(begun.path("subjects"), 0o755), os.WriteFile(begun.path("subjects/RESTORING.tmp"), nil, 0o600))
	restore(begun)

	restore(w)
	must(t, os.WriteFile(w.path("log/RESTORING"), []byte("complete\n"), 0o600))
	must(t, os.WriteFile(w.path("journal/RESTORING"), nil, 0o600))
	var refused *backup.RefusedError
	if err := w.open(); !errors.As(err, &refused) {
		t.Errorf("opening before the markers are gone: %v", err)
	}
	before, err := os.Stat(w.path("log/identity"))
	must(t, err)
	restore(w)
	after, err := os.Stat(w.path("log/identity"))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("what was complete was restored again")
	}
	w.start()
	w.submit("ada", ids("a", 10)...)
	w.verify()
}
