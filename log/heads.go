package log

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"idlog/proto/checkpoint"
)

// The heads file: what we ever signed, in segments 00000001.heads, 00000002.heads,
// ... of one directory. A segment is a sequence of frames,
//
//	u32 length of body, u32 CRC-32C of body, u32 CRC-32C of these 8 bytes, body, LF
//
// big-endian, with the bodies
//
//	"O" u64 number of the segment, origin           first of each segment
//	"H" u64 unix milliseconds, text of a checkpoint durable before it is signed
//	"S" u64 size, signature lines of the log's keys  written before they leave
//	"C" u64 size, cosignature lines                  late ones
//	"Q" u64 size, cosignature lines                  a quorum: archived, durable
//
// The last H record is the high-water mark. The checkpoint archive is the H
// records with a Q. A frame that ends beyond the end of the last segment, or
// whose end and all after it is zero, was torn by a crash: nobody waited for it,
// and it is cut off. Any other deviation is corruption and is refused: a flipped
// bit changes a CRC, and cannot make the last byte of a frame zero.
const (
	frameHead   = 12
	maxBody     = 1 << 20
	segmentSize = 16 << 20 // a new segment begins at the first head after this
	lateWindow  = 1 << 20  // how far behind its head a late cosignature is looked for
	thinAfter   = 24 * time.Hour
	thinTo      = time.Minute
)

const (
	kindOpen   = 'O'
	kindHead   = 'H'
	kindSign   = 'S'
	kindLate   = 'C'
	kindQuorum = 'Q'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A head is a tree that we signed, or were about to.
type head struct {
	checkpoint.Checkpoint
	text []byte
	sigs []checkpoint.Signature // of the log's keys; nil if we died before signing
	at   time.Time
	// cosigned is filled by collect: one cosignature of each key.
	cosigned []checkpoint.Signature
}

// note is the signed checkpoint.
func (h *head) note(cosigned ...checkpoint.Signature) []byte {
	return checkpoint.Join(h.text, append(slices.Clone(h.sigs), cosigned...)...)
}

// position says where the H record of an archived checkpoint begins.
type position struct {
	size    int64
	segment int64
	offset  int64
}

// heads is the open heads file. Its writing methods belong to one goroutine;
// archived may be called by any.
type heads struct {
	dir, origin string

	// Owned by the writing goroutine.
	file     *os.File // the last segment
	length   int64    // of its valid records
	last     *head    // the high-water mark; never nil once opened
	lastPos  position // of last
	torn     bool     // bytes after length are to be cut off before writing
	closedAt []time.Time
	rollAt   int64 // segmentSize

	mu      sync.Mutex // guards what follows
	segment int64      // number of the last segment
	archive []position // ascending by size
}

func segmentName(dir string, n int64) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.heads", n))
}

// createHeads makes a heads file whose high-water mark is the empty tree. If we
// die within it, the log's identity is not yet written and nobody opens it.
func createHeads(dir, origin string, empty checkpoint.Checkpoint, now time.Time) error {
	h := &heads{dir: dir, origin: origin, rollAt: segmentSize}
	if err := h.roll(1); err != nil {
		return err
	}
	defer h.close()
	return h.appendHead(empty, now)
}

// openHeads reads the whole file and changes nothing. Its errors are
// *RefusedError where the contents are at fault.
func openHeads(dir, origin string) (*heads, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.heads"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, refuse(dir, "the high-water mark is missing: there is no heads file",
			"mount or restore the heads directory; never start this log without it")
	}
	h := &heads{dir: dir, origin: origin, rollAt: segmentSize, segment: int64(len(names))}
	for n := int64(1); n <= h.segment; n++ {
		if err := h.readSegment(n); err != nil {
			return nil, err
		}
	}
	if h.last == nil {
		return nil, refuse(segmentName(dir, h.segment), "it holds no head", remedyHeads)
	}
	return h, nil
}

const remedyHeads = "restore the heads directory from a copy made after the last checkpoint was signed"

// readSegment takes over what one segment says.
func (h *heads) readSegment(n int64) error {
	name := segmentName(h.dir, n)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(name, "the segment is missing", remedyHeads)
	} else if err != nil {
		return fmt.Errorf("reading heads: %w", err)
	}
	isLast := n == h.segment
	var off int64
	var at time.Time
	for off < int64(len(data)) {
		body, size, torn, problem := frame(data[off:])
		if torn && isLast && off > 0 {
			h.torn = true
			break
		}
		if torn {
			problem = "the record is cut short"
		}
		if problem == "" {
			problem = h.take(position{segment: n, offset: off}, body)
		}
		if problem != "" {
			return refuse(name, fmt.Sprintf("record at byte %d: %s", off, problem), remedyHeads)
		}
		off += size
		if h.last != nil {
			at = h.last.at
		}
	}
	if off == 0 {
		return refuse(name, "the segment is empty", remedyHeads)
	}
	h.length = off
	if !isLast {
		h.closedAt = append(h.closedAt, at)
	}
	return nil
}

