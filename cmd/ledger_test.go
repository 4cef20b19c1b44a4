package cmd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/client"
	"idlog/client/trust"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/policy"
)

// A ledger is what a submitter knows of its own traffic, kept outside of the system under test: a line for each id before
// it is sent, and one for each acknowledgement before it is believed, fsynced both.
//
//	sent ID NANOS     submitted for the first time at that time
//	receipt ID INDEX  in the log, verified
//	ticket ID         promised: durable
type ledger struct {
	sent     map[string]time.Time
	receipts map[string]int64
	tickets  map[string]bool
}

func newLedger() *ledger {
	return &ledger{sent: make(map[string]time.Time), receipts: make(map[string]int64), tickets: make(map[string]bool)}
}

// read adds the lines of a ledger file. A last line that was cut off is one that nobody acted on.
func (l *ledger) read(name string) error {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text := string(b)
	for line := range strings.Lines(text) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "sent":
			n, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				return err
			}
			l.sent[f[1]] = time.Unix(0, n)
		case len(f) == 3 && f[0] == "receipt":
			n, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				return err
			}
			if had, ok := l.receipts[f[1]]; ok && had != n {
				return fmt.Errorf("%s was acknowledged at %d and at %d", f[1], had, n)
			}
			l.receipts[f[1]] = n
		case len(f) == 2 && f[0] == "ticket":
			l.tickets[f[1]] = true
		default:
			return fmt.Errorf("ledger line %q", line)
		}
	}
	return nil
}

// unknown are the ids that were sent and of which no answer came.
func (l *ledger) unknown() []string {
	var ids []string
	for id := range l.sent {
		if _, ok := l.receipts[id]; !ok && !l.tickets[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// The environment by which the test binary becomes a submitter of its own, in a process of its own.
const (
	envLedger = "IDLOG_TEST_LEDGER" // file to append to
	envTarget = "IDLOG_TEST_TARGET" // of the gRPC listener
	envPolicy = "IDLOG_TEST_POLICY" // file
	envPrefix = "IDLOG_TEST_PREFIX" // of the ids to make; empty: submit again what stands on standard input
	envTicket = "IDLOG_TEST_TICKET" // not empty: ask for tickets
)

func TestMain(m *testing.M) {
	if os.Getenv(envLedger) == "" {
		// Several servers run on one machine: none gets the usual port of metrics and health.
		if err := os.Setenv("IDLOGD_LISTEN_ADMIN", freePort); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		code := m.Run()
		_ = os.RemoveAll(programs.dir)
		os.Exit(code)
	}
	if err := submitter(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "submitter:", err)
		os.Exit(1)
	}
}

// submitter submits until the log goes away, or until each id of standard input ("ID NANOS" a line) has its receipt. It
// fails on any answer that is not an acknowledgement and does not mean that the log is gone.
func submitter(ctx context.Context) error {
	text, err := os.ReadFile(os.Getenv(envPolicy))
	if err != nil {
		return err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Target: os.Getenv(envTarget), Policy: p, State: trust.NewMemory(), Attempts: 1})
	if err != nil {
		return err
	}
	defer c.Close()
	file, err := os.OpenFile(os.Getenv(envLedger), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if prefix := os.Getenv(envPrefix); prefix != "" {
		for n := 0; ; n++ {
			ids := make([]string, 1+n%7)
			for i := range ids {
				ids[i] = fmt.Sprintf("%s-%d-%d", prefix, n, i)
			}
			if gone, err := submit(ctx, c, file, ids, time.Now(), os.Getenv(envTicket) != ""); gone || err != nil {
				return err
			}
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		id, nanos, _ := strings.Cut(in.Text(), " ")
		n, err := strconv.ParseInt(nanos, 10, 64)
		if err != nil {
			return err
		}
		if gone, err := submit(ctx, c, file, []string{id}, time.Unix(0, n), false); err != nil {
			return err
		} else if gone {
			return errors.New("the log went away while unknown ids were submitted again")
		}
	}
	return nil
}

// submit makes one call and reports whether the log has gone away under it.
func submit(ctx context.Context, c *client.Client, file *os.File, ids []string, first time.Time, tickets bool) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	events := make([]*eventv1.Event, len(ids))
	var lines strings.Builder
	for i, id := range ids {
		events[i] = crashEvent(id)
		fmt.Fprintf(&lines, "sent %s %d\n", id, first.UnixNano())
	}
	if err := record(file, lines.String()); err != nil {
		return false, err
	}
	results, err := c.Submit(ctx, testSource, events, client.Options{Sequenced: tickets, FirstSent: first})
	if err != nil {
		return true, nil
	}
	lines.Reset()
	for i, r := range results {
		var ticket *client.Ticket
		switch {
		case r.Receipt != nil:
			fmt.Fprintf(&lines, "receipt %s %d\n", ids[i], r.Receipt.Index)
		case errors.As(r.Err, &ticket):
			fmt.Fprintf(&lines, "ticket %s\n", ids[i])
		default:
			return false, fmt.Errorf("%s: %w", ids[i], r.Err)
		}
	}
	return false, record(file, lines.String())
}

// record appends to the ledger and returns once the lines are on the disk.
func record(file *os.File, lines string) error {
	if _, err := file.WriteString(lines); err != nil {
		return err
	}
	return file.Sync()
}

// crashEvent is a function of its id, so that a submission is the same when it is made again. One event in three is of
// persons whom the log has not met; the others are of forty.
func crashEvent(id string) *eventv1.Event {
	h := fnv.New32a()
	h.Write([]byte(id))
	sum := h.Sum32()
	actor, target := fmt.Sprint("known-", sum%40), fmt.Sprint("known-", sum/40%40)
	if sum%3 == 0 {
		actor, target = "actor-of-"+id, "target-of-"+id
	}
	return &eventv1.Event{
		Source:      &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("user.session.start")},
		Class:       &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:       &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, int64(sum)))},
		Actor:       &eventv1.Principal{Kind: eventv1.Principal_KIND_USER, Issuer: "https://acme.example", Id: actor},
		Targets:     []*eventv1.Target{{Role: "user", Principal: &eventv1.Principal{Issuer: "https://acme.example", Id: target}}},
		Outcome:     &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Correlation: &eventv1.Correlation{Session: fmt.Sprint("session-", sum%1000)},
	}
}
