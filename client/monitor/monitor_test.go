package monitor_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"idlog/client/monitor"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/proto/tile"
)

// Every entry is checked once, over any number of processes and however the log
// grows between them.
func TestHonest(t *testing.T) {
	w := newWorld(t)
	w.show(w.log, 2, now()-600)
	total := 2
	for i, n := range []int{0, 1, 250, 3, 1000, 0} {
		var leaves [][]byte
		for k := range n {
			leaves = append(leaves, event(t, fmt.Sprintf("%d-%d", i, k), now()))
		}
		w.grow(now(), leaves...)
		total += n
		got, checked, err := w.once()
		check(t, err)
		want(t, got)
		if checked != int64(total) {
			t.Errorf("checked %d of %d", checked, total)
		}
		if first := len(got.all()) == 1; first != (i == 0) {
			t.Errorf("run %d: first contact %t", i, first)
		}
	}
}

// However large the entries of a log are, a step holds few of them.
func TestSmallSteps(t *testing.T) {
	w := newWorld(t)
	var leaves [][]byte
	for i := range 3000 {
		leaves = append(leaves, event(t, fmt.Sprint(i), now()))
	}
	w.grow(now(), append(leaves, []byte("no leaf"))...)
	m, got, err := w.open()
	check(t, err)
	monitor.SetMost(m, 1)
	check(t, m.Once(t.Context()))
	want(t, got, "grammar")
	if m.Checked() != 3003 {
		t.Errorf("checked %d", m.Checked())
	}
	check(t, m.Close())
}

// A log may be empty when it is first looked at.
func TestEmpty(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int64{0, 0, 2} {
		w.show(w.log, size, now())
		got, checked, err := w.once()
		check(t, err)
		want(t, got)
		if checked != size {
			t.Errorf("checked %d of %d", checked, size)
		}
	}
}

// An idle log is asked for one thing at each look, and tiles are fetched once.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	w.grow(now(), event(t, "x", now()))
	_, _, err := w.once()
	check(t, err)
	w.set(func() { w.asked = 0 })
	_, _, err = w.once()
	check(t, err)
	if most := 1 + len(witnesses); w.asked > most {
		t.Errorf("asked %d times, want at most %d", w.asked, most)
	}
}

// The log's own file, as servers that read for a crowd give it, is followed as
// it grows.
func TestRun(t *testing.T) {
	w := newWorld(t)
	w.grow(now(), event(t, "a", now()))
	n := 0
	got, err := w.follow(func(c *collected) bool {
		if n < 20 {
			n++
			w.grow(now(), event(t, fmt.Sprint(n), now()))
		}
		return n == 20 && w.checked() == 23
	})
	check(t, err)
	want(t, got)
}

// Once says with its error what is wrong now.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	w.grow(now()-3600, event(t, "x", now()-3600))
	got, checked, err := w.once()
	if s, ok := errors.AsType[*monitor.Stale](err); !ok || s.Age < time.Hour || checked != 3 || !has("stale")(got) {
		t.Errorf("an old checkpoint: %v, checked %d, %v", err, checked, got.kinds())
	}
	w.show(w.log, 3, now(), witnesses[0])
	if _, _, err := w.once(); !isQuorum(err) {
		t.Errorf("one witness: %v", err)
	}
	w.grow(now(), event(t, "y", now()))
	w.set(func() { w.files["tile/entries/000.p/4"][30] ^= 1 })
	got, _, err = w.once()
	if m, ok := errors.AsType[*tile.MismatchError](err); !ok || m.Path != "tile/entries/000.p/4" || !has("damaged")(got) {
		t.Errorf("an altered bundle: %v, %v", err, got.kinds())
	}
	w.server.Close()
	if _, _, err := w.once(); err == nil {
		t.Error("nobody there, and no error")
	}
}

func isQuorum(err error) bool {
	_, ok := errors.AsType[*policy.QuorumError](err)
	return ok
}

// To begin anywhere but at the first entry is loud, and possible once.
func TestFromNow(t *testing.T) {
	w := newWorld(t)
	w.grow(now(), event(t, "x", now()), event(t, "x", now()+1)) // never looked at
	fromNow := func(c *monitor.Config) { c.FromNow = true }
	got, checked, err := w.once(fromNow)
	check(t, err)
	if f := got.all(); len(f) != 1 || f[0].Kind != "baseline" || f[0].Severity != monitor.Alarm || checked != 4 {
		t.Errorf("checked %d, found %v", checked, f)
	}
	// Keys that may have been announced below are not missed.
	w.grow(now(), event(t, "y", now(), func(e *leaf.Event) { e.Source = "other" }))
	got, checked, err = w.once()
	check(t, err)
	want(t, got)
	if checked != 5 {
		t.Errorf("checked %d", checked)
	}
	if m, _, err := w.open(fromNow); err == nil {
		m.Close()
		t.Error("it began anew")
	} else if !strings.Contains(err.Error(), "move") {
		t.Errorf("it does not say what to do: %v", err)
	}
}

// Damage to the monitor's own files is told, and is never a first contact.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(w *world) error{
		"cursor altered": func(w *world) error {
			b, err := os.ReadFile(w.file("cursor"))
			check(t, err)
			return os.WriteFile(w.file("cursor"), []byte(strings.Replace(string(b), "checked 3", "checked 2", 1)), 0o600)
		},
		"cursor empty": func(w *world) error { return os.WriteFile(w.file("cursor"), nil, 0o600) },
		"memory lost":  func(w *world) error { return os.RemoveAll(w.file("memory")) },
		"keys lost":    func(w *world) error { return os.Remove(w.file("keys")) },
		"keys altered": func(w *world) error { return os.WriteFile(w.file("keys"), []byte("{}"), 0o600) },
		"acknowledged": func(w *world) error { return os.WriteFile(w.file("acknowledged"), []byte("{"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.grow(now(), event(t, "x", now()))
			_, _, err := w.once()
			check(t, err)
			check(t, damage(w))
			m, _, err := w.open()
			if _, ok := errors.AsType[*monitor.StateError](err); !ok {
				t.Errorf("opened: %v", err)
				m.Close()
			}
		})
	}
	w := newWorld(t)
	w.show(w.log, 2, now())
	m, _, err := w.open()
	check(t, err)
	if _, _, err := w.open(); err == nil || !strings.Contains(err.Error(), "another monitor") {
		t.Errorf("two on one folder: %v", err)
	}
	check(t, m.Close())
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	two, err := policy.Parse([]byte("log " + logKey.VKey + "\nlog " + prototest.NewKey("log.example/id/2", 1, 1).VKey + "\nquorum none\n"))
	check(t, err)
	for name, change := range map[string]func(*monitor.Config){
		"no policy":      func(c *monitor.Config) { c.Policy = nil },
		"no folder":      func(c *monitor.Config) { c.Dir = "" },
		"plain http":     func(c *monitor.Config) { c.URL = "http://log.example" },
		"no URL":         func(c *monitor.Config) { c.URL = "" },
		"another origin": func(c *monitor.Config) { c.Origin = "log.example/id/9" },
		"several logs":   func(c *monitor.Config) { c.Policy = two },
	} {
		if m, _, err := w.open(change); err == nil {
			t.Errorf("%s: opened", name)
			m.Close()
		}
	}
	m, _, err := w.open(func(c *monitor.Config) { c.Policy, c.Origin = two, origin })
	check(t, err)
	check(t, m.Close())
}
