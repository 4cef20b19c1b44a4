package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlog/client"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// glancer checks, while the clock runs, what a client must check before it acts on an answer: every checkpoint that it has
// not seen, by the policy, and one inclusion proof of each answer. It may be used concurrently.
type glancer struct {
	policy *policy.Policy

	mu   sync.Mutex // guards seen
	seen map[leaf.Hash]*policy.Verified
}

func newGlancer(p *policy.Policy) *glancer {
	return &glancer{policy: p, seen: make(map[leaf.Hash]*policy.Verified)}
}

func (g *glancer) glance(a *reply) error {
	checkpoints := make([]*policy.Verified, len(a.response.GetCheckpoints()))
	for i, note := range a.response.GetCheckpoints() {
		var err error
		if checkpoints[i], err = g.checkpoint(note); err != nil {
			return err
		}
	}
	for _, r := range a.response.GetResults() {
		receipt := r.GetReceipt()
		if receipt == nil {
			continue
		}
		if int(receipt.GetCheckpoint()) >= len(checkpoints) {
			return errors.New("a receipt names a checkpoint that the answer does not have")
		}
		c := checkpoints[receipt.GetCheckpoint()].Checkpoint
		hashes := make([]leaf.Hash, len(receipt.GetInclusion()))
		for i, h := range receipt.GetInclusion() {
			if len(h) != len(hashes[i]) {
				return errors.New("a receipt has a hash of another length")
			}
			copy(hashes[i][:], h)
		}
		return proof.Inclusion(leaf.HashOf(receipt.GetLeaf()), receipt.GetIndex(), c.Size, hashes, c.Root)
	}
	return nil
}

func (g *glancer) checkpoint(note []byte) (*policy.Verified, error) {
	key := leaf.HashOf(note)
	g.mu.Lock()
	v, ok := g.seen[key]
	g.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := g.policy.Verify(bytes.Clone(note))
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen[key] = v
	return v, nil
}

// verifier runs the whole check of receipts. It remembers the persons that it has met.
type verifier struct {
	client *client.Client
	source string
}

func newVerifier(conn grpc.ClientConnInterface, p *policy.Policy, source string) (*verifier, error) {
	c, err := client.New(client.Config{Conn: conn, Policy: p, State: trust.NewMemory(), Cache: 2 * persons})
	if err != nil {
		return nil, err
	}
	return &verifier{c, source}, nil
}

func (v *verifier) close() error { return v.client.Close() }

// verifyAll checks every answer, after the clock has stopped, and returns how many receipts held and how long one took.
func (v *verifier) verifyAll(ctx context.Context, answers []reply) (int64, time.Duration, error) {
	start := time.Now()
	var held int64
	for i := range answers {
		n, err := v.verify(ctx, &answers[i])
		if err != nil {
			return held, 0, err
		}
		held += n
	}
	return held, time.Since(start) / time.Duration(max(held, 1)), nil
}

func (v *verifier) verify(ctx context.Context, a *reply) (int64, error) {
	sent := client.Sent{Source: v.source, Events: a.events, At: a.sent, Answered: a.received}
	results, err := v.client.CheckAnswer(ctx, sent, a.response)
	if err != nil {
		return 0, fmt.Errorf("verifying an answer in full: %w", err)
	}
	var held int64
	for _, r := range results {
		var ticket *client.Ticket
		switch {
		case r.Receipt != nil:
			held++
		case errors.As(r.Err, &ticket):
		default:
			return held, fmt.Errorf("verifying a receipt in full: %w", r.Err)
		}
	}
	return held, nil
}

// coldReads reads entries from all over the log, each as somebody who has only the policy: a new client, a new connection,
// the newest checkpoint, the leaf, its proof and all its fields, verified.
func coldReads(ctx context.Context, target string, p *policy.Policy) (*ReadReport, error) {
	read := func(index int64) (size int64, took time.Duration, err error) {
		start := time.Now()
		c, err := client.New(client.Config{Target: target, Policy: p, State: trust.NewMemory()})
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
		e, err := c.Entry(ctx, index, client.Show{Fields: true})
		if err != nil {
			return 0, 0, err
		}
		return e.Checkpoint.Checkpoint.Size, time.Since(start), nil
	}
	size, _, err := read(0)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	var m measured
	for range 300 {
		_, took, err := read(random.Int64N(size))
		if err != nil {
			return nil, err
		}
		m.latencies = append(m.latencies, took)
	}
	slices.Sort(m.latencies)
	return &ReadReport{Reads: int64(len(m.latencies)), P50: millis(m.at(0.5)), P99: millis(m.at(0.99))}, nil
}

// population enrols the persons that the events are about.
func population(ctx context.Context, conn grpc.ClientConnInterface, source string) ([]reply, error) {
	g := newGenerator(shape{}, "population", 1)
	var answers []reply
	for first := 0; first < persons; first += 500 {
		a := reply{sent: time.Now()}
		for i := first; i < first+500; i += 2 {
			e := g.event()
			e.Actor = person(personName(i))
			e.Targets[0].Principal = person(personName(i + 1))
			a.events = append(a.events, e)
		}
		var err error
		a.response, err = logv1.NewEventServiceClient(conn).SubmitEvents(ctx, &logv1.SubmitEventsRequest{Source: source, Events: a.events})
		if err != nil {
			return nil, err
		}
		a.received = time.Now()
		answers = append(answers, a)
	}
	return answers, nil
}
