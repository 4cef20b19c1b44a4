// Package atomicfile replaces small files in one piece.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces a file in one piece: after a crash at any point there is
// the old content or the new, whole, and once it returned there is the new.
func Write(name string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, filepath.Base(name)+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it was renamed
	if err := write(f, data, perm); err != nil {
		return err
	}
	// If we die here there is a temporary file that nobody reads, and the old file.
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	// If we die here the rename may be lost with the machine: the old file again.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func write(f *os.File, data []byte, perm fs.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
