package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

func reasonOf(err error) logv1.Reason {
	if r, ok := errors.AsType[*client.Refused](err); ok {
		return r.Reason
	}
	return logv1.Reason_REASON_UNSPECIFIED
}

func TestRetry(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e0"), client.Options{}).Err)
	op.Set(func(op *clienttest.Operator) { op.Refuse = 2; clear(op.Calls) })
	res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{})
	check(t, res.Err)
	if op.Calls["SubmitEvents"] != 3 {
		t.Errorf("%d calls, want 3", op.Calls["SubmitEvents"])
	}

	// The number of attempts is a bound, and so is the context.
	op.Set(func(op *clienttest.Operator) { op.Refuse = 1 << 30; clear(op.Calls) })
	bounded := dial(t, op, func(cfg *client.Config) { cfg.Attempts = 4 })
	if _, err := bounded.Checkpoint(t.Context()); reasonOf(err) != logv1.Reason_REASON_BACKLOG_FULL || op.Calls["GetCheckpoint"] != 4 {
		t.Errorf("%v after %d calls", err, op.Calls["GetCheckpoint"])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	results, err := c.Submit(ctx, clienttest.Source, []*eventv1.Event{clienttest.SignIn("e2")}, client.Options{})
	if err == nil || results[0].Err == nil || results[0].Receipt != nil {
		t.Errorf("got %v and %v", results[0], err)
	}
}

// Of a call only what was not answered is sent again.
func TestRetryOfSome(t *testing.T) {
	op := clienttest.New(t)
	op.Set(func(op *clienttest.Operator) { op.Busy = 3 })
	var events []*eventv1.Event
	for i := range 10 {
		events = append(events, clienttest.SignIn(fmt.Sprint("e", i)))
	}
	results, err := dial(t, op).Submit(t.Context(), clienttest.Source, events, client.Options{})
	check(t, err)
	for i, r := range results {
		check(t, r.Err)
		if r.Receipt.NativeID != fmt.Sprint("e", i) {
			t.Errorf("result %d is of %s", i, r.Receipt.NativeID)
		}
	}
	if diff := cmp.Diff([]int{10, 3}, op.Sizes); diff != "" {
		t.Errorf("sizes of the calls (-want +got):\n%s", diff)
	}
}

// An unreachable server is an error of the call and not a verdict.
func TestUnreachable(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op, func(cfg *client.Config) { cfg.Target, cfg.Attempts = "127.0.0.1:1", 2 })
	results, err := c.Submit(t.Context(), clienttest.Source, []*eventv1.Event{clienttest.SignIn("e1")}, client.Options{})
	if err == nil || !errors.Is(results[0].Err, err) {
		t.Fatalf("got %v and %v", results[0].Err, err)
	}
	if _, ok := errors.AsType[*client.Mismatch](err); ok {
		t.Error("it is a mismatch")
	}
}

func TestBatches(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	var events []*eventv1.Event
	for i := range 1001 {
		events = append(events, clienttest.SignIn(fmt.Sprint("e", i)))
	}
	events[7].Outcome = nil
	events[500].Source.NativeId = proto.String("e1") // another event's id, with other content
	results, err := c.Submit(t.Context(), clienttest.Source, events, client.Options{})
	check(t, err)
	last := int64(0)
	for i, res := range results {
		switch i {
		case 7:
			if reasonOf(res.Err) != logv1.Reason_REASON_FIELD_MISSING {
				t.Errorf("event 7: %v", res.Err)
			}
		case 500:
			r, ok := errors.AsType[*client.Refused](res.Err)
			if !ok || r.Reason != logv1.Reason_REASON_ID_CONFLICT || r.Index != results[1].Receipt.Index {
				t.Errorf("event 500: %v", res.Err)
			}
		default:
			if res.Err != nil || res.Receipt.Index <= last {
				t.Fatalf("event %d: %v", i, res)
			}
			last = res.Receipt.Index
		}
	}
	if op.Calls["SubmitEvents"] != 2 {
		t.Errorf("%d calls for 1000 events", op.Calls["SubmitEvents"])
	}

	// Bytes count too: three events of 4 MiB need two calls.
	op.Set(func(op *clienttest.Operator) { clear(op.Calls) })
	events = events[:0]
	for i := range 3 {
		e := clienttest.SignIn(fmt.Sprint("big", i))
		e.Raw = []byte(strings.Repeat("x", 4<<20-1<<12))
		events = append(events, e)
	}
	results, err = c.Submit(t.Context(), clienttest.Source, events, client.Options{})
	check(t, err)
	for _, res := range results {
		check(t, res.Err)
	}
	if op.Calls["SubmitEvents"] != 3 && op.Calls["SubmitEvents"] != 2 {
		t.Errorf("%d calls for 12 MiB", op.Calls["SubmitEvents"])
	}
}

func TestConflict(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	other := clienttest.SignIn("e1")
	other.Raw = []byte(`{"uuid":"e1","other":true}`)
	if res := submitOne(t, c, other, client.Options{}); reasonOf(res.Err) != logv1.Reason_REASON_ID_CONFLICT {
		t.Errorf("got %v", res.Err)
	}
	keep := client.Options{KeepConflicts: true}
	res := submitOne(t, c, other, keep)
	check(t, res.Err)
	fields, err := event.Fields(other)
	check(t, err)
	if id := res.Receipt.NativeID; id != event.Conflicting(other, fields).GetSource().GetNativeId() {
		t.Errorf("logged as %s", id)
	}
	if other.GetSource().GetNativeId() != "e1" {
		t.Error("the caller's event was changed")
	}
	// Again it is the same event, at the same index.
	again := submitOne(t, c, other, keep)
	check(t, again.Err)
	if again.Receipt.Index != res.Receipt.Index {
		t.Errorf("logged twice, at %d and %d", res.Receipt.Index, again.Receipt.Index)
	}
	// Without raw it is named by its fields.
	other.Raw, other.RawMediaType = nil, ""
	bare := submitOne(t, c, other, keep)
	check(t, bare.Err)
	if id := bare.Receipt.NativeID; !strings.HasPrefix(id, "e1!") || id == res.Receipt.NativeID {
		t.Errorf("logged as %s", id)
	}
}

func TestCheckAnswer(t *testing.T) {
	op := clienttest.New(t)
	events := []*eventv1.Event{clienttest.SignIn("e1"), clienttest.SignIn("e2")}
	sent := client.Sent{Source: clienttest.Source, Events: events, At: time.Now()}
	res, err := op.SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: clienttest.Source, Events: events})
	check(t, err)
	sent.Answered = time.Now()
	op.Set(func(op *clienttest.Operator) { op.Add([]byte("later")) })
	c := dial(t, op)
	_, err = c.Checkpoint(t.Context()) // the log has grown since
	check(t, err)
	results, err := c.CheckAnswer(t.Context(), sent, res)
	check(t, err)
	for _, r := range results {
		check(t, r.Err)
	}
	res.Results[1].GetReceipt().Inclusion[0][0] ^= 1
	results, err = c.CheckAnswer(t.Context(), sent, res)
	check(t, err)
	if m, ok := errors.AsType[*client.Mismatch](results[1].Err); !ok || m.Step != 8 || results[0].Err != nil {
		t.Errorf("got %v and %v", results[0].Err, results[1].Err)
	}
}
