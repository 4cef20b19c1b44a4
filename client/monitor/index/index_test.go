package index_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlog/client/monitor/index"
	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/prototest"
)

const origin = "log.example/id/1"

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hash(parts ...any) leaf.Hash { return sha256.Sum256(fmt.Append(nil, parts...)) }

// world is a log and a room of it.
type world struct {
	t    testing.TB
	log  *prototest.Log
	dir  string
	room *index.Room
	// reread counts the entries that were read again; fails, if set, is why none can be.
	reread int64
	fails  error
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, log: prototest.NewLog(origin), dir: filepath.Join(t.TempDir(), "index")}
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	room, err := index.Open(w.dir, origin, slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	check(w.t, err)
	w.room = room
}

func (w *world) restart() {
	w.t.Helper()
	check(w.t, w.room.Close())
	w.open()
}

// events appends some.
func (w *world) events(n int) {
	for range n {
		i := len(w.log.Leaves)
		b, err := (&leaf.Event{Log: "log.example/id", Source: "app", Received: 1, Assurance: leaf.AssurancePushed, Keys: 1, Fields: hash("fields", i),
			Tags: []leaf.Tag{{Field: 1, Value: hash("id", i)}, {Field: 6, Value: hash("class", i%3)}}}).Format()
		check(w.t, err)
		w.log.Append(b)
	}
}

// lie appends the true root leaf of size n, changed.
func (w *world) lie(n int64, change func(*leaf.Root)) int64 {
	r := prototest.IndexOf(w.log.Leaves[:n]).Root(origin, 5)
	change(r)
	b, err := r.Format()
	check(w.t, err)
	return w.log.Append(b)
}

func (w *world) entry(i int64) index.Entry {
	b := w.log.Leaves[i]
	l, _ := leaf.Parse(b)
	root, _ := l.(*leaf.Root)
	return index.Entry{Index: i, Leaf: leaf.HashOf(b), Keys: mapfn.OfEntry(b), Root: root, Logged: time.Unix(1000+i, 0)}
}

func (w *world) read(_ context.Context, from, to int64) ([]history.Entry, error) {
	if w.fails != nil {
		return nil, w.fails
	}
	var entries []history.Entry
	for i := from; i < to; i++ {
		e := w.entry(i)
		entries = append(entries, history.Entry{Leaf: e.Leaf, Keys: e.Keys})
	}
	w.reread += to - from
	return entries, nil
}

// follow follows the log to its end or the first root leaf that is false.
func (w *world) follow() (*index.False, error) {
	for w.room.Next() < int64(len(w.log.Leaves)) {
		f, err := w.room.Follow(w.t.Context(), w.entry(w.room.Next()), w.read)
		if err != nil || f != nil {
			return f, err
		}
	}
	return nil, w.room.Keep()
}

func (w *world) honest() {
	w.t.Helper()
	f, err := w.follow()
	check(w.t, err)
	if f != nil {
		w.t.Fatalf("the root leaf at entry %d is said to be false: %s", f.Index, f.Kind)
	}
}

// TestHonest: any log whose root leaves are true is followed, wherever they stand,
// however little may wait, and however often it is cut off, killed, or loses what it has.
func TestHonest(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			n := int64(0)
			for range 40 {
				w.events(rnd.IntN(30))
				if rnd.IntN(10) == 0 {
					w.log.Append([]byte("no leaf\n"))
				}
				if size := int64(len(w.log.Leaves)); rnd.IntN(3) > 0 {
					n += rnd.Int64N(size - n + 1)
					w.log.AppendRoot(n, size)
				}
				index.SetMost(w.room, []int{0, 1, 20, 1 << 20}[seed%4])
				switch rnd.IntN(6) {
				case 0: // not looked at this time
					continue
				case 1: // cut off, and gone back
					for w.room.Next() < int64(len(w.log.Leaves)) && rnd.IntN(20) > 0 {
						if _, err := w.room.Follow(t.Context(), w.entry(w.room.Next()), w.read); err != nil {
							t.Fatal(err)
						}
					}
					w.room.Again()
				case 2: // killed: what was followed is not kept, and the store may be at any size before
					for range rnd.IntN(50) {
						if w.room.Next() == int64(len(w.log.Leaves)) {
							break
						}
						_, err := w.room.Follow(t.Context(), w.entry(w.room.Next()), w.read)
						check(t, err)
					}
					w.restart()
				case 3:
					w.restart()
				case 4: // the store is lost
					check(t, w.room.Close())
					check(t, os.RemoveAll(filepath.Join(w.dir, "store")))
					w.open()
				}
				w.honest()
			}
			check(t, w.room.Close())
		})
	}
}

