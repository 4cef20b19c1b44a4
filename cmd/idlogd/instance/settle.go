package instance

import (
	"context"
	"time"
)

// Settle waits until nothing that was taken in is unpublished, or until ctx ends, and returns how many events are. It is
// called when nothing more comes in, while Run runs.
func (in *Instance) Settle(ctx context.Context) (left int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if left, _, _, _ = in.Ingest.Backlog(); left == 0 || in.Log.ReadOnly() != nil {
			return left
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left
		}
	}
}
