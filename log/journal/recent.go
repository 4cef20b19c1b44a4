package journal

import "idlog/proto/leaf"

// Mark is a moment in the life of an open journal; zero is none. See Row.Absent.
type Mark uint64

// Mark returns the present moment: what was put before is found by a Get that
// begins now.
func (j *Journal) Mark() Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Mark(j.shown + 1)
}

// generation is how many keys recent gathers before it forgets as many.
const generation = 1 << 13

// recent knows the keys of all rows from a sequence number on, so that a key
// which was absent a moment ago need not be looked for in the database again: if
// it has come since, it is here. It is no cache; it only ever says no.
type recent struct {
	from     uint64 // rows from this one on are in one of the two
	old, new map[leaf.Hash]struct{}
	newFrom  uint64
}

// add takes the keys of rows that follow those it has, in their order.
func (r *recent) add(rows []*Row) {
	for _, row := range rows {
		if r.new == nil || len(r.new) >= generation {
			r.old, r.from = r.new, r.newFrom
			r.new, r.newFrom = make(map[leaf.Hash]struct{}, generation), row.seq
			if r.old == nil {
				r.from = row.seq
			}
		}
		r.new[row.Key] = struct{}{}
	}
}

// lacks reports that a key which Get did not find after the mark has not come
// since. False says nothing: then the database knows.
func (r *recent) lacks(key leaf.Hash, absent Mark) bool {
	// Rows that Get may not have seen are those from the mark on.
	if absent == 0 || r.new == nil || uint64(absent) < r.from {
		return false
	}
	_, inNew := r.new[key]
	_, inOld := r.old[key]
	return !inNew && !inOld
}
