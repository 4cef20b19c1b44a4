package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ilog "idlog/log"
	"idlog/log/index"
	"idlog/proto/history/pebblekv"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
)

// Under load and after it, every root leaf is right, and the last covers all.
func TestRoots(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	for i := range 30 {
		var events []*eventv1.Event
		for range 1 + i%7 {
			events = append(events, w.event(fmt.Sprint("person-", i%5)))
		}
		w.submit(events...)
	}
	w.indexed()
	roots := w.check()
	if roots == 0 {
		t.Fatal("no root leaf was logged")
	}
	t.Logf("%d root leaves in %d entries", roots, len(w.entries()))
}

// The same when a few entries are read at a time, so that root leaves stand in later batches than the entries they cover.
func TestSmallBatches(t *testing.T) {
	defer index.SetMost(3)()
	w := newWorld(t)
	w.start(true)
	for i := range 25 {
		w.submit(w.event(fmt.Sprint("person-", i%5)), w.event("somebody"), w.event("somebody else"))
	}
	w.indexed()
	roots := w.check()
	_, at, state := w.answer()
	w.stop()
	if err := os.RemoveAll(w.index.Dir); err != nil {
		t.Fatal(err)
	}
	// It is interrupted wherever it happens to be.
	for done := false; !done; w.stop() {
		w.start(true)
		before := w.running.index.Status().Size
		w.until("it has gone on", func() bool {
			s := w.running.index.Status()
			done = s.Lag == 0
			return s.Size > before || done
		})
	}
	w.start(true)
	w.indexed()
	if _, again, same := w.answer(); again != at || same != state || w.check() != roots {
		t.Errorf("made again, it answers by the root leaf at %d, not %d", again, at)
	}
}

// A root leaf follows an event at once, and nothing follows a root leaf.
func TestQuiet(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	w.submit(w.event("somebody"))
	w.indexed()
	before := len(w.entries())
	const n = 10
	for range n {
		w.submit(w.event("somebody"))
		w.indexed()
	}
	if grown := len(w.entries()) - before; grown != 2*n {
		t.Errorf("%d events made %d entries, want as many root leaves as events", n, grown)
	}
	w.check()
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t)
	w.index.Interval = time.Hour
	w.start(true)
	w.submit(w.event("somebody"))
	w.until("the first root leaf is there", func() bool { return w.running.index.Status().Root > 0 })
	for range 20 {
		w.submit(w.event("somebody"))
	}
	if roots := w.check(); roots != 1 {
		t.Errorf("%d root leaves within the interval", roots)
	}
}

// The folder is worth nothing: without it the same roots come again, and what was answered is.
func TestDeleted(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	for i := range 20 {
		w.submit(w.event(fmt.Sprint("person-", i%3)))
	}
	w.indexed()
	before, at, state := w.answer()
	size := len(w.entries())
	for _, again := range []string{"a restart", "a new folder"} {
		w.stop()
		if again == "a new folder" {
			if err := os.RemoveAll(w.index.Dir); err != nil {
				t.Fatal(err)
			}
		}
		w.start(true)
		w.indexed()
		root, where, now := w.answer()
		if !bytes.Equal(root, before) || where != at || now != state {
			t.Errorf("after %s the answer is of another root leaf:\n%sat %d, not\n%sat %d", again, root, where, before, at)
		}
		if n := len(w.entries()); n != size {
			t.Errorf("%s made %d entries", again, n-size)
		}
	}
	w.submit(w.event("person-1"))
	w.indexed()
	w.check()
}

