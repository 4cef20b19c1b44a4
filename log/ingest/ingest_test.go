package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/log/ingest"
	"idlog/proto/checkpoint"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
)

func TestReceipts(t *testing.T) {
	w := newWorld(t)
	var events []*eventv1.Event
	for i := range 10 {
		events = append(events, w.event(fmt.Sprint(i), fmt.Sprint("a", i%3), fmt.Sprint("b", i%4)))
	}
	sent := proto.CloneOf(events[0])
	first := w.receipts(events...)
	if !proto.Equal(sent, events[0]) {
		t.Error("the event was changed")
	}
	for i, r := range first {
		if !bytes.Equal(r.Checkpoint, first[0].Checkpoint) {
			t.Errorf("receipt %d has a checkpoint of its own", i)
		}
	}
	// Again, in another order, after a restart, and with others between: the same.
	for range 2 {
		again := w.receipts(events[7], w.event("other", "a1", "new"), events[2], events[7])
		for i, want := range map[int]*ingest.Receipt{0: first[7], 2: first[2], 3: first[7]} {
			if got := again[i]; got.Index != want.Index || !bytes.Equal(got.Leaf, want.Leaf) || !got.Opening.Received.Equal(want.Opening.Received) {
				t.Errorf("repeat %d is at %d, first at %d", i, got.Index, want.Index)
			}
		}
		w.checkLog()
		w.restart()
	}
	w.checkLog()
}

func TestNobody(t *testing.T) {
	w := newWorld(t)
	e := w.event("1", "a", "b")
	e.Actor, e.Targets = nil, nil
	w.receipts(e)
	w.receipts(e)
	w.checkLog()
}

func TestDisclose(t *testing.T) {
	w := newWorld(t)
	e := w.event("1", "a", "b")
	r := w.receipts(e)[0]
	lines, raw, err := w.Disclose(t.Context(), r.Index)
	if err != nil {
		t.Fatal(err)
	}
	back, err := event.FromLines(lines, raw)
	if err != nil {
		t.Fatal(err)
	}
	event.Stamp(e, r.Opening.Received)
	if !proto.Equal(e, back) {
		t.Errorf("disclosed %v, submitted %v", back, e)
	}
	for index, want := range map[int64]logv1.Reason{
		0: logv1.Reason_REASON_NOT_FOUND, 1: logv1.Reason_REASON_NOT_FOUND, 2: logv1.Reason_REASON_NOT_FOUND,
		r.Index + 1: logv1.Reason_REASON_INDEX_OUT_OF_RANGE, -1: logv1.Reason_REASON_INDEX_OUT_OF_RANGE,
	} {
		if _, _, err := w.Disclose(t.Context(), index); reason(err) != want {
			t.Errorf("entry %d: %v, want %v", index, err, want)
		}
	}
}

