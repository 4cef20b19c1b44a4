package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/mod/sumdb/note"

	"idlog/log/journal"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// remedyBackup is for a backup that is not as it was made.
const remedyBackup = "do not use this backup: take another one, and look at the disk that it was on"

// Verify reads all of a backup and returns its manifest if the whole is as it
// was made: each file has its size and its hash, the checkpoint is signed by the
// keys that the manifest names, every entry hashes to its root, and the journal
// is whole and has each entry from the last one of the tiles on. It changes nothing. What does not
// hold is a *RefusedError with Damaged. Whether the keys are those of the right
// log is for the caller to say.
func Verify(ctx context.Context, dir string, progress Progress) (*Manifest, error) {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &RefusedError{File: dir, Problem: "there is no backup: it has no MANIFEST", Remedy: "name the folder of a backup; one that was interrupted is completed by idlogd backup"}
	} else if errors.As(err, new(*fs.PathError)) {
		return nil, fmt.Errorf("verifying backup: %w", err)
	} else if err != nil {
		return nil, damaged(filepath.Join(dir, manifestName), "%v", err)
	}
	if err := verifyFiles(ctx, dir, m, progress); err != nil {
		return nil, err
	}
	if _, err := readNote(dir, m); err != nil {
		return nil, err
	}
	if err := verifyTree(ctx, dir, m, progress); err != nil {
		return nil, err
	}
	return m, verifyJournal(dir, m)
}

func damaged(file, format string, args ...any) error {
	return &RefusedError{File: file, Problem: fmt.Sprintf(format, args...), Remedy: remedyBackup, Damaged: true}
}

func verifyFiles(ctx context.Context, dir string, m *Manifest, progress Progress) error {
	var done int64
	for i, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		size, h, err := sum(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return damaged(name, "it is missing")
		case err != nil:
			return fmt.Errorf("verifying backup: %w", err)
		case size != f.Size || h != f.Sum:
			return damaged(name, "it is not what was backed up: its size or its SHA-256 is another")
		}
		if done += size; i%64 == 0 || i == len(m.Files)-1 {
			progress.tell("verifying bytes", done, m.Bytes())
		}
	}
	return nil
}

// readNote returns the checkpoint of a backup. All keys of the manifest must have
// signed it: the log signs with each of its keys.
func readNote(dir string, m *Manifest) ([]byte, error) {
	name := filepath.Join(dir, m.state(), noteName)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("verifying backup: %w", err)
	}
	var keys []note.Verifier
	for _, v := range m.VKeys {
		key, err := checkpoint.NewVerifier(v)
		if err != nil {
			return nil, damaged(filepath.Join(dir, manifestName), "%v", err)
		}
		keys = append(keys, key)
	}
	c, by, err := checkpoint.Open(b, m.Origin, keys...)
	switch {
	case err != nil:
		return nil, damaged(name, "%v", err)
	case by == 0:
		return nil, damaged(name, "no key of the manifest has signed it")
	case c.Size != m.Size || c.Root != m.Root:
		return nil, damaged(name, "its size or root is not that of the manifest")
	}
	return b, nil
}

// reader reads the tree of a backup.
func reader(dir string, m *Manifest) *tile.Reader {
	return tile.NewReader(checkpoint.Checkpoint{Origin: m.Origin, Size: m.Size, Root: m.Root}, func(_ context.Context, path string) ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, tilesName, filepath.FromSlash(path)))
	})
}

func verifyTree(ctx context.Context, dir string, m *Manifest, progress Progress) error {
	for c := range coords(m.Size) { // also those that the reader gets to know otherwise
		if _, ok := m.find(tilesName + "/" + c.Path()); !ok {
			return damaged(filepath.Join(dir, manifestName), "it lacks %s", c.Path())
		}
	}
	for e, err := range reader(dir, m).Entries(ctx, 0, m.Size) {
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return damaged(filepath.Join(dir, tilesName), "%v", err)
		}
		if done := e.Index + 1; done%(64*tile.Width) == 0 || done == m.Size {
			progress.tell("verifying entries", done, m.Size)
		}
	}
	return nil
}

// verifyJournal opens the journal, and holds it against the tiles where they
// meet: the last entry that both have.
func verifyJournal(dir string, m *Manifest) (err error) {
	name := filepath.Join(dir, m.state(), journalName)
	v, err := journal.OpenView(name)
	if err != nil {
		return damaged(name, "%v", err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	// Its files are as they were copied, and may have been damaged before.
	if err := v.Check(); err != nil {
		return damaged(name, "%v", err)
	}
	if v.Cursor() != m.Cursor {
		return damaged(name, "it knows %d entries, not %d as the manifest says", v.Cursor(), m.Cursor)
	}
	last, err := reader(dir, m).Entry(context.Background(), m.Size-1)
	if err != nil {
		return damaged(filepath.Join(dir, tilesName), "%v", err)
	}
	for i := m.Size - 1; i < m.Cursor; i++ {
		b, err := v.Leaf(i)
		if err != nil {
			return damaged(name, "%v", err)
		}
		if i == last.Index && string(b) != string(last.Data) {
			return damaged(name, "it is not the journal of these tiles: entry %d is another", i)
		}
	}
	return nil
}

// flock locks a file for the life of this open file; a crash releases it.
func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