// answer returns what is answered by now.
func (w *world) answer() (root []byte, at int64, mapRoot leaf.Hash) {
	w.t.Helper()
	var a *index.Answer
	w.until("there is something to answer by", func() (ok bool) { a, ok = w.running.index.Answering(); return ok })
	defer a.Close()
	if a.At >= a.Checkpoint.Size {
		w.t.Errorf("root leaf at %d under a checkpoint of %d", a.At, a.Checkpoint.Size)
	}
	l, err := leaf.Parse(a.Root)
	if err != nil {
		w.t.Fatal(err)
	}
	if r := l.(*leaf.Root); r.MapRoot != a.State().MapRoot || r.N != a.State().Size {
		w.t.Errorf("the view is of %+v, the root leaf of %+v", a.State(), r)
	}
	return a.Root, a.At, a.State().MapRoot
}

// A log that was never indexed is indexed from its beginning.
func TestLateIndex(t *testing.T) {
	w := newWorld(t)
	w.start(false)
	for i := range 300 {
		w.submit(w.event(fmt.Sprint("person-", i%50)))
	}
	w.stop()
	w.start(true)
	w.indexed()
	if roots := w.check(); roots != 1 {
		t.Errorf("%d root leaves, want 1", roots)
	}
}

// verifier is one that follows the log, by an index of its own; it may lie or be late.
func verifier(t *testing.T, w *world, answer func(n int64, root *leaf.Root) int) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(filepath.Base(r.URL.Path), 10, 64)
		if err != nil || !strings.HasSuffix(filepath.Dir(r.URL.Path), "/index-root") {
			t.Errorf("asked for %s", r.URL.Path)
			http.NotFound(rw, r)
			return
		}
		entries := w.entries()[:n]
		root := &leaf.Root{Origin: origin, N: n, MapFn: leaf.MapFn}
		root.Keys, root.MapRoot = oracle(entries)
		var hashes []leaf.Hash
		for _, e := range entries {
			hashes = append(hashes, e.Hash)
		}
		root.LogRoot = oracleTree(hashes)
		if code := answer(n, root); code != http.StatusOK {
			rw.WriteHeader(code)
			return
		}
		b, err := root.Format()
		if err != nil {
			t.Error(err)
		}
		rw.Write(b)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestVerifierAgrees(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	late := verifier(t, w, func(int64, *leaf.Root) int {
		if asked.Add(1)%3 == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	w.index.Verifiers = []index.Verifier{{Name: "late", URL: late.URL}, {Name: "down", URL: "http://127.0.0.1:1"}}
	w.start(true)
	for range 3 {
		w.submit(w.event("somebody"))
		w.indexed()
	}
	if w.check() == 0 || asked.Load() == 0 {
		t.Error("no root leaf, or no verifier was asked")
	}
}

// One verifier that has other roots stops the index, for good, and nothing is logged. The log goes on.
func TestVerifierDisagrees(t *testing.T) {
	w := newWorld(t)
	liar := verifier(t, w, func(_ int64, root *leaf.Root) int { root.MapRoot[3] ^= 1; return http.StatusOK })
	w.index.Verifiers = []index.Verifier{{Name: "liar", URL: liar.URL}}
	w.start(true)
	w.stopsForGood("verifier liar")
	if roots := w.check(); roots != 0 {
		t.Errorf("%d root leaves were logged", roots)
	}
	// The operator finds that the verifier is wrong.
	w.stop()
	w.index.Verifiers = nil
	if err := os.RemoveAll(w.index.Dir); err != nil {
		t.Fatal(err)
	}
	w.start(true)
	w.indexed()
	w.check()
}

// stopsForGood waits until the index has stopped for a reason, and restarts to see that it stays so.
func (w *world) stopsForGood(reason string) {
	w.t.Helper()
	for range 2 {
		w.submit(w.event("somebody"))
		w.until("it is stopped", func() bool { return w.running.index.Status().Stopped != "" })
		w.submit(w.event("somebody"))
		s := w.running.index.Status()
		if !strings.Contains(s.Stopped, reason) || s.Lag == 0 || s.Behind == 0 {
			w.t.Errorf("status %+v, want %q", s, reason)
		}
		b, err := os.ReadFile(filepath.Join(w.index.Dir, "stopped.json"))
		if err != nil || !bytes.Contains(b, []byte(reason)) {
			w.t.Errorf("evidence %s, %v", b, err)
		}
		w.stop()
		w.start(true)
	}
}

// A root leaf in the log that is not what the index has stops it, whether it follows or begins anew.
func TestFalseRootLeaf(t *testing.T) {
	w := newWorld(t)
	w.start(false)
	w.submit(w.event("somebody"))
	p, _ := w.running.log.Published()
	if _, err := w.running.ingest.Root(t.Context(), &leaf.Root{Origin: origin, N: p.Size, MapFn: leaf.MapFn, LogRoot: p.Root, Keys: 7, Millis: 1}); err != nil {
		t.Fatal(err)
	}
	w.submit(w.event("somebody"))
	w.stop()
	w.start(true)
	w.stopsForGood("other roots than the index has")
	w.stop()
	if err := os.RemoveAll(w.index.Dir); err != nil {
		t.Fatal(err)
	}
	w.start(true)
	w.stopsForGood("other roots than the index has")
}

// While it runs, too.
func TestFalseRootLeafLater(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	w.submit(w.event("somebody"))
	w.indexed()
	p, _ := w.running.log.Published()
	if _, err := w.running.ingest.Root(t.Context(), &leaf.Root{Origin: origin, N: p.Size - 1, MapFn: leaf.MapFn, Millis: 1}); err != nil {
		t.Fatal(err)
	}
	w.submit(w.event("somebody"))
	w.until("it is stopped", func() bool { return w.running.index.Status().Stopped != "" })
}

// Another log's folder, or one of a log that was put back, is not believed.
func TestOtherLog(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	w.submit(w.event("somebody"))
	w.indexed()
	w.stop()
	other := newWorld(t)
	other.start(false)
	for range 10 {
		other.submit(other.event("somebody"))
	}
	other.stop()
	other.index.Dir = w.index.Dir
	other.start(true)
	other.until("it is stopped", func() bool { return other.running.index.Status().Stopped != "" })
	if s := other.running.index.Status().Stopped; !strings.Contains(s, "other entries") {
		t.Errorf("stopped: %s", s)
	}
}

// A folder that is damaged stops the index and not the log; deleted, it comes again.
func TestDamaged(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	w.submit(w.event("somebody"))
	w.indexed()
	w.stop()
	tables, err := filepath.Glob(filepath.Join(w.index.Dir, "store", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b[:len(b)/2] {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.start(true)
	w.until("it is stopped", func() bool { return w.running.index.Status().Stopped != "" })
	w.submit(w.event("somebody"))
	w.stop()
	w.index.Dir += "-again" // for this process still has the other one open
	w.start(true)
	w.indexed()
	w.check()
}

// Answers stay what they are while the index goes on, and follow the checkpoint they are made under.
func TestAnswering(t *testing.T) {
	w := newWorld(t)
	var late atomic.Pointer[ilog.Published]
	w.index.Answering = func() (ilog.Published, bool) {
		if p := late.Load(); p != nil {
			return *p, true
		}
		return ilog.Published{}, false
	}
	w.start(true)
	w.submit(w.event("somebody"))
	w.indexed()
	if _, ok := w.running.index.Answering(); ok {
		t.Error("an answer without a checkpoint")
	}
	show := func() {
		p, _ := w.running.log.Published()
		late.Store(&p)
	}
	show()
	root, at, _ := w.answer()
	slow, ok := w.running.index.Answering()
	if !ok {
		t.Fatal("no answer")
	}
	// The verifiers sleep.
	for range 50 {
		w.submit(w.event("somebody"))
		w.indexed()
	}
	if r, now, _ := w.answer(); !bytes.Equal(r, root) || now != at {
		t.Errorf("answers are by the root leaf at %d now, under a checkpoint of %d", now, slow.Checkpoint.Size)
	}
	show()
	if _, now, _ := w.answer(); now <= at {
		t.Errorf("answers are still by the root leaf at %d", now)
	}
	key := mapfn.Key(mapfn.Root, mapfn.None)
	path, list, err := slow.Find(key)
	if err != nil {
		t.Fatal(err)
	}
	if present, err := path.Verify(key, slow.State().MapRoot); err != nil || present != (list.N > 0) {
		t.Errorf("present %v, %v", present, err)
	}
	closed := make(chan struct{})
	go func() { w.stop(); close(closed) }()
	w.until("it answers no more", func() bool {
		a, ok := w.running.index.Answering()
		if ok {
			a.Close()
		}
		return !ok
	})
	if _, _, err := slow.Find(key); err != nil {
		t.Error(err)
	}
	slow.Close()
	slow.Close()
	<-closed
}

// A root leaf cannot be submitted: what looks like one is inside of an event.
func TestNobodySubmitsRoots(t *testing.T) {
	w := newWorld(t)
	w.start(false)
	root, err := (&leaf.Root{Origin: origin, MapFn: leaf.MapFn}).Format()
	if err != nil {
		t.Fatal(err)
	}
	e := w.event("somebody")
	id := string(root[:len(root)-1])
	e.Source.NativeId, e.Raw, e.RawMediaType = &id, root, "text/plain"
	at := w.submit(e)
	if l, err := leaf.Parse(w.entries()[at].Data); err != nil || l.(*leaf.Event) == nil {
		t.Errorf("it is logged as %T, %v", l, err)
	}
	if roots := w.check(); roots != 0 {
		t.Errorf("%d root leaves", roots)
	}
}

// Rows of the index that are wrong, and that the store takes for right, may stop it when they are needed, and never bring a
// false root into the log.
func TestDamagedRows(t *testing.T) {
	w := newWorld(t)
	w.start(true)
	for i := range 300 {
		w.submit(w.event(fmt.Sprint("person-", i%3)))
	}
	w.indexed()
	w.stop()
	stopped := 0
	for n := range 12 {
		if err := os.RemoveAll(w.index.Dir); err != nil {
			t.Fatal(err)
		}
		w.start(true)
		w.indexed()
		w.stop()
		row := w.damage(n)
		w.start(true)
		w.submit(w.event("person-1"))
		w.until("it is stopped, or all is indexed", func() bool {
			s := w.running.index.Status()
			return s.Stopped != "" || s.Lag == 0
		})
		if s := w.running.index.Status().Stopped; s != "" {
			stopped++
			t.Logf("row %q: %s", row, s)
		}
		w.check()
		w.stop()
	}
	if stopped == 0 {
		t.Error("none of the rows was needed")
	}
}

// damage turns over a bit in the n-th of the rows, one of each kind in turn, of the index that rests.
func (w *world) damage(n int) (row []byte) {
	w.t.Helper()
	store, err := pebblekv.Open(filepath.Join(w.index.Dir, "store"))
	if err != nil {
		w.t.Fatal(err)
	}
	snap := store.Snapshot()
	c, err := snap.Scan([]byte{0}, []byte{0xff})
	if err != nil {
		w.t.Fatal(err)
	}
	kinds := make(map[byte][][2][]byte)
	for ok := c.Seek([]byte{0}); ok; ok = c.Next() {
		kind := c.Key()[0]
		kinds[kind] = append(kinds[kind], [2][]byte{bytes.Clone(c.Key()), bytes.Clone(c.Value())})
	}
	names := slices.Sorted(maps.Keys(kinds))
	rows := kinds[names[n%len(names)]]
	r := rows[n/len(names)*7919%len(rows)]
	r[1][len(r[1])/2] ^= 1 << (n % 8)
	b := store.Batch()
	b.Put(r[0], r[1])
	if err := errors.Join(c.Close(), snap.Close(), b.Commit(), store.Close()); err != nil {
		w.t.Fatal(err)
	}
	return r[0]
}
