package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/log/store"
	"idlog/log/store/posix"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// edgeBundles is how many of the last bundles preflight re-hashes.
const edgeBundles = 4

const remedyHeads = "mount the heads directory, or a copy that was made after the last checkpoint was signed; if it is lost for good, idlogd recover-heads asks the witnesses"

const remedyTiles = "restore the log directory from a copy at least as new as the high-water mark; never start this log without it"

// preflight checks everything that signing builds on. It changes nothing on
// disk: whatever it finds is still there for whoever looks.
func (l *Log) preflight(ctx context.Context) error {
	c := &l.cfg
	// 1. The directory is this log's, and ours alone for as long as we live.
	if err := checkIdentity(filepath.Join(c.Dir, identityName), c.Origin, c.VKeys); err != nil {
		return err
	}
	if _, err := os.Stat(c.Heads); errors.Is(err, fs.ErrNotExist) {
		return refuse(c.Heads, "the high-water mark is missing: there is no such directory", remedyHeads)
	}
	for _, name := range []string{filepath.Join(c.Dir, lockName), c.Heads} {
		f, err := lock(name)
		if errors.Is(err, fs.ErrNotExist) {
			return refuse(name, "it is missing", "restore the log directory as a whole")
		} else if err != nil {
			return err
		}
		l.locks = append(l.locks, f)
	}

	// 2. What we ever signed.
	var err error
	if l.readOnly, err = readRefusal(c.Heads); err != nil {
		return err
	}
	l.heads, err = heads.Open(c.Heads, c.Origin)
	var corrupt *heads.CorruptError
	if errors.As(err, &corrupt) {
		return refuse(corrupt.File, corrupt.Problem, remedyHeads)
	} else if err != nil {
		return err
	}
	hwm := l.heads.Last().Checkpoint

	// 3. What the backend says it has is no less than that, and leads to it.
	l.store = posix.New(filepath.Join(c.Dir, tilesName), c.Origin)
	size, root, err := l.store.State(ctx)
	if err != nil {
		return asRefused(l.store.WhereState(), err)
	}
	if size < hwm.Size {
		return refuse(l.store.WhereState(), fmt.Sprintf("its size %d is below the high-water mark %d", size, hwm.Size), remedyTiles)
	}
	if err := l.checkEdge(ctx, size, root, hwm); err != nil {
		return err
	}
	if l.guard, err = newGuard(ctx, l.store, hwm); err != nil {
		return asRefused(filepath.Join(c.Dir, tilesName), err)
	}

	// 4. What we published is something that we signed and that still stands.
	if err := l.checkPublished(ctx, size, root, hwm); err != nil {
		return err
	}

	peaks, err := (&nodes{store: l.store, size: hwm.Size}).peaks(ctx, hwm.Size)
	if err != nil {
		return err
	}
	if rootOf(rangeOf(hwm.Size, peaks)) != hwm.Root {
		return refuse(filepath.Join(c.Dir, tilesName), "its tiles do not have the root of the high-water mark", remedyTiles)
	}
	l.edge.reset(hwm.Size, peaks)
	l.size.Store(size)
	l.released.Store(hwm.Size)
	return nil
}

// checkEdge proves, from the very files that the backend will build on, the
// root that it claims, the high-water mark below it, and the last bundles.
func (l *Log) checkEdge(ctx context.Context, size int64, root leaf.Hash, hwm checkpoint.Checkpoint) error {
	if size == hwm.Size && root != hwm.Root {
		return refuse(l.store.WhereState(), fmt.Sprintf("its root is not the one that was signed at size %d", size), remedyTiles)
	}
	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: l.cfg.Origin, Size: size, Root: root}, fetchFrom(l.store.Stored))
	if _, err := tiles.Root(ctx, size); err != nil {
		return l.blame(ctx, size, err)
	}
	signed, err := tiles.Root(ctx, hwm.Size)
	if err != nil {
		return l.blame(ctx, size, err)
	}
	if signed != hwm.Root {
		return refuse(filepath.Join(l.cfg.Dir, tilesName), fmt.Sprintf("its tiles do not have the root that was signed at size %d", hwm.Size), remedyTiles)
	}
	first := max(0, (size-1)/tile.Width-edgeBundles+1) * tile.Width
	for _, err := range tiles.Entries(ctx, first, size) {
		if err != nil {
			return l.blame(ctx, size, err)
		}
	}
	return nil
}

