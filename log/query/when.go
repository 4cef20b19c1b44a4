package query

import (
	"cmp"
	"errors"
	"io/fs"
	"math"
	"slices"
	"sort"
	"time"

	"idlog/log/ingest"
	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
)

// readWindow makes the window of the request one of indexes. A time becomes the size of an archived checkpoint: the largest
// whose quorum vouches for it at that time or before, and the smallest at that time or later.
func (m *making) readWindow() error {
	w := m.req.GetWindow()
	if w == nil {
		return nil
	}
	from, to := w.GetFrom(), w.GetTo()
	if (w.GetFromTime() != nil || w.GetToTime() != nil) && m.cfg.Policy.Quorum == "none" {
		return refuse(logv1.Reason_REASON_FIELD_INVALID, "window", "no witnesses vouch for the times of this log: give indexes")
	}
	if t := w.GetFromTime(); t != nil {
		sizes, err := m.archivedBy(t.AsTime())
		if err != nil {
			return err
		}
		from = sizes[0]
	}
	if t := w.GetToTime(); t != nil {
		sizes, err := m.archivedBy(t.AsTime().Add(-1))
		if err != nil {
			return err
		}
		to = sizes[1]
	}
	if to == 0 {
		to = math.MaxInt64
	}
	if from >= to {
		return refuse(logv1.Reason_REASON_FIELD_INVALID, "window", "it has no entries: from %d to %d", from, to)
	}
	m.window = &answer.Window{From: from, To: to}
	return nil
}

// archivedBy returns the sizes of two neighbours in the archive: the newest whose quorum vouched for it at t or before, 0 if
// there is none, and the next, which it did later, or 0 if that is not archived yet. Clocks of witnesses may disagree, and
// then each of the two still is what is said of it here, but others could be closer.
func (m *making) archivedBy(t time.Time) (sizes [2]int64, err error) {
	// The sizes below the first that is later; sizes without a checkpoint of their own count as the next that has one.
	sort.Search(int(min(m.size, math.MaxInt)), func(i int) bool {
		if err != nil {
			return true
		}
		var c checkpoint.Checkpoint
		var at time.Time
		if c, at, err = m.archived(int64(i) + 1); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
				return true
			}
			return true
		}
		if at.After(t) {
			if c.Size < m.size && (sizes[1] == 0 || c.Size < sizes[1]) {
				sizes[1] = c.Size
			}
			return true
		}
		sizes[0] = max(sizes[0], c.Size)
		return false
	})
	return sizes, err
}

// archived returns the smallest archived checkpoint of at least a size, and since when a quorum vouches for it.
func (m *making) archived(size int64) (c checkpoint.Checkpoint, at time.Time, err error) {
	note, err := m.cfg.Log.Archived(m.ctx, size)
	if err != nil {
		return c, at, err
	}
	v, err := m.cfg.Policy.Verify(note)
	if err != nil {
		return c, at, err
	}
	return v.Checkpoint, v.Oldest(), nil
}

// anchors adds the archived checkpoints that say when: around each entry, at the bounds of the window, and the one by whose
// time everything is covered. If these are too many, some entries are between two that are further apart.
func (m *making) anchors(h *answer.History) error {
	most := cmp.Or(int(m.req.GetCheckpoints()), anchorsDefault)
	asOf, _ := m.cfg.Log.Around(m.root.N)
	sizes := []int64{asOf} // the first are those that must be there
	if m.basis.At == m.root.N {
		sizes = append(sizes, m.root.N+1) // nothing came between but the root leaf
	}
	if m.window != nil {
		sizes = append(sizes, m.window.From, m.window.To)
	}
	var around []int64
	for _, index := range m.events {
		after, before := m.cfg.Log.Around(index)
		around = append(around, after, before)
	}
	slices.Sort(around)
	around = slices.Compact(around)
	sizes = append(sizes, thinned(around, most-len(sizes))...)
	slices.Sort(sizes)
	last := int64(0)
	for _, size := range slices.Compact(sizes) {
		if size < 1 || size >= m.size {
			continue
		}
		note, err := m.cfg.Log.Archived(m.ctx, size)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a window may end beyond the log
		}
		if err != nil {
			return err
		}
		c, err := parse(note)
		if err != nil {
			return err
		}
		if c.Size <= last || c.Size >= m.size {
			continue
		}
		last = c.Size
		hashes, err := m.cfg.Log.Consistency(m.ctx, c.Size, m.size)
		if err != nil {
			return err
		}
		h.Anchors = append(h.Anchors, answer.Anchor{Checkpoint: note, Hashes: hashes})
	}
	return nil
}

// thinned returns at most so many of a list, evenly, the first and the last among them.
func thinned(all []int64, most int) []int64 {
	if len(all) <= most {
		return all
	}
	if most < 2 {
		return nil
	}
	out := make([]int64, most)
	for i := range out {
		out[i] = all[i*(len(all)-1)/(most-1)]
	}
	return out
}

// disclose adds the fields of the events that answer, and of the statements of sameness that were followed. What cannot be
// opened any more is not shown.
func (m *making) disclose(h *answer.History) error {
	if !m.req.GetDisclose() {
		return nil
	}
	hashes := make(map[int64]leaf.Hash)
	indexes := slices.Clone(m.events)
	for _, a := range h.Index.Answers {
		if a.List == nil {
			continue
		}
		for _, p := range a.List.Page.Postings {
			hashes[p.Index] = p.Leaf
			if a.Field == mapfn.Link {
				indexes = append(indexes, p.Index)
			}
		}
	}
	slices.Sort(indexes)
	indexes = slices.Compact(indexes)
	bytes := 0
	shown := make(map[leaf.Hash]bool)
	for _, index := range indexes {
		if shown[hashes[index]] {
			continue // the same leaf again
		}
		shown[hashes[index]] = true
		lines, _, err := m.cfg.Events.Disclose(m.ctx, index)
		var r *ingest.Refusal
		if errors.As(err, &r) && closed(r.Reason) {
			continue
		}
		if err != nil {
			return err
		}
		for _, l := range lines {
			bytes += len(l.Path) + 100 + len(l.Value)*4/3
		}
		if bytes > maxFields {
			return tooLarge(errors.New("fields of many entries"))
		}
		h.Fields = append(h.Fields, answer.Fields{Index: index, Lines: lines})
	}
	return nil
}

// closed reports whether a refusal is about the fields of one entry, which has none or which nobody can open.
func closed(r logv1.Reason) bool {
	return r == logv1.Reason_REASON_NOT_FOUND || r == logv1.Reason_REASON_OPENING_LOST || r == logv1.Reason_REASON_SUBJECT_ERASED
}
