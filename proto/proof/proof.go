// Package proof reads, writes and verifies proofs that an entry is in a log,
// c2sp.org/tlog-proof, and the Merkle proofs of RFC 6962 beneath them.
//
// It trusts the policy it is given and nothing in the proof. It keeps no state;
// all functions may be called concurrently.
//
// A proof is
//
//	c2sp.org/tlog-proof@v1 LF
//	[ "extra " base64 LF ]          1 to 16384 bytes: in our files, the leaf
//	"index " decimal LF             no leading zero, < 2^63
//	*63(base64 of 32 bytes LF)      from the leaf's sibling to the root's child
//	LF
//	checkpoint                      a signed note, to the end
//
// Invariants: Parse accepts a byte string only if Format gives it back; the
// checkpoint is there and well formed; nothing follows it.
package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/policy"
)

const (
	// MaxExtra is the largest extra data in bytes, which is the largest leaf.
	MaxExtra = 16 << 10
	// MaxHashes is the most hashes of a proof: sizes are below 2^63.
	MaxHashes = 63

	header = "c2sp.org/tlog-proof@v1"
	// maxSize is a proof whose every part is as large as it may be.
	maxSize = len(header) + 2*MaxExtra + MaxHashes*45 + checkpoint.MaxNote + 64
)

// A Proof says that an entry is at Index of the tree of Checkpoint. Nothing of
// it is verified before Verify returns without an error, and Extra not even
// then, unless the caller hashed it to get the leaf hash.
type Proof struct {
	Extra      []byte // nil if there is none
	Index      int64
	Hashes     [][32]byte
	Checkpoint []byte // a signed note
}

// Parse reads a proof. The result shares no memory with b.
func Parse(b []byte) (Proof, error) {
	p, err := parse(b)
	if err != nil {
		return Proof{}, fmt.Errorf("parsing proof: %w", err)
	}
	return p, nil
}

func parse(b []byte) (Proof, error) {
	if len(b) > maxSize {
		return Proof{}, fmt.Errorf("more than %d bytes", maxSize)
	}
	// A proof's own lines are never empty, so the first empty line ends them.
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return Proof{}, errors.New("no empty line before the checkpoint")
	}
	lines := bytes.Split(head, []byte("\n"))
	if string(lines[0]) != header {
		return Proof{}, errors.New("first line is not " + header)
	}
	var p Proof
	lines = lines[1:]
	if len(lines) > 0 && bytes.HasPrefix(lines[0], []byte("extra ")) {
		var err error
		if p.Extra, err = parseExtra(lines[0][len("extra "):]); err != nil {
			return Proof{}, err
		}
		lines = lines[1:]
	}
	if len(lines) == 0 || !bytes.HasPrefix(lines[0], []byte("index ")) {
		return Proof{}, errors.New("no index")
	}
	var err error
	if p.Index, err = checkpoint.ParseSize(string(lines[0][len("index "):])); err != nil {
		return Proof{}, fmt.Errorf("index: %w", err)
	}
	if p.Hashes, err = parseHashes(lines[1:]); err != nil {
		return Proof{}, err
	}
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return Proof{}, err
	}
	if _, err := checkpoint.Parse(text); err != nil {
		return Proof{}, err
	}
	p.Checkpoint = bytes.Clone(note)
	return p, nil
}

func parseExtra(b64 []byte) ([]byte, error) {
	extra, err := base64.StdEncoding.Strict().DecodeString(string(b64))
	if err != nil || base64.StdEncoding.EncodedLen(len(extra)) != len(b64) {
		return nil, errors.New("extra is not canonical base64")
	}
	if len(extra) == 0 || len(extra) > MaxExtra {
		return nil, fmt.Errorf("extra has %d bytes, want 1 to %d", len(extra), MaxExtra)
	}
	return extra, nil
}

