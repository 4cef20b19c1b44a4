package cmd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"idlog/client"
	"idlog/client/trust"
	"idlog/proto/evidence"
	eventv1 "idlog/proto/idlog/event/v1"
)

// cheats are what the operator does that is built with the tag `cheat`, and the steps of SPEC 3.1 that may catch it.
var cheats = []struct {
	name  string
	steps []int
	does  string
}{
	{"value", []int{3, 4}, "logs another value of one field"},
	{"drop", []int{3, 4}, "leaves out a field"},
	{"twin", []int{3, 4}, "logs one path twice"},
	{"missing-tag", []int{5, 6, 7}, "leaves out a tag"},
	{"wrong-tag", []int{5, 6, 7}, "sets a tag of another value"},
	{"ghost-tag", []int{6, 7}, "tags a person under a handle that was never enrolled"},
	{"late-enrolment", []int{6}, "enrols a person after the event"},
	{"foreign-leaf", []int{1, 2, 3, 4, 5, 6, 7}, "answers with another event's leaf"},
	{"backdate", []int{2}, "says that it took the event long ago"},
	{"wrong-source", []int{1}, "logs the event under another source"},
	{"wrong-epoch", []int{1}, "tags under an epoch that was never announced"},
	{"proof", []int{8}, "proves the inclusion of another entry"},
	{"no-quorum", []int{8}, "answers with a checkpoint that nobody cosigned"},
}

// TestCheatingOperator runs an operator that lies, and a client that is the one everybody has. The client catches each lie,
// and what it writes down is evidence that says no more than it can.
func TestCheatingOperator(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	s := newSite(t, build(t, "cheat"), build(t))
	try := func(t *testing.T, id string) (client.Result, error) {
		state, err := trust.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{Target: s.server.addresses["grpc"], Policy: s.policy, State: state})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		results, err := c.Submit(ctx, testSource, []*eventv1.Event{cheatEvent(id)}, client.Options{})
		return results[0], err
	}

	s.serve()
	if r, err := try(t, "honest"); err != nil || r.Err != nil {
		t.Fatalf("the same programs, not told to cheat: %v, %v", err, r.Err)
	}
	for i, cheat := range cheats {
		t.Run(cheat.name, func(t *testing.T) {
			s.server.kill()
			t.Setenv("IDLOG_CHEAT", cheat.name)
			s.serve()
			// One lie needs an event before it, whose leaf it can tell.
			var r client.Result
			var err error
			var mismatch *client.Mismatch
			for n := 0; n < 2 && mismatch == nil; n++ {
				if r, err = try(t, fmt.Sprintf("cheat-%d-%d", i, n)); err == nil {
					err = r.Err
				}
				errors.As(err, &mismatch)
			}
			if mismatch == nil {
				t.Fatalf("an operator that %s was answered with %v, %v", cheat.does, r.Receipt, err)
			}
			if !slices.Contains(cheat.steps, mismatch.Step) {
				t.Errorf("caught in step %d, not %v: %v", mismatch.Step, cheat.steps, mismatch)
			}
			e, err := evidence.Parse(mismatch.Evidence)
			if err != nil {
				t.Fatalf("evidence: %v", err)
			}
			if e.Claim != evidence.ReceiptMismatch {
				t.Errorf("evidence claims %s", e.Claim)
			}
			t.Logf("%s: %v", cheat.does, mismatch)
		})
	}
}

// cheatEvent has something of everything that an operator could lie about.
func cheatEvent(id string) *eventv1.Event {
	e := crashEvent(id)
	e.Raw = []byte(`{"id":"` + id + `"}`)
	e.RawMediaType = "application/json"
	e.Actor.Login, e.Actor.Display = "actor@acme.example", "Ada"
	e.Actor.Id, e.Targets[0].Principal.Id = "actor-of-"+id, "target-of-"+id
	e.Targets = append(e.Targets, &eventv1.Target{Role: "group", Type: "UserGroup", Id: "00gADMINS", Name: "Admins"})
	e.Outcome.Reason = "VERIFICATION"
	e.Correlation.Transaction = "trx-" + id
	e.Network = &eventv1.Network{Ip: "203.0.113.9", Country: "CH", Asn: proto.Int64(64500)}
	return e
}