// TestBounded: without root leaves what waits does not grow, and all of it is found when one comes.
func TestBounded(t *testing.T) {
	w := newWorld(t)
	index.SetMost(w.room, 100)
	for range 20 {
		w.events(50)
		w.honest()
		if n := index.Waiting(w.room); n > 100 {
			t.Fatalf("%d hashes wait", n)
		}
	}
	if n := index.Size(w.room); n != 0 {
		t.Errorf("the index is at %d, and no root leaf has named a size", n)
	}
	w.log.AppendRoot(3, 1)
	w.log.AppendRoot(999, 1)
	w.honest()
	if n := index.Size(w.room); n != 999 || w.reread < 900 || w.reread > 999 {
		t.Errorf("the index is at %d, and %d entries were read again", n, w.reread)
	}
	if root, at := w.room.Last(); at != 1001 || root.N != 999 {
		t.Errorf("the last root leaf is %v at %d", root, at)
	}
	check(t, w.room.Close())
}

// TestFalse: each way to be false is named, and named again until it was kept; the index goes on with the next.
func TestFalse(t *testing.T) {
	for name, test := range map[string]struct {
		lie  func(w *world) int64
		kind index.Kind
	}{
		"of another log":                {func(w *world) int64 { return w.lie(30, func(r *leaf.Root) { r.Origin = "log.example/id/2" }) }, index.Misplaced},
		"of entries to come":            {func(w *world) int64 { return w.lie(30, func(r *leaf.Root) { r.N = 1000 }) }, index.Misplaced},
		"a smaller size":                {func(w *world) int64 { return w.lie(9, func(r *leaf.Root) {}) }, index.Contradicts},
		"the same size, another root":   {func(w *world) int64 { return w.lie(10, func(r *leaf.Root) { r.MapRoot[3] ^= 1 }) }, index.Contradicts},
		"the same size, another number": {func(w *world) int64 { return w.lie(10, func(r *leaf.Root) { r.Keys++ }) }, index.Contradicts},
		"another log root":              {func(w *world) int64 { return w.lie(30, func(r *leaf.Root) { r.LogRoot[0] ^= 1 }) }, index.Entries},
		"another map root":              {func(w *world) int64 { return w.lie(30, func(r *leaf.Root) { r.MapRoot[31] ^= 1 }) }, index.Index},
		"another number of keys":        {func(w *world) int64 { return w.lie(30, func(r *leaf.Root) { r.Keys-- }) }, index.Index},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.events(20)
			w.log.AppendRoot(10, 1)
			w.events(10)
			w.honest()
			at := test.lie(w)
			for range 2 {
				f, err := w.follow()
				check(t, err)
				if f == nil || f.Kind != test.kind || f.Index != at || f.Again || (f.Own != nil) != (test.kind == index.Index) || test.kind == index.Contradicts && f.Earlier != 20 {
					t.Fatalf("found %+v", f)
				}
				if f.Own != nil && *f.Own != *prototest.IndexOf(w.log.Leaves[:30]).Root(origin, 0) {
					t.Errorf("it would be %+v", f.Own)
				}
				w.restart()
			}
			// Somebody was told. The next one is false in the same way, then one in another, then one is true.
			_, err := w.follow()
			check(t, err)
			check(t, w.room.Keep())
			w.restart()
			w.events(1)
			next := test.lie(w)
			if f, err := w.follow(); err != nil || f == nil || !f.Again || f.Index != next || w.room.False() != at {
				t.Errorf("then %+v, %v; false since %d", f, err, w.room.False())
			}
			other, kind := func(r *leaf.Root) { r.MapRoot[0] ^= 1 }, index.Index
			if test.kind == kind {
				other, kind = func(r *leaf.Root) { r.LogRoot[0] ^= 1 }, index.Entries
			}
			w.lie(33, other)
			if f, err := w.follow(); err != nil || f == nil || f.Again || f.Kind != kind {
				t.Errorf("then %+v, %v", f, err)
			}
			w.log.AppendRoot(34, 1)
			w.honest()
			if w.room.False() != -1 || index.Size(w.room) != 34 {
				t.Errorf("false since %d, at %d", w.room.False(), index.Size(w.room))
			}
			check(t, w.room.Close())
		})
	}
}

