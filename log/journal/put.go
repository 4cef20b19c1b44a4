package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"idlog/proto/leaf"
)

// Outcome is what became of a row that was put.
type Outcome struct {
	// Row is the one that stands under the key: that which was put, or the one
	// that was there before.
	Row *Row
	New bool
}

// put is one call of Put or Sequenced.
type put struct {
	rows     []*Row
	outcomes []Outcome
	place    *place
	err      error
	done     chan struct{}
}

// place says that rows stand in the log from an index on.
type place struct {
	first int64
	rows  []*Row
}

// Put stores rows that are not there yet and returns what stands under each key
// once it is durable, together with whatever other callers put meanwhile. The
// journal owns the rows from then on. Equal keys, within one call, of two
// concurrent ones or years apart, give one row: the first.
//
// If ctx ends first, its error is returned, and the rows may be stored or not.
// Every other error is an ErrFatal.
func (j *Journal) Put(ctx context.Context, rows []*Row) ([]Outcome, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	p := &put{rows: rows}
	if err := j.do(ctx, p); err != nil {
		return nil, fmt.Errorf("putting rows: %w", err)
	}
	return p.outcomes, nil
}

// do has a put committed, by itself or by whoever commits for all who wait.
func (j *Journal) do(ctx context.Context, p *put) error {
	p.done = make(chan struct{})
	j.mu.Lock()
	j.pending = append(j.pending, p)
	j.mu.Unlock()
	select {
	case j.commit <- struct{}{}:
		j.commitPending()
		<-j.commit
		<-p.done // closed: p was pending or had been committed
	case <-p.done:
	case <-ctx.Done():
		j.withdraw(p)
		return ctx.Err()
	}
	return p.err
}

// withdraw removes a put that nobody commits yet.
func (j *Journal) withdraw(p *put) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = slices.DeleteFunc(j.pending, func(other *put) bool { return other == p })
}

// commitPending commits every pending put with one write. The token is held.
func (j *Journal) commitPending() {
	j.mu.Lock()
	puts, failed := j.pending, j.failed
	j.pending = nil
	j.mu.Unlock()
	if len(puts) == 0 {
		return
	}
	if failed == nil {
		if err := j.commitGroup(puts); err != nil {
			failed = j.fail(err)
		}
	}
	for _, p := range puts {
		if failed != nil {
			p.outcomes, p.err = nil, failed
		}
		close(p.done)
	}
}

// commitGroup writes the records of all puts, syncs, and then shows them.
func (j *Journal) commitGroup(puts []*put) error {
	to, err := j.segments.next()
	if err != nil {
		return err
	}
	g := group{j: j, to: to, buf: appendGroup(j.buf[:0], to), rows: make(map[leaf.Hash]*Row)}
	for _, p := range puts {
		if err := g.add(p); err != nil {
			return err
		}
	}
	if j.buf = g.buf; cap(j.buf) > maxBuffer {
		j.buf = nil
	}
	if len(g.buf) == groupSize {
		return nil // all of it was there
	}
	j.segments.end = g.end()
	// If we die before this returns, none of it was told to anybody, and some of
	// it, from the first record on, may be found by the next Open. After it, all
	// is.
	began := time.Now()
	if err := j.durable(to, g.buf, func() error { return g.show(puts) }); err != nil {
		return err
	}
	j.timers.put.Since(began)
	return nil
}

// group is what is written at once.
type group struct {
	j     *Journal
	to    position // where it is written
	buf   []byte
	rows  map[leaf.Hash]*Row // those that are new, as added
	added []*Row
}

// end is where the next record of the group goes.
func (g *group) end() position { return g.to + position(len(g.buf)) }

func (g *group) add(p *put) error {
	for _, r := range p.rows {
		existing := g.rows[r.Key]
		if existing == nil {
			var err error
			if existing, err = g.j.get(r.Key, r.Absent); err != nil {
				return err
			}
		}
		if existing != nil {
			p.outcomes = append(p.outcomes, Outcome{Row: existing})
			continue
		}
		g.append(r)
		p.outcomes = append(p.outcomes, Outcome{Row: r, New: true})
	}
	if p.place == nil {
		return nil
	}
	for _, r := range p.place.rows {
		if r.pos == 0 {
			g.append(r)
		}
	}
	g.buf = appendRecord(g.buf, kindPlace, func(b []byte) []byte { return appendPlace(b, p.place.first, p.place.rows) })
	return nil
}

func (g *group) append(r *Row) {
	r.pos = g.end()
	r.size = int64(len(r.Leaf) + len(r.Payload) + len(r.Raw))
	r.done = make(chan struct{})
	g.buf = appendRecord(g.buf, kindRow, func(b []byte) []byte { return appendRow(b, r) })
	g.rows[r.Key] = r
	g.added = append(g.added, r)
}

// show lets Take and Get see what is durable now.
func (g *group) show(puts []*put) error {
	j := g.j
	for _, r := range g.added {
		r.Payload, r.Raw = nil, nil
	}
	j.order = append(j.order, g.added...)
	j.mu.Lock()
	for _, r := range g.added {
		j.open[r.Key] = r
		j.bytes += r.size
	}
	j.queue = append(j.queue, g.added...)
	j.notify()
	j.mu.Unlock()
	for _, p := range puts {
		if p.place == nil {
			continue
		}
		if err := j.place(p.place, g.end()); err != nil {
			return err
		}
	}
	return nil
}

// place gives rows their index, once that is durable.
func (j *Journal) place(p *place, end position) error {
	j.mu.Lock()
	for i, r := range p.rows {
		// The first index of a row is the one that it keeps (SPEC F34).
		if !r.at.CompareAndSwap(0, p.first+int64(i)+1) {
			continue
		}
		j.fresh[r.Key] = spot{r.pos, r.Index(), r.Control}
		close(r.done)
		delete(j.open, r.Key)
		j.bytes -= r.size
	}
	j.cursor = p.first + int64(len(p.rows))
	// After a restart they may stand in the queue as well.
	j.queue = slices.DeleteFunc(j.queue, func(r *Row) bool { return r.Index() >= 0 })
	j.notify()
	j.mu.Unlock()
	return j.spill(end, freshRows)
}

// spill moves fresh into the database if it has at least so many rows. What
// stands before end is durable. The token is held, so only readers see it happen.
func (j *Journal) spill(end position, least int) error {
	if len(j.fresh) < least {
		return nil
	}
	if err := j.index.add(j.fresh, j.cursor, j.oldest(end), end); err != nil {
		return err
	}
	// If we die before the database has written it, Open finds all of it in the
	// segments.
	j.mu.Lock()
	j.fresh = make(map[leaf.Hash]spot, len(j.fresh))
	j.spilled++
	j.mu.Unlock()
	return nil
}
