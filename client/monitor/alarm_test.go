package monitor_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"idlog/client/monitor"
	"idlog/proto/prototest"
)

// Whose clock is wrong nobody can say; somebody has to look.
func TestClock(t *testing.T) {
	w := newWorld(t)
	w.grow(now()+600, event(t, "x", now()))
	got, _, err := w.once()
	check(t, err)
	want(t, got, "clock", "clock", "clock")
}

// What is not as it must be is raised, and taken back when it is over.
func TestAlarms(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   string
		begin  func(w *world)
		end    func(w *world)
		change func(*monitor.Config)
	}{
		{"the server fails", "silent", func(w *world) { w.set(func() { w.status = http.StatusInternalServerError }) },
			func(w *world) { w.set(func() { w.status = 0 }) }, func(c *monitor.Config) { c.MaxAge = 300 * time.Millisecond }},
		{"the tiles are kept back", "silent", func(w *world) { w.set(func() { w.files = nil }) },
			func(w *world) { w.show(w.log, 8, now()) }, func(c *monitor.Config) { c.MaxAge = 300 * time.Millisecond }},
		{"the checkpoint is old", "stale", func(w *world) { w.show(w.log, 8, now()-3600) },
			func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"a bundle is cut off", "damaged", func(w *world) { w.set(func() { w.files["tile/entries/000.p/8"] = truncated(w.log, 8, 10) }) },
			func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"a bundle ends within an entry", "damaged", func(w *world) { w.set(func() { w.files["tile/entries/000.p/8"] = truncated(w.log, 7, 0) }) },
			func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"a tile is altered", "damaged", func(w *world) { w.set(func() { w.files["tile/0/000.p/8"][40] ^= 1 }) },
			func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"another log", "unverified", func(w *world) {
			k := prototest.NewKey("log.example/id/2", 1, 1)
			w.set(func() { w.note = prototest.NewLog("log.example/id/2", k).Note(0, uint64(now())) })
		}, func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"a signature is altered", "unverified", func(w *world) {
			w.set(func() { w.note = slices.Concat(w.note[:120], []byte("AAAA"), w.note[124:]) })
		}, func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"one witness of two", "quorum", func(w *world) { w.show(w.log, 8, now(), witnesses[0]) },
			func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"a witness is missing", "witness", func(w *world) {
			w.set(func() { clear(w.archive) })
			w.show(w.log, 8, now()-3600)
			w.once()
			w.show(w.log, 8, now(), witnesses[:2]...)
		}, func(w *world) { w.show(w.log, 8, now()) }, nil},
		{"no archive", "archive", func(w *world) { w.set(func() { clear(w.archive) }) },
			func(w *world) { w.grow(now(), event(w.t, "more", now())) }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i := range 6 {
				w.log.Append(event(t, fmt.Sprint(i), now()))
			}
			w.show(w.log, 8, now())
			test.begin(w)
			change := test.change
			if change == nil {
				change = func(*monitor.Config) {}
			}
			ended := false
			got, err := w.follow(func(c *collected) bool {
				if !ended && has(test.kind)(c) {
					ended = true
					test.end(w)
				}
				return slices.ContainsFunc(c.all(), func(f monitor.Finding) bool { return strings.HasPrefix(f.Message, "over: "+test.kind) })
			}, change)
			check(t, err)
			if n := len(slices.DeleteFunc(got.kinds(), func(k string) bool { return k != test.kind })); n != 1 {
				t.Errorf("raised %d times: %v", n, got.all())
			}
		})
	}
}

// A log that shows this monitor less than it shows a witness is told of, and is
// compared once it shows as much.
func TestWithheld(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.log.Append(event(t, fmt.Sprint(i), now()))
	}
	w.show(w.log, 6, now())
	w.set(func() { w.views["w1"] = w.log.Note(8, uint64(now()), witnesses[0]) })
	shown := false
	got, err := w.follow(func(c *collected) bool {
		if !shown && has("withheld")(c) {
			shown = true
			w.show(w.log, 8, now())
		}
		return shown && has("over")(c)
	}, func(c *monitor.Config) { c.MaxAge = 300 * time.Millisecond })
	check(t, err)
	if got := got.kinds(); slices.Index(got, "withheld") != lastIndex(got, "withheld") {
		t.Errorf("told twice: %v", got)
	}

	// What waits is not forgotten: a fork that a witness saw first is found.
	w = newWorld(t)
	for i := range 6 {
		w.log.Append(event(t, fmt.Sprint(i), now()))
	}
	w.show(w.log, 6, now())
	w.set(func() { w.views["w1"] = w.fork(6).Note(7, uint64(now()), witnesses[0]) })
	got, err = w.follow(func(c *collected) bool {
		if w.checked() == 6 {
			w.show(w.log, 8, now())
		}
		return false
	})
	stopped(t, err)
	want(t, got, "fork")
}

func lastIndex(list []string, s string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == s {
			return i
		}
	}
	return -1
}

// A monitor's own quorum may be larger than the policy's. It goes on with what
// the archive collected.
func TestOwnQuorum(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.log.Append(event(t, fmt.Sprint(i), now()))
	}
	w.show(w.log, 5, now(), witnesses[:2]...)
	all := func(c *monitor.Config) { c.Witnesses = 3 }
	_, checked, err := w.once(all)
	if checked != 0 || err != nil {
		t.Errorf("checked %d under two of three, %v", checked, err)
	}
	step := 0
	w.set(func() { w.asked = 0 })
	got, err := w.follow(func(c *collected) bool {
		w.mu.Lock()
		asked := w.asked
		w.mu.Unlock()
		switch {
		case step == 0 && asked > 2+len(witnesses): // it waits for size 5
			step++ // the third signs late, when the log has gone on
			w.show(w.log, 8, now(), witnesses[:2]...)
			w.set(func() { w.archive[5] = w.log.Note(5, uint64(now()), witnesses...) })
		case step == 1 && w.checked() == 5:
			step++
			w.set(func() { w.archive[8] = w.log.Note(8, uint64(now()), witnesses...) })
		}
		return w.checked() == 8
	}, all)
	check(t, err)
	want(t, got)

	w = newWorld(t)
	w.show(w.log, 2, now(), witnesses[:2]...)
	got, err = w.follow(has("quorum"), all, func(c *monitor.Config) { c.MaxAge = 300 * time.Millisecond })
	check(t, err)
	if !has("quorum")(got) || w.checked() != 0 {
		t.Errorf("it went on without its quorum: %v", got.kinds())
	}
}
