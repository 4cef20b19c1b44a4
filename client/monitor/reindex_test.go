package monitor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"idlog/client/monitor"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
)

func indexed(c *monitor.Config) { c.Index = true }

// lie appends a root leaf over the first n entries that was changed.
func (w *world) lie(n int64, change func(*leaf.Root)) {
	r := prototest.IndexOf(w.log.Leaves[:n]).Root(origin, now()*1000)
	change(r)
	w.log.Append(format(w.t, r))
}

// growIndexed appends events and a root leaf that speaks of all but the last of
// them, and publishes both.
func (w *world) growIndexed(name string, n int) {
	for i := range n {
		w.log.Append(event(w.t, fmt.Sprint(name, i), now()))
	}
	size := int64(len(w.log.Leaves))
	w.log.AppendRoot(size-1, now()*1000)
	w.show(w.log, size+1, now())
}

// The index of a log whose root leaves are true finds nothing, over any number of
// processes, also where it begins late or was lost, and whoever began to check late.
func TestIndexHonest(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %t", late), func(t *testing.T) {
			w := newWorld(t)
			w.growIndexed("before", 10)
			if late {
				_, _, err := w.once(func(c *monitor.Config) { c.FromNow = true })
				check(t, err)
			}
			for i, n := range []int{1, 700, 3, 1000} {
				w.growIndexed(fmt.Sprint(i, " "), n)
				if i == 2 {
					check(t, os.RemoveAll(w.file("index")))
				}
				done := int64(0)
				got, checked, err := w.once(indexed, func(c *monitor.Config) {
					c.Progress = func(what string, n, size int64) {
						if what == "index" {
							done = n
						}
					}
				})
				check(t, err)
				want(t, got)
				if checked != int64(len(w.log.Leaves)) {
					t.Errorf("checked %d", checked)
				}
				if again := i == 2 || i == 0 && late; again && done == 0 {
					t.Errorf("run %d: nothing was shown of the index that is made again", i)
				}
			}
		})
	}
}

// A root leaf that is false stops the monitor, is delivered, and leaves a file.
// Where the index begins late, it is found below what was checked.
func TestBadRoot(t *testing.T) {
	for name, test := range map[string]struct {
		lie     func(w *world)
		kinds   []string // besides bad-root
		proven  bool
		accuses string
	}{
		"of another log of the family": {func(w *world) { w.lie(12, func(r *leaf.Root) { r.Origin = family + "/2" }) }, nil, true, "it is a root of"},
		"of entries to come":           {func(w *world) { w.lie(12, func(r *leaf.Root) { r.N = 100 }) }, []string{"range"}, true, "it speaks of 100 entries"},
		"a smaller size":               {func(w *world) { w.lie(5, func(r *leaf.Root) {}) }, nil, true, "which is later and speaks of fewer entries"},
		"another root of one size":     {func(w *world) { w.lie(11, func(r *leaf.Root) { r.Keys++ }) }, nil, true, "is another root of the same"},
		"another tree":                 {func(w *world) { w.lie(12, func(r *leaf.Root) { r.LogRoot[0] ^= 1 }) }, nil, true, "have another root than it says"},
		"a posting less": {func(w *world) {
			r := prototest.IndexOf(slices.Concat(w.log.Leaves[:5], [][]byte{[]byte("no leaf\n")}, w.log.Leaves[6:12]))
			w.lie(12, func(own *leaf.Root) { own.MapRoot = r.Root(origin, 0).MapRoot })
		}, nil, false, "has another root than its accuser came to"},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %t", name, late), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.growIndexed("a", 10)
				if !late {
					got, _, err := w.once(indexed)
					check(t, err)
					want(t, got)
				}
				test.lie(w)
				size := int64(len(w.log.Leaves))
				w.grow(now(), event(t, "more", now()))
				if late {
					got, checked, err := w.once()
					check(t, err)
					want(t, got, test.kinds...) // nobody computed an index
					if checked != size+1 {
						t.Errorf("checked %d", checked)
					}
				}
				got, checked, err := w.once(indexed)
				s := stopped(t, err)
				kinds := append(slices.Clone(test.kinds), "bad-root")
				if late {
					kinds = kinds[len(test.kinds):]
				}
				want(t, got, kinds...)
				f := got.all()[len(got.all())-1]
				if f.Severity != monitor.Contradiction || f.Index == nil || *f.Index != size-1 || s.Finding.ID != f.ID {
					t.Errorf("found %+v", f)
				}
				if v, err := w.judge(f.Evidence); err != nil || v.Proven != test.proven || v.Accused != origin || !strings.Contains(v.Statement, test.accuses) {
					t.Errorf("judged %+v, %v", v, err)
				}
				if !late && checked > size-1 {
					t.Errorf("the cursor passed it: %d", checked)
				}

				// Acknowledged, it goes on, and what stays false is an alarm and no contradiction.
				w.log.Append(event(t, "still more", now()))
				test.lie(w)
				w.show(w.log, int64(len(w.log.Leaves)), now())
				got, _, err = w.once(indexed, func(c *monitor.Config) { c.Acknowledge = true })
				check(t, err)
				severities := make(map[monitor.Severity]int)
				for _, f := range got.all() {
					if f.Kind == "bad-root" {
						severities[f.Severity]++
					}
				}
				if severities[monitor.Contradiction] != 0 || severities[monitor.Warning] != 1 || severities[monitor.Alarm] != 1 {
					t.Errorf("then it found %v", got.all())
				}
				// Once a root leaf is true again, all is well.
				w.growIndexed("well", 3)
				got, checked, err = w.once(indexed)
				check(t, err)
				want(t, got)
				if checked != int64(len(w.log.Leaves)) {
					t.Errorf("checked %d", checked)
				}
			})
		}
	}
}

