package receipt_test

import (
	"bytes"
	"errors"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/receipt"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// promised returns a ticket and the policy of the log that gave it.
func promised(t testing.TB) (*receipt.Ticket, *policy.Policy) {
	t.Helper()
	op := clienttest.New(t)
	c, err := client.New(client.Config{Target: op.Addr, Policy: op.Policy, State: trust.NewMemory()})
	check(t, err)
	defer c.Close()
	results, err := c.Submit(t.Context(), clienttest.Source, []*eventv1.Event{clienttest.SignIn("e1")}, client.Options{Sequenced: true})
	check(t, err)
	ticket, ok := errors.AsType[*receipt.Ticket](results[0].Err)
	if !ok {
		t.Fatalf("got %v, want a ticket", results[0])
	}
	return ticket, op.Policy
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseTicket(t *testing.T) {
	want, p := promised(t)
	b, err := want.Format()
	check(t, err)
	got, err := receipt.ParseTicket(b, p)
	check(t, err)
	again, err := got.Format()
	check(t, err)
	if !bytes.Equal(again, b) || !got.Deadline.Equal(want.Deadline) || got.Origin != want.Origin {
		t.Error("a ticket read back is another one")
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], bytes.Replace(b, []byte("e1"), []byte("\xff1"), 1)} {
		if _, err := receipt.ParseTicket(bad, p); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	_, stranger := promised(t)
	if _, err := receipt.ParseTicket(b, stranger); !errors.Is(err, policy.ErrNotSigned) {
		t.Errorf("a ticket of a log that the policy does not know: %v", err)
	}
}

// FuzzParseTicket holds that nothing but a verified promise is read.
func FuzzParseTicket(f *testing.F) {
	ticket, p := promised(f)
	good, err := ticket.Format()
	check(f, err)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("part submission"), []byte("part consistency"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := receipt.ParseTicket(b, p)
		if err != nil {
			return
		}
		if leaf.HashOf(got.Leaf) != leaf.HashOf(ticket.Leaf) || !got.Deadline.Equal(ticket.Deadline) {
			t.Errorf("a promise that nobody made: %+v", got)
		}
	})
}

func TestHashes(t *testing.T) {
	want := []leaf.Hash{{1}, {31: 2}}
	got, err := receipt.Hashes([][]byte{want[0][:], want[1][:]})
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%x, %v", got, err)
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := receipt.Hashes([][]byte{want[0][:], make([]byte, n)}); err == nil {
			t.Errorf("%d bytes are taken for a hash", n)
		}
	}
}
