package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
)

// retry calls op until it succeeds, fails for good, has been tried attempts
// times (0: any number) or ctx ends. It waits what the server asks for, else
// a time that doubles, each spread so that those who fail together do not come
// back together. When ctx would end before the next try, the last error is
// returned at once: waiting for nothing helps nobody.
func retry(ctx context.Context, attempts int, op func() error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := op()
		if err == nil {
			return nil
		}
		if code := status.Code(err); ctx.Err() != nil && (code == codes.Canceled || code == codes.DeadlineExceeded) {
			return ctx.Err() // said plainer
		}
		wait, again := transient(err)
		if !again || ctx.Err() != nil {
			return err
		}
		if attempts > 0 && try >= attempts {
			return fmt.Errorf("giving up after %d attempts: %w", try, err)
		}
		if wait <= 0 {
			wait = pause/2 + rand.N(pause)
			pause = min(2*pause, maxPause)
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
			return fmt.Errorf("giving up after %d attempts, as the deadline is near: %w", try, err)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// sleep waits for d or the end of ctx, whose error it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
