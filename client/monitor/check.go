package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"idlog/client/monitor/memory"
	"idlog/client/rules"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/tile"
)

const (
	// stepBundles are read, judged, delivered for and remembered together: a crash
	// costs reading so many again, and memory holds the facts of so many. Where they
	// have more than stepBytes it is fewer, as a log chooses how large its leaves are.
	stepBundles = 64
	stepBytes   = 64 << 20
	// readers fetch and parse at once.
	readers = 4
	// longestCheck is how long entries are checked before the newest checkpoint is
	// looked at again.
	longestCheck = 5 * time.Second
)

// fact is what the rules need of one entry.
type fact struct {
	index int64
	hash  leaf.Hash
	leaf  leaf.Leaf       // nil if it is none; an event's without the tags of persons
	filed []leaf.Hash     // the keys it stands under in the index, if that is compared
	alone []rules.Finding // what is wrong with it wherever it stood
	keys  []remembered    // of an event: its id, if it has one, and its digest
}

// remembered is a key of an event and where it was first seen, in the steps
// before this one.
type remembered struct {
	key   memory.Key
	first memory.Place
	known bool
}

// check reads the entries that are not checked yet, up to the size that was
// accepted. It returns true if there is more.
func (m *Monitor) check(ctx context.Context, t tree) (more bool, err error) {
	began, limit := time.Now(), min(m.at.head.Size, t.Checkpoint.Size)
	var pool [readers]*tile.Reader
	for i := range pool {
		pool[i] = tile.NewReader(t.Checkpoint, m.site.Tile)
	}
	if more, err := m.reindex(ctx, t, pool[:], began); more || err != nil {
		return more, err
	}
	for m.at.checked < limit {
		if time.Since(began) > longestCheck {
			return true, nil
		}
		facts, err := read(ctx, pool[:], m.at.checked, limit, m.most, func(e tile.Entry) (fact, error) {
			f := m.factOf(e)
			return f, m.recall(&f)
		})
		if err != nil {
			return false, err
		}
		if err := m.step(ctx, t, facts); err != nil {
			return false, err
		}
		if m.cfg.Progress != nil {
			m.cfg.Progress("entries", m.at.checked, t.Checkpoint.Size)
		}
	}
	return false, nil
}