// frame returns the first body of data and the length of its frame.
func frame(data []byte) (body []byte, size int64, torn bool, problem string) {
	if len(data) < frameHead {
		return nil, 0, true, ""
	}
	if crc32.Checksum(data[:8], castagnoli) != binary.BigEndian.Uint32(data[8:]) {
		return nil, 0, isZero(data[frameHead:]), "its length does not have its checksum"
	}
	n := int(binary.BigEndian.Uint32(data))
	if n == 0 || n > maxBody {
		return nil, 0, false, "its length is impossible"
	}
	if len(data) < frameHead+n+1 {
		return nil, 0, true, ""
	}
	body, end := data[frameHead:frameHead+n], data[frameHead+n]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(data[4:]) || end != '\n' {
		return nil, 0, isZero(data[frameHead+n:]), "it does not have its checksum"
	}
	return body, int64(frameHead + n + 1), false, ""
}

// isZero recognises what a file system leaves where a write did not get to. No
// body begins with zero.
func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// take applies one record, and says what is wrong with it.
func (h *heads) take(at position, body []byte) (problem string) {
	if len(body) < 9 {
		return "it is too short"
	}
	number, rest := int64(binary.BigEndian.Uint64(body[1:])), body[9:]
	if (at.offset == 0) != (body[0] == kindOpen) {
		return "the first record, and no other, names the segment"
	}
	switch body[0] {
	case kindOpen:
		if number != at.segment || string(rest) != h.origin {
			return fmt.Sprintf("it is segment %d of log %q", number, rest)
		}
		return ""
	case kindHead:
		c, err := checkpoint.Parse(rest)
		if err != nil || c.Origin != h.origin {
			return "it is not a checkpoint of this log"
		}
		if h.last != nil && c.Size <= h.last.Size {
			return "its size does not grow"
		}
		at.size = c.Size
		h.last, h.lastPos = &head{Checkpoint: c, text: bytes.Clone(rest), at: time.UnixMilli(number)}, at
		return ""
	case kindSign, kindLate, kindQuorum:
		sigs, err := checkpoint.ParseSignatures(rest)
		if err != nil {
			return err.Error()
		}
		h.takeSignatures(body[0], number, sigs)
		return ""
	default:
		return "it is of an unknown kind"
	}
}

// takeSignatures keeps in memory what concerns the last head.
func (h *heads) takeSignatures(kind byte, size int64, sigs []checkpoint.Signature) {
	if h.last == nil || size != h.last.Size {
		return
	}
	switch kind {
	case kindSign:
		h.last.sigs = sigs
	case kindQuorum:
		h.mu.Lock()
		if n := len(h.archive); size > 0 && (n == 0 || h.archive[n-1].size < size) {
			h.archive = append(h.archive, h.lastPos)
		}
		h.mu.Unlock()
	}
}

// start prepares for writing, after everything was found in order: it cuts off
// a torn record, removes what an interrupted thinning left, thins.
//
// If we die within it, the next start does the same.
func (h *heads) start(now time.Time) error {
	strays, err := filepath.Glob(filepath.Join(h.dir, "*.heads.tmp"))
	if err != nil {
		return err
	}
	for _, s := range strays {
		if err := os.Remove(s); err != nil {
			return fmt.Errorf("removing an unfinished segment: %w", err)
		}
	}
	h.file, err = os.OpenFile(segmentName(h.dir, h.segment), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening heads: %w", err)
	}
	if h.torn {
		if err := h.file.Truncate(h.length); err != nil {
			return fmt.Errorf("cutting off a torn record: %w", err)
		}
		h.torn = false
	}
	if _, err := h.file.Seek(h.length, io.SeekStart); err != nil {
		return err
	}
	// What we build on must be durable, also if the process died before it
	// synced a record that it had written.
	if err := h.file.Sync(); err != nil {
		return fmt.Errorf("syncing heads: %w", err)
	}
	return h.thin(now)
}

