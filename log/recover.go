package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/log/quorum"
	"idlog/log/store/posix"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// recoveringName is where a heads file is made before it is one.
const recoveringName = "recovering"

// RecoverHeads makes the heads directory of a log anew when it is lost, out of
// what the witnesses show: the largest tree that any of them has cosigned, or
// that the log still has published, becomes the high-water mark. Nobody got a
// signature of the log but through its witnesses, so nothing else can have been
// signed. The archive of checkpoints begins anew.
//
// Every witness must answer, but for those that c.WithoutWitness names, and those
// must not contain a quorum: as at every start (SPEC F32). A policy without
// witnesses recovers nothing. Where the log's directory is still there, it must
// have every tree that is shown. What stands in the way is a *RefusedError, and
// nothing was changed. If we die within it, there are no heads, and it begins anew.
func RecoverHeads(ctx context.Context, c Config, now time.Time) (checkpoint.Checkpoint, error) {
	keys, err := c.check()
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	if err := noHeads(c.Heads); err != nil {
		return checkpoint.Checkpoint{}, err
	}
	l := &Log{cfg: c, keys: keys}
	defer func() {
		for _, f := range l.locks {
			_ = f.Close() // read only
		}
	}()
	shown, err := l.shown(ctx)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	hwm := checkpoint.Checkpoint{Origin: c.Origin, Root: rootOf(ranges.NewEmptyRange(0))}
	for _, s := range shown {
		if s.Checkpoint.Size == hwm.Size && s.Checkpoint.Root != hwm.Root {
			return hwm, refuse(c.Heads, fmt.Sprintf("%s has another tree of size %d than others", s.Witness, hwm.Size), "the log's key has signed two histories: find out how; this log cannot go on")
		}
		if s.Checkpoint.Size > hwm.Size {
			hwm = s.Checkpoint
		}
	}
	if err := l.stands(ctx, shown); err != nil {
		return hwm, err
	}
	return hwm, makeHeads(c.Heads, c.Origin, checkpoint.Checkpoint{Origin: hwm.Origin, Size: hwm.Size, Root: hwm.Root}, now)
}

// noHeads refuses a heads directory that has something.
func noHeads(dir string) error {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	for _, n := range names {
		if n.Name() != recoveringName && n.Name() != "lost+found" {
			return refuse(dir, "it is not empty", "if it is damaged, move it away; if it is another log's, mount the right one")
		}
	}
	return nil
}

// shown returns what the witnesses show, and what we have published ourselves.
func (l *Log) shown(ctx context.Context) ([]quorum.Shown, error) {
	c := &l.cfg
	if c.Policy == nil || c.Policy.Satisfied(nil) {
		return nil, refuse(c.Heads, "it is lost, and the log has no witness whose word is needed: nobody knows what it has signed", "read this log, and begin a new one")
	}
	all, err := quorum.Look(ctx, quorum.Config{Origin: c.Origin, Keys: l.keys, Policy: c.Policy, HTTP: c.HTTP})
	if err != nil {
		return nil, fmt.Errorf("recovering heads: %w", err)
	}
	var shown []quorum.Shown
	var unnamed []string
	silent := make(map[string]bool)
	for _, s := range all {
		switch {
		case s.Err != nil:
			silent[s.Witness] = true
			if !slices.Contains(c.WithoutWitness, s.Witness) {
				unnamed = append(unnamed, fmt.Sprintf("%s: %v", s.Witness, s.Err))
			}
		case s.Note != nil:
			shown = append(shown, s)
		}
	}
	if len(unnamed) > 0 {
		return nil, refuse(c.Heads, "it is lost, and not every witness says what it has seen: "+strings.Join(unnamed, "; "), "try again when they answer; name one that is gone for good with --without-witness")
	}
	if c.Policy.Satisfied(silent) {
		return nil, refuse(c.Heads, "it is lost, and the witnesses that do not answer are a quorum: they may have seen more than all others", "wait for them")
	}
	note, err := os.ReadFile(l.publishedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return shown, nil
	} else if err != nil {
		return nil, fmt.Errorf("recovering heads: %w", err)
	}
	p, err := l.openNote(note)
	if err != nil {
		return nil, refuse(l.publishedFile(), err.Error(), "find out where it comes from")
	}
	return append(shown, quorum.Shown{Witness: l.publishedFile(), Note: note, Checkpoint: p}), nil
}

// stands refuses a log directory that does not have every tree that is shown.
// None at all is for a restore to judge.
func (l *Log) stands(ctx context.Context, shown []quorum.Shown) error {
	name := filepath.Join(l.cfg.Dir, identityName)
	if err := checkIdentity(name, l.cfg.Origin, l.cfg.VKeys); errors.Is(err, ErrNotInitialised) {
		return nil
	} else if err != nil {
		return err
	}
	f, err := lock(filepath.Join(l.cfg.Dir, lockName))
	if err != nil {
		return err
	}
	l.locks = append(l.locks, f)
	store := posix.New(TilesDir(l.cfg.Dir), l.cfg.Origin)
	size, root, err := store.State(ctx)
	if err != nil {
		return asRefused(store.WhereState(), err)
	}
	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: l.cfg.Origin, Size: size, Root: root}, fetchFrom(store.Read))
	for _, s := range shown {
		if s.Checkpoint.Size > size {
			return refuse(store.WhereState(), fmt.Sprintf("it has %d entries, and %s has seen %d", size, s.Witness, s.Checkpoint.Size), "move the log directory away, recover the heads without it, then restore it from a backup and the journal")
		}
		got, err := tiles.Root(ctx, s.Checkpoint.Size)
		if err != nil {
			return asRefused(TilesDir(l.cfg.Dir), err)
		}
		if got != s.Checkpoint.Root {
			return refuse(TilesDir(l.cfg.Dir), fmt.Sprintf("%s has seen another tree of size %d", s.Witness, s.Checkpoint.Size), "this is not the directory of what was signed: find that one")
		}
	}
	return nil
}

// makeHeads makes a heads file with one head.
func makeHeads(dir, origin string, hwm checkpoint.Checkpoint, now time.Time) error {
	fresh := filepath.Join(dir, recoveringName)
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	if err := os.MkdirAll(fresh, 0o755); err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	if err := heads.Create(fresh, origin, hwm, now); err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(fresh, "*"))
	if err != nil || len(names) != 1 {
		return fmt.Errorf("recovering heads: %d files: %w", len(names), errors.Join(err, fs.ErrInvalid))
	}
	// If we die before this there are no heads; after it there are.
	if err := os.Rename(names[0], filepath.Join(dir, filepath.Base(names[0]))); err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	if err := os.Remove(fresh); err != nil {
		return fmt.Errorf("recovering heads: %w", err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := atomicfile.SyncDir(d); err != nil {
			return fmt.Errorf("recovering heads: %w", err)
		}
	}
	return nil
}
