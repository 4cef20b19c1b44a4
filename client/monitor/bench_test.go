package monitor_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"idlog/client/monitor"
	"idlog/client/trust"
)

// BenchmarkReplay is a first contact with a log of 100,000 events over loopback
// HTTP, to its last cursor on disk. The server is in the same process.
func BenchmarkReplay(b *testing.B) {
	const entries = 100_000
	w := newWorld(b)
	at := now()
	for i := range entries {
		w.log.Append(event(b, fmt.Sprint(i), at))
	}
	w.show(w.log, entries, at)
	for b.Loop() {
		state, err := trust.Open(b.TempDir())
		check(b, err)
		m, err := monitor.Open(monitor.Config{Policy: w.policy, URL: w.server.URL, State: state, Dir: filepath.Join(b.TempDir(), "m"),
			Logger: slog.New(slog.DiscardHandler)})
		check(b, err)
		check(b, m.Once(b.Context()))
		if m.Checked() != entries {
			b.Fatalf("checked %d", m.Checked())
		}
		check(b, m.Close())
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
