package audit_test

import (
	"testing"

	"idlog/client/audit"
)

// BenchmarkRun audits a log of 200,000 entries on disk, in the page cache.
func BenchmarkRun(b *testing.B) {
	const size = 200_000
	l := build(b)
	l.fill(size)
	l.publish(1000, 50_000, 150_000)
	d, err := audit.Open(l.dir, "")
	l.check(err)
	for b.Loop() {
		r, err := audit.Run(b.Context(), audit.Config{Log: d, Policy: l.policy})
		if err != nil || !r.Holds() {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "entries/s")
}
