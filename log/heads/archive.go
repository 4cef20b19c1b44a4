package heads

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"time"

	"idlog/log/internal/atomicfile"
	"idlog/proto/checkpoint"
)

// Archived returns the published checkpoint of the smallest size that is at
// least size, with the first cosignature of each witness, or fs.ErrNotExist.
func (h *File) Archived(size int64) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock() // thinning moves what positions point to
	i := sort.Search(len(h.archive), func(i int) bool { return h.archive[i].size >= size })
	if i == len(h.archive) {
		return nil, fs.ErrNotExist
	}
	at := h.archive[i]
	f, err := os.Open(segmentName(h.dir, at.segment))
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, at.offset, lateWindow))
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	r := collect(data, at.size)
	if r == nil {
		return nil, fmt.Errorf("reading the archive: segment %d has no head at byte %d", at.segment, at.offset)
	}
	return checkpoint.Join(r.text, append(r.sigs, r.cosigned...)...), nil
}

// collected is a head with one signature of each key.
type collected struct {
	text           []byte
	sigs, cosigned []checkpoint.Signature
}

// collect reads records from a head on and returns it with all its signatures,
// the first of each key; nil if data does not begin with a head.
func collect(data []byte, size int64) *collected {
	var h *collected
	seen := make(map[string]bool)
	for len(data) > 0 {
		body, n, torn, problem := frame(data)
		if torn || problem != "" {
			break // the end of the window, or of what is written so far
		}
		data = data[n:]
		number, rest := int64(binary.BigEndian.Uint64(body[1:])), body[9:]
		if body[0] == kindHead {
			if h == nil {
				h = &collected{text: rest}
			}
			continue
		}
		if h == nil || number != size || body[0] == kindOpen {
			continue
		}
		sigs, err := checkpoint.ParseSignatures(rest)
		if err != nil {
			continue
		}
		for _, s := range sigs {
			key := fmt.Sprintf("%s %08x", s.Name, s.ID)
			if seen[key] || len(seen) == checkpoint.MaxSignatures {
				continue
			}
			seen[key] = true
			if body[0] == kindSign {
				h.sigs = append(h.sigs, s)
			} else {
				h.cosigned = append(h.cosigned, s)
			}
		}
	}
	return h
}

// thin rewrites the segments that were closed a day ago, keeping of each minute
// the last archived checkpoint, and of each segment the last head.
func (h *File) thin(now time.Time) error {
	for i, at := range h.closedAt {
		if at.IsZero() || now.Sub(at) < thinAfter {
			continue
		}
		if err := h.thinSegment(int64(i + 1)); err != nil {
			return fmt.Errorf("thinning heads: %w", err)
		}
		h.closedAt[i] = time.Time{} // done for the life of this process
	}
	return nil
}

func (h *File) thinSegment(n int64) error {
	name := segmentName(h.dir, n)
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	// First find the heads and who has a quorum, then collect only what is kept.
	var all []position
	var at []time.Time
	quorum := make(map[int64]bool)
	for off := int64(0); off < int64(len(data)); {
		body, size, torn, problem := frame(data[off:])
		if torn || problem != "" {
			return fmt.Errorf("%s: record at byte %d has changed since it was read", name, off)
		}
		number := int64(binary.BigEndian.Uint64(body[1:]))
		switch body[0] {
		case kindHead:
			c, err := checkpoint.Parse(body[9:])
			if err != nil {
				return err
			}
			all = append(all, position{size: c.Size, segment: n, offset: off})
			at = append(at, time.UnixMilli(number))
		case kindQuorum:
			quorum[number] = true
		}
		off += size
	}
	keep := make([]bool, len(all))
	var minute time.Time // of the oldest head kept so far that has a quorum
	dropped := 0
	for i := len(all) - 1; i >= 0; i-- {
		m := at[i].Truncate(thinTo)
		fresh := quorum[all[i].size] && !m.Equal(minute)
		keep[i] = fresh || i == len(all)-1
		if fresh {
			minute = m
		}
		if !keep[i] {
			dropped++
		}
	}
	out := appendFrame(nil, kindOpen, n, []byte(h.origin))
	var archive []position
	for i, k := range all {
		if !keep[i] {
			continue
		}
		r := collect(data[k.offset:min(int64(len(data)), k.offset+lateWindow)], k.size)
		if quorum[k.size] && k.size > 0 {
			archive = append(archive, position{size: k.size, segment: n, offset: int64(len(out))})
		}
		out = appendFrame(out, kindHead, at[i].UnixMilli(), r.text)
		if len(r.sigs) > 0 {
			out = appendFrame(out, kindSign, k.size, lines(r.sigs))
		}
		switch cosigned := r.cosigned; {
		case quorum[k.size] && len(cosigned) == 0:
			out = appendFrame(out, kindQuorum, k.size, lines(r.sigs))
		case quorum[k.size]:
			out = appendFrame(out, kindQuorum, k.size, lines(cosigned))
		case len(cosigned) > 0:
			out = appendFrame(out, kindLate, k.size, lines(cosigned))
		}
	}
	if dropped == 0 {
		return nil
	}
	// If we die before the rename inside writeFile, the old segment stands; after
	// it, the new one does. Both are whole.
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := atomicfile.Write(name, out); err != nil {
		return err
	}
	rest := slices.DeleteFunc(h.archive, func(p position) bool { return p.segment == n })
	h.archive = append(rest, archive...)
	slices.SortFunc(h.archive, func(a, b position) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// LastArchived returns the largest archived size, or false if there is none.
func (h *File) LastArchived() (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.archive) == 0 {
		return 0, false
	}
	return h.archive[len(h.archive)-1].size, true
}

// Around returns the largest archived size that is at most index, and the smallest that is greater: what the entry at index
// was logged after, and before. It is 0 where there is none.
func (h *File) Around(index int64) (after, before int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := sort.Search(len(h.archive), func(i int) bool { return h.archive[i].size > index })
	if i > 0 {
		after = h.archive[i-1].size
	}
	if i < len(h.archive) {
		before = h.archive[i].size
	}
	return after, before
}
