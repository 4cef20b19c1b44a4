package journal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"

	"idlog/proto/leaf"
)

var errRow = errors.New("a record is malformed")

const (
	flagControl = 1
	flagPacked  = 2 // the leaf is, see appendPacked
)

// appendRow encodes key || submission || u8 flags || principal || number of
// needs || needs || leaf || payload || raw, where principal, leaf and payload have
// their length as a uvarint before them.
func appendRow(b []byte, r *Row) []byte {
	b = append(b, r.Key[:]...)
	b = append(b, r.Submission[:]...)
	flags := byte(0)
	if r.Control {
		flags |= flagControl
	}
	packed := bytes.IndexByte(r.Leaf, 0) < 0
	if packed {
		flags |= flagPacked
	}
	b = append(b, flags)
	b = appendBytes(b, r.Principal)
	b = binary.AppendUvarint(b, uint64(len(r.Needs)))
	for i := range r.Needs {
		b = append(b, r.Needs[i][:]...)
	}
	if packed {
		var buf [1024]byte
		b = appendBytes(b, appendPacked(buf[:0], r.Leaf))
	} else {
		b = appendBytes(b, r.Leaf)
	}
	b = appendBytes(b, r.Payload)
	return append(b, r.Raw...)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendGroup appends the record that a group begins with.
func appendGroup(b []byte, p position) []byte {
	return appendRecord(b, kindGroup, func(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(p)) })
}

// parseRow keeps nothing of b, of which payload and raw are parts.
func parseRow(b []byte, p position) (r *Row, payload, raw []byte, err error) {
	if len(b) < 65 {
		return nil, nil, nil, errRow
	}
	r = &Row{Key: leaf.Hash(b[:32]), Submission: leaf.Hash(b[32:64]), Control: b[64]&flagControl != 0, pos: p}
	d := decoder{b: b[65:]}
	r.Principal = string(d.bytes(d.uvarint()))
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		if need := d.bytes(32); !d.bad {
			r.Needs = append(r.Needs, leaf.Hash(need))
		}
	}
	kept := d.bytes(d.uvarint())
	payload, raw = d.bytes(d.uvarint()), d.b
	if d.bad {
		return nil, nil, nil, errRow
	}
	if b[64]&flagPacked == 0 {
		r.Leaf = slices.Clone(kept)
	} else if r.Leaf = unpacked(kept); r.Leaf == nil {
		return nil, nil, nil, errRow
	}
	r.size = int64(len(r.Leaf))
	return r, payload, raw, nil
}

// row returns the row at a position, without its index. The caller owns the rest.
func (s *segments) row(p position) (r *Row, payload, raw []byte, err error) {
	body, err := s.read(p, kindRow)
	if err != nil {
		return nil, nil, nil, err
	}
	if r, payload, raw, err = parseRow(body, p); err != nil {
		return nil, nil, nil, s.corrupt(p, err.Error())
	}
	return r, payload, raw, nil
}

var hashes = base64.StdEncoding.Strict()

const (
	hashSize = 32
	hashText = 44 // in base64, of which the last is '='
)

// appendPacked shortens a leaf without zero bytes: most of ours is hashes in
// base64, each of which becomes a zero byte and the hash.
func appendPacked(b, leaf []byte) []byte {
	var hash [hashText]byte
	for from := 0; ; {
		end := bytes.IndexByte(leaf[from:], '=')
		if end < 0 {
			return append(b, leaf...)
		}
		end += from + 1
		from = end
		if end < hashText {
			continue
		}
		n, err := hashes.Decode(hash[:], leaf[end-hashText:end])
		if err != nil || n != hashSize {
			continue
		}
		b = append(append(append(b, leaf[:end-hashText]...), 0), hash[:hashSize]...)
		leaf, from = leaf[end:], 0
	}
}

// unpacked is the inverse of appendPacked, nil if there is none.
func unpacked(b []byte) []byte {
	leaf := make([]byte, 0, len(b)*hashText/(1+hashSize)+1)
	for {
		text, rest, found := bytes.Cut(b, []byte{0})
		leaf = append(leaf, text...)
		if !found {
			return leaf
		}
		if len(rest) < hashSize {
			return nil
		}
		leaf = hashes.AppendEncode(leaf, rest[:hashSize])
		b = rest[hashSize:]
	}
}

// appendPlace encodes u64 index || the positions of the rows that stand from it
// on, each as a varint of the distance to the one before.
func appendPlace(b []byte, first int64, rows []*Row) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(first))
	last := position(0)
	for _, r := range rows {
		b = binary.AppendVarint(b, int64(r.pos-last))
		last = r.pos
	}
	return b
}

func parsePlace(b []byte) (first int64, rows []position, err error) {
	if len(b) < 8 {
		return 0, nil, errRow
	}
	first, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	last := position(0)
	for len(b) > 0 {
		distance, n := binary.Varint(b)
		if n <= 0 {
			return 0, nil, errRow
		}
		last, b = last+position(distance), b[n:]
		rows = append(rows, last)
	}
	if first < 0 || first+int64(len(rows)) < first {
		return 0, nil, errRow
	}
	return first, rows, nil
}

// decoder takes a byte string apart. What is not there makes it bad.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	head := d.b[:n:n]
	d.b = d.b[n:]
	return head
}
