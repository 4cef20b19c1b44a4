// Package heads keeps the heads file of a log: every tree it ever signed, with
// the signatures and cosignatures. Its last head is the high-water mark, and its
// heads with a quorum are the checkpoint archive.
//
// It trusts its directory, which lies outside of the log's own, and refuses what
// is not as it wrote it. After a crash a head whose AppendHead returned, and a
// quorum whose AppendQuorum returned, are there; of the rest the end may be
// missing. Writing belongs to one goroutine; Archived and LastArchived may be
// called by any. SPEC F13, F33, F35.
//
// A heads file is segments 00000001.heads, 00000002.heads, ... of one directory.
// A segment is a sequence of frames,
//
//	u32 length of body, u32 CRC-32C of body, u32 CRC-32C of these 8 bytes, body, LF
//
// big-endian, with the bodies
//
//	"O" u64 number of the segment, origin           first of each segment
//	"H" u64 unix milliseconds, text of a checkpoint  durable before it is signed
//	"S" u64 size, signature lines of the log's keys  written before they leave
//	"C" u64 size, cosignature lines                  late ones
//	"Q" u64 size, cosignature lines                  a quorum: archived, durable
//
// The last H record is the high-water mark. The checkpoint archive is the H
// records with a Q. A frame that ends beyond the end of the last segment, or
// whose end and all after it is zero, was torn by a crash: nobody waited for it,
// and it is cut off. Any other deviation is corruption and is refused: a flipped
// bit changes a CRC, and cannot make the last byte of a frame zero.
//
// Invariants:
//   - Sizes of heads grow.
//   - The last head of every segment is kept for ever. Of the other heads of
//     segments that were closed a day ago, the last one of a minute that has a
//     quorum is kept.
package heads

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"idlog/log/internal/atomicfile"
	"idlog/proto/checkpoint"
)

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

// A CorruptError says that a file is not as it was written.
type CorruptError struct {
	File, Problem string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("reading heads: %s: %s", e.File, e.Problem) }

// A Head is a tree that the log signed, or was about to.
type Head struct {
	checkpoint.Checkpoint
	Text []byte                 // of the checkpoint
	Sigs []checkpoint.Signature // of the log's keys; nil before AppendSignatures

	at time.Time
}

// Made returns when the head was made durable.
func (h *Head) Made() time.Time { return h.at }

// Note returns the signed checkpoint with these cosignatures.
func (h *Head) Note(cosigned ...checkpoint.Signature) []byte {
	return checkpoint.Join(h.Text, append(slices.Clone(h.Sigs), cosigned...)...)
}

// position says where the H record of an archived checkpoint begins.
type position struct {
	size    int64
	segment int64
	offset  int64
}

// A File is an open heads file.
type File struct {
	dir, origin string

	// Owned by the writing goroutine.
	file     *os.File // the last segment
	length   int64    // of its valid records
	last     *Head    // never nil once opened
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

// Create makes a heads file whose high-water mark is the empty tree. If we
// die within it, the log's identity is not yet written and nobody opens it.
func Create(dir, origin string, empty checkpoint.Checkpoint, now time.Time) error {
	h := &File{dir: dir, origin: origin, rollAt: segmentSize}
	if err := h.roll(1); err != nil {
		return err
	}
	defer h.Close()
	return h.AppendHead(empty, now)
}

// Open reads the whole file and changes nothing. Writing begins with Start. Its errors are
// *CorruptError where the contents are at fault.
func Open(dir, origin string) (*File, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.heads"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, &CorruptError{dir, "the high-water mark is missing: there is no heads file"}
	}
	h := &File{dir: dir, origin: origin, rollAt: segmentSize, segment: int64(len(names))}
	for n := int64(1); n <= h.segment; n++ {
		if err := h.readSegment(n); err != nil {
			return nil, err
		}
	}
	if h.last == nil {
		return nil, &CorruptError{segmentName(dir, h.segment), "it holds no head"}
	}
	return h, nil
}

