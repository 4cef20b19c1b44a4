package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	eventv1 "idlog/proto/idlog/event/v1"
)

// ErrClosed says that a Writer takes no more events.
var ErrClosed = errors.New("the writer is closed")

const (
	defaultInFlight = 4
	defaultPending  = 32 << 20
	// leastWeight is what a small event counts for, so that a bound of bytes bounds their number as well.
	leastWeight = 8 << 10
)

// WriterConfig is what a Writer needs; only Source must be set.
type WriterConfig struct {
	Source string
	// KeepConflicts is as in [Options].
	KeepConflicts bool
	// InFlight is how many calls may be on their way at once; 0 means 4.
	InFlight int
	// Pending is how many bytes of events may be handed over and not answered, each counted as 8 KiB at least; 0 means
	// 32 MiB, which is 4096 events or four of the largest.
	Pending int64
}

// Writer logs the events that many goroutines of a service have, one by one, in as few calls as there can be. While calls
// are on their way the events that come are gathered for the next, at most 500 and 8 MiB; an event that comes when there
// is room for a call leaves at once. Whoever hands over more than the log takes waits.
//
// A Writer may be used by any number of goroutines. It has no goroutine of its own while nothing is to be done.
type Writer struct {
	client *Client
	cfg    WriterConfig
	bound  int64
	room   *semaphore.Weighted // of what is handed over and not answered

	life context.Context // of the calls; ends when Close gives up
	end  context.CancelFunc

	mu      sync.Mutex // guards what follows
	queue   []*Pending // not yet in a call, oldest first
	senders int        // goroutines that make calls
	closed  bool
	idle    chan struct{} // closed when closed is set and senders is 0
}

// Writer makes a writer for one source. Close it before the client.
func (c *Client) Writer(cfg WriterConfig) *Writer {
	cfg.InFlight = cmp.Or(cfg.InFlight, defaultInFlight)
	bound := cmp.Or(cfg.Pending, defaultPending)
	w := &Writer{client: c, cfg: cfg, bound: bound, room: semaphore.NewWeighted(bound), idle: make(chan struct{})}
	w.life, w.end = context.WithCancel(context.Background())
	return w
}

// Pending is an event that was handed over.
type Pending struct {
	item   *item
	weight int64
	result Result
	done   chan struct{} // closed once result is set
}

// Submit logs one event and returns its receipt, verified in full, or the error of its [Result]. If ctx ends first, the
// event may be logged all the same; to submit it again is safe.
func (w *Writer) Submit(ctx context.Context, e *eventv1.Event) (*Receipt, error) {
	p, err := w.Send(ctx, e)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}

// Send hands an event over and returns as soon as there is room for it: it blocks while too much is not answered yet. ctx
// is for that wait alone. From then on the event is sent, and again while it fails for a reason that passes, until it is
// answered or the writer closed; it is in memory only, and must not change. The error is a *Refused for what no server
// takes, ErrClosed, or that of ctx; then the event is not sent.
func (w *Writer) Send(ctx context.Context, e *eventv1.Event) (*Pending, error) {
	it, err := newItem(e)
	if err != nil {
		return nil, err
	}
	p := &Pending{item: it, weight: min(max(int64(it.size), leastWeight), w.bound), done: make(chan struct{})}
	it.result = &p.result
	it.settled = func() {
		w.room.Release(p.weight)
		close(p.done)
	}
	if err := w.room.Acquire(ctx, p.weight); err != nil {
		return nil, fmt.Errorf("waiting for the log to take more: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		w.room.Release(p.weight)
		return nil, ErrClosed
	}
	w.queue = append(w.queue, p)
	if w.senders < w.cfg.InFlight {
		w.senders++
		go w.send()
	}
	return p, nil
}

// Wait returns what became of an event, as [Writer.Submit] does. It may be called again, and by several goroutines.
func (p *Pending) Wait(ctx context.Context) (*Receipt, error) {
	select {
	case <-p.done:
		return p.result.Receipt, p.result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close takes no more events and returns when all that were handed over are answered. If ctx ends first, what is left is
// given up: its waiters and the caller get an error, and it may be logged or not.
func (w *Writer) Close(ctx context.Context) error {
	defer w.end()
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		w.rest()
	}
	w.mu.Unlock()
	select {
	case <-w.idle:
		return nil
	case <-ctx.Done():
		w.end()
		<-w.idle
		return fmt.Errorf("closing the writer: events are not answered: %w", ctx.Err())
	}
}

// rest says that nothing goes on any more, if that is so; w.mu is held.
func (w *Writer) rest() {
	if w.closed && w.senders == 0 {
		close(w.idle)
	}
}

// send makes one call after the other while there is something to send.
func (w *Writer) send() {
	for {
		batch := w.take()
		if batch == nil {
			return
		}
		src, err := w.client.sourceKeys(w.life, w.cfg.Source, false)
		w.client.submitBatch(w.life, src, batch, Options{KeepConflicts: w.cfg.KeepConflicts}, err) // each has its own error
	}
}

// take returns what goes into the next call; nil ends the sender.
func (w *Writer) take() (batch []*item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := 0
	for _, p := range w.queue {
		if size += p.item.size; len(batch) == maxBatch || batch != nil && size > maxBatchBytes {
			break
		}
		batch = append(batch, p.item)
	}
	clear(w.queue[:len(batch)])
	if w.queue = w.queue[len(batch):]; batch == nil {
		w.senders--
		w.rest()
	}
	return batch
}
