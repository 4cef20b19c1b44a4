package monitor_test

import (
	"bytes"
	"os"
	"testing"

	"idlog/client/monitor"
)

// A cursor's file is read only as it is written: what a disk or a person made of
// it is damage.
func FuzzCursor(f *testing.F) {
	w := newWorld(f)
	w.grow(now(), event(f, "x", now()))
	m, _, err := w.open()
	check(f, err)
	check(f, m.Once(f.Context()))
	check(f, m.Close())
	good, err := os.ReadFile(w.file("cursor"))
	check(f, err)
	if again, err := monitor.Cursor(good); err != nil || !bytes.Equal(again, good) {
		f.Fatalf("read and written again it is %q, %v", again, err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if again, err := monitor.Cursor(bad); err == nil {
			f.Errorf("byte %d altered: read as %q", i, again)
		}
		if again, err := monitor.Cursor(good[:i]); err == nil {
			f.Errorf("cut at byte %d: read as %q", i, again)
		}
	}
	f.Add(good)
	f.Add([]byte("idlog-monitor/v1 \nbase\n\n\n\nlog.example/id/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := monitor.Cursor(b); err == nil && !bytes.Equal(again, b) {
			t.Errorf("written again it differs:\n%q\n%q", b, again)
		}
	})
}

// Findings are written as they were read, whatever they say.
func FuzzFindings(f *testing.F) {
	f.Add([]byte(`{"id":"a","time":"2026-11-23T08:00:00Z","severity":"fault","kind":"tags","log":"l/1","index":3,"size":4,"message":"m","evidence":"e"}` + "\n"))
	f.Add([]byte("{}\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := monitor.Findings(b)
		if err != nil {
			return
		}
		if twice, err := monitor.Findings(once); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("written again it differs (%v):\n%q\n%q", err, once, twice)
		}
	})
}
