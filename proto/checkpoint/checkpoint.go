// Package checkpoint reads and writes checkpoints, the signed tree heads of a
// log, and the keys that sign them: c2sp.org/tlog-checkpoint,
// c2sp.org/signed-note, c2sp.org/tlog-cosignature.
//
// It trusts nobody: everything it parses is hostile until a verifier of a key
// the caller was configured with has accepted the bytes. It keeps no state and
// touches no disk, so a crash means nothing here. All functions may be called
// concurrently.
//
// A checkpoint is a note, whose text is
//
//	origin LF
//	size LF               decimal, no leading zero, < 2^63
//	root LF               base64 of 32 bytes
//	*(extension LF)       non-empty, opaque
//
// and which ends with an empty line and 1 to 64 signature lines
//
//	"— " key-name " " base64(u32 key-ID || signature) LF
//
// Invariants:
//   - [Split] and [Parse] accept a byte string only if writing what they
//     returned gives the same bytes: base64 is canonical, there is no carriage
//     return, no control character, no invalid UTF-8, nothing after the last
//     newline.
//   - The origin is a key name: 1 to 255 bytes, no Unicode space, no control
//     character, no plus sign. The log signs under that name.
//   - A tree of size 0 has the root of the empty tree.
//   - Extension lines are kept and never interpreted: an ML-DSA-44 signature
//     does not cover them.
//   - A key ID is a hint and never an identity: signatures are verified under
//     the whole key of the configuration.
package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

const (
	// MaxNote is the largest note in bytes that Split reads: room for
	// MaxSignatures ML-DSA-44 lines under names of ordinary length.
	MaxNote = 256 << 10
	// MaxSignatures is the most signature lines a note may have.
	MaxSignatures = 64

	maxText = 8 << 10
	maxName = 255 // the name is a u8 vector in the message of ML-DSA-44
)

// A Checkpoint is the text of a checkpoint. Parsing verifies the form and no
// signature: a Checkpoint is a claim until a policy has verified its note.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   [32]byte
	// Extensions are the lines after the root, without newlines. They are kept
	// because Ed25519 signs them, and mean nothing to us.
	Extensions []string
}

// A Signature is one signature line of a note, not verified.
type Signature struct {
	Name  string // key name
	ID    uint32 // key ID, a hint
	Bytes []byte // what the key made, without the key ID; at least one byte
}

// Parse reads the text of a checkpoint, which is what Split returns first. The
// text must be exactly what Format writes.
func Parse(text []byte) (Checkpoint, error) {
	c, err := parse(text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parsing checkpoint: %w", err)
	}
	return c, nil
}

func parse(text []byte) (Checkpoint, error) {
	if len(text) > maxText {
		return Checkpoint{}, fmt.Errorf("text has more than %d bytes", maxText)
	}
	if err := checkCharacters(text); err != nil {
		return Checkpoint{}, err
	}
	body, ok := strings.CutSuffix(string(text), "\n")
	if !ok {
		return Checkpoint{}, errors.New("text does not end with a newline")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 {
		return Checkpoint{}, errors.New("text has fewer than three lines")
	}
	c := Checkpoint{Origin: lines[0]}
	if !ValidName(c.Origin) {
		return Checkpoint{}, errors.New("origin is not a key name")
	}
	var err error
	if c.Size, err = ParseSize(lines[1]); err != nil {
		return Checkpoint{}, err
	}
	if c.Root, err = ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("root: %w", err)
	}
	if c.Size == 0 && c.Root != sha256.Sum256(nil) {
		return Checkpoint{}, errors.New("root of size 0 is not that of the empty tree")
	}
	for _, l := range lines[3:] {
		if l == "" {
			return Checkpoint{}, errors.New("extension line is empty")
		}
		c.Extensions = append(c.Extensions, l)
	}
	return c, nil
}

// Format returns the text of the checkpoint, ready to be signed. It does not
// check the fields; Sign does.
func (c Checkpoint) Format() []byte {
	b := fmt.Appendf(nil, "%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	for _, e := range c.Extensions {
		b = append(b, e...)
		b = append(b, '\n')
	}
	return b
}

// Split separates a note into its text, which includes the last newline, and
// its signature lines in order, repeated lines included. Nothing is verified.
// The text shares memory with note. Any deviation from the grammar is an error.
func Split(note []byte) (text []byte, sigs []Signature, err error) {
	text, sigs, err = split(note)
	if err != nil {
		return nil, nil, fmt.Errorf("splitting note: %w", err)
	}
	return text, sigs, nil
}

func split(note []byte) ([]byte, []Signature, error) {
	if len(note) > MaxNote {
		return nil, nil, fmt.Errorf("note has more than %d bytes", MaxNote)
	}
	if err := checkCharacters(note); err != nil {
		return nil, nil, err
	}
	// SPEC: signed-note: the text is separated by the last empty line.
	i := bytes.LastIndex(note, []byte("\n\n"))
	if i < 0 {
		return nil, nil, errors.New("note has no empty line")
	}
	sigs, err := ParseSignatures(note[i+2:])
	if err != nil {
		return nil, nil, err
	}
	return note[: i+1 : i+1], sigs, nil
}

