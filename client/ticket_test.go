package client_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/trust"
	"idlog/proto/evidence"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
)

// promised submits events and returns their tickets.
func promised(t *testing.T, c *client.Client, ids ...string) []*client.Ticket {
	t.Helper()
	var events []*eventv1.Event
	for _, id := range ids {
		events = append(events, clienttest.SignIn(id))
	}
	results, err := c.Submit(t.Context(), clienttest.Source, events, client.Options{Sequenced: true})
	check(t, err)
	var tickets []*client.Ticket
	for _, r := range results {
		ticket, ok := errors.AsType[*client.Ticket](r.Err)
		if !ok {
			t.Fatalf("got %v, want a ticket", r)
		}
		tickets = append(tickets, ticket)
	}
	return tickets
}

// kept reads the tickets of a client's state back.
func kept(t *testing.T, c *client.Client) (tickets []*client.Ticket) {
	t.Helper()
	for ticket, err := range c.Tickets() {
		check(t, err)
		tickets = append(tickets, ticket)
	}
	return tickets
}

// ahead makes a client whose clock is ahead as far as the log's.
func ahead(op *clienttest.Operator) func(*client.Config) {
	return func(cfg *client.Config) {
		d := op.Ahead
		cfg.Clock = func() time.Time { return time.Now().Add(d) }
	}
}

// A ticket is followed up to its receipt: by who got it, or hours later by another process that has the state.
func TestFollow(t *testing.T) {
	for _, later := range []bool{false, true} {
		op := clienttest.New(t)
		dir := t.TempDir()
		c := dial(t, op, withState(open(t, dir)))
		tickets := promised(t, c, "e1", "e2", "e3")
		if later {
			op.Later(20 * time.Hour)
			c = dial(t, op, withState(open(t, dir)), ahead(op))
			tickets = kept(t, c)
		}
		op.Set(func(op *clienttest.Operator) { clear(op.Calls) })
		for i, r := range c.Follow(t.Context(), tickets) {
			check(t, r.Err)
			if leaf.HashOf(r.Receipt.Leaf) != leaf.HashOf(tickets[i].Leaf) {
				t.Errorf("the receipt of ticket %d is of another leaf", i)
			}
			verifyOffline(t, op.Policy, r.Receipt.Disclosure(), "203.0.113.9")
		}
		if len(tickets) != 3 || op.Calls["SubmitEvents"] != 1 {
			t.Errorf("%d calls for %d tickets", op.Calls["SubmitEvents"], len(tickets))
		}
		if left := kept(t, c); len(left) != 0 {
			t.Errorf("%d redeemed tickets are kept", len(left))
		}
	}
}

// untilAsked follows tickets until the log was called so often for them.
func untilAsked(t *testing.T, calls int, op *clienttest.Operator, c *client.Client, tickets []*client.Ticket) []client.Result {
	t.Helper()
	op.Set(func(op *clienttest.Operator) { clear(op.Calls) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan []client.Result)
	go func() { done <- c.Follow(ctx, tickets) }()
	for asked := 0; asked < calls; runtime.Gosched() {
		op.Set(func(op *clienttest.Operator) { asked = op.Calls["SubmitEvents"] })
	}
	cancel()
	return <-done
}

// What is still promised when the time is over is a ticket again.
func TestFollowForAWhile(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	tickets := promised(t, c, "e1")
	op.Set(func(op *clienttest.Operator) { op.Tickets = true })
	results := untilAsked(t, 2, op, c, tickets)
	if ticket, ok := errors.AsType[*client.Ticket](results[0].Err); !ok || ticket != tickets[0] {
		t.Errorf("got %v", results[0].Err)
	}
	// And what stood in the way is told.
	op.Set(func(op *clienttest.Operator) { op.Refuse = 1 << 30 })
	results = untilAsked(t, 6, op, c, tickets) // a call of before may still arrive, and three are one look
	if _, ok := errors.AsType[*client.Ticket](results[0].Err); !ok || !strings.Contains(results[0].Err.Error(), "BACKLOG_FULL") {
		t.Errorf("got %v", results[0].Err)
	}
}

// TestBroken has an operator who promises and does not log.
func TestBroken(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  int  // entries that a checkpoint covered long before
		after   int  // entries since
		earlier bool // whether the client saw that checkpoint
		parts   int
	}{
		{"a young log", 0, 0, false, 5},
		{"a log that goes on", 0, 7, false, 5},
		{"an old log", 9, 5, true, 6},
		{"an old log that stands still", 14, 0, true, 6},
		{"an old log whose client is new", 5, 3, false, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op := clienttest.New(t)
			dir := t.TempDir()
			add := func(n int) {
				op.Set(func(op *clienttest.Operator) {
					for i := range n {
						op.Add([]byte{'x', byte(i)}) // what is no leaf hides nothing
					}
				})
			}
			add(tt.before)
			if tt.earlier {
				_, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
				check(t, err)
			}
			op.Later(time.Hour)
			op.Set(func(op *clienttest.Operator) { op.Lie, op.Promise = "broken promise", time.Minute })
			promised(t, dial(t, op, withState(open(t, dir)), ahead(op)), "e1", "e2")
			add(tt.after)

			op.Later(time.Hour)
			c := dial(t, op, withState(open(t, dir)), ahead(op))
			for _, r := range c.Follow(t.Context(), kept(t, c)) {
				broken, ok := errors.AsType[*client.Broken](r.Err)
				if !ok {
					t.Fatalf("got %v", r.Err)
				}
				b, err := os.ReadFile(broken.File)
				check(t, err)
				if !bytes.Equal(b, broken.Evidence) {
					t.Error("the file does not hold the evidence")
				}
				e, err := evidence.Parse(b)
				check(t, err)
				if v, err := evidence.Judge(e, op.Policy); err != nil || !v.Proven || v.Accused != clienttest.Origin || len(e.Parts) != tt.parts {
					t.Errorf("%d parts are judged %+v, %v", len(e.Parts), v, err)
				}
			}
			if left := kept(t, c); len(left) != 0 {
				t.Errorf("%d broken tickets are still followed", len(left))
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "evidence", "*")); len(files) != 2 {
				t.Errorf("evidence: %v", files)
			}
			// A log that mends its ways late is not accused of back-dating by who holds the ticket.
			op.Set(func(op *clienttest.Operator) { op.Lie = ""; op.Mend() })
			for _, id := range []string{"e1", "e2"} {
				check(t, submitOne(t, c, clienttest.SignIn(id), client.Options{}).Err)
			}
		})
	}
}

