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
	if err := Prepare(name, b); err != nil {
		return err
	}
	// If we die here, the old file stands.
	if err := Replace(name); err != nil {
		return err
	}
	// If we die here, the old or the new file stands.
	return SyncDir(filepath.Dir(name))
}

// Prepare makes durable what Replace is to put in a file's place. If we die
// after it, the old file stands beside a temporary one, which the next Prepare
// replaces.
func Prepare(name string, b []byte) error {
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Replace replaces a file by what Prepare wrote. It is for a file that the caller
// can make again: after a crash the old one may stand.
func Replace(name string) error { return os.Rename(name+".tmp", name) }

// SyncDir makes durable which names a directory has.
func SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
