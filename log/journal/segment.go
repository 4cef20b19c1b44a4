package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"idlog/log/internal/atomicfile"
)

const (
	kindOpen  = 'O'
	kindGroup = 'G'
	kindRow   = 'R'
	kindPlace = 'P'

	recordHead = 13
	maxBody    = 64 << 20
	groupSize  = recordHead + 8
	sector     = 512 // what a disk writes whole or not at all
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A CorruptError says that a file is not as it was written.
type CorruptError struct {
	File, Problem string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("reading journal: %s: %s", e.File, e.Problem)
}

// position says where a record begins: the number of its segment, from 1, and
// the offset there. Zero is none.
type position uint64

func at(segment, offset int64) position { return position(segment<<32 | offset) }

func (p position) segment() int64 { return int64(p >> 32) }
func (p position) offset() int64  { return int64(p & (1<<32 - 1)) }

// appendRecord appends a record whose body is what write appends.
func appendRecord(b []byte, kind byte, write func([]byte) []byte) []byte {
	from := len(b)
	b = write(append(b, make([]byte, recordHead)...))
	head, body := b[from:from+recordHead], b[from+recordHead:]
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	binary.BigEndian.PutUint32(head[5:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint32(head[9:], crc32.Checksum(head[:9], castagnoli))
	return b
}

// parseHead returns the length of a record's body and its checksum.
func parseHead(head []byte) (size int64, sum uint32, problem string) {
	if crc32.Checksum(head[:9], castagnoli) != binary.BigEndian.Uint32(head[9:]) {
		return 0, 0, "the head of a record does not have its checksum"
	}
	if size = int64(binary.BigEndian.Uint32(head[1:])); size > maxBody {
		return 0, 0, "the length of a record is impossible"
	}
	return size, binary.BigEndian.Uint32(head[5:]), ""
}

// record returns the first record of data, or what is wrong with it. Torn says
// that the data ends before it does.
func record(data []byte) (kind byte, body []byte, torn bool, problem string) {
	if len(data) < recordHead {
		return 0, nil, true, "a record is cut short"
	}
	size, sum, problem := parseHead(data[:recordHead])
	if problem != "" {
		return 0, nil, false, problem
	}
	if int64(len(data)) < recordHead+size {
		return 0, nil, true, "a record is cut short"
	}
	body = data[recordHead : recordHead+size]
	if crc32.Checksum(body, castagnoli) != sum {
		return 0, nil, false, "a record does not have its checksum"
	}
	return data[0], body, false, ""
}

// hasHole reports whether the first record of data, which begins at an offset of
// its file, has what a file system leaves where a write did not get to: a sector
// of zeros, or a last byte that is zero as all is behind it. Records do not hold
// so many zeros. Of one whose length is not to be believed only the head is looked
// at, so that what a later write lacks does not excuse it.
func hasHole(data []byte, offset int64) bool {
	length := int64(recordHead)
	if size, _, problem := parseHead(data[:recordHead]); problem == "" {
		length += size
	}
	for from := int64(0); from < length; {
		to := min(from+sector-(offset+from)%sector, int64(len(data)))
		if isZero(data[from:to]) {
			return true
		}
		from = to
	}
	return isZero(data[length-1:])
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// hasGroup reports whether a group begins within data, which begins at a
// position: what stands before it was durable before it was written.
func hasGroup(data []byte, p position) bool {
	for i := range data {
		if data[i] != kindGroup {
			continue
		}
		kind, body, _, problem := record(data[i:min(i+groupSize, len(data))])
		if problem == "" && misplaced(p+position(i), kind, body) == "" {
			return true
		}
	}
	return false
}

// misplaced says what is wrong with the place of a record, if it tells that.
func misplaced(p position, kind byte, body []byte) string {
	switch {
	case (kind == kindOpen) != (p.offset() == 0):
		return "the first record, and no other, names the segment"
	case kind == kindOpen && (len(body) != 8 || binary.BigEndian.Uint64(body) != uint64(p.segment())):
		return "it is another segment"
	case kind == kindGroup && (len(body) != 8 || binary.BigEndian.Uint64(body) != uint64(p)):
		return "it was written to another place"
	}
	return ""
}

// segments are the files of a journal.
type segments struct {
	dir  string
	full int64    // how long a segment gets before another one begins
	file *os.File // the last one
	end  position // of what was given to write; owned by the holder of the journal's token
	last position // of the newest group that scan came by; zero if none
}

func (s *segments) name(n int64) string { return filepath.Join(s.dir, fmt.Sprintf("%08d.rows", n)) }

// count returns how many segments there are. That one of them is missing is an error.
func (s *segments) count() (int64, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	last := int64(0)
	for _, f := range files { // in the order of their names
		if !strings.HasSuffix(f.Name(), ".rows") {
			continue
		}
		if last++; f.Name() != filepath.Base(s.name(last)) {
			return 0, &CorruptError{s.name(last), "it is missing, and later segments are there"}
		}
	}
	return last, nil
}

// create makes a segment without rows, durably: it appears with its first record
// in it, so if we die within it there is a whole segment or none.
func (s *segments) create(n int64) error {
	first := appendRecord(nil, kindOpen, func(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) })
	if err := atomicfile.Write(s.name(n), first); err != nil {
		return fmt.Errorf("beginning a segment: %w", err)
	}
	return nil
}

// open makes the segment that holds a position the last one, and cuts it off
// there.
func (s *segments) open(end position) error {
	f, err := os.OpenFile(s.name(end.segment()), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening a segment: %w", err)
	}
	if err := errors.Join(f.Truncate(end.offset()), s.renew(f, end), f.Sync()); err != nil {
		return errors.Join(fmt.Errorf("opening a segment: %w", err), f.Close())
	}
	if s.file != nil {
		err = s.file.Close()
	}
	s.file, s.end = f, end
	return err
}

// renew writes the newest group again, as it is. What we build on must be
// durable, also if the process died before it synced the group, or because it
// could not: after a sync that failed, the next one says nothing of what was
// lost, and reading finds it in memory all the same.
func (s *segments) renew(f *os.File, end position) error {
	if s.last == 0 || s.last.segment() != end.segment() {
		return nil
	}
	group := make([]byte, end-s.last)
	if _, err := f.ReadAt(group, s.last.offset()); err != nil {
		return err
	}
	_, err := f.WriteAt(group, s.last.offset())
	return err
}

// next returns where the next record goes, in a new segment if the last is full.
func (s *segments) next() (position, error) {
	if s.end.offset() < s.full {
		return s.end, nil
	}
	n := s.end.segment() + 1
	if err := s.create(n); err != nil {
		return 0, err
	}
	info, err := os.Stat(s.name(n))
	if err != nil {
		return 0, err
	}
	return at(n, info.Size()), s.open(at(n, info.Size()))
}

// write makes records durable at the position that next gave. They are not kept.
func (s *segments) write(to position, records []byte) error {
	if _, err := s.file.WriteAt(records, to.offset()); err != nil {
		return fmt.Errorf("writing to a segment: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("syncing a segment: %w", err)
	}
	return nil
}

// read returns the body of the record at a position, which must be of a kind.
func (s *segments) read(p position, kind byte) ([]byte, error) {
	f, err := os.Open(s.name(p.segment()))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, recordHead)
	if _, err := f.ReadAt(head, p.offset()); errors.Is(err, io.EOF) {
		return nil, s.corrupt(p, "it is shorter than it was")
	} else if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	size, sum, problem := parseHead(head)
	if problem == "" && head[0] != kind {
		problem = "a record is of another kind"
	}
	if problem != "" {
		return nil, s.corrupt(p, problem)
	}
	body := make([]byte, size)
	if _, err := f.ReadAt(body, p.offset()+recordHead); errors.Is(err, io.EOF) {
		return nil, s.corrupt(p, "it is shorter than it was")
	} else if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, s.corrupt(p, "a record does not have its checksum")
	}
	return body, nil
}

func (s *segments) corrupt(p position, problem string) error {
	return &CorruptError{s.name(p.segment()), fmt.Sprintf("byte %d: %s", p.offset(), problem)}
}

// scan calls take with every record from a position on, and returns where the
// last one ends. What take gets is not to be kept.
func (s *segments) scan(from position, take func(position, byte, []byte) error) (end position, err error) {
	last, err := s.count()
	if err != nil {
		return 0, err
	}
	for n := from.segment(); ; n++ {
		if end, err = s.scanSegment(at(n, from.offset()), n == last, take); err != nil || n >= last {
			return end, err
		}
		from = 0
	}
}

// scanSegment is scan of one segment. That of the last one may end torn.
func (s *segments) scanSegment(from position, last bool, take func(position, byte, []byte) error) (position, error) {
	f, err := os.Open(s.name(from.segment()))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, from.offset(), 1<<32))
	if err != nil {
		return 0, err
	}
	if info, err := f.Stat(); err != nil {
		return 0, err
	} else if info.Size() < from.offset() || info.Size() == 0 {
		return 0, s.corrupt(from, "it is shorter than it was")
	}
	p := from
	for rest := data; len(rest) > 0; rest = data[p.offset()-from.offset():] {
		kind, body, torn, problem := record(rest)
		if problem != "" && last && p.offset() > 0 && (torn || hasHole(rest, p.offset())) && !hasGroup(rest, p) {
			return p, nil
		}
		if problem == "" {
			problem = misplaced(p, kind, body)
		}
		if problem != "" {
			return 0, s.corrupt(p, problem)
		}
		if kind != kindOpen {
			if err := take(p, kind, body); err != nil {
				return 0, s.corrupt(p, err.Error())
			}
		}
		p += position(recordHead + len(body))
	}
	return p, nil
}