// A monitor that dies while it tells of a false root leaf tells of it again, under
// its id, although the log grows meanwhile and the index is lost.
func TestBadRootDeliveredAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("taken %t, index lost %t", after, lost), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.growIndexed("a", 10)
				w.lie(13, func(r *leaf.Root) { r.MapRoot[0] ^= 1 })
				w.show(w.log, int64(len(w.log.Leaves)), now())
				w.config.Index = true
				d := w.dieAt("bad-root", after)
				if lost {
					check(t, os.RemoveAll(w.file("index")))
				}
				w.growIndexed("b", 10)
				got, _, err := w.once()
				stopped(t, err)
				want(t, got, "bad-root")
				d.sameIn(t, got)
				w.set(func() { w.asked = 0 })
				if _, _, err := w.once(); !stopped(t, err).Before || w.asked != 0 {
					t.Errorf("the next start: %v", err)
				}
			})
		}
	}
}

// A step that was cut off before its cursor was written is judged again, by an
// index that has gone on.
func TestIndexStepAgain(t *testing.T) {
	w := newWorld(t)
	w.growIndexed("a", 10)
	_, _, err := w.once(indexed)
	check(t, err)
	before, err := os.ReadFile(w.file("cursor"))
	check(t, err)
	state, err := os.ReadFile(filepath.Join(w.file("index"), "state"))
	check(t, err)
	for i := range 5 {
		w.growIndexed(fmt.Sprint(i), 300)
	}
	for _, both := range []bool{false, true} {
		got, checked, err := w.once(indexed)
		check(t, err)
		want(t, got)
		if checked != int64(len(w.log.Leaves)) {
			t.Errorf("checked %d", checked)
		}
		check(t, os.WriteFile(w.file("cursor"), before, 0o600))
		if both {
			check(t, os.WriteFile(filepath.Join(w.file("index"), "state"), state, 0o600))
		}
	}
	got, _, err := w.once(indexed)
	check(t, err)
	want(t, got)
}

// That root leaves stay away while entries come is an alarm, until one comes. So
// is a log that has none, and one whose root leaves speak of no more entries.
func TestUnindexed(t *testing.T) {
	for name, same := range map[string]bool{"no root leaf": false, "the same size": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.growIndexed("a", 3)
			w.lie(5, func(*leaf.Root) {})
			w.show(w.log, int64(len(w.log.Leaves)), now()-3600)
			quiet := func(c *monitor.Config) { c.MaxAge, c.Index = 10*time.Minute, true }
			w.once(quiet)
			w.grow(now()-1800, event(t, "late", now()-1800))
			_, _, err := w.once(quiet)
			if err == nil {
				t.Fatal("the checkpoint is old")
			}
			if same {
				w.log.AppendRoot(5, now()*1000)
			}
			w.grow(now(), event(t, "later", now()))
			got, _, err := w.once(quiet)
			check(t, err)
			want(t, got, "unindexed")

			// It is over in the process that raised it.
			done := false
			got, err = w.follow(func(c *collected) bool {
				if !done && has("unindexed")(c) {
					done = true
					w.growIndexed("b", 1)
				}
				return has("over")(c)
			}, quiet)
			check(t, err)
			want(t, got, "unindexed", "over")
		})
	}
}
