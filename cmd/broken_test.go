package cmd_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"idlog/client"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
)

// TestBrokenPromise runs an operator that takes an event, signs a ticket for it and never logs it. Whoever holds the ticket has
// evidence once witnesses have seen the log after its deadline, and so has a monitor that may read the ticket. Anybody with the
// policy judges it offline.
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
	dir := t.TempDir()
	state, err := trust.Open(dir)
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
	// The monitor is of the honest build, and knows nothing but the policy, the URL and the folder.
	s.bin = honest
	said, complaint, code := s.idlog("monitor", "http://"+s.server.addresses["http"], "--tickets", filepath.Join(dir, "tickets"), "--interval", "100ms")
	file := regexp.MustCompile(`(?m)  contradiction  broken-promise  .*  evidence (\S+)$`).FindStringSubmatch(said)
	if code != 3 || file == nil {
		t.Fatalf("idlog monitor ends with %d:\n%s%s", code, said, complaint)
	}
	broken, ok := errors.AsType[*client.Broken](c.Follow(ctx, []*client.Ticket{ticket})[0].Err)
	if !ok {
		t.Fatalf("got %v", results[0].Err)
	}
	for _, file := range []string{file[1], broken.File} {
		said := run(t, filepath.Join(honest, "idlog"), "verify", file, "-p", s.path("log", "policy.tlog-policy"))
		if !strings.Contains(said, "broken-promise") || !strings.Contains(said, "promised the leaf") {
			t.Errorf("idlog verify says: %s", said)
		}
		t.Log(said)
	}
}
