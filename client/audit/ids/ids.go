// Package ids finds the entries of a log that have an id or a digest in common,
// in bounded memory however many there are.
//
// It trusts its caller and the disk. It keeps eight bytes of each key and the
// index, and where these are too many for memory, in a temporary file that has
// no name: a crash leaves nothing. A Set belongs to one goroutine.
package ids

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"idlog/proto/leaf"
)

const parts = 256 // by the first byte of the key

// Set is keys and the entries that bear them.
type Set struct {
	most    int // records in memory
	n       int
	records [parts][]keyed
	file    *os.File
	written int64
	runs    [parts][]run // of file
}

type keyed struct {
	key   uint64
	index int64
}

const recordSize = 16

// run is where some records of a part stand in the file.
type run struct{ offset, length int64 }

// Pair is two entries, in their order, that have eight bytes of a key in common.
type Pair struct{ First, Second int64 }

// New returns an empty set that holds so many bytes in memory, some more if that
// is very few. The caller closes it.
func New(memory int64) *Set { return &Set{most: max(int(memory/recordSize), parts)} }

// Add adds a key of the entry at an index. Its errors are of the temporary file.
func (s *Set) Add(key leaf.Hash, index int64) error {
	short := binary.BigEndian.Uint64(key[:8])
	p := &s.records[short>>56]
	*p = append(*p, keyed{short, index})
	if s.n++; s.n < s.most {
		return nil
	}
	return s.spill()
}

// spill writes what is in memory to the file.
func (s *Set) spill() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "idlog-audit-*"); err != nil {
			return fmt.Errorf("making room for event ids: %w", err)
		}
		if err := os.Remove(s.file.Name()); err != nil {
			return fmt.Errorf("making room for event ids: %w", err)
		}
	}
	w := bufio.NewWriterSize(s.file, 1<<20)
	var b [recordSize]byte
	for p := range s.records {
		length := int64(len(s.records[p])) * recordSize
		for _, r := range s.records[p] {
			binary.LittleEndian.PutUint64(b[:], r.key)
			binary.LittleEndian.PutUint64(b[8:], uint64(r.index))
			w.Write(b[:]) // an error stays until Flush
		}
		s.runs[p] = append(s.runs[p], run{s.written, length})
		s.written += length
		s.records[p] = s.records[p][:0]
	}
	s.n = 0
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing event ids to %s: %w; TMPDIR chooses another place", os.TempDir(), err)
	}
	return nil
}

// Close gives back what the set has on disk.
func (s *Set) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Pairs returns each entry with the first one that has a key in common with it,
// ascending. Nothing is added after it.
func (s *Set) Pairs(ctx context.Context) ([]Pair, error) {
	var mu sync.Mutex
	var all []Pair
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for p := range parts {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			records, err := s.part(p)
			if err != nil {
				return err
			}
			found := match(records)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Pair) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Second, b.Second)) })
	return slices.Compact(all), nil
}

// part returns the records of one part.
func (s *Set) part(p int) ([]keyed, error) {
	records := s.records[p]
	s.records[p] = nil
	for _, r := range s.runs[p] {
		b := make([]byte, r.length)
		if _, err := s.file.ReadAt(b, r.offset); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading event ids: %w", err)
		}
		for ; len(b) > 0; b = b[recordSize:] {
			records = append(records, keyed{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))})
		}
	}
	return records, nil
}

// match returns the entries that have a key in common.
func match(records []keyed) (found []Pair) {
	slices.SortFunc(records, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.index, b.index))
	})
	for i, first := 1, 0; i < len(records); i++ {
		if records[i].key != records[first].key {
			first = i
			continue
		}
		if records[i].index != records[first].index {
			found = append(found, Pair{records[first].index, records[i].index})
		}
	}
	return found
}
