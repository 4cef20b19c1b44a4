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
func BenchmarkReplay(b *testing.B) { replay(b, false) }

// BenchmarkReplayIndex computes the index as well, and compares ten root leaves.
func BenchmarkReplayIndex(b *testing.B) { replay(b, true) }

func replay(b *testing.B, index bool) {
	const entries = 100_000
	w := newWorld(b)
	at := now()
	for i := len(w.log.Leaves); i < entries; i++ {
		if i%(entries/10) == entries/10-1 {
			w.log.AppendRoot(int64(i), at*1000)
			continue
		}
		w.log.Append(event(b, fmt.Sprint(i), at))
	}
	w.show(w.log, entries, at)
	for b.Loop() {
		state, err := trust.Open(b.TempDir())
		check(b, err)
		m, err := monitor.Open(monitor.Config{Policy: w.policy, URL: w.server.URL, State: state, Dir: filepath.Join(b.TempDir(), "m"),
			Index: index, Logger: slog.New(slog.DiscardHandler)})
		check(b, err)
		check(b, m.Once(b.Context()))
		if m.Checked() != entries {
			b.Fatalf("checked %d", m.Checked())
		}
		check(b, m.Close())
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
