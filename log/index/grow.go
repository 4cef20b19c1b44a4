package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	ilog "idlog/log"
	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// take takes the next entry of the log. A fresh one is not found by scan.
func (x *Index) take(e tile.Entry, fresh bool) error {
	x.pending = append(x.pending, history.Entry{Leaf: e.Hash, Keys: x.cheat.keys(x, e)})
	switch {
	case rootOf(e.Data) == nil:
		x.content = e.Index + 1
	case fresh:
		if err := x.look(true); err != nil {
			return err
		}
		return x.meet(e, false)
	}
	return nil
}

// look meets the next root leaf of scan if none waits to be compared, or all that are left.
func (x *Index) look(all bool) error {
	for x.scan != nil && (all || len(x.stops) == 0) {
		e, err, ok := x.scan()
		switch {
		case !ok:
			x.scan = nil
		case err != nil:
			return err
		default:
			if err := x.meet(e, true); err != nil {
				return err
			}
		}
	}
	return nil
}

const rootMagic = "tlog-index-root/v1\n"

// rootOf returns an entry that is a root leaf, else nil.
func rootOf(entry []byte) *leaf.Root {
	if !bytes.HasPrefix(entry, []byte(rootMagic)) {
		return nil
	}
	l, _ := leaf.Parse(entry) // what is no leaf is no root leaf
	root, _ := l.(*leaf.Root)
	return root
}

// meet takes down a root leaf, to be compared when the index is at its N. If it stood in the log when the process began, and
// the index was past N then, it was compared before: the index never passes an N without it.
//
// SPEC 2.12: "N never descends from one root leaf to the next".
func (x *Index) meet(e tile.Entry, stood bool) error {
	r := rootOf(e.Data)
	least := x.rooted
	if n := len(x.stops); n > 0 {
		least = x.stops[n-1].root.N
	}
	switch {
	case r.Origin != x.cfg.Origin || r.N > e.Index || r.N < least:
		return x.fault(fmt.Sprintf("entry %d of the log is a false root leaf: it is of %d entries of %s, after one of %d", e.Index, r.N, r.Origin, least), e.Data)
	case r.N < x.base.state.Size && stood:
		x.rooted = r.N
		return nil
	case r.N < x.base.state.Size:
		return fmt.Errorf("the root leaf at %d is of %d entries, and the index is past these; remove %s and it is made again", e.Index, r.N, x.cfg.Dir)
	}
	x.stops = append(x.stops, logged{root: r, leaf: e.Data, at: e.Index})
	return nil
}

// grow indexes what is pending, but for root leaves at its end, and compares at each N of a root leaf in the log. Where none of
// these is to come, the second computation follows at once, but for the last step of all, which commit has to answer for.
func (x *Index) grow(ctx context.Context, head ilog.Published, last bool) error {
	for {
		if err := x.compare(); err != nil {
			return err
		}
		size, count := x.base.state.Size, int64(len(x.pending))
		switch {
		case len(x.stops) > 0 && x.stops[0].root.N <= size+count:
			count = x.stops[0].root.N - size
		case x.content <= size || last:
			return nil
		}
		if err := x.append(count); err != nil {
			return err
		}
		if len(x.stops) == 0 { // compare has looked
			if err := x.recount(ctx, size, head); err != nil {
				return err
			}
		}
	}
}

// append indexes so many of the pending entries.
func (x *Index) append(count int64) error {
	began := time.Now()
	if err := x.engine.Append(x.pending[:count]); errors.Is(err, history.ErrDamaged) {
		return fmt.Errorf("%w; remove %s and it is made again", err, x.cfg.Dir)
	} else if err != nil {
		return fmt.Errorf("%w; a start goes on where it was", err)
	}
	x.cfg.Metrics.append.Since(began)
	x.pending = append(x.pending[:0], x.pending[count:]...)
	before := x.base
	x.setBase(x.revision())
	x.letGo(before)
	return nil
}

// compare holds the root leaves in the log whose N the index is at against its own state.
func (x *Index) compare() error {
	for {
		if err := x.look(false); err != nil {
			return err
		}
		if len(x.stops) == 0 || x.stops[0].root.N != x.base.state.Size {
			return nil
		}
		l := x.stops[0]
		if x.cheat.denies(l) {
			x.stops = x.stops[1:]
			continue
		}
		if !l.root.Agrees(x.base.state.Root(x.cfg.Origin)) {
			return x.fault(fmt.Sprintf("entry %d of the log is a root leaf of %d entries with other roots than the index has", l.at, l.root.N), l.leaf)
		}
		x.rooted = l.root.N
		x.hold(x.base, l)
		x.stops = x.stops[1:]
	}
}

// commit indexes all that is pending, so that the index is where the published log is, and has that logged.
func (x *Index) commit(ctx context.Context, head ilog.Published) error {
	before := x.base.state.Size
	if err := x.append(int64(len(x.pending))); err != nil {
		return err
	}
	root := x.base.state.Root(x.cfg.Origin)
	agreed, err := x.ask(ctx, root)
	if err == nil && !agreed {
		err = x.recount(ctx, before, head)
	}
	if err != nil {
		return err
	}
	if err := x.cheat.another(ctx, x, before, root); err != nil {
		return err
	}
	x.began = time.Now()
	root.Millis = x.began.UnixMilli()
	// If we die after this, the leaf is in the log when it has started.
	at, err := x.cfg.Writer.Root(ctx, root)
	if err != nil {
		return err
	}
	b, err := root.Format()
	if err != nil {
		return err
	}
	x.rooted, x.due = root.N, at+1
	x.hold(x.base, logged{root: root, leaf: b, at: at})
	x.cfg.Metrics.roots.Inc()
	return nil
}

// rest waits until another root leaf may be logged.
func (x *Index) rest(ctx context.Context) error {
	timer := time.NewTimer(time.Until(x.began.Add(x.cfg.Interval)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