// read reads a step of entries from from on, each bundle by one of the readers,
// and makes of each what is needed: up to to, or as many bundles as hold most
// bytes, and one more of each reader.
func read[T any](ctx context.Context, pool []*tile.Reader, from, to, most int64, of func(tile.Entry) (T, error)) ([]T, error) {
	to = min(to, (from/tile.Width+stepBundles)*tile.Width)
	facts := make([]T, to-from)
	ends := make([]int64, len(pool)) // up to where each has read its own
	var size atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i, r := range pool {
		g.Go(func() error {
			first := from/tile.Width + int64(i)
			n := first
			for ; n*tile.Width < to && (n == first || size.Load() < most); n += int64(len(pool)) {
				for e, err := range r.Entries(ctx, max(from, n*tile.Width), min(to, (n+1)*tile.Width)) {
					if err != nil {
						return err
					}
					if facts[e.Index-from], err = of(e); err != nil {
						return err
					}
					size.Add(int64(len(e.Data)))
				}
			}
			ends[i] = n * tile.Width
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return facts[:min(to, slices.Min(ends))-from], nil
}

// recall looks an event up in the memory. It is done here, by several at once,
// because it is most of the work.
func (m *Monitor) recall(f *fact) error {
	e, ok := f.leaf.(*leaf.Event)
	if !ok {
		return nil
	}
	if id, ok := rules.EventID(e); ok {
		f.keys = append(f.keys, remembered{key: memory.ID(e.Source, id)})
	}
	f.keys = append(f.keys, remembered{key: memory.Fields(e.Fields)})
	for i := range f.keys {
		k := &f.keys[i]
		var err error
		if k.first, k.known, err = m.memory.Find(&memory.Batch{}, k.key); err != nil {
			return &StateError{err}
		}
	}
	return nil
}

// step judges entries, delivers what it finds, and moves the cursor past them.
func (m *Monitor) step(ctx context.Context, t tree, facts []fact) error {
	if m.history.Next != m.at.checked {
		// The step before was cut off, in this process or an earlier one.
		if err := m.remember(); err != nil {
			return err
		}
	}
	if m.room != nil {
		m.room.Again() // for the same reason
	}
	j := judge{Monitor: m, tree: t, after: m.at.after}
	for i := range facts {
		if err := j.entry(ctx, &facts[i]); err != nil {
			return err
		}
		if j.stops {
			break // what is beyond a contradiction is not looked at
		}
	}
	if err := m.settle(ctx, j.found); err != nil {
		return err
	}
	for _, f := range j.found {
		if f.Severity == Fault {
			m.faults++
		}
	}
	// If we die here all of it was delivered, and is found again under its ids.
	if m.at.base == 0 && (j.keys || m.at.checked == 0) {
		if err := m.dir.writeHistory(m.history); err != nil {
			return err
		}
	}
	// If we die here the keys leaves are read again, and announce what is known.
	if err := m.keepIndex(); err != nil {
		return err
	}
	// If we die here the index passes over the entries that come again.
	j.batch.Checked = facts[len(facts)-1].index + 1
	if err := m.memory.Commit(&j.batch); err != nil {
		return &StateError{err}
	}
	// If we die here the entries are read again, and found to be remembered.
	next := *m.at
	next.checked, next.after = j.batch.Checked, j.after
	m.moved = true
	return m.keep(&next)
}

// span is how far apart in time two archived checkpoints may be that bound the
// entries between them, where the archive has closer ones.
const span = 30 * time.Second

// segment is the entries up to an archived checkpoint, from the one before.
type segment struct {
	to     int64
	before time.Time // entries below to were logged before it; zero if nothing says
}

// bound sees to it that the segment of an entry is known.
//
// SPEC F13: an entry is later than the cosignatures of the largest archived
// checkpoint that lacks it, and not later than those of the smallest that has
// it. Both times are those at which a quorum vouched, so that no single witness
// moves them.
func (j *judge) bound(ctx context.Context, index int64) error {
	m := j.Monitor
	for index >= m.segment.to {
		if m.segment.before.After(j.after) {
			j.after = m.segment.before
		}
		next, err := m.archived(ctx, j.tree, index, j.after)
		if err != nil {
			return err
		}
		m.segment = next
	}
	return nil
}

// archived finds the segment that begins at index. The archive may have a
// checkpoint for every entry; the stride is adapted so that few of them are
// asked for, span apart or as close as they are.
func (m *Monitor) archived(ctx context.Context, t tree, index int64, after time.Time) (segment, error) {
	newest := segment{t.Checkpoint.Size, t.Oldest()}
	if newest.before.IsZero() {
		return newest, nil // the policy asks for no witness, so nobody says when
	}
	for {
		next := newest
		v, err := m.fromArchive(ctx, min(index+m.stride, t.Checkpoint.Size), t.Checkpoint.Size)
		if err != nil {
			return segment{}, err
		}
		if v != nil && v.head.Size <= t.Checkpoint.Size {
			next = segment{v.head.Size, v.before}
		}
		gap := next.before.Sub(after)
		if m.stride > 1 && gap > span {
			m.stride = max(1, m.stride/8)
			continue
		}
		if gap < span/2 {
			m.stride = min(2*m.stride, 1<<16)
		}
		if v != nil && v.head.Size <= t.Checkpoint.Size {
			// It was let out once, so it is held to like any other.
			if err := m.continues(ctx, t, view{who: "the archive", head: v.head, note: v.note}); err != nil {
				return segment{}, err
			}
		}
		return next, nil
	}
}

// old is a checkpoint of the archive.
type old struct {
	head   checkpoint.Checkpoint
	note   []byte
	before time.Time
}

// fromArchive returns the archived checkpoint of the smallest size that is at
// least size and has a quorum, nil if there is none. Where the policy was another
// one once, it looks further and further on.
func (m *Monitor) fromArchive(ctx context.Context, size, most int64) (*old, error) {
	for step := int64(1); ; step *= 2 {
		path := fmt.Sprintf("archive/%d", size)
		v, err := m.verified(ctx, path)
		switch q, lacks := errors.AsType[*policy.QuorumError](err); {
		case lacks && q.Size >= size && q.Size+step <= most:
			size = q.Size + step
			continue
		case lacks, errors.Is(err, fs.ErrNotExist):
			m.noArchive = err
			return nil, nil
		case err != nil:
			return nil, err
		case v.Checkpoint.Size < size:
			return nil, &Unverified{m.origin, path, fmt.Errorf("it is of size %d", v.Checkpoint.Size)}
		}
		m.noArchive = nil
		return &old{v.Checkpoint, v.Note, v.Oldest()}, nil
	}
}
