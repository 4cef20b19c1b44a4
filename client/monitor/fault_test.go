package monitor_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/client/monitor"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
)

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