// TestOurFault: an index of ours that is wrong accuses nobody. It is made again.
func TestOurFault(t *testing.T) {
	w := newWorld(t)
	w.events(20)
	w.log.AppendRoot(20, 1)
	w.honest()
	check(t, w.room.Close())
	// The store of a log whose entry 7 is another.
	other := newWorld(t)
	other.events(20)
	other.log.Leaves[7] = []byte("no leaf\n")
	other.log.AppendRoot(20, 1)
	other.honest()
	check(t, other.room.Close())
	check(t, os.RemoveAll(filepath.Join(w.dir, "store")))
	check(t, os.Rename(filepath.Join(other.dir, "store"), filepath.Join(w.dir, "store")))
	w.open()
	w.events(5)
	w.log.AppendRoot(25, 1)
	w.honest()
	if w.room.False() != -1 || w.reread != 1+25 { // the one between store and file, and then all of them
		t.Errorf("false since %d, %d entries were read again", w.room.False(), w.reread)
	}
	check(t, w.room.Close())
}

// TestDamaged: what a disk or a person made of the room is found, and the room begins anew where it must.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(w *world){
		"the file is away":    func(w *world) { check(w.t, os.Remove(filepath.Join(w.dir, "state"))) },
		"the file is altered": func(w *world) { w.alter("state") },
		"the file is cut off": func(w *world) { check(w.t, os.Truncate(filepath.Join(w.dir, "state"), 50)) },
		"all is away":         func(w *world) { check(w.t, os.RemoveAll(w.dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.events(20)
			w.log.AppendRoot(20, 1)
			w.honest()
			check(t, w.room.Close())
			damage(w)
			w.open()
			if w.room.Next() != 0 || index.Size(w.room) != 0 {
				t.Errorf("it goes on at %d with an index of %d", w.room.Next(), index.Size(w.room))
			}
			w.honest()
			check(t, w.room.Close())
		})
	}
	// A file that is older than the store, as after a loss of power.
	w := newWorld(t)
	w.events(20)
	w.log.AppendRoot(10, 1)
	w.honest()
	old, err := os.ReadFile(filepath.Join(w.dir, "state"))
	check(t, err)
	w.log.AppendRoot(15, 1)
	w.log.AppendRoot(20, 1)
	w.honest()
	check(t, w.room.Close())
	check(t, os.WriteFile(filepath.Join(w.dir, "state"), old, 0o600))
	w.open()
	w.honest()
	check(t, w.room.Close())
}

func (w *world) alter(name string) {
	file := filepath.Join(w.dir, name)
	b, err := os.ReadFile(file)
	check(w.t, err)
	b[len(b)/2] ^= 1
	check(w.t, os.WriteFile(file, b, 0o600))
}

// TestRereadFails: what cannot be read is no finding, and is asked for again.
func TestRereadFails(t *testing.T) {
	w := newWorld(t)
	index.SetMost(w.room, 10)
	w.events(40)
	w.log.AppendRoot(30, 1)
	w.fails = errors.New("not now")
	if f, err := w.follow(); f != nil || !errors.Is(err, w.fails) {
		t.Fatalf("found %v, %v", f, err)
	}
	w.fails = nil
	w.room.Again()
	w.honest()
	check(t, w.room.Close())
}

// TestUncovered: it is known since when an entry is in no index.
func TestUncovered(t *testing.T) {
	w := newWorld(t)
	want := func(entry int64) {
		t.Helper()
		w.honest()
		w.restart()
		var at time.Time
		if entry >= 0 {
			at = time.Unix(1000+entry, 0)
		}
		if got := w.room.Uncovered(); !got.Equal(at) {
			t.Errorf("since %v, want %v", got, at)
		}
	}
	want(-1)
	w.events(5)
	want(0)
	w.log.AppendRoot(5, 1) // entry 5
	want(-1)
	w.events(1) // entry 6
	want(6)
	w.log.AppendRoot(6, 1) // it speaks of the root leaf, and not of what came after
	want(6)
	w.events(3)
	want(6)
	w.log.AppendRoot(8, 1) // entry 11 speaks of 6 and 7
	want(11)
	w.log.AppendRoot(11, 1)
	want(-1)
	w.log.AppendRoot(12, 1)
	want(-1)
	check(t, w.room.Close())
}

// A file is read only as it is written.
func FuzzState(f *testing.F) {
	w := newWorld(f)
	w.events(3)
	w.honest()
	w.log.AppendRoot(2, 1)
	w.honest()
	check(f, w.room.Close())
	good, err := os.ReadFile(filepath.Join(w.dir, "state"))
	check(f, err)
	if again, err := index.State(good, origin); err != nil || !bytes.Equal(again, good) {
		f.Fatalf("written again: %q, %v", again, err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if again, err := index.State(bad, origin); err == nil {
			f.Errorf("byte %d altered: read as %q", i, again)
		}
		if again, err := index.State(good[:i], origin); err == nil {
			f.Errorf("cut at byte %d: read as %q", i, again)
		}
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := index.State(b, origin); err == nil && !bytes.Equal(again, b) {
			t.Errorf("written again it differs:\n%q\n%q", b, again)
		}
	})
}
