// Package subject names persons in a log without naming them: identifiers, their secret handles, and the
// verifiable random function that finds an enrolment by an identifier. SPEC 2.6.
//
// An enrolment leaf carries an etag, which only the holder of the VRF key can compute from an identifier and
// anyone can check with its proof, and a commitment to a handle. The handle makes the person's tags; when it is
// destroyed, the tags are nobody's. All functions may be called concurrently.
package subject

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"filippo.io/mostly-harmless/vrf-r255"

	"idlog/proto/leaf"
)

const (
	// MaxIdentifier is the greatest length in bytes of an encoded identifier.
	MaxIdentifier = 1024

	labelHandle  = "idlog/handle/v1\x00"
	labelSubject = "idlog/subject/v1\x00"
)

// Formats that a principal's own fields give (SPEC 2.6): its immutable id unless it says otherwise, its login, its
// e-mail address.
const (
	FormatOpaque  = "opaque"
	FormatAccount = "account"
	FormatEmail   = "email"
)

// Identifier is one name of a person: whoever gave it, the kind of name it is, and the name. Two identifiers are
// the same if and only if they are equal; nothing is normalised but by [Email].
type Identifier struct {
	Issuer string // empty for email
	Format string // a name of RFC 9493, "opaque" or "email"
	ID     string
}

// Email returns the identifier of an e-mail address: A-Z become a-z, nothing else is folded.
func Email(addr string) Identifier {
	return Identifier{Format: FormatEmail, ID: foldASCII(addr)}
}

// Bytes returns the encoding u16 len(issuer) || issuer || u16 len(format) || format || id.
func (id Identifier) Bytes() ([]byte, error) {
	if reason := id.check(); reason != "" {
		return nil, errors.New("encoding identifier: " + reason)
	}
	return id.append(make([]byte, 0, id.size())), nil
}

// ParseIdentifier is the inverse of Bytes.
func ParseIdentifier(b []byte) (Identifier, error) {
	var id Identifier
	issuer, rest, ok1 := cut16(b)
	format, name, ok2 := cut16(rest)
	if !ok1 || !ok2 {
		return id, errors.New("parsing identifier: bytes are missing")
	}
	id = Identifier{Issuer: string(issuer), Format: string(format), ID: string(name)}
	if reason := id.check(); reason != "" {
		return Identifier{}, errors.New("parsing identifier: " + reason)
	}
	return id, nil
}

// String returns the identifier for a person to read, quoted where it holds anything but printable ASCII. It is
// no encoding.
func (id Identifier) String() string {
	return fmt.Sprintf("%+q %+q %+q", id.Issuer, id.Format, id.ID)
}

func (id Identifier) size() int { return 2 + len(id.Issuer) + 2 + len(id.Format) + len(id.ID) }

func (id Identifier) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(id.Issuer)))
	b = append(b, id.Issuer...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(id.Format)))
	b = append(b, id.Format...)
	return append(b, id.ID...)
}

func (id Identifier) check() string {
	switch {
	case id.size() > MaxIdentifier:
		return "longer than 1024 bytes"
	case id.ID == "":
		return "empty id"
	case !isFormat(id.Format):
		return "format is not lower-case letters, digits and _"
	case id.Format == FormatEmail && id.Issuer != "":
		return "email has an issuer"
	case id.Format == FormatEmail && foldASCII(id.ID) != id.ID:
		return "email has an upper-case letter"
	}
	return ""
}

// isFormat holds a format to the shape of all names that RFC 9493 registers. The list itself may grow.
func isFormat(s string) bool {
	for i := range len(s) {
		lower := 'a' <= s[i] && s[i] <= 'z'
		if !lower && (i == 0 || s[i] != '_' && (s[i] < '0' || s[i] > '9')) {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 32
}

func foldASCII(s string) string {
	if !strings.ContainsFunc(s, isUpper) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if isUpper(rune(c)) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }

func cut16(b []byte) (head, tail []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// Handle is the secret of one enrolment. T makes the person's tags, Opening opens the commitment; both are shown
// in proof files and destroyed by an erasure.
type Handle struct{ Opening, T [32]byte }

// NewHandle draws a fresh handle. Every enrolment has its own, also of an identifier that was erased before.
func NewHandle() Handle {
	var h Handle
	rand.Read(h.Opening[:]) // never fails: crypto/rand ends the process first
	rand.Read(h.T[:])
	return h
}

// Commit returns the commitment that the enrolment leaf carries.
func (h Handle) Commit() leaf.Hash {
	b := make([]byte, 0, len(labelHandle)+64)
	b = append(b, labelHandle...)
	b = append(b, h.Opening[:]...)
	b = append(b, h.T[:]...)
	return sha256.Sum256(b)
}

// VRFKey is the secret key of an epoch, for the suite of c2sp.org/vrf-r255.
type VRFKey struct{ key *vrf.PrivateKey }

// NewVRFKey draws a fresh key.
func NewVRFKey() *VRFKey { return &VRFKey{vrf.GenerateKey()} }

// ParseVRFKey is the inverse of [VRFKey.Bytes].
func ParseVRFKey(b []byte) (*VRFKey, error) {
	if len(b) != 32 || [32]byte(b) == [32]byte{} {
		return nil, errors.New("parsing VRF key: not a scalar of 32 bytes")
	}
	key, err := vrf.NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("parsing VRF key: %w", err)
	}
	return &VRFKey{key}, nil
}

// Bytes returns the secret scalar.
func (k *VRFKey) Bytes() []byte { return k.key.Bytes() }

// Public returns the key that the keys leaf of the epoch announces.
func (k *VRFKey) Public() [32]byte { return [32]byte(k.key.PublicKey().Bytes()) }

// Prove returns the etag of an identifier and the 80 bytes that prove it to a holder of the public key. It takes
// about 150 microseconds.
func (k *VRFKey) Prove(id Identifier) (etag leaf.Hash, pi []byte, err error) {
	alpha, err := id.alpha()
	if err != nil {
		return etag, nil, fmt.Errorf("proving etag: %w", err)
	}
	p := k.key.Prove(alpha)
	return leaf.Hash(p.Hash()[:32]), p.Bytes(), nil
}

// VerifyVRF checks a proof and returns the etag that it proves to be the only one of id under the key. A public
// key that is no point, or the neutral one, is refused: uniqueness must hold for a key made to break it.
func VerifyVRF(public [32]byte, id Identifier, pi []byte) (etag leaf.Hash, err error) {
	alpha, err := id.alpha()
	if err != nil {
		return etag, fmt.Errorf("verifying etag: %w", err)
	}
	// SPEC 2.6: validate_key is TRUE. The neutral element of ristretto255 is 32 zero bytes; the group has prime
	// order, so every other point generates it.
	if public == [32]byte{} {
		return etag, errors.New("verifying etag: public key is the neutral element")
	}
	key, err := vrf.NewPublicKey(public[:])
	if err != nil {
		return etag, fmt.Errorf("verifying etag: public key: %w", err)
	}
	p, err := vrf.NewProof(pi)
	if err != nil {
		return etag, fmt.Errorf("verifying etag: %w", err)
	}
	beta, err := key.Verify(p, alpha)
	if err != nil {
		return etag, fmt.Errorf("verifying etag: %w", err)
	}
	return leaf.Hash(beta[:32]), nil
}

func (id Identifier) alpha() ([]byte, error) {
	if reason := id.check(); reason != "" {
		return nil, errors.New("encoding identifier: " + reason)
	}
	b := make([]byte, 0, len(labelSubject)+id.size())
	return id.append(append(b, labelSubject...)), nil
}