// blame names the file for what a reader found.
func (l *Log) blame(ctx context.Context, size int64, err error) error {
	var mismatch *tile.MismatchError
	switch {
	case errors.As(err, &mismatch) && mismatch.Path != "":
		return refuse(filepath.Join(l.cfg.Dir, tilesName, filepath.FromSlash(mismatch.Path)), mismatch.Problem, remedyTiles)
	case !errors.As(err, &mismatch):
		return asRefused(filepath.Join(l.cfg.Dir, tilesName), err)
	}
	// The partial tiles do not give the state's root. Each hash of one stands for
	// a leaf or for a full tile below; one that does not match shows the culprit.
	for level := range 8 {
		c, ok := tile.At(level, size>>(8*level)/tile.Width, size)
		if !ok {
			continue
		}
		b, err := l.store.Stored(ctx, c)
		if err != nil {
			return asRefused(l.store.Where(c), err)
		}
		hashes, err := tile.Hashes(b, c.Width)
		if err != nil {
			return refuse(l.store.Where(c), err.Error(), remedyTiles)
		}
		for i, h := range hashes {
			if below, err := l.below(ctx, c, i); err == nil && below != h {
				return refuse(l.store.Where(c), fmt.Sprintf("hash %d is not that of what it stands for", i), remedyTiles)
			}
		}
	}
	return refuse(l.store.WhereState(), fmt.Sprintf("its root is not that of the tiles at size %d", size), remedyTiles)
}

// below computes hash i of a tile from the bundle or the tile below.
func (l *Log) below(ctx context.Context, c tile.Coord, i int) (leaf.Hash, error) {
	if c.Level == 0 {
		c.Level = tile.Entries
		b, err := l.store.Stored(ctx, c)
		if err != nil {
			return leaf.Hash{}, err
		}
		entries, err := tile.Bundle(b, c.Width)
		if err != nil {
			return leaf.Hash{}, err
		}
		return leaf.Hash(rfc6962.DefaultHasher.HashLeaf(entries[i])), nil
	}
	b, err := l.store.Stored(ctx, tile.Coord{Level: c.Level - 1, Index: c.Index*tile.Width + int64(i), Width: tile.Width})
	if err != nil {
		return leaf.Hash{}, err
	}
	hashes, err := tile.Hashes(b, tile.Width)
	if err != nil {
		return leaf.Hash{}, err
	}
	return perfect(hashes), nil
}

// asRefused names the file that err is about, or else this one.
func asRefused(file string, err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return refuse(file, r.reason, remedyTiles)
	}
	var path *fs.PathError
	var damaged *store.DamagedError
	switch {
	case errors.As(err, &damaged):
		return refuse(damaged.File, damaged.Problem, remedyTiles)
	case errors.As(err, &path) && errors.Is(err, fs.ErrNotExist):
		return refuse(path.Path, "it is missing", remedyTiles)
	case errors.As(err, &path):
		file = path.Path
	}
	return refuse(file, err.Error(), remedyTiles)
}

func (l *Log) publishedFile() string {
	return filepath.Join(l.cfg.Dir, publishedName, "checkpoint")
}

// checkPublished verifies what we serve. A missing file is no danger: the
// archive, which is written first, has it.
func (l *Log) checkPublished(ctx context.Context, size int64, root leaf.Hash, hwm checkpoint.Checkpoint) error {
	name := l.publishedFile()
	note, err := os.ReadFile(name)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return refuse(name, err.Error(), "remove it if the disk is sound: it is made again from the heads file")
	}
	c, err := l.openNote(note)
	if err != nil {
		return refuse(name, err.Error(), "remove it: it is made again from the heads file")
	}
	if c.Size > hwm.Size {
		return refuse(l.cfg.Heads, fmt.Sprintf("the high-water mark %d is below the published size %d: the heads file is an older copy", hwm.Size, c.Size), remedyHeads)
	}
	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: c.Origin, Size: size, Root: root}, fetchFrom(l.store.Read))
	stands, err := tiles.Root(ctx, c.Size)
	if err != nil {
		return l.blame(ctx, size, err)
	}
	if stands != c.Root {
		return refuse(name, fmt.Sprintf("it is not of this log: the tiles have another root at size %d", c.Size), "find out where it comes from: our key signed two trees of one size")
	}
	l.published = Published{Size: c.Size, Root: c.Root, Note: note, At: info.ModTime()}
	return nil
}

// healPublished writes the newest archived checkpoint if what we serve is
// missing or older: we died between archiving and publishing it.
func (l *Log) healPublished() error {
	last, ok := l.heads.LastArchived()
	if !ok || l.published.Size >= last {
		return nil
	}
	note, err := l.heads.Archived(last)
	if err != nil {
		return err
	}
	c, err := l.openNote(note)
	if err != nil {
		return fmt.Errorf("publishing from the archive: %w", err)
	}
	if err := atomicfile.Write(l.publishedFile(), bytes.Clone(note)); err != nil {
		return fmt.Errorf("publishing from the archive: %w", err)
	}
	l.published = Published{Size: c.Size, Root: c.Root, Note: note, At: l.heads.Last().Made()}
	return nil
}

// openNote returns the checkpoint of a note that we published. One of our keys
// suffices: the others may be younger than the note.
func (l *Log) openNote(note []byte) (checkpoint.Checkpoint, error) {
	c, by, err := checkpoint.Open(note, l.cfg.Origin, l.keys...)
	if err == nil && by == 0 {
		err = errors.New("it is not signed by the log's keys")
	}
	return c, err
}
