package serve

import (
	"sync"

	logv1 "idlog/proto/idlog/log/v1"
)

// Bound is a limit in total and for each principal. Zero means the default
// that stands beside the field of Limits.
type Bound struct{ Total, Each int64 }

// Limits bounds what callers may hold at once. What is over a bound is refused
// at once with OVERLOAD and never queued.
type Limits struct {
	Calls   Bound // calls being answered, streams apart: 4096 and 2048
	Streams Bound // open streams: 1024 and 256
	Bytes   Bound // bytes of requests being answered: 256 MiB and 128 MiB
	// EventsPerSecond is how many events each principal may submit in the long run; 0 is no limit.
	EventsPerSecond int64
}

func (l Limits) withDefaults() Limits {
	l.Calls = l.Calls.or(4096, 2048)
	l.Streams = l.Streams.or(1024, 256)
	l.Bytes = l.Bytes.or(256<<20, 128<<20)
	return l
}

func (b Bound) or(total, each int64) Bound {
	if b.Total == 0 {
		b.Total = total
	}
	if b.Each == 0 {
		b.Each = min(each, b.Total)
	}
	return b
}

// budget counts one kind of thing against its bound.
type budget struct {
	what string // in the refusal: "calls", "streams", "bytes"

	mu    sync.Mutex // guards what follows
	bound Bound
	used  int64
	by    map[string]int64 // principals that hold something; others are absent
}

func newBudget(what string, bound Bound) *budget {
	return &budget{what: what, bound: bound, by: make(map[string]int64)}
}

// set changes the bound. What is held already stays so.
func (b *budget) set(bound Bound) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bound = bound
}

// take reserves n for the principal and returns how to give it back, or
// refuses without waiting.
func (b *budget) take(principal string, n int64) (give func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.bound.Total || b.by[principal]+n > b.bound.Each {
		return nil, refusal{
			reason:   logv1.Reason_REASON_OVERLOAD,
			message:  "more " + b.what + " in flight than allowed; retry later",
			metadata: map[string]string{"bound": b.what},
		}.status().Err()
	}
	b.used += n
	b.by[principal] += n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.used -= n
		if b.by[principal] -= n; b.by[principal] == 0 {
			delete(b.by, principal)
		}
	}, nil
}
