package monitor_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/client/monitor"
	"idlog/client/trust"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/proto/tile"
)

func want(t *testing.T, got *collected, kinds ...string) {
	t.Helper()
	if kinds == nil {
		kinds = []string{}
	}
	if diff := cmp.Diff(kinds, got.kinds()); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%v", diff, got.all())
	}
}

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

// checked reads how far the cursor is, as anybody can.
func (w *world) checked() int {
	b, err := os.ReadFile(w.file("cursor"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	check(w.t, err)
	n := 0
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "checked %d\n", &n)
	}
	return n
}

func (w *world) file(name string) string {
	return filepath.Join(w.state, "monitor", "log.example%2Fid%2F1", name)
}

// fork returns a log that shares the first leaves with the world's, and is as
// long.
func (w *world) fork(shared int) *prototest.Log {
	l := prototest.NewLog(origin, logKey)
	l.Append(w.log.Leaves[:shared]...)
	for i := shared; i < len(w.log.Leaves); i++ {
		l.Append(event(w.t, fmt.Sprintf("fork %d", i), now()))
	}
	return l
}

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

// Each rule of a leaf is one kind of fault, told once.
func TestFaults(t *testing.T) {
	enrol := func(n any, epoch int64) []byte {
		commit := hash("handle", n)
		return format(t, &leaf.Subject{Log: family, Received: now(), Keys: epoch, Commit: &commit, Etags: []leaf.Hash{hash("etag", n)}})
	}
	digest := hash("fields of a statement")
	two := func(a, b leaf.Hash) []leaf.Hash {
		s := []leaf.Hash{a, b}
		slices.SortFunc(s, func(a, b leaf.Hash) int { return slices.Compare(a[:], b[:]) })
		return s
	}
	a, b := leaf.HashOf(enrol("a", 1)), leaf.HashOf(enrol("b", 1))
	for name, test := range map[string]struct {
		leaves [][]byte
		kinds  []string
	}{
		"all is well": {[][]byte{event(t, "x", now()), enrol("a", 1), enrol("b", 1),
			format(t, &leaf.Subject{Log: family, Received: now(), Keys: 1, Links: two(a, b), Fields: &digest, Etags: two(hash(1), hash(2))}),
			format(t, &leaf.Erasure{Log: family, Received: now(), Fields: digest, Enrolments: []leaf.Hash{a}, Tags: []leaf.Tag{{Field: 2, Value: hash(1)}}}),
			format(t, &leaf.Loss{Log: family, Received: now(), Fields: digest, From: 0, To: 7}),
			format(t, &leaf.Root{Origin: origin, N: 5, LogRoot: hash(1), MapFn: leaf.MapFn, Keys: 1, MapRoot: hash(2), Millis: now() * 1000}),
			keys(t, 2, now(), source, "other"), event(t, "y", now(), func(e *leaf.Event) { e.Keys = 2 })}, []string{}},
		"no leaf":                    {[][]byte{[]byte("hello\n")}, []string{"grammar"}},
		"nearly a leaf":              {[][]byte{append(event(t, "x", now()), '\n')}, []string{"grammar"}},
		"of another family":          {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Log = "other.example/id" })}, []string{"family"}},
		"a root of another log":      {[][]byte{format(t, &leaf.Root{Origin: "other.example/id/1", N: 1, MapFn: leaf.MapFn, Millis: now() * 1000})}, []string{"family"}},
		"a second genesis":           {[][]byte{genesis(t, now())}, []string{"genesis"}},
		"an erasure of what comes":   {[][]byte{format(t, &leaf.Erasure{Log: family, Received: now(), Fields: digest, From: 1, To: 9})}, []string{"range"}},
		"a loss of what comes":       {[][]byte{format(t, &leaf.Loss{Log: family, Received: now(), Fields: digest, From: 1, To: 9})}, []string{"range"}},
		"no event id":                {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Tags = e.Tags[1:] })}, []string{"tags"}},
		"two event ids":              {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Tags[1].Field = 1; slices.SortFunc(e.Tags, leaf.CompareTags) })}, []string{"tags"}},
		"no class":                   {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Tags = e.Tags[:3] })}, []string{"tags"}},
		"a tag of the source":        {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Tags[2].Field = 5 })}, []string{"tags"}},
		"an actor who is no person":  {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Tags = slices.Delete(e.Tags, 1, 2) })}, []string{"tags"}},
		"another VRF key":            {[][]byte{format(t, &leaf.Keys{Log: family, Received: now(), Epoch: 1, VRF: hash("other")})}, []string{"keys"}},
		"another key of a source":    {[][]byte{format(t, &leaf.Keys{Log: family, Received: now(), Epoch: 1, VRF: hash("vrf", 1), Commits: []leaf.Commit{{Field: 1, Source: source}}})}, []string{"keys"}},
		"an epoch of nobody":         {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Keys = 2 })}, []string{"keys"}},
		"a source of nobody":         {[][]byte{event(t, "x", now(), func(e *leaf.Event) { e.Source = "other" })}, []string{"keys"}},
		"enrolled in no epoch":       {[][]byte{enrol("a", 3)}, []string{"keys"}},
		"a link to nobody":           {[][]byte{enrol("a", 1), format(t, &leaf.Subject{Log: family, Received: now(), Keys: 1, Links: two(a, b), Fields: &digest, Etags: two(hash(1), hash(2))})}, []string{"enrolment"}},
		"an erasure of nobody":       {[][]byte{format(t, &leaf.Erasure{Log: family, Received: now(), Fields: digest, Enrolments: []leaf.Hash{a}, Tags: []leaf.Tag{{Field: 2}}})}, []string{"enrolment"}},
		"a repeat":                   {[][]byte{event(t, "x", 1_790_000_000), event(t, "x", 1_790_000_000)}, []string{"received", "received", "repeat"}},
		"received an hour ago":       {[][]byte{event(t, "x", now()-3600)}, []string{"received"}},
		"received within the hour":   {[][]byte{event(t, "x", now()+120)}, []string{"received"}},
		"received a little early":    {[][]byte{event(t, "x", now()-630)}, []string{}},
		"received by a fast clock":   {[][]byte{event(t, "x", now()+50)}, []string{}},
		"several faults of one leaf": {[][]byte{event(t, "x", now()+3600, func(e *leaf.Event) { e.Tags = e.Tags[:2] })}, []string{"tags", "received"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.Backlog = 10 * time.Minute
			w.show(w.log, 2, now()-100)
			w.grow(now(), test.leaves...)
			got, checked, err := w.once()
			check(t, err)
			want(t, got, test.kinds...)
			if checked != int64(len(w.log.Leaves)) {
				t.Errorf("checked %d", checked)
			}
			got, _, err = w.once()
			check(t, err)
			want(t, got)
		})
	}
}

