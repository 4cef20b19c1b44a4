package pebblekv

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"idlog/proto/history"
)

// OpenFS opens a store on some file system that writes what is committed to it every few revisions.
func OpenFS(dir string, fs vfs.FS) (history.Store, error) { return open(dir, fs, 256<<10) }
