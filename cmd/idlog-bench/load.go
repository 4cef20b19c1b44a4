package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// load is one line of the report: so many callers, each with one call of so many events in flight.
type load struct {
	Callers int
	Batch   int
	Window  time.Duration
	// Rate is how many events a second all callers offer together, whether or not they are answered; 0 means that each
	// caller sends when it has its answer.
	Rate float64
}

func (l load) String() string {
	text := fmt.Sprintf("%d callers, %d events a call", l.Callers, l.Batch)
	if l.Rate > 0 {
		text += fmt.Sprintf(", %.0f events/s offered", l.Rate)
	}
	return text
}

// due is when a caller's n-th call is to be sent: the calls of all callers are spread evenly.
func (l load) due(start time.Time, caller, n int) time.Time {
	if l.Rate == 0 {
		return time.Now()
	}
	calls := float64(caller + n*l.Callers)
	return start.Add(time.Duration(calls * float64(l.Batch) / l.Rate * 1e9))
}

// reply is a call that is kept, to be verified in full once the clock has stopped.
type reply struct {
	sent     time.Time
	received time.Time
	events   []*eventv1.Event
	response *logv1.SubmitEventsResponse
}

// measured is what the callers of one load saw.
type measured struct {
	events    int64
	tickets   int64
	elapsed   time.Duration
	latencies []time.Duration
	answers   []reply
}

// sleepUntil reports false when ctx ends first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// drive runs a load against a connection. Each caller makes its events before its clock starts; glance is called with
// each answer while timing and its error ends the run. Only events with a receipt count; tickets are told apart.
func drive(ctx context.Context, conns []grpc.ClientConnInterface, source string, l load, s shape, seed uint64, keep bool, glance func(*reply) error) (*measured, error) {
	var mu sync.Mutex
	var m measured
	var events, tickets atomic.Int64
	start := time.Now()
	window, cancel := context.WithDeadline(ctx, start.Add(l.Window))
	defer cancel()
	group, gctx := errgroup.WithContext(ctx)
	for c := range l.Callers {
		group.Go(func() error {
			client := logv1.NewEventServiceClient(conns[c%len(conns)])
			g := newGenerator(s, fmt.Sprintf("%x-%d", seed, c), seed+uint64(c))
			var latencies []time.Duration
			var answers []reply
			for n := 0; window.Err() == nil; n++ {
				a := reply{events: make([]*eventv1.Event, l.Batch)}
				for i := range a.events {
					a.events[i] = g.event()
				}
				due := l.due(start, c, n)
				if !sleepUntil(window, due) {
					break
				}
				call, done := context.WithTimeout(gctx, 30*time.Second)
				a.sent = time.Now()
				if l.Rate == 0 {
					due = a.sent
				}
				var err error
				a.response, err = client.SubmitEvents(call, &logv1.SubmitEventsRequest{Source: source, Events: a.events})
				a.received = time.Now()
				done()
				if err != nil {
					return fmt.Errorf("submitting a batch of %d: %w", l.Batch, err)
				}
				for _, r := range a.response.GetResults() {
					switch o := r.GetOutcome().(type) {
					case *logv1.Result_Receipt:
						events.Add(1)
					case *logv1.Result_Ticket:
						tickets.Add(1)
					case *logv1.Result_Error:
						return fmt.Errorf("an event was refused: %s", o.Error.GetMessage())
					default:
						return errors.New("an event was not answered")
					}
				}
				latencies = append(latencies, a.received.Sub(due)) // a call that had to wait for the one before is late
				if glance != nil {
					if err := glance(&a); err != nil {
						return err
					}
				}
				if keep {
					answers = append(answers, a)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			m.latencies = append(m.latencies, latencies...)
			m.answers = append(m.answers, answers...)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	m.elapsed = time.Since(start)
	m.events, m.tickets = events.Load(), tickets.Load()
	slices.Sort(m.latencies)
	return &m, nil
}

// at is a percentile of the calls' latencies, p in 0..1; 0 when there were none.
func (m *measured) at(p float64) time.Duration {
	if len(m.latencies) == 0 {
		return 0
	}
	return m.latencies[min(int(p*float64(len(m.latencies))), len(m.latencies)-1)]
}

// perSecond is 0 where nothing was driven.
func (m *measured) perSecond() float64 { return float64(m.events) / max(m.elapsed.Seconds(), 1e-9) }
