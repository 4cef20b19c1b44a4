package checkpoint

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"filippo.io/mldsa"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Alg is a signature algorithm.
type Alg uint8

// The algorithms of checkpoints and cosignatures.
const (
	Ed25519 Alg = iota + 1
	MLDSA44
)

// Role is what a key is for. One key serves one role: a key of a log never
// cosigns, and a policy that says otherwise is refused.
type Role uint8

// The roles of a key.
const (
	// LogRole signs checkpoints under the origin of the log.
	LogRole Role = iota + 1
	// WitnessRole cosigns the checkpoints of others, with the time.
	WitnessRole
)

// The signature types of signed-note that we know.
const (
	typeEd25519       = 0x01 // a log: Ed25519 over the note's text
	typeEd25519Cosign = 0x04 // a witness: cosignature/v1, with a time
	typeMLDSA44       = 0x06 // a log or a witness: subtree/v1, with a time
)

// A Key is a public key with its name, as a vkey holds it.
type Key struct {
	Name   string
	ID     uint32 // the first four bytes of SHA-256(name || LF || type || key)
	Alg    Alg
	Public []byte // 32 bytes for Ed25519, 1312 for ML-DSA-44

	kind byte
}

// Serves reports whether the key's type is one for that role: type 1 is a log's
// and type 4 a witness's; ML-DSA-44 has one type for both, and there only the
// policy says whose key it is.
func (k Key) Serves(r Role) bool {
	switch k.kind {
	case typeEd25519:
		return r == LogRole
	case typeEd25519Cosign:
		return r == WitnessRole
	default:
		return r == LogRole || r == WitnessRole
	}
}

// VKey returns the key as text: name+keyID+base64(type || key).
func (k Key) VKey() string {
	return fmt.Sprintf("%s+%08x+%s", k.Name, k.ID, base64.StdEncoding.EncodeToString(append([]byte{k.kind}, k.Public...)))
}

// ParseVKey reads a public key of type 1, 4 or 6. Only the canonical text is
// accepted: the key ID in lower case and equal to the hash of the key.
func ParseVKey(vkey string) (Key, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, b64, _ := strings.Cut(rest, "+")
	raw, err := decode(b64)
	if err != nil || len(raw) == 0 || !ValidName(name) {
		return Key{}, errors.New("parsing vkey: not of the form name+id+base64")
	}
	k, err := newKey(name, raw[0], raw[1:])
	if err != nil {
		return Key{}, fmt.Errorf("parsing vkey: %w", err)
	}
	if id != fmt.Sprintf("%08x", k.ID) {
		return Key{}, fmt.Errorf("parsing vkey: key ID %.16q is not that of the key, %08x", id, k.ID)
	}
	return k, nil
}

func newKey(name string, kind byte, public []byte) (Key, error) {
	k := Key{Name: name, Public: public, kind: kind}
	var want int
	switch kind {
	case typeEd25519, typeEd25519Cosign:
		k.Alg, want = Ed25519, ed25519.PublicKeySize
	case typeMLDSA44:
		k.Alg, want = MLDSA44, mldsa.MLDSA44PublicKeySize
	default:
		return Key{}, fmt.Errorf("signature type %#02x is unknown", kind)
	}
	if len(public) != want {
		return Key{}, fmt.Errorf("key has %d bytes, want %d", len(public), want)
	}
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{kind})
	h.Write(public)
	k.ID = binary.BigEndian.Uint32(h.Sum(nil))
	return k, nil
}

// NewVerifier returns the verifier of a public key: of a log (type 1, or type
// 6) or of a witness (type 4, or type 6). Which role a key of type 6 has is for
// the caller to know.
//
// Verifiers of types 4 and 6 verify only texts that Parse accepts, and
// signatures whose time is below 2^63; Time tells it. A verifier of type 1
// verifies any text, so that tickets may be signed with such keys.
func NewVerifier(vkey string) (note.Verifier, error) {
	k, err := ParseVKey(vkey)
	if err != nil {
		return nil, err
	}
	var v note.Verifier
	switch k.kind {
	case typeEd25519:
		return note.NewVerifier(vkey)
	case typeEd25519Cosign:
		v, err = fnote.NewVerifierForCosignatureV1(vkey)
	default:
		v, err = fnote.NewMLDSAVerifier(vkey)
	}
	if err != nil {
		return nil, fmt.Errorf("making verifier: %w", err)
	}
	return cosignatureVerifier{v}, nil
}

// cosignatureVerifier keeps from the library what it would read leniently: it
// takes any base64, roots of any length, and origins longer than their length
// byte can say.
type cosignatureVerifier struct{ note.Verifier }

