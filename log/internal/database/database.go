// Package database is what the stores of a log have in common in their use of
// Pebble: batches that are durable when they return, and a database that does
// not end the process by itself while it is asked for something.
package database

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// fatal is what the database panics with instead of ending the process.
type fatal string

func (e fatal) Error() string { return string(e) }

// Commit makes a batch durable and closes it. What the database can only end the
// process for is an error here.
func Commit(b *pebble.Batch) error { return commit(b, pebble.Sync) }

// Apply is Commit of what a crash may make the database forget again.
func Apply(b *pebble.Batch) error { return commit(b, pebble.NoSync) }

func commit(b *pebble.Batch, o *pebble.WriteOptions) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = f
		}
	}()
	if err := b.Commit(o); err != nil {
		return err
	}
	return b.Close()
}

// Logger is where the database writes its own log; nil discards it.
func Logger(l *slog.Logger) pebble.Logger { return logger{l} }

type logger struct{ *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	if l.Logger != nil {
		l.Debug(fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	if l.Logger != nil {
		l.Error(fmt.Sprintf(format, args...))
	}
}

// Fatalf does not return, as the database asks. In its own goroutines that ends
// the process, which is right: nothing may be written on top of what failed.
func (l logger) Fatalf(format string, args ...any) {
	panic(fatal(fmt.Sprintf(format, args...)))
}
