package history

// Kept returns how many nodes are kept for the open views of what is in memory now.
func (x *Index) Kept() (n int) {
	x.top.mu.Lock()
	defer x.top.mu.Unlock()
	for u := x.top.newest; u != nil; u = u.prev {
		n += len(u.old)
	}
	return n
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

func StateRow(b []byte) ([]byte, error) {
	s, log, err := parseState(b)
	if err != nil {
		return nil, err
	}
	return formatState(s, log), nil
}