func (v cosignatureVerifier) Verify(text, sig []byte) bool {
	if _, err := parse(text); err != nil {
		return false
	}
	if len(sig) < 8 || binary.BigEndian.Uint64(sig) > math.MaxInt64 {
		return false
	}
	return v.Verifier.Verify(text, sig)
}

// Time returns the time of a signature made by a key of type 4 or 6, in UTC. It
// means nothing before the signature is verified, and false if the signature is
// too short or its time is zero, with which a cosigner says that it makes no
// statement about time.
func (s Signature) Time() (time.Time, bool) {
	if len(s.Bytes) < 8+ed25519.SignatureSize {
		return time.Time{}, false
	}
	t := binary.BigEndian.Uint64(s.Bytes)
	if t == 0 || t > math.MaxInt64 {
		return time.Time{}, false
	}
	return time.Unix(int64(t), 0).UTC(), true
}

// NewSigner returns the signer of a private key that GenerateKey made. Types 4
// and 6 put the time at which they sign into the signature, also when a log
// signs with ML-DSA-44: signing one text twice gives two lines of one meaning.
func NewSigner(skey string) (note.Signer, error) {
	k, err := parsePrivate(skey)
	if err != nil {
		return nil, err
	}
	var s note.Signer
	switch k.kind {
	case typeEd25519:
		s, err = note.NewSigner(skey)
	case typeEd25519Cosign:
		s, err = fnote.NewSignerForCosignatureV1(skey)
	default:
		s, err = fnote.NewMLDSASigner(skey)
	}
	if err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	if k.kind == typeEd25519 {
		return s, nil
	}
	return cosignatureSigner{s}, nil
}

// cosignatureSigner signs checkpoints and nothing else, as cosignatureVerifier
// verifies nothing else.
type cosignatureSigner struct{ note.Signer }

func (s cosignatureSigner) Sign(text []byte) ([]byte, error) {
	if _, err := Parse(text); err != nil {
		return nil, err
	}
	return s.Signer.Sign(text)
}

// VKey returns the public key of a private key.
func VKey(skey string) (string, error) {
	k, err := parsePrivate(skey)
	if err != nil {
		return "", err
	}
	return k.VKey(), nil
}

// parsePrivate reads a private key and returns its public one. No error holds
// any part of the key.
func parsePrivate(skey string) (Key, error) {
	rest, ok := strings.CutPrefix(skey, "PRIVATE+KEY+")
	name, rest, _ := strings.Cut(rest, "+")
	id, b64, _ := strings.Cut(rest, "+")
	raw, err := decode(b64)
	if !ok || err != nil || len(raw) != 1+ed25519.SeedSize || !ValidName(name) {
		return Key{}, errors.New("parsing private key: not of the form PRIVATE+KEY+name+id+base64")
	}
	k, err := derive(name, raw[0], raw[1:])
	if err != nil {
		return Key{}, err
	}
	if id != fmt.Sprintf("%08x", k.ID) {
		return Key{}, errors.New("parsing private key: key ID is not that of the key")
	}
	return k, nil
}

// derive makes the public key of a seed, which is 32 bytes for both algorithms.
func derive(name string, kind byte, seed []byte) (Key, error) {
	switch kind {
	case typeEd25519, typeEd25519Cosign:
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		return newKey(name, kind, public)
	case typeMLDSA44:
		private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
		if err != nil {
			return Key{}, fmt.Errorf("deriving public key: %w", err)
		}
		return newKey(name, kind, private.PublicKey().Bytes())
	default:
		return Key{}, fmt.Errorf("deriving public key: signature type %#02x is unknown", kind)
	}
}

// GenerateKey makes a new key. For a log the name is its origin; for a witness
// the name of its operator, under which all keys of one operator stand. The
// private key skey is secret and holds the name.
func GenerateKey(name string, alg Alg, role Role) (skey, vkey string, err error) {
	if !ValidName(name) {
		return "", "", fmt.Errorf("generating key: %q is not a key name", name)
	}
	var kind byte
	switch {
	case alg == MLDSA44 && (role == LogRole || role == WitnessRole):
		kind = typeMLDSA44
	case alg == Ed25519 && role == LogRole:
		kind = typeEd25519
	case alg == Ed25519 && role == WitnessRole:
		kind = typeEd25519Cosign
	default:
		return "", "", errors.New("generating key: unknown algorithm or role")
	}
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails: it ends the program instead
	k, err := derive(name, kind, seed)
	if err != nil {
		return "", "", err
	}
	skey = fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, k.ID, base64.StdEncoding.EncodeToString(append([]byte{kind}, seed...)))
	return skey, k.VKey(), nil
}
