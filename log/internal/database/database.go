// Package database is what the stores of a log have in common in their use of
// Pebble, which ends the process when it cannot go on, and tries for ever what
// fails beside it. Here both are errors that the owner of the database is told.
package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// ErrFailed is in the errors of a database that cannot go on. Nothing is to be
// written to it any more: end the process.
var ErrFailed = errors.New("the database cannot go on")

// DB is a database. Its reads are those of Pebble.
type DB struct {
	*pebble.DB
	tell   func(error)
	once   sync.Once
	failed chan struct{} // closed once err is set
	err    error
}

// Open opens a database. The logger gets what it has to tell; nil discards it.
// Tell gets the first failure, an ErrFailed, also of what the database does beside
// its callers; it must not call the database, and may be nil.
func Open(dir string, o *pebble.Options, logger *slog.Logger, tell func(error)) (*DB, error) {
	db := &DB{tell: tell, failed: make(chan struct{})}
	o.FormatMajorVersion = pebble.FormatNewest
	o.Logger = log{logger, db}
	o.EventListener = &pebble.EventListener{
		BackgroundError: db.fail,
		// It is called by whoever reads, who then gets an error as well.
		DataCorruption: func(i pebble.DataCorruptionInfo) { db.fail(fmt.Errorf("%s is damaged: %w", i.Path, i.Details)) },
	}
	return db, db.do(func() (err error) {
		db.DB, err = pebble.Open(dir, o)
		return err
	})
}

// Commit applies a batch and closes it. With pebble.Sync it is durable when that
// returns nil.
func (db *DB) Commit(b *pebble.Batch, o *pebble.WriteOptions) error {
	return db.do(func() error {
		if err := b.Commit(o); err != nil {
			return err
		}
		return b.Close()
	})
}

// Close writes what is in memory and closes the database. One that failed is left
// to the end of the process.
func (db *DB) Close() error {
	return db.do(func() error { return errors.Join(db.Flush(), db.DB.Close()) })
}

// Wait returns when the database has failed, with why, or nil when ctx ends.
func (db *DB) Wait(ctx context.Context) error {
	select {
	case <-db.failed:
		return db.err
	case <-ctx.Done():
		return nil
	}
}

// do calls f in a goroutine that the database may end, or never let go on, when
// it fails.
func (db *DB) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		select {
		case <-db.failed:
		default:
			done <- f()
		}
	}()
	select {
	case err := <-done:
		return err
	case <-db.failed:
		return db.err
	}
}

func (db *DB) fail(err error) {
	db.once.Do(func() {
		db.err = fmt.Errorf("%w: %w", ErrFailed, err)
		close(db.failed)
		if db.tell != nil {
			db.tell(db.err)
		}
	})
}

// log is where the database writes its own log.
type log struct {
	*slog.Logger
	db *DB
}

func (l log) Infof(format string, args ...any) {
	if l.Logger != nil {
		l.Debug(fmt.Sprintf(format, args...))
	}
}

func (l log) Errorf(format string, args ...any) {
	if l.Logger != nil {
		l.Error(fmt.Sprintf(format, args...))
	}
}

// Fatalf does not return, as the database asks. It ends the goroutine that
// cannot go on, which is one of the database's own or one of do.
func (l log) Fatalf(format string, args ...any) {
	l.db.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}
