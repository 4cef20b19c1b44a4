package ingest_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	eventv1 "idlog/proto/idlog/event/v1"
)

// BenchmarkSubmit takes events of forty persons in, publishes them at once and
// answers with receipts; journal and vault are on disk, the log is in memory.
func BenchmarkSubmit(b *testing.B) {
	for _, c := range []struct{ callers, batch int }{{1, 1}, {64, 1}, {32, 100}} {
		b.Run(fmt.Sprintf("callers=%d/batch=%d", c.callers, c.batch), func(b *testing.B) {
			w := newWorld(b, func(w *world) { w.config.MaxBacklog, w.config.MaxBacklogBytes = 1<<30, 1<<40 })
			var n atomic.Int64
			b.SetParallelism(c.callers)
			start, used := time.Now(), processor(b)
			template := make([]*eventv1.Event, 40)
			for i := range template {
				template[i] = w.event("x", fmt.Sprint("a", i), fmt.Sprint("b", i))
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					events := make([]*eventv1.Event, c.batch)
					for i := range events {
						k := n.Add(1)
						e := template[k%40]
						id := fmt.Sprint("bench-", k)
						events[i] = &eventv1.Event{
							Source: &eventv1.Source{NativeId: &id, NativeType: e.Source.NativeType}, Class: e.Class, Times: e.Times,
							Actor: e.Actor, Targets: e.Targets, Outcome: e.Outcome, Correlation: e.Correlation, Network: e.Network,
							RawMediaType: e.RawMediaType, Raw: e.Raw,
						}
					}
					answers, err := w.Submit(b.Context(), request(events...))
					if err != nil || answers[0].Receipt == nil {
						b.Errorf("%+v, %v", answers, err)
						return
					}
				}
			})
			b.ReportMetric(float64(n.Load())/time.Since(start).Seconds(), "events/s")
			b.ReportMetric(float64((processor(b)-used).Microseconds())/float64(n.Load()), "cpu-µs/event")
			b.ReportAllocs()
		})
	}
}

// processor is the processor time of this process, which says more than the clock on a machine that others use.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
