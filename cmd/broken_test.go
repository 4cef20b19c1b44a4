package cmd_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"idlog/client"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
)

// TestBrokenPromise runs an operator that takes an event, signs a ticket for it and never logs it. Whoever holds the ticket has
// evidence once witnesses have seen the log after its deadline, and anybody with the policy judges it offline.
func TestBrokenPromise(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	honest := build(t)
	s := newSite(t, build(t, "cheat"), honest)
	t.Setenv("IDLOGD_LOGS_0_TICKET_DEADLINE", "1s")
	t.Setenv("IDLOGD_LOGS_0_ACK_TIMEOUT", "100ms")
	t.Setenv("IDLOGD_LOGS_0_REPUBLISH", "1s")
	t.Setenv("IDLOG_CHEAT", "broken-promise")
	s.serve()
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
	results, err := c.Submit(ctx, testSource, []*eventv1.Event{cheatEvent("lost")}, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ticket, ok := errors.AsType[*client.Ticket](results[0].Err)
	if !ok {
		t.Fatalf("got %v, want a ticket", results[0])
	}
	broken, ok := errors.AsType[*client.Broken](c.Follow(ctx, []*client.Ticket{ticket})[0].Err)
	if !ok {
		t.Fatalf("got %v", results[0].Err)
	}
	said := run(t, filepath.Join(honest, "idlog"), "verify", broken.File, "-p", s.path("log", "policy.tlog-policy"))
	if !strings.Contains(said, "broken-promise") || !strings.Contains(said, "promised the leaf") {
		t.Errorf("idlog verify says: %s", said)
	}
	t.Log(said)
}
