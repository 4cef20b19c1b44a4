package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	ilog "idlog/log"
	"idlog/proto/history"
)

// recount is the second computation, SPEC F25, of the revision that was appended last, to the one of before entries. It reads
// these entries from disk again. The end of ctx does not end it: the next process builds on what this one appended.
func (x *Index) recount(ctx context.Context, before int64, head ilog.Published) error {
	began := time.Now()
	ctx = context.WithoutCancel(ctx)
	reader, state := x.reader(head), x.base.state
	root, err := reader.Root(ctx, state.Size)
	if err != nil {
		return err
	}
	if root != state.LogRoot {
		return x.fault(fmt.Sprintf("the log's own root of the first %d entries is %x, and the index has %x", state.Size, root, state.LogRoot), nil)
	}
	entries := make([]history.Entry, 0, state.Size-before)
	for e, err := range reader.Entries(ctx, before, state.Size) {
		if err != nil {
			return err
		}
		entries = append(entries, history.Entry{Leaf: e.Hash, Keys: x.cheat.keys(x, e)})
	}
	if err := x.engine.Recount(entries); errors.Is(err, history.ErrDamaged) || errors.Is(err, history.ErrDisagrees) {
		return x.fault(err.Error(), nil)
	} else if err != nil {
		return err
	}
	x.cfg.Metrics.recount.Since(began)
	return nil
}
