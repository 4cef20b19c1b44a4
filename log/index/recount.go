package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	ilog "idlog/log"
	"idlog/proto/history"
)

// recount is the second computation, SPEC F25. It reads the entries between two revisions from disk again, and from them and the
// rows of the earlier revision, whose root is computed again as well, what the later one must be: nothing of what Append had in
// memory has part in it. So if the earlier root is right, the later one is. The end of ctx does not end it: the next process
// builds on what this one appended.
func (x *Index) recount(ctx context.Context, before, after *revision, head ilog.Published) error {
	began := time.Now()
	ctx = context.WithoutCancel(ctx)
	reader := x.reader(head)
	want := history.State{Size: after.state.Size}
	var err error
	if want.LogRoot, err = reader.Root(ctx, want.Size); err != nil {
		return err
	}
	entries := make([]history.Entry, 0, want.Size-before.state.Size)
	for e, err := range reader.Entries(ctx, before.state.Size, want.Size) {
		if err != nil {
			return err
		}
		entries = append(entries, history.Entry{Leaf: e.Hash, Keys: x.cheat.keys(x, e)})
	}
	want.Keys, want.MapRoot, err = before.view.Recount(entries)
	switch {
	case errors.Is(err, history.ErrDamaged):
		return x.fault(err.Error(), nil)
	case err != nil:
		return err
	case want != after.state:
		return x.fault(fmt.Sprintf("a second computation has other roots of the first %d entries: log root %x, %d keys, map root %x", want.Size, want.LogRoot, want.Keys, want.MapRoot), nil)
	}
	x.cfg.Metrics.recount.Since(began)
	return nil
}
