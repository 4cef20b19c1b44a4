package ingest

import (
	"context"
	"errors"
	"fmt"

	"idlog/log/journal"
	"idlog/proto/leaf"
)

// Root puts a root leaf of the verifiable index into the log and returns where it stands; it is published a moment later.
// Nothing else brings one in: Submit makes the leaves of events and enrolments alone (SPEC 2.12). The same leaf again
// stands where it stood. One that was put and has no place yet when the process ends has one when New has returned.
//
// If ctx or Run ends first, the leaf may get into the log all the same. An error of the journal is an ErrFatal of it.
func (in *Ingest) Root(ctx context.Context, l *leaf.Root) (index int64, err error) {
	b, err := l.Format()
	if err != nil {
		return 0, fmt.Errorf("logging a root of the index: %w", err)
	}
	if err := in.log.ReadOnly(); err != nil {
		return 0, fmt.Errorf("logging a root of the index: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(in.life, func() { cancel(errEnded) })()
	// If we die after this, the next start puts it into the log.
	outcomes, err := in.journal.Put(ctx, []*journal.Row{{Key: leaf.HashOf(b), Leaf: b}})
	if err != nil {
		return 0, fmt.Errorf("logging a root of the index: %w", err)
	}
	if index, err = outcomes[0].Row.Wait(ctx); err != nil {
		return 0, fmt.Errorf("logging a root of the index: %w", context.Cause(ctx))
	}
	return index, nil
}

var errEnded = errors.New("the log is shutting down")
