package instance

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"idlog/cmd/idlogd/config"
)

// lookEvery is how often the free space is looked at. What is written meanwhile is far less than the reserve.
const lookEvery = 500 * time.Millisecond

// defaultReserve is the free space that is kept on a disk unless configured, or a twentieth of one that is small.
const defaultReserve = 1 << 30

// Folder is the free space of the disk that a folder of a log is on.
type Folder struct {
	Name          string // its setting: dir, heads, journal or subjects
	Path          string
	Free, Reserve int64
}

// Full reports whether nothing more should be written.
func (f Folder) Full() bool { return f.Free < f.Reserve }

// disks watches the free space of the folders of a log. Its file descriptors are none: a disk that is gone is an error of
// whoever writes to it, not of this.
type disks struct {
	folders []Folder // names and paths only
	reserve int64    // 0: the default
	logger  *slog.Logger
	last    atomic.Pointer[[]Folder]
}

func newDisks(l *config.Log, logger *slog.Logger) *disks {
	d := &disks{reserve: int64(l.DiskReserve), logger: logger}
	for _, f := range []Folder{{Name: "dir", Path: l.Dir}, {Name: "heads", Path: l.Heads}, {Name: "journal", Path: l.Journal}, {Name: "subjects", Path: l.Subjects}} {
		f.Path = filepath.Clean(f.Path)
		d.folders = append(d.folders, f)
	}
	d.look()
	return d
}

// look takes down the free space of each folder's disk, and tells the operator when the last room goes and when it is back.
func (d *disks) look() {
	now := make([]Folder, 0, len(d.folders))
	for _, f := range d.folders {
		var s syscall.Statfs_t
		if err := syscall.Statfs(f.Path, &s); err != nil {
			continue
		}
		block := int64(s.Bsize)
		f.Free, f.Reserve = int64(s.Bavail)*block, d.reserve
		if f.Reserve == 0 {
			f.Reserve = min(defaultReserve, int64(s.Blocks)*block/20)
		}
		now = append(now, f)
	}
	before := d.last.Swap(&now)
	if before == nil {
		before = new([]Folder)
	}
	was, is := firstFull(*before), firstFull(now)
	switch {
	case is != nil && was == nil:
		d.logger.Error("a disk is nearly full: nothing more is taken in, reading goes on", "folder", is.Path, "free_bytes", is.Free, "reserve_bytes", is.Reserve)
	case is == nil && was != nil:
		d.logger.Info("the disks have room again: events are taken in")
	}
}

func firstFull(folders []Folder) *Folder {
	for i := range folders {
		if folders[i].Full() {
			return &folders[i]
		}
	}
	return nil
}

// run looks until ctx ends.
func (d *disks) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.look()
		case <-ctx.Done():
			return nil
		}
	}
}

// errFull is for callers, who need not know which disk it is.
var errFull = errors.New("a disk of the log is nearly full, and its operator must make room; reading goes on")

// room is an error while a disk is nearly full.
func (d *disks) room() error {
	if firstFull(*d.last.Load()) != nil {
		return errFull
	}
	return nil
}

// Room says why nothing is taken in for now, though the log signs; nil if nothing is in the way.
func (in *Instance) Room() error { return in.disks.room() }