// Whose clock is wrong nobody can say; somebody has to look.
func TestClock(t *testing.T) {
	w := newWorld(t)
	w.grow(now()+600, event(t, "x", now()))
	got, _, err := w.once()
	check(t, err)
	want(t, got, "clock", "clock", "clock")
}

// The first two entries of a log are what they have to be.
func TestFirstEntries(t *testing.T) {
	w := newWorld(t)
	w.log = prototest.NewLog(origin, logKey)
	w.grow(now(), keys(t, 1, now(), source), event(t, "x", now()))
	got, _, err := w.once()
	check(t, err)
	want(t, got, "genesis", "keys")
}

// When an entry was logged is bounded by the archive, whether it has a checkpoint
// of every entry or of a few, and whether the monitor was there or comes later.
func TestTimes(t *testing.T) {
	for _, every := range []int{1, 7, 300} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("every %d, later %t", every, later), func(t *testing.T) {
				w := newWorld(t)
				start := now() - 86400
				w.log = prototest.NewLog(origin, logKey)
				w.log.Append(genesis(t, start), keys(t, 1, start, source))
				w.show(w.log, 2, start)
				got := []string{}
				look := func() {
					found, _, err := w.once(func(c *monitor.Config) { c.MaxAge, c.Backlog = 48*time.Hour, 10*time.Minute })
					check(t, err)
					got = append(got, found.kinds()...)
				}
				for i := range 600 {
					at := start + int64(i)*20 // the 600 take more than three hours
					received := at
					switch i {
					case 350:
						received = at - 3*3600
					case 450:
						received = at + 3*3600
					}
					w.log.Append(event(t, fmt.Sprint(i), received))
					if (i+1)%every == 0 || i == 599 {
						w.show(w.log, int64(len(w.log.Leaves)), at)
					}
					if !later && i%97 == 0 {
						look()
					}
				}
				// The log has been idle since, and its checkpoint is cosigned anew.
				w.show(w.log, int64(len(w.log.Leaves)), now())
				look()
				if diff := cmp.Diff([]string{"received", "received"}, got); diff != "" {
					t.Error(diff)
				}
				// What is older than that was not there, and should have been.
				w.grow(now(), event(t, "late", start+13000))
				look()
				if diff := cmp.Diff([]string{"received", "received", "received"}, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// Nobody vouches for a time where the policy asks for no witness, and none is
// said to be wrong.
func TestNoWitnesses(t *testing.T) {
	w := newWorld(t)
	var err error
	w.policy, err = policy.Parse([]byte("log " + logKey.VKey + "\nquorum none\n"))
	check(t, err)
	w.grow(0, event(t, "x", 1))
	got, _, err := w.once()
	check(t, err)
	want(t, got)
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
	if w.checked() != 0 {
		t.Error("it went on without its quorum")
	}
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
