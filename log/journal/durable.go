//go:build !fault_ack_before_journal

package journal

import (
	"github.com/cockroachdb/pebble/v2"

	"idlog/log/internal/database"
)

// durable commits a batch and then shows its rows to Take and Get.
func (j *Journal) durable(b *pebble.Batch, show func()) error {
	if err := database.Commit(b); err != nil {
		return err
	}
	show()
	return nil
}
