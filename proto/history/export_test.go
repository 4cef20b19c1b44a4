package history

import "math/rand/v2"

// Kept returns how many nodes are kept for the open views of what is in memory now.
func (x *Index) Kept() (n int) {
	x.top.mu.Lock()
	defer x.top.mu.Unlock()
	for u := x.top.newest; u != nil; u = u.prev {
		n += len(u.old)
	}
	return n
}

// SpoilRow turns over a bit in a hash of a row that the last Append found, and returns what turns it back; nil if it found none.
func (x *Index) SpoilRow(r *rand.Rand) (restore func()) {
	var values [][]byte
	for b := x.work.found.rows; len(b) > 0; {
		length, rest, _ := uvarint(b[32:])
		values = append(values, rest[:length])
		b = rest[length:]
	}
	if len(values) == 0 {
		return nil
	}
	value := values[r.IntN(len(values))]
	at, bit := 2+r.IntN(30), byte(1)<<r.IntN(8)
	value[at] ^= bit
	return func() { value[at] ^= bit }
}

// Codecs of rows, for the fuzz targets: each parses and formats again.

func ListRow(b []byte) ([]byte, error) {
	var l list
	err := l.parse(b)
	if err != nil {
		return nil, err
	}
	l.head()
	return l.format(nil), nil
}

func ChunkRow(b []byte) (again []byte, err error) {
	groups, err := parseChunk(b)
	for _, g := range groups {
		again = appendRun(append(again, g.root[:]...), g.indexes)
	}
	return again, err
}

func StateRows(state, high []byte) ([]byte, []byte, error) {
	r, err := parseRevision(state, high)
	if err != nil {
		return nil, nil, err
	}
	state, high = r.format()
	return state, high, nil
}