func TestConcurrentSubmitters(t *testing.T) {
	w := newWorld(t)
	const submitters, calls = 12, 8
	batches := make([][]*eventv1.Event, calls)
	for c := range batches {
		for i := range 5 {
			batches[c] = append(batches[c], w.event(fmt.Sprint(c, "-", i), fmt.Sprint("person", c), fmt.Sprint("person", i)))
		}
	}
	var mu sync.Mutex
	at := make(map[string]int64)
	var wg sync.WaitGroup
	for s := range submitters {
		wg.Go(func() {
			for c := range calls {
				batch := batches[(c+s)%calls]
				answers, err := w.Submit(t.Context(), request(batch...))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, a := range answers {
					id := batch[i].GetSource().GetNativeId()
					if a.Receipt == nil {
						t.Errorf("%s: no receipt, %v", id, a.Err)
					} else if known, ok := at[id]; ok && known != a.Receipt.Index {
						t.Errorf("%s is at %d and at %d", id, known, a.Receipt.Index)
					} else {
						at[id] = a.Receipt.Index
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, b := range batches {
		w.receipts(b...)
	}
	w.checkLog()
	events := calls * 5
	persons := 2 * calls // with their e-mail addresses
	if got, want := len(w.log.leaves()), 2+events+persons; got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	size := len(w.log.leaves())
	good := func() *eventv1.Event { return w.event("1", "a", "b") }
	mend := func(change func(e *eventv1.Event)) ingest.Request {
		e := good()
		change(e)
		return request(e)
	}
	many := func(n int) []*eventv1.Event {
		var events []*eventv1.Event
		for i := range n {
			events = append(events, w.event(fmt.Sprint(i), "a", "b"))
		}
		return events
	}
	for name, c := range map[string]struct {
		request ingest.Request
		reason  logv1.Reason
		path    string
		call    bool // the whole call is refused
	}{
		"unknown source": {ingest.Request{Source: "none", Principal: "poller", Events: many(1)}, logv1.Reason_REASON_SOURCE_UNKNOWN, "", true},
		"not bound":      {ingest.Request{Source: "app", Principal: "poller", Events: many(1)}, logv1.Reason_REASON_SOURCE_NOT_BOUND, "", true},
		"no principal":   {ingest.Request{Source: "app", Events: many(1)}, logv1.Reason_REASON_SOURCE_NOT_BOUND, "", true},
		"no events":      {request(), logv1.Reason_REASON_TOO_LARGE, "events", true},
		"501 events":     {request(many(501)...), logv1.Reason_REASON_TOO_LARGE, "events", true},
		"over 8 MiB": {request(func() []*eventv1.Event {
			events := many(3)
			for _, e := range events {
				e.Raw = make([]byte, 3<<20)
			}
			return events
		}()...), logv1.Reason_REASON_TOO_LARGE, "events", true},
		"no event":      {request(nil), logv1.Reason_REASON_FIELD_MISSING, "class", false},
		"no id":         {mend(func(e *eventv1.Event) { e.Source.NativeId = nil }), logv1.Reason_REASON_FIELD_MISSING, "source.native_id", false},
		"bad class":     {mend(func(e *eventv1.Event) { e.Class.ClassUid = proto.Int64(-1) }), logv1.Reason_REASON_FIELD_INVALID, "class.class_uid", false},
		"server's own":  {mend(func(e *eventv1.Event) { e.Times.Received = timestamppb.Now() }), logv1.Reason_REASON_FIELD_INVALID, "times.received", false},
		"schema":        {mend(func(e *eventv1.Event) { e.Schema = proto.String("") }), logv1.Reason_REASON_FIELD_INVALID, "schema", false},
		"raw too large": {mend(func(e *eventv1.Event) { e.Raw = make([]byte, 4<<20+1) }), logv1.Reason_REASON_TOO_LARGE, "raw", false},
		"too many persons": {mend(func(e *eventv1.Event) {
			for i := range 300 {
				e.Targets = append(e.Targets, &eventv1.Target{Principal: &eventv1.Principal{Id: fmt.Sprint(i)}})
			}
		}), logv1.Reason_REASON_TOO_MANY_PERSONS, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			answers, err := w.Submit(t.Context(), c.request)
			if !c.call {
				if err != nil {
					t.Fatal(err)
				}
				err = answers[0].Err
			}
			var r *ingest.Refusal
			if !errors.As(err, &r) || r.Reason != c.reason || r.Path != c.path || r.Index != -1 || r.Message == "" {
				t.Errorf("refusal %+v, want %v of %q", err, c.reason, c.path)
			}
		})
	}
	if rows, _ := w.journal.Queued(); rows != 0 || len(w.log.leaves()) != size {
		t.Errorf("%d rows are queued, %d entries were %d", rows, len(w.log.leaves()), size)
	}
	for id := range w.ids {
		if e, err := w.vault.Current(id); e != nil || err != nil {
			t.Errorf("%v was enrolled, %v", id, err)
		}
	}
	// What is beside a bad one is taken.
	bad := w.event("bad", "x", "y")
	bad.Outcome = nil
	answers := w.submit(request(good(), bad))
	if answers[0].Receipt == nil || reason(answers[1].Err) != logv1.Reason_REASON_FIELD_MISSING {
		t.Errorf("answers %+v", answers)
	}
	delete(w.ids, subject.Identifier{Issuer: issuer, Format: "opaque", ID: "canary-x"})
	w.checkLog()
}

func TestConflict(t *testing.T) {
	w := newWorld(t)
	first := w.event("1", "a", "b")
	r := w.receipts(first)[0]
	size := len(w.log.leaves())
	other := w.event("1", "stranger", "b")
	other.Raw = []byte("canary-raw of another event")
	conflict := func(req ingest.Request, index int64) {
		t.Helper()
		a := w.submit(req)[0]
		var refusal *ingest.Refusal
		if !errors.As(a.Err, &refusal) || refusal.Reason != logv1.Reason_REASON_ID_CONFLICT || refusal.Index != index {
			t.Errorf("answer %+v, want a conflict with %d", a, index)
		}
	}
	conflict(request(other), r.Index)
	// Only who wrote the first is told where it stands.
	req := request(other)
	req.Principal = "second"
	conflict(req, -1)
	// The same submission by another principal of the source is the same.
	req = request(first)
	req.Principal = "second"
	if a := w.submit(req)[0]; a.Receipt == nil || a.Receipt.Index != r.Index {
		t.Errorf("answer %+v", a)
	}
	if n := len(w.log.leaves()); n != size {
		t.Errorf("%d entries, want %d", n, size)
	}
	if e, err := w.vault.Current(subject.Identifier{Issuer: issuer, Format: "opaque", ID: "canary-stranger"}); e != nil || err != nil {
		t.Errorf("a person of a refused event was enrolled, %v", err)
	}
	// Another source has ids of its own; within a batch the first one counts.
	app := ingest.Request{Source: "app", Principal: "service", Events: []*eventv1.Event{other, first}}
	answers := w.submit(app)
	if answers[0].Receipt == nil || reason(answers[1].Err) != logv1.Reason_REASON_ID_CONFLICT {
		t.Errorf("answers %+v", answers)
	}
	w.checkLog()
}

func TestTicket(t *testing.T) {
	w := newWorld(t)
	e := w.event("1", "a", "b")
	vkey, err := checkpoint.VKey(w.config.TicketKey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := checkpoint.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	w.log.set(func(f *fakeLog) { f.hold = true })
	check := func(a ingest.Answer) {
		t.Helper()
		if a.Ticket == nil {
			t.Fatalf("answer %+v, want a ticket", a)
		}
		n, err := note.Open(a.Ticket.Note, note.VerifierList(v))
		if err != nil {
			t.Fatal(err)
		}
		l, err := leaf.Parse(a.Ticket.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		received := l.(*leaf.Event).Received
		hash, err := checkpoint.ParseHash(strings.Split(n.Text, "\n")[2])
		if err != nil || hash != leaf.HashOf(a.Ticket.Leaf) {
			t.Errorf("ticket for another leaf, %v", err)
		}
		if rest := fmt.Sprintf("\n%d\n%d\n", received, received+86400); !strings.HasPrefix(n.Text, "idlog-ticket/v1\n"+family+"\n") || !strings.HasSuffix(n.Text, rest) {
			t.Errorf("ticket %q", n.Text)
		}
	}
	// As soon as it is durable.
	req := request(e)
	req.Wait = logv1.Wait_WAIT_SEQUENCED
	first := w.submit(req)[0]
	check(first)
	// A deadline that is nearer than the quorum.
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	answers, err := w.Submit(ctx, request(e))
	if err != nil {
		t.Fatal(err)
	}
	check(answers[0])
	// Through a restart, the promise holds.
	w.restart()
	r := w.receipts(e)[0]
	if !bytes.Equal(r.Leaf, first.Ticket.Leaf) {
		t.Error("the receipt is for another leaf than the ticket")
	}
	w.checkLog()
}

func TestAckTimeout(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.AckTimeout = time.Millisecond })
	w.log.set(func(f *fakeLog) { f.hold = true })
	e := w.event("1", "a", "b")
	if a := w.submit(request(e))[0]; a.Ticket == nil {
		t.Errorf("answer %+v, want a ticket", a)
	}
	w.log.set(func(f *fakeLog) { f.hold = false })
	w.config.AckTimeout = time.Minute
	w.restart()
	w.receipts(e)
	w.checkLog()
}

func TestBacklog(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.MaxBacklog = 10; w.config.AckTimeout = time.Millisecond })
	w.log.set(func(f *fakeLog) { f.hold = true })
	var taken []*eventv1.Event
	for i := 0; ; i++ {
		e := w.event(fmt.Sprint(i), "a", "b")
		answers, err := w.Submit(t.Context(), request(e))
		if reason(err) == logv1.Reason_REASON_BACKLOG_FULL {
			break
		}
		if err != nil || answers[0].Ticket == nil || i > 10 {
			t.Fatalf("event %d: %+v, %v", i, answers, err)
		}
		taken = append(taken, e)
	}
	if len(taken) != 10-4 { // with four enrolments
		t.Errorf("%d events were taken", len(taken))
	}
	// A checkpoint makes room for all.
	w.log.set(func(f *fakeLog) { f.hold = false })
	for {
		_, err := w.Submit(t.Context(), request(w.event("next", "a", "b")))
		if err == nil {
			break
		}
		if reason(err) != logv1.Reason_REASON_BACKLOG_FULL {
			t.Fatal(err)
		}
	}
	w.config.AckTimeout = time.Minute
	w.restart()
	w.receipts(taken...)
	w.checkLog()
}

func TestReadOnly(t *testing.T) {
	w := newWorld(t)
	old := w.event("1", "a", "b")
	r := w.receipts(old)[0]
	w.log.set(func(f *fakeLog) { f.readOnly = errors.New("refused to sign") })
	if _, err := w.Submit(t.Context(), request(w.event("2", "a", "b"))); reason(err) != logv1.Reason_REASON_READ_ONLY {
		t.Errorf("error %v, want READ_ONLY", err)
	}
	if _, _, err := w.Disclose(t.Context(), r.Index); err != nil {
		t.Error(err)
	}
	// It starts like that, too, and goes on when it is mended.
	w.stop()
	leaves := w.log.leaves()
	w.log = newFakeLog(t, leaves)
	w.log.readOnly = errors.New("refused to sign")
	w.start()
	if _, err := w.Submit(t.Context(), request(w.event("2", "a", "b"))); reason(err) != logv1.Reason_REASON_READ_ONLY {
		t.Errorf("error %v, want READ_ONLY", err)
	}
	w.stop()
	w.log = newFakeLog(t, leaves)
	w.start()
	w.receipts(w.event("2", "a", "b"), old)
	w.checkLog()
}

func TestStopped(t *testing.T) {
	w := newWorld(t)
	w.stop()
	if _, err := w.Submit(t.Context(), request(w.event("1", "a", "b"))); reason(err) != logv1.Reason_REASON_SHUTTING_DOWN {
		t.Errorf("error %v, want SHUTTING_DOWN", err)
	}
}

func TestNewSource(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	w.stop()
	for i := range 20 { // more than one leaf announces
		w.config.Sources = append(w.config.Sources, ingest.Source{Name: fmt.Sprint("new-", i), Principals: []string{"poller"}})
	}
	w.log = newFakeLog(t, w.log.leaves())
	w.start()
	for i := range 20 {
		req := request(w.event("1", "a", "c"))
		req.Source = fmt.Sprint("new-", i)
		r := w.submit(req)[0].Receipt
		if r == nil {
			t.Fatal("no receipt")
		}
		w.neutral(req.Source, r.Index)
	}
	n := len(w.log.leaves())
	w.restart()
	if got := len(w.log.leaves()); got != n {
		t.Errorf("a restart added %d entries", got-n)
	}
	w.checkLog()
	if _, err := w.SourceKeys(t.Context(), "none"); reason(err) != logv1.Reason_REASON_SOURCE_UNKNOWN {
		t.Errorf("error %v", err)
	}
}

// No name, no value and no id is in clear anywhere on the disk.
func TestNothingInClear(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.receipts(w.event(fmt.Sprint(i), fmt.Sprint("a", i), "b"))
	}
	w.stop() // flushes nothing: the write-ahead log is read as well
	found := func(dir, s string) {
		err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			if bytes.Contains(bytes.ToLower(b), []byte(s)) {
				t.Errorf("%s holds %q", name, s)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found(w.dir, "canary")
	found(w.dir, "203.0.113.9")
	for _, b := range w.log.leaves() {
		if bytes.Contains(bytes.ToLower(b), []byte("canary")) {
			t.Errorf("leaf\n%s", b)
		}
	}
}

// Whoever leaves early may come back: what was taken is taken once.
func TestCallerLeaves(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.MaxBacklog = 500 })
	var events []*eventv1.Event
	for i := range 20 {
		events = append(events, w.event(fmt.Sprint(i), fmt.Sprint("a", i), "b"))
	}
	for i := range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := w.Submit(ctx, request(events[i%20])); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		cancel()
		<-done
	}
	w.receipts(events...)
	w.checkLog()
}
