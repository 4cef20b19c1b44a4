package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"idlog/proto/checkpoint"
)

// An operator keeps every tree head that it signed in segments, which are
// sequences of frames,
//
//	u32 length of body, u32 CRC-32C of body, u32 CRC-32C of these 8 bytes, body, LF
//
// big-endian, with the bodies
//
//	"O" u64 number of the segment, origin           first of each segment
//	"H" u64 unix milliseconds, text of a checkpoint  a head
//	"S" u64 size, signature lines of the log         of the head of that size
//	"C" u64 size, cosignature lines                  late ones
//	"Q" u64 size, cosignature lines                  a quorum: the head is archived
//
// An auditor reads them with code of its own, as it does all else.
const (
	frameHead = 12
	maxFrame  = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseSegment returns the heads of a segment that bear a signature, and where
// it cannot be read any further. Of the last one the end may be missing: it was
// being written.
func parseSegment(b []byte, last bool) (heads []Head, problem string) {
	var all []*record
	bySize := make(map[int64]*record)
	for off := 0; off < len(b); {
		body, n := frame(b[off:])
		if body == nil {
			if !last || len(bytes.TrimLeft(b[off+min(n, len(b)-off):], "\x00")) > 0 {
				problem = fmt.Sprintf("the record at byte %d is damaged", off)
			}
			break
		}
		number, rest := int64(binary.BigEndian.Uint64(body[1:])), body[9:]
		switch body[0] {
		case 'H':
			c, err := checkpoint.Parse(rest)
			if err != nil {
				problem = fmt.Sprintf("the record at byte %d: %v", off, err)
				break
			}
			h := &record{text: rest}
			all, bySize[c.Size] = append(all, h), h
		case 'S', 'C', 'Q':
			h := bySize[number]
			sigs, err := checkpoint.ParseSignatures(rest)
			if h == nil || err != nil {
				break // a late cosignature of a head that is not in this segment
			}
			h.add(sigs)
			h.archived = h.archived || body[0] == 'Q'
		}
		off += n
	}
	for _, h := range all {
		if len(h.sigs) > 0 {
			heads = append(heads, Head{Note: checkpoint.Join(h.text, h.sigs...), Archived: h.archived})
		}
	}
	return heads, problem
}

// record is a head with the signatures that were written after it.
type record struct {
	text     []byte
	sigs     []checkpoint.Signature
	archived bool
}

// add adds the signatures of keys that have none yet: the first one is the one
// that was published.
func (r *record) add(sigs []checkpoint.Signature) {
	for _, s := range sigs {
		same := func(have checkpoint.Signature) bool { return have.Name == s.Name && have.ID == s.ID }
		if len(r.sigs) < checkpoint.MaxSignatures && !slices.ContainsFunc(r.sigs, same) {
			r.sigs = append(r.sigs, s)
		}
	}
}

// frame returns the body of the first frame and the length of the frame, or nil
// and how many bytes were looked at.
func frame(b []byte) (body []byte, size int) {
	if len(b) < frameHead {
		return nil, len(b)
	}
	n := int(binary.BigEndian.Uint32(b))
	if crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return nil, frameHead
	}
	if n < 9 || n > maxFrame {
		return nil, 0
	}
	if len(b) < frameHead+n+1 {
		return nil, len(b)
	}
	body = b[frameHead : frameHead+n]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[4:]) || b[frameHead+n] != '\n' {
		return nil, frameHead + n
	}
	return body, frameHead + n + 1
}