func parseHashes(lines [][]byte) ([][32]byte, error) {
	if len(lines) > MaxHashes {
		return nil, fmt.Errorf("more than %d hashes", MaxHashes)
	}
	var hashes [][32]byte
	for i, l := range lines {
		h, err := checkpoint.ParseHash(string(l))
		if err != nil {
			return nil, fmt.Errorf("hash %d: %w", i, err)
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// Format writes the proof. A proof that Parse would refuse is an error.
func (p Proof) Format() ([]byte, error) {
	b := []byte(header + "\n")
	if p.Extra != nil {
		b = fmt.Appendf(b, "extra %s\n", base64.StdEncoding.EncodeToString(p.Extra))
	}
	b = fmt.Appendf(b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b = fmt.Appendf(b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b = append(b, '\n')
	b = append(b, p.Checkpoint...)
	if _, err := parse(b); err != nil {
		return nil, fmt.Errorf("formatting proof: %w", err)
	}
	return b, nil
}

// Verify judges the proof: the policy accepts the checkpoint, and the leaf hash
// is at Index of its tree. The caller computes the leaf hash from the bytes it
// cares about; a hash from elsewhere proves nothing about them. If only
// cosignatures lack, the error is a [*policy.QuorumError].
func (p Proof) Verify(pol *policy.Policy, leafHash [32]byte) (*policy.Verified, error) {
	v, err := pol.Verify(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	if err := Inclusion(leafHash, p.Index, v.Checkpoint.Size, p.Hashes, v.Checkpoint.Root); err != nil {
		return nil, err
	}
	return v, nil
}

// Inclusion verifies that leafHash is at index of the tree with that size and
// root: RFC 6962, section 2.1.1. The root must come from a verified checkpoint.
func Inclusion(leafHash [32]byte, index, size int64, hashes [][32]byte, root [32]byte) error {
	if index < 0 || index >= size {
		return fmt.Errorf("verifying inclusion: index %d is not below size %d", index, size)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leafHash[:], siblings(hashes), root[:]); err != nil {
		return fmt.Errorf("verifying inclusion of entry %d in size %d: %w", index, size, reason(err))
	}
	return nil
}

// Consistency verifies that the tree of size to continues the tree of size
// from: RFC 6962, section 2.1.2. From size 0 and between equal sizes the proof
// is empty; the root of size 0 must be that of the empty tree.
func Consistency(from, to int64, fromRoot, toRoot [32]byte, hashes [][32]byte) error {
	if from < 0 || from > to {
		return fmt.Errorf("verifying consistency: sizes %d and %d", from, to)
	}
	if from == 0 && [32]byte(rfc6962.DefaultHasher.EmptyRoot()) != fromRoot {
		return errors.New("verifying consistency: root of size 0 is not that of the empty tree")
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(to), siblings(hashes), fromRoot[:], toRoot[:]); err != nil {
		return fmt.Errorf("verifying consistency of sizes %d and %d: %w", from, to, reason(err))
	}
	return nil
}

// Contradicts reports whether the hashes of a consistency proof lead to toRoot
// from another root of size from than fromRoot. Then the tree of size to does
// not continue the one with fromRoot, whoever made the proof: a log that signed
// both has forked. A proof that leads to neither root says nothing. From a size
// that is a power of two a proof leaves its first root out, so it can fail, and
// hardly ever contradict.
func Contradicts(from, to int64, fromRoot, toRoot [32]byte, hashes [][32]byte) bool {
	if from < 1 || from >= to {
		return false
	}
	verify := func(first []byte) error {
		return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(from), uint64(to), siblings(hashes), first, toRoot[:])
	}
	mismatch, ok := errors.AsType[proof.RootMismatchError](verify(fromRoot[:]))
	if !ok || bytes.Equal(mismatch.CalculatedRoot, fromRoot[:]) {
		return false
	}
	// If it was the first root that did not match, this is the one the hashes give.
	return verify(mismatch.CalculatedRoot) == nil
}

func siblings(hashes [][32]byte) [][]byte {
	s := make([][]byte, len(hashes))
	for i := range hashes {
		s[i] = hashes[i][:]
	}
	return s
}

// errRoot replaces the library's error, which prints both roots as lists of
// numbers.
var errRoot = errors.New("proof does not lead to the root")

func reason(err error) error {
	if _, ok := errors.AsType[proof.RootMismatchError](err); ok {
		return errRoot
	}
	return err
}
