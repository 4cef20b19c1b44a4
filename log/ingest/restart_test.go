package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
)

// A process that dies before or after any append, with any part of it in the
// log, leaves what a new start makes whole: nothing promised is lost, nothing
// stands twice.
func TestCrashAtEveryAppend(t *testing.T) {
	w := newWorld(t)
	var events []*eventv1.Event
	for i := range 6 {
		events = append(events, w.event(fmt.Sprint(i), fmt.Sprint("a", i), fmt.Sprint("b", i/2)))
	}
	var mu sync.Mutex // guards all: the last snapshot is taken after the last receipt is out
	var all []*world
	add := func(c *world) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
	}
	// The sequencer calls these, and nothing else changes the disk but Submit, which waits for it.
	w.log.before = func(leaves [][]byte) {
		for part := range len(leaves) {
			c := w.crashed()
			c.log.log.Append(leaves[:part]...)
			add(c)
		}
	}
	w.log.after = func() { add(w.crashed()) }
	w.log.signed = w.log.after
	for _, e := range events {
		w.receipts(e)
	}
	mu.Lock()
	worlds := slices.Clone(all)
	mu.Unlock()
	if len(worlds) < 4*len(events)/2 {
		t.Fatalf("%d crashes", len(worlds))
	}
	for i, c := range worlds {
		c.start()
		before := len(c.log.leaves())
		for _, e := range events {
			c.receipts(e)
		}
		c.checkLog()
		if got, want := len(c.log.leaves()), len(w.log.leaves()); got != want {
			t.Errorf("crash %d with %d entries: %d entries in the end, want %d", i, before, got, want)
		}
		c.stop()
	}
	w.checkLog()
}

