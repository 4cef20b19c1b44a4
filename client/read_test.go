package client_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
)

func TestEntry(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{})
	check(t, res.Err)
	e, err := c.Entry(t.Context(), res.Receipt.Index, client.Show{Raw: true})
	check(t, err)
	ev, ok := e.Leaf.(*leaf.Event)
	if !ok || ev.Source != clienttest.Source || !bytes.Equal(e.Bytes, res.Receipt.Leaf) {
		t.Fatalf("entry %+v", e.Leaf)
	}
	if string(e.Raw) != `{"uuid":"e1"}` {
		t.Errorf("raw %q", e.Raw)
	}
	if d, err := e.Disclosure().Verify(op.Policy); err != nil || !bytes.Equal(d.Field("actor.login").Value, seal.String("alice")) {
		t.Errorf("disclosure: %v", err)
	}
	p := e.Proof()
	if _, err := p.Verify(op.Policy, leaf.HashOf(e.Bytes)); err != nil {
		t.Error(err)
	}
	e, err = c.Entry(t.Context(), 1, client.Show{Fields: true})
	check(t, err)
	if _, ok := e.Leaf.(*leaf.Keys); !ok || e.Disclosure() != nil {
		t.Errorf("entry 1 is %T", e.Leaf)
	}
	if _, err := c.Entry(t.Context(), 99, client.Show{}); reasonOf(err) != logv1.Reason_REASON_INDEX_OUT_OF_RANGE {
		t.Errorf("got %v", err)
	}
	for _, lie := range []string{"other entry", "hidden line", "other raw bytes"} {
		op.Set(func(op *clienttest.Operator) { op.Lie = lie })
		if _, err := c.Entry(t.Context(), res.Receipt.Index, client.Show{Raw: true}); !isMismatch(err) {
			t.Errorf("%s: got %v", lie, err)
		}
		if _, err := c.FetchUnverified(t.Context(), res.Receipt.Index, client.Show{Raw: true}); err != nil {
			t.Errorf("%s: unverified: %v", lie, err)
		}
	}
}

func isMismatch(err error) bool { _, ok := errors.AsType[*client.Mismatch](err); return ok }

// The operator breaks the stream after every third entry.
func TestWatch(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	check(t, submitOne(t, c, clienttest.SignIn("e2"), client.Options{}).Err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want := int64(1)
	var last error
	for e, err := range c.Watch(ctx, want, client.Show{}) {
		if err != nil {
			last = err
			break
		}
		if e.Index != want {
			t.Fatalf("entry %d, want %d", e.Index, want)
		}
		if want++; want == 8 {
			op.Set(func(op *clienttest.Operator) { last = op.Log(clienttest.SignIn("e3")) })
			check(t, last)
		}
		if want == 9 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) && ctx.Err() == nil || want != 9 {
		t.Errorf("ended at %d with %v", want, last)
	}

	op.Set(func(op *clienttest.Operator) { op.Lie = "skipped entry" })
	for e, err := range c.Watch(t.Context(), 2, client.Show{}) {
		if err != nil {
			if !isMismatch(err) {
				t.Error(err)
			}
			break
		}
		if e.Index > 2 {
			t.Fatalf("entry %d after the gap", e.Index)
		}
	}
}

func TestWatchCheckpoints(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	size := int64(2)
	for cp, err := range c.WatchCheckpoints(t.Context()) {
		check(t, err)
		if cp.Checkpoint.Size < size {
			t.Fatalf("size %d after %d", cp.Checkpoint.Size, size)
		}
		if size = cp.Checkpoint.Size; size >= 6 {
			break
		}
		op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
	}
}

func TestConsistency(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	cp, err := c.Checkpoint(t.Context())
	check(t, err)
	op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")); op.Add([]byte("y")) })
	from, to, err := dial(t, op).Consistency(t.Context(), cp.Note)
	check(t, err)
	if from.Checkpoint.Size != 2 || to.Checkpoint.Size != 4 {
		t.Errorf("from %d to %d", from.Checkpoint.Size, to.Checkpoint.Size)
	}
	// A log that no longer has that size shows how far it went back.
	op.Set(func(op *clienttest.Operator) { op.Publish = 3 })
	_, _, err = dial(t, op).Consistency(t.Context(), to.Note)
	if r, ok := errors.AsType[*trust.Rollback](err); !ok || r.Known != 4 || r.Shown != 3 {
		t.Errorf("got %v, want a rollback from 4 to 3", err)
	}
	op.Set(func(op *clienttest.Operator) { op.Publish = 0 })
	op.Fork(3)
	if _, _, err := dial(t, op).Consistency(t.Context(), to.Note); !isFork(err) {
		t.Errorf("got %v, want a fork", err)
	}
}
