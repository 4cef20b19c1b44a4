// Package mapfn is the function from the entries of a log to the keys of its verifiable index, idlog-mapfn/1: SPEC 2.5.
//
// It is total, needs no secret and never changes: whoever has the entries computes the same keys, and no entry can
// hide from the index by being malformed. Functions are pure and may be called concurrently.
package mapfn

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"idlog/proto/leaf"
)

// Fields of map keys beyond those of tag lines, which package tag names. Those from Unknown on have one list each, under
// the value None.
const (
	Source    uint16 = 5      // events of a source; the value is SourceValue
	Enrolment uint16 = 0x8001 // enrolments of an etag, and statements of sameness that bear it
	Link      uint16 = 0x8002 // statements that link or unlink an enrolment; the value is its leaf hash
	Erasure   uint16 = 0x8003 // erasures of an enrolment; the value is its leaf hash
	Unknown   uint16 = 0xFF00 // entries that are no leaf of ours
	Root      uint16 = 0xFF01 // roots of the index
	Keys      uint16 = 0xFF02 // announcements of keys
	Erasures  uint16 = 0xFF03 // erasures and losses
	Shard     uint16 = 0xFF04 // genesis and seal
)

// None is the value of the fields that have one list each: 32 zero bytes.
var None leaf.Hash

const (
	labelKey    = "idlog/mapkey/v1\x00"
	labelSource = "idlog/source/v1\x00"
)

// Key returns the key of the index under which the entries stand that have the value in the field.
func Key(field uint16, value leaf.Hash) leaf.Hash {
	var b [len(labelKey) + 2 + 32]byte
	copy(b[:], labelKey)
	binary.BigEndian.PutUint16(b[len(labelKey):], field)
	copy(b[len(labelKey)+2:], value[:])
	return sha256.Sum256(b[:])
}

// SourceValue returns the value of a source in the field [Source]. It is in no leaf: it follows from the leaf's header.
func SourceValue(source string) leaf.Hash {
	return sha256.Sum256(append(append(make([]byte, 0, 128), labelSource...), source...))
}

// OfEntry returns the keys under which an entry stands in the index: at least one, ascending, each once.
func OfEntry(entry []byte) []leaf.Hash {
	l, _ := leaf.Parse(entry) // bytes that are no leaf are filed as such
	return Of(l)
}

// Of is [OfEntry] for a leaf that was parsed; nil stands for an entry that is no leaf of ours.
func Of(l leaf.Leaf) []leaf.Hash {
	var keys []leaf.Hash
	add := func(field uint16, values ...leaf.Hash) {
		for _, v := range values {
			keys = append(keys, Key(field, v))
		}
	}
	tags := func(tags []leaf.Tag) {
		for _, t := range tags {
			add(t.Field, t.Value)
		}
	}
	switch l := l.(type) {
	case *leaf.Event:
		keys = make([]leaf.Hash, 0, len(l.Tags)+1)
		tags(l.Tags)
		add(Source, SourceValue(l.Source))
	case *leaf.Subject:
		add(Enrolment, l.Etags...)
		add(Link, l.Links...)
		add(Link, l.Unlinks...)
	case *leaf.Erasure:
		add(Erasure, l.Enrolments...)
		tags(l.Tags)
		add(Erasures, None)
	case *leaf.Loss:
		add(Erasures, None)
	case *leaf.Keys:
		add(Keys, None)
	case *leaf.Root:
		add(Root, None)
	case *leaf.Shard:
		add(Shard, None)
	default:
		add(Unknown, None)
	}
	slices.SortFunc(keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}
