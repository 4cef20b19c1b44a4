package log_test

import (
	"testing"
	"time"
)

// One leaf at a time from Append to a published checkpoint, three witnesses on
// this host, two of which must cosign.
func BenchmarkPublishOne(b *testing.B) {
	w := newWorld(b, 3, 2)
	r := w.open()
	r.publish(1)
	var appending time.Duration
	for b.Loop() {
		start := time.Now()
		r.add(1)
		appending += time.Since(start)
		if _, err := r.Await(b.Context(), int64(len(w.leaves))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(appending.Microseconds())/float64(b.N), "µs-append/op")
}

// Two thousand leaves at a time.
func BenchmarkPublishBatch(b *testing.B) {
	w := newWorld(b, 3, 2)
	r := w.open()
	r.publish(1)
	for b.Loop() {
		r.add(2048)
		if _, err := r.Await(b.Context(), int64(len(w.leaves))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(2048*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}
