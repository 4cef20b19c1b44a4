//go:build fault_ack_before_journal

package journal

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// durable is a planted fault, for tests that must find it: the caller is told
// that its rows are durable a while before they are.
func (j *Journal) durable(b *pebble.Batch, show func()) error {
	time.AfterFunc(50*time.Millisecond, func() {
		if err := commit(b); err != nil {
			_ = j.fail(err)
			return
		}
		show()
	})
	return nil
}
