package database_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"idlog/log/internal/database"
)

// sick is a disk that stops creating files of a kind.
type sick struct {
	vfs.FS
	broken *atomic.Bool
}

func (s sick) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if s.broken.Load() {
		return nil, errors.New("the disk is gone")
	}
	return s.FS.Create(name, category)
}

// What the database does beside its callers fails: whoever owns it is told, and
// whoever waits for it is not left waiting.
func TestFailsBesideItsCallers(t *testing.T) {
	var broken atomic.Bool
	told := make(chan error, 1)
	db, err := database.Open("db", &pebble.Options{FS: sick{vfs.NewMem(), &broken}, DisableWAL: true}, nil, func(err error) { told <- err })
	if err != nil {
		t.Fatal(err)
	}
	put := func() error {
		b := db.NewBatch()
		return errors.Join(b.Set([]byte("key"), []byte("value"), nil), db.Commit(b, pebble.NoSync))
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if _, err := db.AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	if err := <-told; !errors.Is(err, database.ErrFailed) {
		t.Errorf("told %v", err)
	}
	for what, err := range map[string]error{"Commit": put(), "Wait": db.Wait(t.Context()), "Close": db.Close()} {
		if !errors.Is(err, database.ErrFailed) {
			t.Errorf("%s: %v, want ErrFailed", what, err)
		}
	}
}

// Where the database would end the process, the call ends with an error.
func TestFailsItsCaller(t *testing.T) {
	var broken atomic.Bool
	db, err := database.Open("db", &pebble.Options{FS: unsyncing{vfs.NewMem(), &broken}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	b := db.NewBatch()
	if err := errors.Join(b.Set([]byte("key"), nil, nil), db.Commit(b, pebble.Sync)); !errors.Is(err, database.ErrFailed) {
		t.Errorf("Commit: %v, want ErrFailed", err)
	}
}

// unsyncing is a disk on which files that are open can no longer be synced.
type unsyncing struct {
	vfs.FS
	broken *atomic.Bool
}

func (w unsyncing) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	return unsynced{f, w.broken}, err
}

type unsynced struct {
	vfs.File
	broken *atomic.Bool
}

func (u unsynced) fail() error {
	if u.broken.Load() {
		return errors.New("the disk is gone")
	}
	return nil
}

func (u unsynced) Sync() error     { return errors.Join(u.fail(), u.File.Sync()) }
func (u unsynced) SyncData() error { return errors.Join(u.fail(), u.File.SyncData()) }

// A block that is not as it was written is an error of who reads it, who goes on,
// and of the database.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	db, err := database.Open(dir, &pebble.Options{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	if err := errors.Join(b.Set([]byte("key"), []byte("value"), nil), db.Commit(b, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	table, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	table[10] ^= 1
	if err := os.WriteFile(tables[0], table, 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	if db, err = database.Open(dir, &pebble.Options{}, nil, func(err error) { told <- err }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.Get([]byte("key")); !pebble.IsCorruptionError(err) {
		t.Errorf("Get: %v", err)
	}
	if err := <-told; !errors.Is(err, database.ErrFailed) || !strings.Contains(err.Error(), tables[0]) {
		t.Errorf("told %v, want %s", err, tables[0])
	}
}
