package cmd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"idlog/client"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/tag"
	"idlog/proto/tile"
)

// kills is how often TestCrash kills the log: 5, or what IDLOG_KILLS says.
func kills(t *testing.T) int {
	s := os.Getenv("IDLOG_KILLS")
	if s == "" {
		return 5
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("IDLOG_KILLS: %v", err)
	}
	return n
}

// TestCrash kills the log with SIGKILL under load, again and again. After each restart what is unknown is submitted again;
// then no acknowledged event may be missing, and none may stand twice.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin := build(t)
	s := newSite(t, bin, bin)
	c := newCrash(t, s)
	n := kills(t)
	for i := range n {
		err := c.round()
		if err == nil && (i%10 == 9 || i == n-1) {
			err = c.verify()
		}
		if err != nil {
			t.Fatalf("after %d kills (seed %d): %v", i+1, c.seed, err)
		}
		c.stop()
	}
	t.Logf("%d kills, seed %d: %d ids, %d receipts, %d tickets, each once", n, c.seed, len(c.ledger.sent), len(c.ledger.receipts), len(c.ledger.tickets))
}

// TestCrashFindsPlantedFaults shows that the test above can fail: a log that is built to acknowledge too early, or to sign
// too early, does not get through it.
func TestCrashFindsPlantedFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	honest := build(t)
	for _, fault := range []string{"fault_ack_before_journal", "fault_sign_before_index"} {
		t.Run(fault, func(t *testing.T) {
			s := newSite(t, build(t, fault), honest)
			c := newCrash(t, s)
			for i := range 40 {
				err := c.round()
				if err == nil {
					err = c.verify()
				}
				c.stop()
				if err != nil {
					t.Logf("found after %d kills (seed %d): %v", i+1, c.seed, err)
					return
				}
			}
			t.Fatalf("40 kills (seed %d) did not find it", c.seed)
		})
	}
}

// crash is one log's series of kills.
type crash struct {
	t      *testing.T
	site   *site
	seed   uint64
	rand   *rand.Rand
	rounds int
	ledger *ledger
}

func newCrash(t *testing.T, s *site) *crash {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &crash{t: t, site: s, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), ledger: newLedger()}
}

// round starts the log, lets two submitters work for 20 to 400 ms of acknowledged traffic, one that waits for receipts
// and one that takes tickets, kills the log, starts it again and submits what is unknown once more. The log is left running.
// The error is a broken promise; whatever else goes wrong ends the test.
func (c *crash) round() error {
	c.t.Helper()
	c.rounds++
	c.site.serve()
	submitters := make([]*process, 2)
	for i := range submitters {
		submitters[i] = c.submitter(i)
	}
	if err := until(func() (bool, error) {
		for i, p := range submitters {
			select {
			case <-p.exited:
				return false, fmt.Errorf("submitter %d ended early: %s", i, p.said())
			default:
			}
		}
		l := newLedger()
		for i := range submitters {
			if err := l.read(c.ledgerName(i)); err != nil {
				return false, err
			}
		}
		return len(l.receipts) > 0 && len(l.tickets) > 0, nil
	}); err != nil {
		c.t.Fatalf("round %d (seed %d): waiting for acknowledged traffic: %v\nidlogd said: %s", c.rounds, c.seed, err, c.site.server.said())
	}
	<-time.After(time.Duration(20+c.rand.IntN(380)) * time.Millisecond)
	c.site.server.kill()
	for i, p := range submitters {
		if code := p.wait(); code != 0 {
			c.t.Fatalf("round %d (seed %d): submitter %d: %s", c.rounds, c.seed, i, p.said())
		}
		if err := c.ledger.read(c.ledgerName(i)); err != nil {
			c.t.Fatalf("round %d (seed %d): %v", c.rounds, c.seed, err)
		}
	}
	c.site.serve()
	return c.resubmit()
}

// resubmit submits every unknown id until it has its receipt, and three events more one after the other: when these are
// published, all that was durable before them is too, enrolments first.
func (c *crash) resubmit() error {
	var lines strings.Builder
	for _, id := range c.ledger.unknown() {
		fmt.Fprintf(&lines, "%s %d\n", id, c.ledger.sent[id].UnixNano())
	}
	for i := range 3 {
		fmt.Fprintf(&lines, "end-%d-%d %d\n", c.rounds, i, time.Now().UnixNano())
	}
	name := c.site.path(fmt.Sprintf("ledger.%d.again", c.rounds))
	cmd := exec.CommandContext(c.t.Context(), os.Args[0])
	cmd.Env = c.environment(name)
	cmd.Stdin = strings.NewReader(lines.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("submitting unknown ids again: %w: %s", err, out)
	}
	return c.ledger.read(name)
}

// verify reads the whole log as anyone would: the checkpoint by the policy, each entry by the tiles. Each acknowledged id
// must stand at its index, and each id once, and every root of the index must be right.
func (c *crash) verify() error {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	conn, err := grpc.NewClient(c.site.server.addresses["grpc"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	reader, err := client.New(client.Config{Conn: conn, Policy: c.site.policy, State: trust.NewMemory()})
	if err != nil {
		return err
	}
	cp, err := reader.Checkpoint(ctx)
	if err != nil {
		return err
	}
	keys, err := logv1.NewEventServiceClient(conn).GetSourceKeys(ctx, &logv1.GetSourceKeysRequest{Source: testSource})
	if err != nil {
		return err
	}
	var eventID tag.Key
	for _, k := range keys.GetKeys()[0].GetTagKeys() {
		if k.GetField() == uint32(tag.EventID) {
			copy(eventID[:], k.GetKey())
		}
	}
	at := make(map[leaf.Hash][]int64)
	var entries []tile.Entry
	for e, err := range tile.NewReader(cp.Checkpoint, c.site.fetch).Entries(ctx, 0, cp.Checkpoint.Size) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		entries = append(entries, e)
		l, err := leaf.Parse(e.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		if event, ok := l.(*leaf.Event); ok {
			at[event.Tags[0].Value] = append(at[event.Tags[0].Value], e.Index)
		}
	}
	for id := range c.ledger.sent {
		found := at[eventID.Tag([]byte(id))]
		index, receipt := c.ledger.receipts[id]
		switch {
		case len(found) != 1:
			return fmt.Errorf("%s stands at %d; receipt %v, ticket %v", id, found, receipt, c.ledger.tickets[id])
		case receipt && found[0] != index:
			return fmt.Errorf("%s stands at %d and was acknowledged at %d", id, found[0], index)
		}
	}
	return errors.Join(rootsAreRight(entries), c.site.indexRuns())
}

// stop ends the log's process. It is killed: a restart after SIGTERM would be the easier case.
func (c *crash) stop() { c.site.server.kill() }

func (c *crash) ledgerName(i int) string {
	return c.site.path(fmt.Sprintf("ledger.%d.%d", c.rounds, i))
}

func (c *crash) environment(ledger string, more ...string) []string {
	return append(append(os.Environ(),
		envLedger+"="+ledger,
		envTarget+"="+c.site.server.addresses["grpc"],
		envPolicy+"="+c.site.path("log", "policy.tlog-policy"),
	), more...)
}

// submitter starts submitter i of this round: the first waits for receipts, the second takes tickets.
func (c *crash) submitter(i int) *process {
	c.t.Helper()
	more := []string{fmt.Sprintf("%s=r%d-%d", envPrefix, c.rounds, i)}
	if i == 1 {
		more = append(more, envTicket+"=1")
	}
	return launch(c.t, "submitter", c.environment(c.ledgerName(i), more...), os.Args[0])
}
