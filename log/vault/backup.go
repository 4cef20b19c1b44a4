package vault

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup makes a copy of the persons' secrets, sealed as they are, in a folder
// that must not exist: all that was durable when it was called, and perhaps
// persons that came since. A journal that was copied before needs no person
// that is not in it. When it returns nil the copy is durable; if we die before,
// its folder is to be removed.
func (v *Vault) Backup(dir string) error {
	if err := v.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copying vault: %w", err)
	}
	return nil
}
