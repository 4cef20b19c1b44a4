package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
)

// advance indexes what was read up to a size, in revisions that stop where they
// must.
func (f *follower) advance(to int64) error {
	r := &f.reading
	for from := r.index.Size(); from < to; from = r.index.Size() {
		stop := to
		for s := range r.stops {
			if s > from && s < stop {
				stop = s
			}
		}
		// If we die here, or the revision is lost, the entries are read and judged
		// again.
		if err := r.index.Append(r.pending[:stop-from]); err != nil {
			return &indexError{err}
		}
		r.pending = r.pending[stop-from:]
		f.remember(r.index.State())
	}
	if len(r.pending) == 0 {
		r.pending = nil // let go of what stood before
	}
	return nil
}

// remember keeps a revision, and lets the oldest go that no stop asks for.
func (f *follower) remember(s history.State) {
	r := &f.reading
	if _, again := r.states[s.Size]; !again {
		r.order = append(r.order, s.Size)
	}
	r.states[s.Size] = s
	for len(r.order) > maxStates {
		if old := r.order[0]; !r.stops[old] {
			delete(r.states, old)
		}
		r.order = r.order[1:]
	}
}

// stateAt returns the revision of a size that was read. Where the index is beyond
// it, it goes back by at most most entries, else errLongPast.
func (f *follower) stateAt(ctx context.Context, n, most int64) (history.State, error) {
	r := &f.reading
	if n > r.size {
		return history.State{}, fmt.Errorf("%d of %d entries are read", r.size, n)
	}
	if n > r.index.Size() {
		if err := f.advance(n); err != nil {
			return history.State{}, err
		}
	}
	if n == r.index.Size() {
		f.remember(r.index.State())
	}
	if s, ok := r.states[n]; ok {
		return s, nil
	}
	if r.index.Size()-n > most {
		return history.State{}, errLongPast
	}
	s := history.State{Size: n}
	var err error
	if s.LogRoot, err = r.reader.Root(ctx, n); err != nil {
		return s, err
	}
	view := r.index.View()
	defer view.Close()
	var keys []leaf.Hash
	for e, err := range r.reader.Entries(ctx, n, view.State().Size) {
		if err != nil {
			return s, err
		}
		keys = append(keys, mapfn.OfEntry(e.Data)...)
	}
	if s.Keys, s.MapRoot, err = rewind(view, n, keys); err != nil {
		return s, &indexError{err}
	}
	f.remember(s)
	return s, nil
}

// look makes the root leaf of a size, for a preview.
func (f *follower) look(ctx context.Context, n int64) (*leaf.Root, error) {
	if f.reading.index == nil || f.reading.reader == nil {
		return nil, errors.New("the log is not read yet")
	}
	s, err := f.stateAt(ctx, n, maxLookBack)
	if err != nil {
		return nil, err
	}
	f.progressed()
	return s.Root(f.origin), nil
}

// An indexError is one of the index: it is opened again before it is used.
type indexError struct{ err error }

func (e *indexError) Error() string { return e.err.Error() }
func (e *indexError) Unwrap() error { return e.err }

// indexFailed closes an index that failed, and removes one that is damaged: the
// next step opens what is there then.
func (f *follower) indexFailed(err error) error {
	if _, ok := errors.AsType[*indexError](err); !ok && !errors.Is(err, history.ErrDamaged) {
		return nil
	}
	closed := f.closeIndex()
	if !errors.Is(err, history.ErrDamaged) {
		return errors.Join(err, closed)
	}
	f.v.cfg.Logger.Error("an index is damaged and is built again", "log", f.origin, "dir", f.dir(), "err", err)
	return os.RemoveAll(f.dir())
}

// openIndex opens the index, or begins it.
func (f *follower) openIndex() error {
	r := &f.reading
	if err := os.MkdirAll(filepath.Dir(f.dir()), 0o700); err != nil {
		return fmt.Errorf("making the folder of an index: %w", err)
	}
	store, err := f.v.cfg.Open(f.dir())
	if err != nil {
		return err
	}
	if r.index, err = history.Open(store, history.Config{}); err != nil {
		r.index = nil
		return errors.Join(err, store.Close())
	}
	r.size, r.pending, r.tree, r.reader, r.last = r.index.Size(), nil, nil, nil, nil
	f.mu.Lock()
	f.indexed = r.size
	f.mu.Unlock()
	return nil
}

// closeIndex makes what was indexed durable, so that the next start has less to
// read.
func (f *follower) closeIndex() error {
	r := &f.reading
	if r.index == nil {
		return nil
	}
	x := r.index
	r.index, r.reader = nil, nil
	return x.Close()
}

// rebuild begins the index anew, to stop at a size on its way.
func (f *follower) rebuild(n int64, why string) error {
	f.v.cfg.Logger.Warn("an index is built again", "log", f.origin, "size", n, "reason", why)
	f.reading.stops[n] = true
	if err := f.closeIndex(); err != nil {
		return fmt.Errorf("closing the index: %w", err)
	}
	if err := os.RemoveAll(f.dir()); err != nil {
		return fmt.Errorf("removing the index: %w", err)
	}
	delete(f.reading.states, n)
	return errRebuilt
}

// errRebuilt ends a step after which the log is read from its beginning.
var errRebuilt = errors.New("the index is built again")
