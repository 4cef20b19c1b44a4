package audit

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

	"idlog/client/rules"
	"idlog/proto/leaf"
)

const parts = 256 // by the first byte of the key

// ids finds entries that have an id or a digest in common. It keeps eight bytes
// of each and the index, and where these are too many for memory, in a temporary
// file that has no name: a crash leaves nothing.
type ids struct {
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

// pair is two entries that may be one event.
type pair struct{ first, second int64 }

func newIDs(memory int64) *ids { return &ids{most: max(int(memory/recordSize), parts)} }

func short(h *leaf.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }

// add remembers the digest and the id of an event. The entries are few enough
// to be compared in full where eight bytes are equal.
func (s *ids) add(e *leaf.Event, index int64) error {
	s.put(short(&e.Fields), index)
	if id, ok := rules.EventID(e); ok {
		s.put(short(&id), index)
	}
	if s.n < s.most {
		return nil
	}
	return s.spill()
}

func (s *ids) put(key uint64, index int64) {
	p := &s.records[key>>56]
	*p = append(*p, keyed{key, index})
	s.n++
}

// spill writes what is in memory to the file.
func (s *ids) spill() (err error) {
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

func (s *ids) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// pairs returns each entry with the first one that has a key in common with it,
// ascending. It ends the use of s.
func (s *ids) pairs(ctx context.Context) ([]pair, error) {
	var mu sync.Mutex
	var all []pair
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
	slices.SortFunc(all, func(a, b pair) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second)) })
	return slices.Compact(all), nil
}

// part returns the records of one part.
func (s *ids) part(p int) ([]keyed, error) {
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
func match(records []keyed) (found []pair) {
	slices.SortFunc(records, func(a, b keyed) int {
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(a.index, b.index)
	})
	for i, first := 1, 0; i < len(records); i++ {
		if records[i].key != records[first].key {
			first = i
			continue
		}
		if records[i].index != records[first].index {
			found = append(found, pair{records[first].index, records[i].index})
		}
	}
	return found
}
