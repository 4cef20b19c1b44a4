package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"idlog/client"
	"idlog/client/clienttest"
	logv1 "idlog/proto/idlog/log/v1"
)

func TestWriter(t *testing.T) {
	op := clienttest.New(t)
	w := dial(t, op).Writer(client.WriterConfig{Source: clienttest.Source})
	const goroutines, each = 50, 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[int64]string)
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("e-%d-%d", g, i)
				r, err := w.Submit(t.Context(), clienttest.SignIn(id))
				if err != nil || r.NativeID != id {
					t.Errorf("%s: %v, %v", id, r, err)
					return
				}
				mu.Lock()
				if other, twice := seen[r.Index]; twice {
					t.Errorf("entry %d is %s and %s", r.Index, other, id)
				}
				seen[r.Index] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	check(t, w.Close(t.Context()))
	if n := op.Calls["SubmitEvents"]; n > goroutines*each/2 {
		t.Errorf("%d calls for %d events", n, goroutines*each)
	}
	if _, err := w.Submit(t.Context(), clienttest.SignIn("late")); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	check(t, w.Close(t.Context()))
}

// Each event has its own outcome, whatever becomes of those it travels with.
func TestWriterErrors(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	w := c.Writer(client.WriterConfig{Source: clienttest.Source, InFlight: 1})
	conflict, bad := clienttest.SignIn("e1"), clienttest.SignIn("e2")
	conflict.Outcome.Reason, bad.Outcome = "OTHER", nil
	if _, err := w.Send(t.Context(), bad); reasonOf(err) != logv1.Reason_REASON_FIELD_MISSING {
		t.Errorf("an event that no server takes: %v", err)
	}
	op.Set(func(op *clienttest.Operator) { op.Refuse = 3 }) // it passes
	var pending []*client.Pending
	for _, id := range []string{"a", "b", "e1", "c"} {
		e := clienttest.SignIn(id)
		if id == "e1" {
			e = conflict
		}
		p, err := w.Send(t.Context(), e)
		check(t, err)
		pending = append(pending, p)
	}
	for i, p := range pending {
		r, err := p.Wait(t.Context())
		if i == 2 {
			if reasonOf(err) != logv1.Reason_REASON_ID_CONFLICT || r != nil {
				t.Errorf("the conflict: %v, %v", r, err)
			}
		} else if err != nil || r == nil {
			t.Errorf("event %d: %v, %v", i, r, err)
		}
	}
	check(t, w.Close(t.Context()))

	// A log that does not know the source refuses all of them.
	op.Set(func(op *clienttest.Operator) { op.Lie = "no keys" })
	liar := dial(t, op).Writer(client.WriterConfig{Source: clienttest.Source})
	if _, err := liar.Submit(t.Context(), clienttest.SignIn("x")); err == nil {
		t.Error("an event was logged to a source without keys")
	}
	check(t, liar.Close(t.Context()))
}

// Who hands over more than the log takes waits, and hears its context.
func TestWriterBackPressure(t *testing.T) {
	op := clienttest.New(t)
	w := dial(t, op).Writer(client.WriterConfig{Source: clienttest.Source, Pending: 4 * 8 << 10})
	op.Set(func(op *clienttest.Operator) { op.Refuse = 1 << 30 })
	var pending []*client.Pending
	for i := range 4 {
		p, err := w.Send(t.Context(), clienttest.SignIn(fmt.Sprint("e", i)))
		check(t, err)
		pending = append(pending, p)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Send(gone, clienttest.SignIn("e4")); !errors.Is(err, context.Canceled) {
		t.Errorf("a fifth event was taken: %v", err)
	}
	waits := make(chan error)
	go func() {
		_, err := w.Submit(t.Context(), clienttest.SignIn("e5"))
		waits <- err
	}()
	op.Set(func(op *clienttest.Operator) { op.Refuse = 0 })
	check(t, <-waits)
	for _, p := range pending {
		_, err := p.Wait(t.Context())
		check(t, err)
	}
	// An event of the size of everything still goes.
	big := clienttest.SignIn("big")
	big.Raw = make([]byte, 1<<20)
	_, err := w.Submit(t.Context(), big)
	check(t, err)
	// One that fits into no call is refused at once.
	big = proto.CloneOf(big)
	big.Raw = make([]byte, 9<<20)
	if _, err := w.Send(t.Context(), big); reasonOf(err) != logv1.Reason_REASON_TOO_LARGE {
		t.Errorf("got %v", err)
	}
	check(t, w.Close(t.Context()))
}

// Close waits for what was handed over, and gives it up when its context ends.
func TestWriterClose(t *testing.T) {
	op := clienttest.New(t)
	w := dial(t, op).Writer(client.WriterConfig{Source: clienttest.Source})
	var pending []*client.Pending
	for i := range 100 {
		p, err := w.Send(t.Context(), clienttest.SignIn(fmt.Sprint("e", i)))
		check(t, err)
		pending = append(pending, p)
	}
	check(t, w.Close(t.Context()))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range pending {
		if _, err := p.Wait(gone); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_, err := p.Wait(t.Context())
		check(t, err)
	}

	op.Set(func(op *clienttest.Operator) { op.Refuse = 1 << 30 })
	w = dial(t, op).Writer(client.WriterConfig{Source: clienttest.Source})
	p, err := w.Send(t.Context(), clienttest.SignIn("lost"))
	check(t, err)
	if err := w.Close(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("closed with %v", err)
	}
	if _, err := p.Wait(t.Context()); err == nil {
		t.Error("an event that was given up has a receipt")
	}
}
