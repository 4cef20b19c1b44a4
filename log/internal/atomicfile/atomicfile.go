// Package atomicfile replaces small files so that a crash leaves the old bytes or
// the new ones.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file durably: whoever opens it finds the old bytes or
// the new ones.
func Write(name string, b []byte) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// If we die here, the old file stands beside a temporary one that the next
	// writing replaces.
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	// If we die here, the old or the new file stands.
	return SyncDir(filepath.Dir(name))
}

// SyncDir makes durable which names a directory has.
func SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
