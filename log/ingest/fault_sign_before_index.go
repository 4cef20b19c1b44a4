//go:build fault_sign_before_index

package ingest

import (
	"context"
	"crypto/rand"
	"time"

	"idlog/log/journal"
)

// settle is a planted fault, for tests that must find it: rows may be signed and
// published before the journal has their index.
func (in *Ingest) settle(ctx context.Context, first int64, rows []*journal.Row) error {
	size := first + int64(len(rows))
	in.log.Release(size)
	if _, running := in.log.Published(); running {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := in.log.Await(ctx, size); err == nil {
			<-time.After(20 * time.Millisecond)
		}
	}
	return in.journal.Sequenced(first, rows)
}

// scanFrom is the other half: what is published is believed to be indexed, and
// the cursor is moved over it.
func (in *Ingest) scanFrom() int64 {
	cursor := in.journal.Cursor()
	if p, _ := in.log.Published(); p.Size > cursor {
		skipped := make([]*journal.Row, p.Size-cursor)
		for i := range skipped {
			skipped[i] = &journal.Row{Leaf: []byte("skipped")}
			rand.Read(skipped[i].Key[:])
		}
		if err := in.journal.Sequenced(cursor, skipped); err != nil {
			in.fail(err)
		}
	}
	return in.journal.Cursor()
}