func (h *heads) close() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// appendHead makes a head durable. When it returns, and not before, the head
// may be signed. If we die before, the head was never signed; if we die after,
// the restart signs this text or a larger tree.
func (h *heads) appendHead(c checkpoint.Checkpoint, now time.Time) error {
	if h.length > h.rollAt {
		h.closedAt = append(h.closedAt, h.last.at)
		if err := h.roll(h.segment + 1); err != nil {
			return err
		}
		if err := h.thin(now); err != nil {
			return err
		}
	}
	at := position{size: c.Size, segment: h.segment, offset: h.length}
	text := c.Format()
	if err := h.append(kindHead, now.UnixMilli(), text); err != nil {
		return err
	}
	if err := h.file.Sync(); err != nil {
		return fmt.Errorf("syncing heads: %w", err)
	}
	h.last, h.lastPos = &head{Checkpoint: c, text: text, at: now}, at
	return nil
}

// appendSignatures writes down the log's signatures over the last head before
// they leave. They need no sync of their own: a lost one is made again over the
// same text, which is durable.
func (h *heads) appendSignatures(sigs []checkpoint.Signature) error {
	if err := h.append(kindSign, h.last.Size, lines(sigs)); err != nil {
		return err
	}
	h.last.sigs = sigs
	return nil
}

// appendLate archives cosignatures that came after the quorum's. Nobody waits
// for them and a crash may lose them.
func (h *heads) appendLate(size int64, sigs []checkpoint.Signature) error {
	return h.append(kindLate, size, lines(sigs))
}

// appendQuorum makes the cosignatures of the last head durable and archives it.
func (h *heads) appendQuorum(sigs []checkpoint.Signature) error {
	if len(sigs) > 0 {
		if err := h.append(kindQuorum, h.last.Size, lines(sigs)); err != nil {
			return err
		}
	} else { // a policy without witnesses: the log's own lines stand for the quorum
		if err := h.append(kindQuorum, h.last.Size, lines(h.last.sigs)); err != nil {
			return err
		}
	}
	if err := h.file.Sync(); err != nil {
		return fmt.Errorf("syncing heads: %w", err)
	}
	h.takeSignatures(kindQuorum, h.last.Size, sigs)
	return nil
}

func lines(sigs []checkpoint.Signature) []byte {
	var b []byte
	for _, s := range sigs {
		b = append(b, s.Line()...)
	}
	return b
}

func (h *heads) append(kind byte, number int64, rest []byte) error {
	b := appendFrame(nil, kind, number, rest)
	if _, err := h.file.Write(b); err != nil {
		return fmt.Errorf("writing heads: %w", err)
	}
	h.length += int64(len(b))
	return nil
}

func appendFrame(b []byte, kind byte, number int64, rest []byte) []byte {
	body := append(binary.BigEndian.AppendUint64([]byte{kind}, uint64(number)), rest...)
	from := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
	return append(append(b, body...), '\n')
}

// roll begins a segment. The file appears with its first record in it, so if
// we die within it there is a whole segment or none.
func (h *heads) roll(n int64) error {
	if h.file != nil {
		if err := h.file.Sync(); err != nil {
			return fmt.Errorf("syncing heads: %w", err)
		}
	}
	name := segmentName(h.dir, n)
	first := appendFrame(nil, kindOpen, n, []byte(h.origin))
	if err := writeFile(name, first); err != nil {
		return fmt.Errorf("beginning a segment of heads: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("beginning a segment of heads: %w", err)
	}
	if err := h.close(); err != nil {
		return errors.Join(err, f.Close())
	}
	h.file, h.length = f, int64(len(first))
	h.mu.Lock()
	h.segment = n
	h.mu.Unlock()
	return nil
}

// archived returns the published checkpoint of the smallest size that is at
// least size, with the first cosignature of each witness, or fs.ErrNotExist.
func (h *heads) archived(size int64) ([]byte, error) {
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

// collect reads records from a head on and returns it with all its signatures,
// the first of each key; nil if data does not begin with a head.
func collect(data []byte, size int64) *head {
	var h *head
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
				h = &head{text: rest, at: time.UnixMilli(number)}
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
func (h *heads) thin(now time.Time) error {
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

func (h *heads) thinSegment(n int64) error {
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
	if err := writeFile(name, out); err != nil {
		return err
	}
	rest := slices.DeleteFunc(h.archive, func(p position) bool { return p.segment == n })
	h.archive = append(rest, archive...)
	slices.SortFunc(h.archive, func(a, b position) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// writeFile replaces a file durably: whoever opens it finds the old bytes or
// the new ones.
func writeFile(name string, b []byte) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// If we die here, the old file stands beside a temporary one that the next
	// writing replaces.
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	// If we die here, the old or the new file stands.
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lastArchived returns the largest archived size.
func (h *heads) lastArchived() (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.archive) == 0 {
		return 0, false
	}
	return h.archive[len(h.archive)-1].size, true
}
