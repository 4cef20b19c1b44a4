// Package seal commits to the fields of an event one by one, so that each can be shown, withheld or erased without
// the others: SPEC 2.2 (paths and values), 2.3 (commitments, digest, salts) and 2.7 (disclosure files).
//
// The leaf of an event holds one hash, [Digest], over the event's paths, their owners and one commitment per value.
// A commitment is salted; salts come from a secret of the event and one of each person who owns the field, and
// destroying any of them leaves a value that nobody can test. The path list itself is bound by the digest: a path
// occurs once, a disclosure lists all of them, and so a withheld twin of a shown field cannot exist.
//
// The package trusts the policy it is given and nothing else. It holds no state, and all of it may be called
// concurrently.
//
// Invariants:
//   - paths ascend strictly by bytes, so `a.10` stands before `a.2`;
//   - an absent scalar has no field, an empty one with explicit presence has an empty value;
//   - values are kept as given: no Unicode form, case or space is changed.
package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"idlog/proto/leaf"
)

const (
	// MaxFields is the greatest number of fields of an event.
	MaxFields = 2048
	// MaxPath is the greatest length of a path in bytes.
	MaxPath = 128

	labelField  = "idlog/field/v1\x00"
	labelFields = "idlog/fields/v1\x00"
	labelOwner  = "idlog/owner/v1\x00"
	labelSeed   = "idlog/seed/v1\x00"
	labelSalt   = "idlog/salt/v1\x00"
	labelPay    = "idlog/pay/v1\x00"
)

// Field is one field of an event before it is sealed. Owners are positions among the leaf's `tag 2` lines,
// ascending; none means that the field is neutral.
type Field struct {
	Path   string
	Value  Value
	Owners []uint8
}

// CheckPath holds a path to SPEC 2.2: proto field names of at most 32 bytes and list indexes of at most four
// digits, joined by dots, at most 128 bytes.
func CheckPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("checking path: %d bytes are too many", len(path))
	}
	rest, more := path, true
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, ".")
		if !isName(segment) && !isIndex(segment) {
			return fmt.Errorf("checking path %q: %q is neither a field name nor an index", path, segment)
		}
	}
	return nil
}

func isName(s string) bool {
	if len(s) < 1 || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '_' {
			return false
		}
	}
	return true
}

func isIndex(s string) bool {
	if len(s) < 1 || len(s) > 4 || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Commitment binds and hides one value at one path. It checks neither: a path longer than 65,535 bytes is a bug of
// the caller.
func Commitment(salt leaf.Hash, path string, v Value) leaf.Hash {
	// Most fields fit, so that they cost one hash and no allocation.
	var buf [512]byte
	b := append(buf[:0], labelField...)
	b = append(b, salt[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(path)))
	b = append(b, path...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	if len(b)+len(v) <= len(buf) {
		return sha256.Sum256(append(b, v...))
	}
	h := sha256.New()
	h.Write(b)
	h.Write(v)
	var c leaf.Hash
	h.Sum(c[:0])
	return c
}

// Digest returns the hash that the leaf carries for its fields. It checks their number, paths, order and owners,
// and takes their commitments as they are: whether these open to the values shown is [Disclosure.Verify].
func Digest(lines []Line) (leaf.Hash, error) {
	if err := checkLines(lines); err != nil {
		return leaf.Hash{}, fmt.Errorf("digesting fields: %w", err)
	}
	h := sha256.New()
	b := make([]byte, 0, 512)
	b = append(b, labelFields...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(lines)))
	for i := range lines {
		l := &lines[i]
		b = binary.BigEndian.AppendUint16(b, uint16(len(l.Path)))
		b = append(b, l.Path...)
		b = append(b, uint8(len(l.Owners)))
		b = append(b, l.Owners...)
		b = append(b, l.Commitment[:]...)
		h.Write(b)
		b = b[:0]
	}
	var d leaf.Hash
	h.Sum(d[:0])
	return d, nil
}

func checkLines(lines []Line) error {
	if len(lines) < 1 || len(lines) > MaxFields {
		return fmt.Errorf("%d fields, not 1 to %d", len(lines), MaxFields)
	}
	for i := range lines {
		if err := CheckPath(lines[i].Path); err != nil {
			return err
		}
		if err := checkOwners(lines[i].Owners); err != nil {
			return fmt.Errorf("%s: %w", lines[i].Path, err)
		}
		if i > 0 && lines[i-1].Path >= lines[i].Path {
			return fmt.Errorf("%s: paths do not ascend", lines[i].Path)
		}
	}
	return nil
}

var errOwners = errors.New("owners do not ascend within 0..249")

func checkOwners(owners []uint8) error {
	for i, o := range owners {
		if o >= leaf.MaxPersons || i > 0 && owners[i-1] >= o {
			return errOwners
		}
	}
	return nil
}

// Share returns x_j, what one person's secret adds to the seeds of one event. The secret is that of the person's
// enrolment, never the handle.
func Share(s, eventSecret leaf.Hash) leaf.Hash {
	return leaf.MAC(&s, []byte(labelOwner), eventSecret[:])
}

// Seed returns the seed of one set of owners: shares in the order of their `tag 2` lines, at most 250, none for
// neutral fields. Without any one of the shares the seed cannot be computed.
func Seed(eventSecret leaf.Hash, shares []leaf.Hash) leaf.Hash {
	var buf [256]byte
	b := append(append(buf[:0], labelSeed...), uint8(len(shares)))
	for i := range shares {
		b = append(b, shares[i][:]...)
	}
	return leaf.MAC(&eventSecret, b)
}

// Salt returns the salt of one field of the set that seed is for. It opens that field and no other.
func Salt(seed leaf.Hash, path string) leaf.Hash {
	var buf [256]byte
	b := append(buf[:0], labelSalt...)
	b = append(b, seed[:]...)
	return sha256.Sum256(append(b, path...))
}

// PayloadKey returns the key under which the values of the set are stored.
func PayloadKey(seed leaf.Hash) leaf.Hash {
	var buf [64]byte
	b := append(buf[:0], labelPay...)
	return sha256.Sum256(append(b, seed[:]...))
}
