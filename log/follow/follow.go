// Package follow reads a log as it is published, for what the operator derives from it: through the same proofs, and with the
// same limits, as anybody outside.
//
// It trusts the checkpoints that the log publishes, which are its own, and nothing on disk: each entry was proven to be in the
// tree of one before it is yielded. It keeps nothing, so a crash changes nothing; who follows remembers how far it came.
package follow

import (
	"context"
	"fmt"
	"iter"

	ilog "idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// Log is what is followed, as *log.Log is.
type Log interface {
	// Published is the newest checkpoint; Next waits for one whose note is another.
	Published() (ilog.Published, bool)
	Next(ctx context.Context, after []byte) (ilog.Published, error)
	// Resource is a tile or bundle of the published tree.
	Resource(ctx context.Context, path string) ([]byte, error)
}

// A Batch is the entries that come next, proven under Head.
type Batch struct {
	Entries []tile.Entry // at least one; the receiver's to keep
	Head    ilog.Published
}

// End returns the size of the log up to which it was read.
func (b Batch) End() int64 { return b.Entries[len(b.Entries)-1].Index + 1 }

// Whole reports whether the batch ends where the published log ended, so that End is a size that was published.
func (b Batch) Whole() bool { return b.End() == b.Head.Size }

// Batches yields the entries of the log of an origin from an index on, in order and without end, up to most at a time: all
// that is published when the next batch is asked for, else what comes next. So who takes its time gets larger batches. What takes
// several is read to its end, which was published, before what came meanwhile: also who never catches up gets there now and then.
// An error is the last that it yields: ctx's, those of Next, or a *tile.MismatchError if what is on disk is not what was
// published.
func Batches(ctx context.Context, l Log, origin string, from int64, most int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		var reader *tile.Reader
		var head ilog.Published
		for {
			if head.Size <= from {
				var err error
				if head, err = beyond(ctx, l, from); err != nil {
					yield(Batch{}, fmt.Errorf("following %s: %w", origin, err))
					return
				}
				reader = tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: head.Size, Root: head.Root}, l.Resource)
			}
			b := Batch{Head: head, Entries: make([]tile.Entry, 0, min(int64(most), head.Size-from))}
			for e, err := range reader.Entries(ctx, from, min(from+int64(most), head.Size)) {
				if err != nil {
					yield(Batch{}, fmt.Errorf("following %s: %w", origin, err))
					return
				}
				b.Entries = append(b.Entries, e)
			}
			from = b.End()
			if !yield(b, nil) {
				return
			}
		}
	}
}

// beyond waits until more than size is published.
func beyond(ctx context.Context, l Log, size int64) (ilog.Published, error) {
	p, _ := l.Published()
	for p.Size <= size {
		var err error
		if p, err = l.Next(ctx, p.Note); err != nil {
			return ilog.Published{}, err
		}
	}
	return p, nil
}
