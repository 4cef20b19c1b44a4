package index

import (
	"slices"
	"time"

	ilog "idlog/log"
	"idlog/proto/history"
)

// mostHeld is how many revisions are held while no checkpoint to answer under covers their root leaves.
const mostHeld = 16

// revision is a view of the index that several may hold: it is closed when the last lets go.
type revision struct {
	view    *history.View
	state   history.State
	holders int // guarded by Index.mu
}

// held is the revision that a root leaf speaks of.
type held struct {
	*revision
	logged
}

// revision opens the present one, with its caller as holder.
func (x *Index) revision() *revision {
	r := &revision{view: x.engine.View(), holders: 1}
	r.state = r.view.State()
	x.mu.Lock()
	x.views++
	x.mu.Unlock()
	return r
}

// letGo ends one holding.
func (x *Index) letGo(r *revision) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(r)
}

// drop is letGo. x.mu is held.
func (x *Index) drop(r *revision) {
	if r.holders--; r.holders > 0 {
		return
	}
	if err := r.view.Close(); err != nil {
		x.cfg.Logger.Warn("closing a view of the index", "origin", x.cfg.Origin, "error", err.Error())
	}
	x.views--
	x.gone.Broadcast()
}

func (x *Index) setBase(r *revision) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.base = r
}

// hold keeps the revision of a root leaf until a later one can be answered with.
func (x *Index) hold(r *revision, l logged) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.held); n > 0 && x.held[n-1].at >= l.at {
		return // seen in the log again
	}
	r.holders++
	x.held = append(x.held, held{r, l})
	p, _ := x.cfg.Answering()
	x.prune(p.Size)
	if len(x.held) > mostHeld {
		// The verified checkpoint is far behind. Every other one will do when it comes nearer.
		kept := x.held[:0]
		for i, h := range x.held {
			if i%2 == 0 || i == len(x.held)-1 {
				kept = append(kept, h)
			} else {
				x.drop(h.revision)
			}
		}
		clear(x.held[len(kept):])
		x.held = kept
	}
}

// prune lets go of the revisions before the newest whose root leaf a checkpoint of that size covers. x.mu is held.
func (x *Index) prune(size int64) {
	n := 0
	for n+1 < len(x.held) && x.held[n+1].at < size {
		x.drop(x.held[n].revision)
		n++
	}
	x.held = slices.Delete(x.held, 0, n)
}

// An Answer is what a question is answered by: the revision of the index that the newest root leaf below a checkpoint speaks
// of. It may be used by any number of goroutines until it is closed.
type Answer struct {
	*history.View
	// Root is the root leaf, and At where it stands in the log. It is not to be changed.
	Root []byte
	At   int64
	// Checkpoint is of a size above At.
	Checkpoint ilog.Published

	x        *Index
	revision *revision
	closed   chan struct{} // holds a token until Close takes it
}

// Answering returns what a question of now is answered by, or false while there is nothing: the index is stopped or not there
// yet. The caller closes it.
func (x *Index) Answering() (*Answer, bool) {
	p, ok := x.cfg.Answering()
	if !ok {
		return nil, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.prune(p.Size)
	if x.closed || len(x.held) == 0 || x.held[0].at >= p.Size {
		return nil, false
	}
	h := x.held[0]
	h.holders++
	a := &Answer{View: h.view, Root: h.leaf, At: h.at, Checkpoint: p, x: x, revision: h.revision, closed: make(chan struct{}, 1)}
	a.closed <- struct{}{}
	return a, true
}

// Close ends the use of the answer; nothing of it is under way. A second call does nothing. Its error is always nil.
func (a *Answer) Close() error {
	select {
	case <-a.closed:
		a.x.letGo(a.revision)
	default:
	}
	return nil
}

// Status is how an index stands.
type Status struct {
	Size int64 // entries indexed
	Keys int64
	Root int64 // N of the newest root leaf that is known, 0 if there is none
	// Lag is how many published entries no root leaf covers, but for root leaves at their end, and Behind how long the oldest
	// of them is known.
	Lag    int64
	Behind time.Duration
	// Stopped says why the index has stopped, and what to do; empty while it runs.
	Stopped string
}

// Status says how the index stands now.
func (x *Index) Status() Status {
	p, _ := x.cfg.Log.Published()
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Status{Lag: max(p.Size-x.covered, 0), Stopped: x.stopped}
	if x.base != nil {
		s.Size, s.Keys = x.base.state.Size, x.base.state.Keys
	}
	if n := len(x.held); n > 0 {
		s.Root = x.held[n-1].root.N
	}
	if !x.behind.IsZero() {
		s.Behind = time.Since(x.behind)
	}
	return s
}

// note takes down that entries were read that were published then.
func (x *Index) note(at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.content > x.rooted && x.behind.IsZero() {
		if x.behind = at; at.IsZero() {
			x.behind = time.Now()
		}
	}
}

// reached takes down that the log was followed up to a size.
func (x *Index) reached(size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.covered = x.rooted; x.content <= x.rooted {
		x.covered, x.behind = size, time.Time{}
	}
}
