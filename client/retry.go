package client

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	// longestWait bounds what a server can make a client wait for.
	longestWait = time.Minute
	// longestTry bounds one try of a call, so that a server that went silent is asked again. A server answers a
	// submission within the time it waits for its witnesses, a minute at most.
	longestTry = 2 * time.Minute
)

// retry calls op until it succeeds, fails for good, has been tried attempts
// times (0: any number) or ctx ends. It waits what the server asks for, at most
// a minute, else a time that doubles up to ten seconds, each spread so that
// those who fail together do not come back together. When ctx would end before
// the next try, the last error is returned at once: waiting for nothing helps
// nobody.
func retry(ctx context.Context, attempts int, op func(context.Context) error) error {
	pause := firstPause
	var last error // what an earlier try said
	for try := 1; ; try++ {
		err := op(ctx)
		if err == nil {
			return nil
		}
		end, bounded := ctx.Deadline()
		over := ctx.Err() != nil || bounded && !time.Now().Before(end)
		if code := status.Code(err); over && (code == codes.Canceled || code == codes.DeadlineExceeded) {
			return ended(ctx, last)
		}
		wait, again := transient(err)
		if !again || over {
			return err
		}
		last = err
		if attempts > 0 && try >= attempts {
			return fmt.Errorf("%w after %d attempts: %w", errGaveUp, try, err)
		}
		if wait > 0 {
			wait = min(wait, longestWait)
			wait += rand.N(wait/4 + 1)
		} else {
			wait = pause/2 + rand.N(pause)
			pause = min(2*pause, maxPause)
		}
		if bounded && time.Until(end) < wait {
			return fmt.Errorf("%w after %d attempts, as the deadline is near: %w", errGaveUp, try, err)
		}
		if sleep(ctx, wait) != nil {
			return ended(ctx, last)
		}
	}
}

// ended is the plain error of a context that is over, with what stood in the way before.
func ended(ctx context.Context, last error) error {
	err := cmp.Or(ctx.Err(), context.DeadlineExceeded) // whose timer may be a moment late
	if last != nil && err != context.Canceled {
		return fmt.Errorf("%w; before that: %w", err, last)
	}
	return err
}

// try sends one request once.
func try[Req, Res any](ctx context.Context, method func(context.Context, Req, ...grpc.CallOption) (Res, error), req Req) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, longestTry)
	defer cancel()
	res, err := method(ctx, req)
	return res, asError(err)
}

// call sends one request, and again while it fails for reasons that pass.
func call[Req, Res any](ctx context.Context, c *Client, method func(context.Context, Req, ...grpc.CallOption) (Res, error), req Req) (res Res, err error) {
	err = retry(ctx, c.attempts, func(ctx context.Context) error {
		var err error
		res, err = try(ctx, method, req)
		return err
	})
	return res, err
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
