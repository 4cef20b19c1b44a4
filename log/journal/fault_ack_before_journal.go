//go:build fault_ack_before_journal

package journal

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"idlog/log/internal/database"
)

// planted is the queue of what callers were told is durable and is not yet.
var planted struct {
	mu   sync.Mutex
	last chan struct{} // closed when the newest of the queue is durable
}

// durable is a planted fault, for tests that must find it: who puts events is
// told that they are durable 50 ms before they are.
func (j *Journal) durable(b *pebble.Batch, show func()) error {
	planted.mu.Lock()
	before, done := planted.last, make(chan struct{})
	planted.last = done
	planted.mu.Unlock()
	events := false
	for r, more := b.Reader(), true; more; {
		var key []byte
		var err error
		if _, key, _, more, err = r.Next(); err != nil {
			return err
		}
		events = events || more && key[0] == kindPayload
	}
	finish := func() error {
		defer close(done)
		if before != nil {
			<-before
		}
		if err := database.Commit(b); err != nil {
			return err
		}
		show()
		return nil
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
