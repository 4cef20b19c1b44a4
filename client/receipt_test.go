package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/trust"
	"idlog/proto/evidence"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
)

// dial makes a client of the operator, with a state of its own unless changed.
func dial(t *testing.T, op *clienttest.Operator, change ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{Target: op.Addr, Policy: op.Policy, State: trust.NewMemory()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// submitOne submits an event and returns its result.
func submitOne(t *testing.T, c *client.Client, e *eventv1.Event, opts client.Options) client.Result {
	t.Helper()
	results, err := c.Submit(t.Context(), clienttest.Source, []*eventv1.Event{e}, opts)
	if err != nil && results[0].Err == nil {
		t.Fatalf("the call failed with %v and its event did not", err)
	}
	return results[0]
}

func TestReceipt(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	for i := range 5 {
		res := submitOne(t, c, clienttest.SignIn(fmt.Sprint("e", i)), client.Options{})
		check(t, res.Err)
		r := res.Receipt
		if want := int64(2 + 4 + i); r.Index != want || r.Repeat || r.NativeID != fmt.Sprint("e", i) {
			t.Fatalf("receipt of entry %d (repeat %v, id %s), want %d", r.Index, r.Repeat, r.NativeID, want)
		}
		if len(r.Checkpoint.Cosignatures) != 3 || r.Checkpoint.Checkpoint.Size != r.Index+1 {
			t.Fatalf("checkpoint %+v", r.Checkpoint.Checkpoint)
		}
		verifyOffline(t, op.Policy, r.Disclosure(), "203.0.113.9")
		verifyOffline(t, op.Policy, r.Disclosure("network."), "")
		p := r.Proof()
		if _, err := p.Verify(op.Policy, leaf.HashOf(r.Leaf)); err != nil {
			t.Fatal(err)
		}
	}
	if n := op.Calls["GetEnrolments"]; n != 1 {
		t.Errorf("%d calls for the enrolments of the same persons, want 1", n)
	}
}

// The example is run, against an operator who knows its source.
func TestExample(t *testing.T) {
	op := clienttest.New(t)
	file := filepath.Join(t.TempDir(), "policy.tlog-policy")
	check(t, os.WriteFile(file, op.Policy.Format(), 0o600))
	c, err := connect(op.Addr, file, t.TempDir())
	check(t, err)
	defer c.Close()
	check(t, signIn(t.Context(), c, clienttest.Source))
	w := c.Writer(client.WriterConfig{Source: clienttest.Source})
	check(t, logged(t.Context(), c, w, clienttest.SignIn("e1")))
	check(t, w.Close(t.Context()))
}

// verifyOffline takes a disclosure through a file's bytes and verifies it there.
func verifyOffline(t *testing.T, p *policy.Policy, d *seal.Disclosure, ip string) {
	t.Helper()
	b, err := d.Format()
	check(t, err)
	d, err = seal.Parse(b)
	check(t, err)
	opened, err := d.Verify(p)
	check(t, err)
	line := opened.Field("network.ip")
	if ip == "" {
		if line.State != seal.Withheld {
			t.Fatalf("network.ip is %v", line.State)
		}
		return
	}
	if !bytes.Equal(line.Value, seal.String(ip)) {
		t.Fatalf("network.ip is %s", line.Value.Text())
	}
}

// TestLies makes the operator cheat in each step of SPEC 3.1 in turn.
func TestLies(t *testing.T) {
	for _, tt := range []struct {
		lie  string
		step int
	}{
		{"no leaf", 1}, {"other kind", 1}, {"foreign leaf", 1}, {"wrong source", 1}, {"wrong assurance", 1}, {"unknown epoch", 1},
		{"back-dating", 2}, {"future-dating", 2}, {"other second", 2},
		{"missing seed", 3}, {"extra seed", 3}, {"short seed", 3}, {"twice a seed", 3},
		{"other value", 4}, {"dropped field", 4}, {"dropped raw", 4}, {"other raw", 4}, {"extra field", 4}, {"own mapper", 4},
		{"twin path", 4}, {"other owners", 4}, {"wrong seed", 4}, {"other nanosecond", 4},
		{"wrong neutral tag", 5}, {"missing neutral tag", 5}, {"another event", 5},
		{"unenrolled handle", 6}, {"missing person", 6}, {"missing actor", 6}, {"late enrolment", 6},
		{"other handle", 6}, {"somebody's etag", 6}, {"other VRF key", 6}, {"enrolment not included", 6}, {"somebody's enrolment", 6},
		{"ghost person", 7}, {"unknown tag", 7},
		{"bad proof", 8}, {"short proof", 8}, {"other index", 8},
		{"no checkpoint", 8}, {"no quorum", 8}, {"no log key", 8}, {"false signature", 8},
	} {
		t.Run(tt.lie, func(t *testing.T) {
			op := clienttest.New(t)
			state, err := trust.Open(t.TempDir())
			check(t, err)
			op.Set(func(op *clienttest.Operator) { err = op.Log(clienttest.SignIn("e0")) })
			check(t, err)
			c := dial(t, op, func(cfg *client.Config) { cfg.State = state })
			if _, err := c.Checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			op.Set(func(op *clienttest.Operator) { op.Lie = tt.lie })
			res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{})
			m, ok := errors.AsType[*client.Mismatch](res.Err)
			if !ok || m.Step != tt.step || res.Receipt != nil {
				t.Fatalf("receipt given: %v, error %v; want a mismatch in step %d", res.Receipt != nil, res.Err, tt.step)
			}
			b, err := os.ReadFile(m.File)
			check(t, err)
			if !bytes.Equal(b, m.Evidence) || len(b) == 0 {
				t.Fatal("the evidence file does not hold the evidence")
			}
			e, err := evidence.Parse(b)
			check(t, err)
			switch _, err := evidence.Judge(e, op.Policy); tt.step {
			case 3, 4, 5, 6, 7: // the receipt is true, of something else than was sent
				check(t, err)
			}
		})
	}
}

func TestLiesAboutKeys(t *testing.T) {
	for _, lie := range []string{"uncommitted key", "foreign keys leaf", "no keys", "key is missing"} {
		t.Run(lie, func(t *testing.T) {
			op := clienttest.New(t)
			op.Set(func(op *clienttest.Operator) { op.Lie = lie })
			res := submitOne(t, dial(t, op), clienttest.SignIn("e1"), client.Options{})
			if m, ok := errors.AsType[*client.Mismatch](res.Err); !ok {
				t.Fatalf("got %v", res.Err)
			} else {
				t.Log(m)
			}
			if n := op.Calls["SubmitEvents"]; n != 0 {
				t.Errorf("an event was sent to a log whose keys do not verify")
			}
		})
	}
}

// A second client finds the event there before it sent it: its receipt is the
// first one's, whose time is not back-dated although it is old.
func TestRepeat(t *testing.T) {
	op := clienttest.New(t)
	check(t, submitOne(t, dial(t, op), clienttest.SignIn("e1"), client.Options{}).Err)
	tomorrow := func(cfg *client.Config) {
		cfg.Clock = func() time.Time { return time.Now().Add(24 * time.Hour) }
	}
	res := submitOne(t, dial(t, op, tomorrow), clienttest.SignIn("e1"), client.Options{})
	check(t, res.Err)
	if !res.Receipt.Repeat || res.Receipt.Index != 6 {
		t.Errorf("receipt of entry %d, repeat %v", res.Receipt.Index, res.Receipt.Repeat)
	}
	// One that was not published when we asked is bounded by when we say that we first sent it.
	c := dial(t, op, tomorrow)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	for id, opts := range map[string]client.Options{"e2": {}, "e3": {FirstSent: time.Now()}} {
		var err error
		op.Set(func(op *clienttest.Operator) { err = op.Log(clienttest.SignIn(id)) })
		check(t, err)
		m, bad := errors.AsType[*client.Mismatch](submitOne(t, c, clienttest.SignIn(id), opts).Err)
		if bad != opts.FirstSent.IsZero() || bad && m.Step != 2 {
			t.Errorf("%s: got %v", id, m)
		}
	}
}

// A ticket vouches for the time of the receipt that comes for it, hours later
// and in another process that has the same state.
func TestTicketIsKept(t *testing.T) {
	op := clienttest.New(t)
	dir := t.TempDir()
	c := dial(t, op, withState(open(t, dir)))
	if _, ok := errors.AsType[*client.Ticket](submitOne(t, c, clienttest.SignIn("e1"), client.Options{Sequenced: true}).Err); !ok {
		t.Fatal("no ticket")
	}
	if held, _ := filepath.Glob(filepath.Join(dir, "tickets", "*.ticket")); len(held) != 1 {
		t.Fatalf("tickets: %v", held)
	}
	for i, state := range []*trust.State{trust.NewMemory(), open(t, dir)} {
		late := dial(t, op, withState(state), func(cfg *client.Config) {
			cfg.Clock = func() time.Time { return time.Now().Add(time.Hour) }
		})
		// The log has not published the event when this process first asks.
		op.Set(func(op *clienttest.Operator) { op.Publish = 2 })
		if res := submitOne(t, late, &eventv1.Event{}, client.Options{}); res.Err == nil {
			t.Fatal("an empty event was logged")
		}
		op.Set(func(op *clienttest.Operator) { op.Publish = 0 })
		res := submitOne(t, late, clienttest.SignIn("e1"), client.Options{})
		m, bad := errors.AsType[*client.Mismatch](res.Err)
		if bad != (i == 0) || bad && m.Step != 2 {
			t.Errorf("with the ticket %v: got %v", i == 1, res.Err)
		}
	}
	if held, _ := filepath.Glob(filepath.Join(dir, "tickets", "*.ticket")); len(held) != 0 {
		t.Errorf("redeemed tickets are kept: %v", held)
	}
}

func TestTicket(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{Sequenced: true})
	ticket, ok := errors.AsType[*client.Ticket](res.Err)
	if !ok || res.Receipt != nil {
		t.Fatalf("got receipt %v and error %v, want a ticket", res.Receipt, res.Err)
	}
	if d := time.Until(ticket.Deadline); d < 23*time.Hour || d > 24*time.Hour {
		t.Errorf("deadline in %v", d)
	}
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)

	for _, tt := range []struct {
		lie  string
		step int
	}{
		{"other promise", 1}, {"other log's promise", 1}, {"late deadline", 1}, {"promise of the log key", 1},
		{"foreign leaf", 1}, {"wrong source", 1}, {"future-dating", 2}, {"wrong neutral tag", 5}, {"missing neutral tag", 5},
	} {
		t.Run(tt.lie, func(t *testing.T) {
			op.Set(func(op *clienttest.Operator) { op.Lie = tt.lie })
			res := submitOne(t, c, clienttest.SignIn(tt.lie), client.Options{Sequenced: true})
			if m, ok := errors.AsType[*client.Mismatch](res.Err); !ok || m.Step != tt.step {
				t.Errorf("got %v, want a mismatch in step %d", res.Err, tt.step)
			}
		})
	}
}

// How an event came is the client's to know: a certificate means pushed.
func TestAssurance(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op, func(cfg *client.Config) { cfg.Assurance = leaf.AssurancePushed })
	if m, ok := errors.AsType[*client.Mismatch](submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err); !ok || m.Step != 1 {
		t.Errorf("an authenticated event was logged as unauthenticated, and that passed")
	}
}

// A person who was erased and enrolled again has a handle that the cache lacks.
func TestEnrolledAgain(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	op.Set(func(op *clienttest.Operator) { op.Forget() })
	check(t, submitOne(t, c, clienttest.SignIn("e2"), client.Options{}).Err)
	if n := op.Calls["GetEnrolments"]; n != 2 {
		t.Errorf("%d calls for enrolments, want 2", n)
	}
}