// readSegment takes over what one segment says.
func (h *File) readSegment(n int64) error {
	name := segmentName(h.dir, n)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &CorruptError{name, "the segment is missing"}
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
			return &CorruptError{name, fmt.Sprintf("record at byte %d: %s", off, problem)}
		}
		off += size
		if h.last != nil {
			at = h.last.at
		}
	}
	if off == 0 {
		return &CorruptError{name, "the segment is empty"}
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
func (h *File) take(at position, body []byte) (problem string) {
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
		h.last, h.lastPos = &Head{Checkpoint: c, Text: bytes.Clone(rest), at: time.UnixMilli(number)}, at
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
func (h *File) takeSignatures(kind byte, size int64, sigs []checkpoint.Signature) {
	if h.last == nil || size != h.last.Size {
		return
	}
	switch kind {
	case kindSign:
		h.last.Sigs = sigs
	case kindQuorum:
		h.mu.Lock()
		if n := len(h.archive); size > 0 && (n == 0 || h.archive[n-1].size < size) {
			h.archive = append(h.archive, h.lastPos)
		}
		h.mu.Unlock()
	}
}

// Last returns the high-water mark. It belongs to the writing goroutine, and is
// not to be changed.
func (h *File) Last() *Head { return h.last }

// Start prepares for writing, after everything was found in order: it cuts off
// a torn record, removes what an interrupted thinning left, thins.
//
// If we die within it, the next start does the same.
func (h *File) Start(now time.Time) error {
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
	if err := h.renew(); err != nil {
		return fmt.Errorf("syncing heads: %w", err)
	}
	return h.thin(now)
}

// renew writes the last segment again, as it is. What we build on must be durable,
// also if the process died before it synced what it had written, or because it
// could not: after a sync that failed, the next one says nothing of what was lost,
// and reading finds it in memory all the same.
func (h *File) renew() error {
	b := make([]byte, h.length)
	if _, err := h.file.ReadAt(b, 0); err != nil {
		return err
	}
	if _, err := h.file.WriteAt(b, 0); err != nil {
		return err
	}
	if _, err := h.file.Seek(h.length, io.SeekStart); err != nil {
		return err
	}
	return h.file.Sync()
}

// Close closes the file. Nothing that was promised waits for it.
func (h *File) Close() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// AppendHead makes a head durable. When it returns, and not before, the head
// may be signed. If we die before, the head was never signed; if we die after,
// the restart signs this text or a larger tree.
func (h *File) AppendHead(c checkpoint.Checkpoint, now time.Time) error {
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
	h.last, h.lastPos = &Head{Checkpoint: c, Text: text, at: now}, at
	return nil
}

// AppendSignatures writes down the log's signatures over the last head before
// they leave. They need no sync of their own: a lost one is made again over the
// same text, which is durable.
func (h *File) AppendSignatures(sigs []checkpoint.Signature) error {
	if err := h.append(kindSign, h.last.Size, lines(sigs)); err != nil {
		return err
	}
	h.last.Sigs = sigs
	return nil
}

// AppendLate archives cosignatures that came after the quorum's. Nobody waits
// for them and a crash may lose them.
func (h *File) AppendLate(size int64, sigs []checkpoint.Signature) error {
	return h.append(kindLate, size, lines(sigs))
}

// AppendQuorum makes the cosignatures of the last head durable and archives it.
func (h *File) AppendQuorum(sigs []checkpoint.Signature) error {
	if len(sigs) > 0 {
		if err := h.append(kindQuorum, h.last.Size, lines(sigs)); err != nil {
			return err
		}
	} else { // a policy without witnesses: the log's own lines stand for the quorum
		if err := h.append(kindQuorum, h.last.Size, lines(h.last.Sigs)); err != nil {
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

func (h *File) append(kind byte, number int64, rest []byte) error {
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
func (h *File) roll(n int64) error {
	if h.file != nil {
		if err := h.file.Sync(); err != nil {
			return fmt.Errorf("syncing heads: %w", err)
		}
	}
	name := segmentName(h.dir, n)
	first := appendFrame(nil, kindOpen, n, []byte(h.origin))
	if err := atomicfile.Write(name, first); err != nil {
		return fmt.Errorf("beginning a segment of heads: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("beginning a segment of heads: %w", err)
	}
	if err := h.Close(); err != nil {
		return errors.Join(err, f.Close())
	}
	h.file, h.length = f, int64(len(first))
	h.mu.Lock()
	h.segment = n
	h.mu.Unlock()
	return nil
}
