package verify

import (
	"context"
	"errors"
	"fmt"

	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// errRefused ends the reading of a log of which a root leaf is false.
var errRefused = errors.New("the log is refused")

// judge computes a root leaf again. The entries before it are read. A root leaf
// that is false refuses its log for ever, and is kept with what shows it; where only
// our index shows it, a second one has to agree.
func (f *follower) judge(ctx context.Context, root *rootAt, entry []byte) error {
	r := &f.reading
	switch last := r.last; {
	case root.Origin != f.origin:
		return f.refuse(ctx, root, entry, nil, "it names another log, %s", root.Origin)
	case root.N > root.at:
		return f.refuse(ctx, root, entry, nil, "it speaks of %d entries", root.N)
	case last != nil && root.N < last.N:
		return f.refuse(ctx, root, entry, last, "it speaks of %d entries, and the root leaf before it of %d", root.N, last.N)
	case last != nil && root.N == last.N && !root.Agrees(last.Root):
		return f.refuse(ctx, root, entry, last, "the root leaf before it, entry %d, names the same size, %d, with other hashes", last.at, root.N)
	}
	s, err := f.stateAt(ctx, root.N, f.v.rewind)
	if errors.Is(err, errLongPast) {
		return f.rebuild(root.N, fmt.Sprintf("the root leaf at %d speaks of a size that is long past", root.at))
	}
	if err != nil {
		return err
	}
	mine := s.Root(f.origin)
	switch {
	case root.LogRoot != mine.LogRoot:
		return f.refuse(ctx, root, entry, nil, "it names another root of the first %d entries than they have", root.N)
	case root.Agrees(mine):
		r.last = root
		return nil
	case !r.doubted[root.N]:
		// A bit of ours may have flipped, and the refusal would be for ever.
		r.doubted[root.N] = true
		return f.rebuild(root.N, fmt.Sprintf("the root leaf at %d is not what the index gives", root.at))
	}
	return f.refuse(ctx, root, entry, nil, "it names %d keys and the map root %x of size %d, and there are %d and %x", root.Keys, root.MapRoot[:8], root.N, mine.Keys, mine.MapRoot[:8])
}

// refuse keeps the evidence against a root leaf, SPEC 2.9, and then remembers that
// its log is refused. If we die between the two, the leaf is found false again.
func (f *follower) refuse(ctx context.Context, root *rootAt, entry []byte, other *rootAt, format string, args ...any) error {
	why := fmt.Sprintf("the root leaf at %d is false: %s", root.at, fmt.Sprintf(format, args...))
	e, proven, err := f.evidence(ctx, root, entry, other)
	if err != nil {
		return err
	}
	path, err := f.v.cfg.Store.Keep(f.origin, fmt.Sprintf("%d-bad-root", root.at), proven, e)
	if err != nil {
		return err
	}
	if err := f.v.cfg.Store.Refuse(f.origin, why); err != nil {
		return err
	}
	f.v.cfg.Logger.Error("a log is refused for ever", "log", f.origin, "reason", why, "evidence", path)
	if path != "" && f.v.cfg.Found != nil {
		f.v.cfg.Found()
	}
	f.mu.Lock()
	f.notify()
	f.mu.Unlock()
	return errRefused
}

// evidence is what shows that a root leaf is false, and whether that convinces
// others: the leaf's proof alone, or with the proof of another root leaf, or with
// what gives the root of the size it names. Else it is with the root leaf that is
// true, which others have to compute.
func (f *follower) evidence(ctx context.Context, root *rootAt, entry []byte, other *rootAt) (e *evidence.Evidence, proven bool, err error) {
	e = &evidence.Evidence{Claim: evidence.BadRoot}
	if other != nil {
		l, err := other.Format()
		if err != nil {
			return nil, false, err
		}
		if err := f.prove(ctx, e, other.at, l); err != nil {
			return nil, false, err
		}
	}
	if err := f.prove(ctx, e, root.at, entry); err != nil {
		return nil, false, err
	}
	if other != nil || root.Origin != f.origin || root.N > root.at || root.N == 0 {
		return e, true, nil
	}
	real, err := f.reading.reader.Root(ctx, root.N)
	if err != nil {
		return nil, false, err
	}
	if real != root.LogRoot {
		hashes, err := f.reading.reader.Ranges(ctx, root.N)
		if err != nil {
			return nil, false, err
		}
		e.Parts = append(e.Parts, evidence.Hashes(hashes...))
		return e, true, nil
	}
	s, err := f.stateAt(ctx, root.N, f.v.rewind)
	if err != nil {
		return nil, false, err
	}
	l, err := s.Root(f.origin).Format()
	if err != nil {
		return nil, false, err
	}
	e.Parts = append(e.Parts, evidence.Part{Type: evidence.Leaf, Data: l})
	return e, false, nil
}

// prove adds the proof of an entry under the target.
func (f *follower) prove(ctx context.Context, e *evidence.Evidence, at int64, entry []byte) error {
	hashes, err := f.reading.reader.Inclusion(ctx, at)
	if err != nil {
		return err
	}
	b, err := proof.Proof{Extra: entry, Index: at, Hashes: hashes, Checkpoint: f.target.note}.Format()
	if err != nil {
		return fmt.Errorf("proving entry %d: %w", at, err)
	}
	e.Parts = append(e.Parts, evidence.Part{Type: evidence.Proof, Data: b})
	return nil
}

// same reports whether a checkpoint, of a size that was read, is of the tree that
// was read.
func (f *follower) same(ctx context.Context, c checkpoint.Checkpoint, signed []byte) (bool, error) {
	f.mu.Lock()
	target := f.target
	f.mu.Unlock()
	if c.Size == target.Size && c.Root == target.Root {
		return true, nil
	}
	s, err := newSite(f.url, f.v.http)
	if err != nil {
		return false, err
	}
	reader := tile.NewReader(target.Checkpoint, s.tile)
	root, err := reader.Root(ctx, c.Size)
	if err != nil || root == c.Root {
		return err == nil, err
	}
	f.accuseFork(ctx, signedTree{c, signed}, target, reader)
	return false, nil
}

// accuseFork keeps the proof that a log has signed two trees of which neither
// continues the other, if a really is not under b.
func (f *follower) accuseFork(ctx context.Context, a, b signedTree, reader *tile.Reader) {
	if a.note == nil || a.Size > b.Size {
		return
	}
	e := &evidence.Evidence{Claim: evidence.Fork, Parts: []evidence.Part{
		{Type: evidence.Checkpoint, Data: a.note}, {Type: evidence.Checkpoint, Data: b.note},
	}}
	path, err := func() (string, error) {
		root, err := reader.Root(ctx, a.Size)
		if err != nil || root == a.Root {
			return "", err
		}
		if a.Size < b.Size {
			hashes, err := reader.Ranges(ctx, a.Size)
			if err != nil {
				return "", err
			}
			e.Parts = append(e.Parts, evidence.Hashes(hashes...))
		}
		return f.v.cfg.Store.Keep(f.origin, fmt.Sprintf("%d-%d-%x", a.Size, b.Size, b.Root[:8]), true, e)
	}()
	switch {
	case err != nil:
		f.v.cfg.Logger.Error("a log contradicts itself, and the evidence is lost", "log", f.origin, "err", err)
	case path != "":
		f.v.cfg.Logger.Error("a log has forked", "log", f.origin, "evidence", path)
		if f.v.cfg.Found != nil {
			f.v.cfg.Found()
		}
	}
}
