package serve

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "idlog/proto/idlog/log/v1"
)

// maxPaced is how many principals are remembered at once. Of those, the ones that have rested are forgotten first.
const maxPaced = 4096

// pace limits how many events a principal submits in the long run.
type pace struct {
	mu        sync.Mutex // guards what follows
	perSecond int64      // 0: no limit
	by        map[string]*rate.Limiter
}

func newPace(perSecond int64) *pace {
	return &pace{perSecond: perSecond, by: make(map[string]*rate.Limiter)}
}

// set changes the limit. Everybody begins rested.
func (p *pace) set(perSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.perSecond = perSecond
	clear(p.by)
}

// take counts the events of a call, or refuses it with the time after which it would be let in. At least one call of the
// largest size is let in after a rest, whatever the limit.
func (p *pace) take(principal string, events int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perSecond == 0 {
		return nil
	}
	now, burst := time.Now(), max(int(p.perSecond), maxEvents)
	l := p.by[principal]
	if l == nil {
		if len(p.by) >= maxPaced {
			p.forget(now, float64(burst))
		}
		l = rate.NewLimiter(rate.Limit(p.perSecond), burst)
		p.by[principal] = l
	}
	r := l.ReserveN(now, events)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	s := refusal{
		reason:   logv1.Reason_REASON_OVERLOAD,
		message:  "more events a second than allowed; retry later",
		metadata: map[string]string{"bound": "events_per_second"},
	}.status()
	// The delay is known here, so it takes the place of the usual one.
	proto := s.Proto()
	for i, d := range proto.Details {
		if d.MessageIs(&errdetails.RetryInfo{}) {
			if err := proto.Details[i].MarshalFrom(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err != nil {
				return s.Err()
			}
		}
	}
	return status.ErrorProto(proto)
}

// forget drops the principals that have rested, and if there are none, all: to be let in once too often costs less than
// memory without bound. p.mu is held.
func (p *pace) forget(now time.Time, rested float64) {
	for principal, l := range p.by {
		if l.TokensAt(now) >= rested {
			delete(p.by, principal)
		}
	}
	if len(p.by) >= maxPaced {
		clear(p.by)
	}
}
