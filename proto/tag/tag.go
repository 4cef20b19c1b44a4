// Package tag makes the 32-byte values by which an event is found without being read: SPEC 2.4.
//
// Tags of persons come from the handle of their enrolment and die with it. All others come from a key per field
// and source, which the source's own submitter holds: it recomputes its tags and learns nothing of other sources.
// Functions are pure and may be called concurrently.
package tag

import (
	"crypto/sha256"
	"encoding/binary"

	"idlog/proto/leaf"
)

// Field numbers of a leaf's tag lines. They are written into logs and are never reused.
const (
	EventID uint16 = 1 // the provider's id of the event
	Person  uint16 = 2 // every person or principal concerned
	Actor   uint16 = 3 // the actor
	Session uint16 = 4 // session, root session and transaction, each
	Class   uint16 = 6 // class and activity
	Target  uint16 = 7 // target that is not a person
)

const (
	labelKey       = "idlog/key/v1\x00"
	labelKeyCommit = "idlog/keycommit/v1\x00"
	labelTag       = "idlog/tag/v1\x00"
)

// Key is a secret: the key of an epoch, or one that [Derive] made from it.
type Key [32]byte

// Derive returns the key of one field and source under the key of an epoch. Tags of field [EventID] use epoch 1
// for ever, because that tag is what makes a retry find its first attempt.
func Derive(epoch Key, field uint16, source string) Key {
	return leaf.MAC((*leaf.Hash)(&epoch), scope(labelKey, field, source))
}

// Commit returns the commitment to a derived key that a keys leaf announces.
func (k Key) Commit(field uint16, source string) leaf.Hash {
	return sha256.Sum256(append(scope(labelKeyCommit, field, source), k[:]...))
}

// Tag returns the tag of a value under a derived key. What the value of each field is says SPEC 2.4.
func (k Key) Tag(value []byte) leaf.Hash {
	return leaf.MAC((*leaf.Hash)(&k), value)
}

// OfPerson returns the tag of a person in field [Person] or [Actor]. The handle is T of SPEC 2.6.
func OfPerson(handle [32]byte, field uint16) leaf.Hash {
	b := make([]byte, 0, len(labelTag)+32+2)
	b = append(b, labelTag...)
	b = append(b, handle[:]...)
	b = binary.BigEndian.AppendUint16(b, field)
	return sha256.Sum256(b)
}

// scope is label || u16 field || u16 length of source || source. A source has at most 64 bytes (SPEC 2.1).
func scope(label string, field uint16, source string) []byte {
	b := make([]byte, 0, 128)
	b = append(b, label...)
	b = binary.BigEndian.AppendUint16(b, field)
	b = binary.BigEndian.AppendUint16(b, uint16(len(source)))
	return append(b, source...)
}