// Nothing can be shown while the deadline is not over for the witnesses as well.
func TestNotYetBroken(t *testing.T) {
	op := clienttest.New(t)
	op.Set(func(op *clienttest.Operator) { op.Lie, op.Promise = "broken promise", time.Minute })
	tickets := promised(t, dial(t, op), "e1")
	impatient := dial(t, op, func(cfg *client.Config) {
		cfg.Clock = func() time.Time { return time.Now().Add(3 * time.Hour) }
	})
	r := untilAsked(t, 2, op, impatient, tickets)[0]
	if _, ok := errors.AsType[*client.Ticket](r.Err); !ok {
		t.Errorf("before the deadline: %v", r.Err)
	}
}

// An event that is logged as another leaf than was promised breaks the promise, too.
func TestDisplaced(t *testing.T) {
	op := clienttest.New(t)
	state := open(t, t.TempDir())
	op.Set(func(op *clienttest.Operator) { op.Lie, op.Promise = "broken promise", time.Minute })
	tickets := promised(t, dial(t, op, withState(state)), "e1")
	op.Later(30 * time.Second)
	var err error
	op.Set(func(op *clienttest.Operator) { op.Lie = ""; err = op.Log(clienttest.SignIn("e1")) })
	check(t, err)
	r := untilAsked(t, 2, op, dial(t, op, withState(state)), tickets)[0]
	if _, ok := errors.AsType[*client.Ticket](r.Err); !ok || !strings.Contains(r.Err.Error(), "another leaf") {
		t.Errorf("before the deadline: %v", r.Err)
	}
	op.Later(10 * time.Minute)
	r = dial(t, op, withState(state), ahead(op)).Follow(t.Context(), tickets)[0]
	broken, ok := errors.AsType[*client.Broken](r.Err)
	if !ok {
		t.Fatalf("got %v", r.Err)
	}
	e, err := evidence.Parse(broken.Evidence)
	check(t, err)
	if v, err := evidence.Judge(e, op.Policy); err != nil || !v.Proven || e.Parts[4].Type != evidence.Proof {
		t.Errorf("judged %+v, %v", v, err)
	}
}

// Tickets are read from the state and from files, those of this client's log alone.
func TestTickets(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	b, err := promised(t, c, "e1")[0].Format()
	check(t, err)
	got, err := c.ParseTicket(b)
	check(t, err)
	check(t, c.Follow(t.Context(), []*client.Ticket{got})[0].Err)

	stranger := dial(t, clienttest.New(t))
	if _, err := stranger.ParseTicket(b); err == nil {
		t.Error("a ticket of a log that the policy does not know was read")
	}
	// What is kept in the state and cannot be read is an error, not silence.
	dir := t.TempDir()
	check(t, open(t, dir).KeepTickets([]trust.Ticket{{File: b[:len(b)-1]}}))
	for _, err := range dial(t, op, withState(open(t, dir))).Tickets() {
		if err == nil {
			t.Error("a damaged ticket was passed over")
		}
	}
	// Those of other logs are not this client's.
	check(t, open(t, dir).RedeemTicket(leaf.Hash{}))
	check(t, open(t, dir).KeepTickets([]trust.Ticket{{File: b}}))
	other := dial(t, clienttest.New(t), withState(open(t, dir)))
	if n := len(kept(t, other)); n != 0 {
		t.Errorf("%d tickets of another log", n)
	}
}
