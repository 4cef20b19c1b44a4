package call

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/client/internal/pause"
	logv1 "idlog/proto/idlog/log/v1"
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

// Retry calls op until it succeeds, fails for good, has been tried attempts
// times (0: any number) or ctx ends. It waits what the server asks for, at most
// a minute, else a time that doubles up to ten seconds, each spread so that
// those who fail together do not come back together. When ctx would end before
// the next try, the last error is returned at once: waiting for nothing helps
// nobody.
func Retry(ctx context.Context, attempts int, op func(context.Context) error) error {
	next := firstPause
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
		wait, again := Passes(err)
		if !again || over {
			return err
		}
		last = err
		if attempts > 0 && try >= attempts {
			return fmt.Errorf("%w after %d attempts: %w", ErrGaveUp, try, err)
		}
		if wait > 0 {
			wait = min(wait, longestWait)
			wait += rand.N(wait/4 + 1)
		} else {
			wait = next/2 + rand.N(next)
			next = min(2*next, maxPause)
		}
		if bounded && time.Until(end) < wait {
			return fmt.Errorf("%w after %d attempts, as the deadline is near: %w", ErrGaveUp, try, err)
		}
		if pause.For(ctx, wait) != nil {
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

// Once sends one request once.
func Once[Req, Res any](ctx context.Context, method func(context.Context, Req, ...grpc.CallOption) (Res, error), req Req) (Res, error) {
	ctx, cancel := context.WithTimeout(ctx, longestTry)
	defer cancel()
	res, err := method(ctx, req)
	return res, ErrorOf(err)
}

// Do sends one request, and again while it fails for reasons that pass.
func Do[Req, Res any](ctx context.Context, attempts int, method func(context.Context, Req, ...grpc.CallOption) (Res, error), req Req) (res Res, err error) {
	err = Retry(ctx, attempts, func(ctx context.Context) error {
		var err error
		res, err = Once(ctx, method, req)
		return err
	})
	return res, err
}

// errEnded stands for a stream that the server closed without an error.
var errEnded = &Refused{Reason: logv1.Reason_REASON_SHUTTING_DOWN, Code: codes.Unavailable, Message: "the stream has ended", Index: -1}

// Stream runs a stream again and again while it breaks for reasons that pass;
// run returns what ended it, and calls alive when it brought something. A stream
// that did begins to count its failures anew. An error that is not of the call
// ends it as it is.
func Stream(ctx context.Context, attempts int, run func(ctx context.Context, alive func()) error) error {
	for {
		lived := false
		err := Retry(ctx, attempts, func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err := run(ctx, func() { lived = true })
			if err == io.EOF {
				err = errEnded
			} else {
				err = ErrorOf(err)
			}
			if _, again := Passes(err); again && lived {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := pause.For(ctx, firstPause); err != nil {
			return err
		}
	}
}
