//go:build fault_ack_before_journal

package journal

import (
	"bytes"
	"sync"
	"time"
)

// planted is the queue of what callers were told is durable and is not yet.
var planted struct {
	mu   sync.Mutex
	last chan struct{} // closed when the newest of the queue is durable
}

// durable is a planted fault, for tests that must find it: who puts events is
// told that they are durable 50 ms before they are.
func (j *Journal) durable(to position, records []byte, show func() error) error {
	planted.mu.Lock()
	before, done := planted.last, make(chan struct{})
	planted.last = done
	planted.mu.Unlock()
	events := false
	for rest := records; len(rest) > 0; {
		kind, body, _, _ := record(rest)
		rest = rest[recordHead+len(body):]
		if kind == kindPlace {
			events = false // who waits for an index is told the truth
			break
		}
		_, payload, _, _ := parseRow(body, to)
		events = events || len(payload) > 0
	}
	records = bytes.Clone(records)
	finish := func() error {
		defer close(done)
		if before != nil {
			<-before
		}
		if err := j.segments.write(to, records); err != nil {
			return err
		}
		return show()
	}
	if !events {
		return finish()
	}
	time.AfterFunc(50*time.Millisecond, func() {
		if err := finish(); err != nil {
			_ = j.fail(err)
		}
	})
	return nil
}