// The same under load: whatever Submit answered before the crash is there after it.
func TestCrashUnderLoad(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	acknowledged := make(map[string]int64) // -1 for a ticket
	var events []*eventv1.Event
	for i := range 60 {
		events = append(events, w.event(fmt.Sprint(i), fmt.Sprint("a", i%7), fmt.Sprint("b", i%5)))
	}
	type crash struct {
		world *world
		acked map[string]int64
	}
	var crashes []crash
	appends := 0
	w.log.before = func([][]byte) {
		if appends++; appends%3 != 1 {
			return
		}
		mu.Lock()
		acked := make(map[string]int64)
		for id, i := range acknowledged {
			acked[id] = i
		}
		mu.Unlock()
		crashes = append(crashes, crash{w.crashed(), acked})
	}
	var wg sync.WaitGroup
	for s := range 4 {
		wg.Go(func() {
			for i := s; i < len(events); i += 2 { // each event twice
				req := request(events[i])
				if s%2 == 0 {
					req.Wait = logv1.Wait_WAIT_SEQUENCED
				}
				answers, err := w.Submit(t.Context(), req)
				if err != nil || answers[0].Err != nil {
					t.Errorf("event %d: %+v, %v", i, answers, err)
					return
				}
				mu.Lock()
				id := events[i].GetSource().GetNativeId()
				if r := answers[0].Receipt; r != nil {
					acknowledged[id] = r.Index
				} else if _, ok := acknowledged[id]; !ok {
					acknowledged[id] = -1
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, c := range crashes {
		c.world.start()
		for i, r := range c.world.receipts(events...) {
			if index, ok := c.acked[events[i].GetSource().GetNativeId()]; ok && index >= 0 && index != r.Index {
				t.Errorf("event %d was acknowledged at %d and is at %d", i, index, r.Index)
			}
		}
		c.world.checkLog()
		c.world.stop()
	}
	if len(crashes) == 0 {
		t.Error("nothing crashed")
	}
}

// Secrets that were stored before the journal knew of their leaf are used.
func TestCrashWhileEnrolling(t *testing.T) {
	w := newWorld(t)
	w.stop()
	v, err := vault.Open(filepath.Join(w.dir, "subjects"), w.master, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := w.event("1", "a", "b")
	id := subject.Identifier{Issuer: issuer, Format: "opaque", ID: "canary-a"}
	made, err := v.Enrol(family, 1763629200, []subject.Identifier{id})
	if err := errors.Join(err, v.Close()); err != nil {
		t.Fatal(err)
	}
	w.log = newFakeLog(t, w.log.leaves())
	w.start()
	w.receipts(e)
	w.checkLog()
	found := false
	for _, b := range w.log.leaves() {
		found = found || bytes.Equal(b, made[0].Leaf)
	}
	if !found {
		t.Error("the enrolment that was made before the crash is not in the log")
	}
}

// SPEC F31: a journal that was restored from an older copy is repaired by what
// the log has; what was submitted since is not logged again.
func TestOlderJournal(t *testing.T) {
	w := newWorld(t)
	old := w.event("old", "a", "b")
	w.receipts(old)
	w.stop()
	backup := filepath.Join(t.TempDir(), "journal")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(w.dir, "journal"))); err != nil {
		t.Fatal(err)
	}
	w.log = newFakeLog(t, w.log.leaves())
	w.start()
	since := w.event("since", "a", "c")
	r := w.receipts(since)[0]
	said := statement("1", personOf("a"), personOf("b"))
	stated := w.link(said)
	w.stop()
	journal := filepath.Join(w.dir, "journal")
	if err := errors.Join(os.RemoveAll(journal), os.CopyFS(journal, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	w.log = newFakeLog(t, w.log.leaves())
	w.start()
	n := len(w.log.leaves())
	if a := w.submit(request(since))[0]; reason(a.Err) != logv1.Reason_REASON_OPENING_LOST {
		t.Errorf("answer %+v, want OPENING_LOST", a)
	}
	if _, _, err := w.Disclose(t.Context(), r.Index); reason(err) != logv1.Reason_REASON_OPENING_LOST {
		t.Errorf("disclosing: %v, want OPENING_LOST", err)
	}
	// What opens a statement is made of what it says: who can say it again has it.
	if again, err := w.Link(t.Context(), said); err != nil || again.Index != stated.Index || again.Opening.Seeds[0].Seed != stated.Opening.Seeds[0].Seed {
		t.Errorf("the statement again: %+v, %v", again, err)
	}
	if _, _, err := w.Disclose(t.Context(), stated.Index); reason(err) != logv1.Reason_REASON_OPENING_LOST {
		t.Errorf("disclosing the statement: %v, want OPENING_LOST", err)
	}
	if got := len(w.log.leaves()); got != n {
		t.Errorf("%d entries were added", got-n)
	}
	w.receipts(old, w.event("new", "a", "c"))
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	w.stop()
	for name, change := range map[string]func(t *testing.T, w *world){
		"ticket key of another name": func(t *testing.T, w *world) {
			w.config.TicketKey, _, _ = checkpoint.GenerateKey("other/ticket", checkpoint.Ed25519, checkpoint.LogRole)
		},
		"another ticket key": func(t *testing.T, w *world) {
			w.config.TicketKey, _, _ = checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
		},
		"no ticket key": func(t *testing.T, w *world) { w.config.TicketKey = "" },
		"another family": func(t *testing.T, w *world) {
			w.config.Family = "other"
			w.config.TicketKey, _, _ = checkpoint.GenerateKey("other/ticket", checkpoint.Ed25519, checkpoint.LogRole)
		},
		"one source twice": func(t *testing.T, w *world) { w.config.Sources = append(w.config.Sources, w.config.Sources[0]) },
		"another vault": func(t *testing.T, w *world) {
			dir := filepath.Join(w.dir, "subjects")
			if err := errors.Join(os.RemoveAll(dir), vault.Create(dir, w.master)); err != nil {
				t.Fatal(err)
			}
		},
		"an older log": func(t *testing.T, w *world) { w.log = newFakeLog(t, w.log.leaves()[:3]) },
		"another log": func(t *testing.T, w *world) {
			dir := filepath.Join(w.dir, "journal")
			if err := errors.Join(os.RemoveAll(dir), journal.Create(dir)); err != nil {
				t.Fatal(err)
			}
			w.log = newFakeLog(t, [][]byte{[]byte("somebody else's")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.crashed()
			c.t = t
			change(t, c)
			n := len(c.log.leaves())
			if err := c.open(); err == nil {
				t.Error("it started")
			}
			if len(c.log.leaves()) != n {
				t.Error("it appended something")
			}
		})
	}
}

// A log that fails ends Run, and calls that wait get their tickets.
func TestAppendFails(t *testing.T) {
	w := newWorld(t)
	w.stop()
	broken := errors.New("the disk is gone")
	f := &brokenLog{fakeLog: newFakeLog(t, w.log.leaves()), err: broken}
	v, err := vault.Open(filepath.Join(w.dir, "subjects"), w.master, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	j, err := journal.Open(filepath.Join(w.dir, "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	c := w.config
	c.Log, c.Vault, c.Journal = f, v, j
	in, err := ingest.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- in.Run(t.Context()) }()
	answers, err := in.Submit(t.Context(), request(w.event("1", "a", "b")))
	if err != nil || answers[0].Ticket == nil {
		t.Errorf("answers %+v, %v", answers, err)
	}
	if err := <-done; !errors.Is(err, broken) {
		t.Errorf("Run ended with %v", err)
	}
}

type brokenLog struct {
	*fakeLog
	err error
}

func (b *brokenLog) Append(context.Context, [][]byte) (int64, error) { return 0, b.err }

// With the real log below, published and reopened.
func TestRealLog(t *testing.T) {
	dir := t.TempDir()
	skey, vkey, err := checkpoint.GenerateKey(family+"/0", checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	conf := ilog.Config{
		Dir: filepath.Join(dir, "log"), Heads: filepath.Join(dir, "heads"), Origin: family + "/0",
		Signers: []note.Signer{signer}, VKeys: []string{vkey}, Republish: -1,
	}
	if err := ilog.Create(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t) // for its keys and events
	w.stop()
	for _, name := range []string{"journal", "subjects"} {
		if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(vault.Create(filepath.Join(w.dir, "subjects"), w.master), journal.Create(filepath.Join(w.dir, "journal"))); err != nil {
		t.Fatal(err)
	}
	var first []*ingest.Receipt
	for start := range 3 {
		l, err := ilog.Open(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(filepath.Join(w.dir, "subjects"), w.master, nil)
		if err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(filepath.Join(w.dir, "journal"), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := w.config
		c.Log, c.Vault, c.Journal = l, v, j
		if w.Ingest, err = ingest.New(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- w.Run(ctx) }()
		go func() { done <- l.Run(ctx) }()
		var events []*eventv1.Event
		for i := range 300 {
			events = append(events, w.event(fmt.Sprint(i), fmt.Sprint("a", i%20), fmt.Sprint("b", i%10)))
		}
		receipts := w.receipts(events...)
		if start == 0 {
			first = receipts
		}
		for i, r := range receipts {
			if r.Index != first[i].Index {
				t.Errorf("start %d: event %d is at %d, was at %d", start, i, r.Index, first[i].Index)
			}
			if b, err := l.Entry(ctx, r.Index); err != nil || !bytes.Equal(b, r.Leaf) || leaf.HashOf(b) != leaf.HashOf(first[i].Leaf) {
				t.Errorf("entry %d: %v", r.Index, err)
			}
		}
		if n, want := l.Integrated(), int64(2+2*30+300); n != want {
			t.Errorf("start %d: %d entries, want %d", start, n, want)
		}
		cancel()
		if err := errors.Join(<-done, <-done, j.Close(), v.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