// ParseSignatures reads 1 to 64 signature lines with nothing before, between or
// after them: the end of a note, or the reply of a witness.
func ParseSignatures(b []byte) ([]Signature, error) {
	if len(b) > MaxNote {
		return nil, fmt.Errorf("signatures have more than %d bytes", MaxNote)
	}
	if err := checkCharacters(b); err != nil {
		return nil, err
	}
	body, ok := strings.CutSuffix(string(b), "\n")
	if !ok {
		return nil, errors.New("signatures do not end with a newline")
	}
	if strings.Count(body, "\n") >= MaxSignatures {
		return nil, fmt.Errorf("more than %d signatures", MaxSignatures)
	}
	var sigs []Signature
	for line := range strings.SplitSeq(body, "\n") {
		s, err := parseSignature(line)
		if err != nil {
			return nil, fmt.Errorf("signature line %d: %w", len(sigs)+1, err)
		}
		sigs = append(sigs, s)
	}
	return sigs, nil
}

func parseSignature(line string) (Signature, error) {
	rest, ok := strings.CutPrefix(line, "— ")
	if !ok {
		return Signature{}, errors.New("does not begin with an em dash and a space")
	}
	name, b64, ok := strings.Cut(rest, " ")
	if !ok || !ValidName(name) {
		return Signature{}, errors.New("has no valid key name")
	}
	raw, err := decode(b64)
	if err != nil {
		return Signature{}, err
	}
	if len(raw) < 5 {
		return Signature{}, errors.New("is too short")
	}
	return Signature{Name: name, ID: binary.BigEndian.Uint32(raw), Bytes: raw[4:]}, nil
}

// Line returns the signature line, with its newline.
func (s Signature) Line() []byte {
	raw := append(binary.BigEndian.AppendUint32(nil, s.ID), s.Bytes...)
	return fmt.Appendf(nil, "— %s %s\n", s.Name, base64.StdEncoding.EncodeToString(raw))
}

// By reports whether the signature names the key of v and verifies over text
// with it.
func (s Signature) By(v note.Verifier, text []byte) bool {
	return s.Name == v.Name() && s.ID == v.KeyHash() && v.Verify(text, s.Bytes)
}

// Open returns the checkpoint of a note that must be of this origin, and how
// many of the keys signed it. Lines that do not verify are passed over.
func Open(signed []byte, origin string, keys ...note.Verifier) (c Checkpoint, by int, err error) {
	text, sigs, err := Split(signed)
	if err != nil {
		return Checkpoint{}, 0, err
	}
	if c, err = Parse(text); err != nil {
		return Checkpoint{}, 0, err
	}
	if c.Origin != origin {
		return Checkpoint{}, 0, fmt.Errorf("opening checkpoint: its origin is %q, not %s", c.Origin, origin)
	}
	for _, k := range keys {
		if slices.ContainsFunc(sigs, func(s Signature) bool { return s.By(k, text) }) {
			by++
		}
	}
	return c, by, nil
}

// Join is the inverse of Split: the text, an empty line, the signature lines.
func Join(text []byte, sigs ...Signature) []byte {
	b := append(bytes.Clone(text), '\n')
	for _, s := range sigs {
		b = append(b, s.Line()...)
	}
	return b
}

// Sign returns the note of c with one line per signer, in their order. A
// checkpoint that Parse would refuse is not signed.
func Sign(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	text := c.Format()
	if _, err := parse(text); err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	sigs := make([]Signature, 0, len(signers))
	for _, s := range signers {
		sig, err := s.Sign(text)
		if err != nil {
			return nil, fmt.Errorf("signing checkpoint with %s: %w", s.Name(), err)
		}
		sigs = append(sigs, Signature{Name: s.Name(), ID: s.KeyHash(), Bytes: sig})
	}
	signed := Join(text, sigs...)
	if _, _, err := split(signed); err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	return signed, nil
}

// ParseSize reads a size or an index as all our formats write them: decimal,
// no sign, no leading zero, less than 2^63.
func ParseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%.24q is not a canonical number below 2^63", s)
	}
	return n, nil
}

// ParseHash reads a hash as all our formats write them: canonical base64 of
// exactly 32 bytes.
func ParseHash(s string) ([32]byte, error) {
	raw, err := decode(s)
	if err != nil {
		return [32]byte{}, err
	}
	if len(raw) != 32 {
		return [32]byte{}, fmt.Errorf("hash has %d bytes, want 32", len(raw))
	}
	return [32]byte(raw), nil
}

// ValidName reports whether s may name a key or be an origin.
func ValidName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

// decode reads canonical base64: Strict refuses unused bits that are not zero,
// and comparing lengths refuses the newlines that the decoder skips.
func decode(s string) ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodedLen(len(raw)) != len(s) {
		return nil, errors.New("base64 is not canonical")
	}
	return raw, nil
}

// checkCharacters refuses what signed-note refuses: invalid UTF-8, and control
// characters other than the newline.
func checkCharacters(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not valid UTF-8")
	}
	for i, c := range b {
		if c < 0x20 && c != '\n' {
			return fmt.Errorf("control character %#02x at byte %d", c, i)
		}
	}
	return nil
}
