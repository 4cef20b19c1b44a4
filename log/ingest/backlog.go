package ingest

import (
	"context"
	"sync"

	"idlog/log/journal"
)

// backlog counts what was taken in and is not published yet, but for what waits
// in the journal, which counts that itself.
type backlog struct {
	maxRows, maxBytes int64
	more              chan struct{} // has one token when unpublished has grown

	mu          sync.Mutex // guards what follows
	rows, bytes int64      // on their way into the journal, or in the log and unpublished
	unpublished []batch    // oldest first
}

// batch is what one append brought into the log, which then had size entries.
type batch struct{ size, rows, bytes int64 }

func newBacklog(rows, bytes int64) *backlog {
	return &backlog{maxRows: rows, maxBytes: bytes, more: make(chan struct{}, 1)}
}

// reserve adds to the backlog unless that, with what is queued in the journal,
// would be too much.
func (b *backlog) reserve(rows, bytes, queuedRows, queuedBytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rows+rows+queuedRows > b.maxRows || b.bytes+bytes+queuedBytes > b.maxBytes {
		return false
	}
	b.rows, b.bytes = b.rows+rows, b.bytes+bytes
	return true
}

// release takes back what reserve added.
func (b *backlog) release(rows, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows, b.bytes = b.rows-rows, b.bytes-bytes
}

// sequenced adds rows that have just left the journal's queue for the log.
func (b *backlog) sequenced(size int64, rows []*journal.Row) {
	added := batch{size: size, rows: int64(len(rows))}
	for _, r := range rows {
		added.bytes += r.Size()
	}
	b.mu.Lock()
	b.rows, b.bytes = b.rows+added.rows, b.bytes+added.bytes
	b.unpublished = append(b.unpublished, added)
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// published takes off what a checkpoint of size covers, and returns the size
// that is waited for next, or 0.
func (b *backlog) published(size int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unpublished) > 0 && b.unpublished[0].size <= size {
		b.rows -= b.unpublished[0].rows
		b.bytes -= b.unpublished[0].bytes
		b.unpublished = b.unpublished[1:]
	}
	if len(b.unpublished) == 0 {
		return 0
	}
	return b.unpublished[0].size
}

// drain takes off the backlog what is published, until ctx ends or no
// checkpoint can come any more.
func (in *Ingest) drain(ctx context.Context) {
	for {
		size := int64(0)
		if p, ok := in.log.Published(); ok {
			size = p.Size
		}
		if next := in.backlog.published(size); next > 0 {
			if _, err := in.log.Await(ctx, next); err != nil {
				return // ctx ended, the log is read-only, or its own Run tells the failure
			}
			continue
		}
		select {
		case <-in.backlog.more:
		case <-ctx.Done():
			return
		}
	}
}
