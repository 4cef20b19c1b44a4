package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"idlog/client/monitor/index"
	"idlog/proto/evidence"
	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tile"
)

// The kind of the alarm that entries come and root leaves do not. That the index
// stays false after that was acknowledged is an alarm of the kind bad-root.
const unindexed = "unindexed"

// reindex brings the index to the entries that are checked: it is new here, or was
// away. It returns true if there is more.
func (m *Monitor) reindex(ctx context.Context, t tree, pool []*tile.Reader, began time.Time) (more bool, err error) {
	if m.room == nil {
		return false, nil
	}
	for m.room.Next() < m.at.checked {
		if time.Since(began) > longestCheck {
			return true, nil
		}
		m.room.Again()
		entries, err := read(ctx, pool, m.room.Next(), m.at.checked, m.most, func(e tile.Entry) (index.Entry, error) {
			l, err := leaf.Parse(e.Data)
			if err != nil {
				l = nil // it is filed as what is no leaf
			}
			root, _ := l.(*leaf.Root)
			return index.Entry{Index: e.Index, Leaf: e.Hash, Keys: mapfn.Of(l), Root: root}, nil
		})
		if err != nil {
			return false, err
		}
		j := judge{Monitor: m, tree: t}
		for _, e := range entries {
			e.Logged = time.Now()
			if err := j.index(ctx, e); err != nil {
				return false, err
			}
			if j.stops {
				break
			}
		}
		if err := m.settle(ctx, j.found); err != nil {
			return false, err
		}
		if err := m.keepIndex(); err != nil {
			return false, err
		}
		m.moved = true
		if m.cfg.Progress != nil {
			m.cfg.Progress("index", m.room.Next(), m.at.checked)
		}
	}
	return false, nil
}

// keepIndex makes durable what was compared, once it was delivered.
func (m *Monitor) keepIndex() error {
	if m.room == nil {
		return nil
	}
	if err := m.room.Keep(); err != nil {
		return &StateError{err}
	}
	return nil
}

// index hands an entry to the index. A root leaf that is false is a contradiction.
func (j *judge) index(ctx context.Context, e index.Entry) error {
	f, err := j.room.Follow(ctx, e, j.reread)
	if _, ours := errors.AsType[*index.StoreError](err); ours {
		return &StateError{err}
	}
	if err != nil || f == nil || f.Again {
		return err
	}
	at := []int64{f.Index}
	why := ""
	var more []evidence.Part
	switch f.Kind {
	case index.Misplaced:
		why = fmt.Sprintf("speaks of %d entries of %s", f.Root.N, f.Root.Origin)
	case index.Contradicts:
		at = []int64{f.Earlier, f.Index}
		why = fmt.Sprintf("of %d entries, does not go on from the one at entry %d", f.Root.N, f.Earlier)
	case index.Entries:
		why = fmt.Sprintf("says of the first %d entries that they have another root hash than they have", f.Root.N)
		hashes, err := j.tree.reader.Ranges(ctx, f.Root.N)
		if err != nil {
			return err
		}
		more = append(more, evidence.Hashes(hashes...))
	case index.Index:
		why = fmt.Sprintf("says of the first %d entries that their index has %d keys and root %x; here it has %d and %x",
			f.Root.N, f.Root.Keys, f.Root.MapRoot[:8], f.Own.Keys, f.Own.MapRoot[:8])
		b, err := f.Own.Format()
		if err != nil {
			return err
		}
		more = append(more, evidence.Part{Type: evidence.Leaf, Data: b})
	}
	var parts []evidence.Part
	for _, i := range at {
		b, err := j.proof(ctx, i)
		if err != nil {
			return fmt.Errorf("proving the root leaf at entry %d: %w", i, err)
		}
		parts = append(parts, evidence.Part{Type: evidence.Proof, Data: b})
	}
	n, err := j.contradiction(evidence.BadRoot, fmt.Sprintf("%d %s", f.Index, f.Kind),
		fmt.Sprintf("the root leaf at entry %d is false: it %s", f.Index, why), append(parts, more...)...)
	if err != nil {
		return err
	}
	n.Index = &f.Index
	j.found = append(j.found, n)
	j.stops = n.Severity == Contradiction
	return nil
}

// reread is an index.Read.
func (j *judge) reread(ctx context.Context, from, to int64) ([]history.Entry, error) {
	entries := make([]history.Entry, 0, to-from)
	for e, err := range j.tree.reader.Entries(ctx, from, to) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, history.Entry{Leaf: e.Hash, Keys: mapfn.OfEntry(e.Data)})
	}
	if j.cfg.Progress != nil {
		j.cfg.Progress("index", to, j.room.Next())
	}
	return entries, nil
}

// weighIndex is weigh for the index. While entries wait to be checked, root leaves
// may be among them.
func (m *Monitor) weighIndex() []Finding {
	if m.room == nil || m.at == nil || m.at.checked < m.at.head.Size || m.room.Next() < m.at.checked {
		return nil
	}
	newest := m.fresh
	if newest.IsZero() {
		newest = time.Now()
	}
	since := m.room.Uncovered()
	covered := int64(0)
	if root, _ := m.room.Last(); root != nil {
		covered = root.N
	}
	late := !since.IsZero() && newest.Sub(since) > m.cfg.MaxAge
	found := m.when(late, unindexed, "", since, 0,
		"entries that were logged by %s are in no index yet: the last root leaf speaks of %d entries of %d", since.UTC().Format(time.RFC3339), covered, m.at.checked)
	bad := m.room.False()
	return append(found, m.when(bad >= 0, string(evidence.BadRoot), "", time.Now(), 0, "since entry %d no root leaf is true", bad)...)
}
