package monitor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"idlog/client/monitor"
	"idlog/client/trust"
	"idlog/proto/leaf"
)

// Each way of contradicting itself stops the monitor, is delivered, and leaves a
// file that convinces whoever has the keys.
func TestContradictions(t *testing.T) {
	for _, test := range []struct {
		name   string
		lie    func(w *world)
		kinds  []string
		proven bool
		// goesOn: once acknowledged, the log can be followed.
		goesOn bool
	}{
		{"another tree of this size", func(w *world) {
			w.show(w.fork(5), 8, now(), witnesses[:2]...)
		}, []string{"fork", "witness-fork"}, true, false},
		{"a larger tree that does not continue it", func(w *world) {
			l := w.fork(5)
			l.Append(event(t, "more", now()))
			w.show(l, 9, now())
		}, []string{"fork"}, true, false},
		{"a smaller tree", func(w *world) {
			w.show(w.log, 6, now())
		}, []string{"rollback"}, false, false},
		{"a smaller tree that is no part of it, with both still served", func(w *world) {
			w.show(w.log, 8, now())
			w.set(func() { w.note = w.fork(5).Note(6, uint64(now()), witnesses...) })
		}, []string{"fork"}, true, false},
		{"another tree to a witness", func(w *world) {
			w.set(func() { w.views["w2"] = w.fork(5).Note(7, uint64(now()), witnesses[1]) })
		}, []string{"fork"}, true, false},
		{"another tree of this size to a witness", func(w *world) {
			w.show(w.log, 8, now(), witnesses[1:]...)
			w.set(func() { w.views["w2"] = w.fork(5).Note(8, uint64(now()), witnesses[1]) })
		}, []string{"fork", "witness-fork"}, true, false},
		{"another tree to a client of this machine", func(w *world) {
			s, err := trust.Open(w.state)
			check(t, err)
			v, err := w.policy.Verify(w.fork(5).Note(9-1, uint64(now()), witnesses...))
			check(t, err)
			check(t, os.Remove(filepath.Join(w.state, "log.example%2Fid%2F1.seen")))
			check(t, s.Advance(t.Context(), v, nil))
		}, []string{"fork", "witness-fork"}, true, false},
		{"another tree in the archive", func(w *world) {
			w.grow(now(), event(t, "x", now()), event(t, "y", now()))
			w.set(func() { w.archive[9] = w.fork(5).Note(9, uint64(now()), witnesses...) })
		}, []string{"fork"}, true, false},
		{"an id twice", func(w *world) {
			w.grow(now(), event(t, "3", now()+1))
		}, []string{"duplicate"}, true, true},
		{"an id twice in one step", func(w *world) {
			w.grow(now(), event(t, "x", now()), event(t, "y", now()), event(t, "x", now()+1))
		}, []string{"duplicate"}, true, true},
		{"a digest twice", func(w *world) {
			w.grow(now(), event(t, "x", now(), func(e *leaf.Event) {
				first, err := leaf.Parse(w.log.Leaves[4])
				check(t, err)
				e.Fields = first.(*leaf.Event).Fields
			}))
		}, []string{"duplicate"}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 6 {
				w.log.Append(event(t, fmt.Sprint(i), now()))
			}
			w.show(w.log, 8, now())
			got, _, err := w.once()
			check(t, err)
			want(t, got)

			test.lie(w)
			got, err = w.follow(func(*collected) bool { return false })
			s := stopped(t, err)
			want(t, got, test.kinds...)
			for _, f := range got.all() {
				v, err := w.judge(f.Evidence)
				if err != nil || v.Proven != test.proven || string(v.Claim) != f.Kind {
					t.Errorf("%s: judged %+v, %v", f.Kind, v, err)
				}
			}
			if s.Before || s.Finding.ID != got.all()[0].ID || !strings.Contains(s.Error(), s.Finding.Evidence) {
				t.Errorf("stopped with %v", s)
			}

			// The next start asks nobody, and says where it stopped.
			w.set(func() { w.asked = 0 })
			again, _, err := w.once()
			if s := stopped(t, err); !s.Before || s.Finding.ID != got.all()[0].ID || len(again.all()) != 0 || w.asked != 0 {
				t.Errorf("the next start: %v, %v, asked %d times", s, again.all(), w.asked)
			}
			// Acknowledged, it goes on as far as it can.
			after, checked, err := w.once(func(c *monitor.Config) { c.Acknowledge = true })
			if test.goesOn != (err == nil) || test.goesOn && checked != int64(len(w.log.Leaves)) {
				t.Errorf("acknowledged: checked %d, %v", checked, err)
			}
			if files, err := filepath.Glob(filepath.Join(w.state, "evidence", "*")); err != nil || len(files) != len(test.kinds)+extra(after) {
				t.Errorf("evidence in %v, %v", files, err)
			}
			for _, f := range after.all() {
				if f.Severity == monitor.Contradiction && slices.ContainsFunc(got.all(), func(g monitor.Finding) bool { return f.ID == g.ID && f.ID == s.Finding.ID }) {
					t.Errorf("acknowledged, and told again: %v", f)
				}
			}
		})
	}
}

// extra counts the files of evidence beyond those of the first run.
func extra(c *collected) (n int) {
	for _, f := range c.all() {
		if f.Evidence != "" {
			n++
		}
	}
	return n
}
