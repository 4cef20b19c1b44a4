// Package prototest makes logs and witnesses in memory, for tests: keys from
// seeds, trees of any leaves, checkpoints and cosignatures of any time, proofs,
// the verifiable index of any entries and proofs of it.
// Everything is deterministic, so that vectors can be made again byte by byte.
// The Merkle tree is the library's for tests, not ours.
//
// It trusts its caller, keeps nothing on disk, and panics on misuse. A Log
// belongs to one goroutine; Keys may be used concurrently.
package prototest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"

	"filippo.io/mldsa"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"

	"idlog/proto/checkpoint"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// A Key is a key pair that is a function of its name, algorithm and role.
type Key struct {
	SKey string
	VKey string

	key  checkpoint.Key
	seed [32]byte
	role checkpoint.Role
}

// NewKey returns the key of that name, algorithm and role.
func NewKey(name string, alg checkpoint.Alg, role checkpoint.Role) Key {
	return NewKeyFromSeed(name, alg, role, sha256.Sum256(fmt.Appendf(nil, "%s %d %d", name, alg, role)))
}

// NewKeyFromSeed returns the key with that private seed, which lets a test give
// one key two names or two roles.
func NewKeyFromSeed(name string, alg checkpoint.Alg, role checkpoint.Role, seed [32]byte) Key {
	kind, public := byte(0x06), []byte(nil)
	if alg == checkpoint.Ed25519 {
		kind = 0x01
		if role == checkpoint.WitnessRole {
			kind = 0x04
		}
		public = ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	} else {
		public = mldsaKey(seed).PublicKey().Bytes()
	}
	public = append([]byte{kind}, public...)
	id := sha256.Sum256(append([]byte(name+"\n"), public...))
	k := Key{seed: seed, role: role}
	k.VKey = fmt.Sprintf("%s+%x+%s", name, id[:4], base64.StdEncoding.EncodeToString(public))
	k.SKey = fmt.Sprintf("PRIVATE+KEY+%s+%x+%s", name, id[:4], base64.StdEncoding.EncodeToString(append([]byte{kind}, seed[:]...)))
	var err error
	if k.key, err = checkpoint.ParseVKey(k.VKey); err != nil {
		panic(err)
	}
	return k
}

// Seed returns the private seed.
func (k Key) Seed() [32]byte { return k.seed }

// Name returns the key's name.
func (k Key) Name() string { return k.key.Name }

// Sign signs the text of a checkpoint. Seconds since 1970 is what a
// cosignature and an ML-DSA-44 signature state; Ed25519 of a log states none.
func (k Key) Sign(text []byte, seconds uint64) checkpoint.Signature {
	stamp := binary.BigEndian.AppendUint64(nil, seconds)
	s := checkpoint.Signature{Name: k.key.Name, ID: k.key.ID}
	switch {
	case k.key.Alg == checkpoint.MLDSA44:
		sig, err := mldsaKey(k.seed).SignDeterministic(subtree(k.key.Name, text, stamp), nil)
		if err != nil {
			panic(err)
		}
		s.Bytes = append(stamp, sig...)
	case k.role == checkpoint.WitnessRole:
		message := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text)
		s.Bytes = append(stamp, ed25519.Sign(ed25519.NewKeyFromSeed(k.seed[:]), message)...)
	default:
		s.Bytes = ed25519.Sign(ed25519.NewKeyFromSeed(k.seed[:]), text)
	}
	return s
}

// subtree is the message that ML-DSA-44 signs: tlog-cosignature.
func subtree(name string, text, stamp []byte) []byte {
	c, err := checkpoint.Parse(text)
	if err != nil {
		panic(err)
	}
	b := append([]byte("subtree/v1\n\x00"), byte(len(name)))
	b = append(append(b, name...), stamp...)
	b = append(append(b, byte(len(c.Origin))), c.Origin...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Size))
	return append(b, c.Root[:]...)
}

func mldsaKey(seed [32]byte) *mldsa.PrivateKey {
	k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		panic(err)
	}
	return k
}

// A Log is a growing tree of leaves under one origin.
type Log struct {
	Origin string
	Keys   []Key
	Leaves [][]byte

	tree *testonly.Tree
}

// NewLog returns an empty log that signs with these keys.
func NewLog(origin string, keys ...Key) *Log {
	return &Log{Origin: origin, Keys: keys, tree: testonly.New(rfc6962.DefaultHasher)}
}

// Append adds leaves and returns the index of the first.
func (l *Log) Append(leaves ...[]byte) int64 {
	first := int64(len(l.Leaves))
	l.Leaves = append(l.Leaves, leaves...)
	l.tree.AppendData(leaves...)
	return first
}

// Fill adds leaves that are nobody's until the log has that size.
func (l *Log) Fill(size int64) {
	for int64(len(l.Leaves)) < size {
		l.Append(fmt.Appendf(nil, "entry %d of %s", len(l.Leaves), l.Origin))
	}
}

// Checkpoint returns the checkpoint of a size that the log has reached.
func (l *Log) Checkpoint(size int64) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: l.Origin, Size: size, Root: [32]byte(l.tree.HashAt(uint64(size)))}
}

// Note returns the checkpoint of that size signed by all keys of the log and
// then by the witnesses, all at that time.
func (l *Log) Note(size int64, seconds uint64, witnesses ...Key) []byte {
	return Note(l.Checkpoint(size), seconds, append(l.Keys[:len(l.Keys):len(l.Keys)], witnesses...)...)
}

// Note signs any checkpoint with these keys, all at that time.
func Note(c checkpoint.Checkpoint, seconds uint64, keys ...Key) []byte {
	var sigs []checkpoint.Signature
	for _, k := range keys {
		sigs = append(sigs, k.Sign(c.Format(), seconds))
	}
	return checkpoint.Join(c.Format(), sigs...)
}

// Inclusion returns the proof that index is in the tree of that size.
func (l *Log) Inclusion(index, size int64) [][32]byte {
	p, err := l.tree.InclusionProof(uint64(index), uint64(size))
	return hashes(p, err)
}

// Consistency returns the proof between two sizes.
func (l *Log) Consistency(from, to int64) [][32]byte {
	p, err := l.tree.ConsistencyProof(uint64(from), uint64(to))
	return hashes(p, err)
}

func hashes(p [][]byte, err error) [][32]byte {
	if err != nil {
		panic(err)
	}
	var hs [][32]byte
	for _, h := range p {
		hs = append(hs, [32]byte(h))
	}
	return hs
}

// Proof returns the proof of the entry at index under a note of that size, with
// the leaf as extra data.
func (l *Log) Proof(index, size int64, note []byte) proof.Proof {
	return proof.Proof{Extra: l.Leaves[index], Index: index, Hashes: l.Inclusion(index, size), Checkpoint: note}
}

// Resources returns the tiles and bundles of the log at that size by path, as
// c2sp.org/tlog-tiles has them: one of each level and index, partial at the end.
func (l *Log) Resources(size int64) map[string][]byte {
	files := make(map[string][]byte)
	var roots [][32]byte // of the level
	for i := range size {
		c, _ := tile.At(tile.Entries, i/tile.Width, size)
		b, err := tile.AppendBundle(files[c.Path()], l.Leaves[i])
		if err != nil {
			panic(err)
		}
		files[c.Path()] = b
		roots = append(roots, [32]byte(rfc6962.DefaultHasher.HashLeaf(l.Leaves[i])))
	}
	for level := 0; len(roots) > 0; level++ {
		var above [][32]byte
		for i, h := range roots {
			c, _ := tile.At(level, int64(i/tile.Width), size)
			files[c.Path()] = append(files[c.Path()], h[:]...)
			if i%tile.Width == tile.Width-1 {
				above = append(above, perfect(roots[i+1-tile.Width:i+1]))
			}
		}
		roots = above
	}
	return files
}

// Fetch returns a tile.Fetch that serves these files.
func Fetch(files map[string][]byte) tile.Fetch {
	return func(_ context.Context, path string) ([]byte, error) {
		b, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("opening %s: %w", path, fs.ErrNotExist)
		}
		return bytes.Clone(b), nil
	}
}

func perfect(hashes [][32]byte) [32]byte {
	for len(hashes) > 1 {
		var next [][32]byte
		for i := 0; i < len(hashes); i += 2 {
			next = append(next, [32]byte(rfc6962.DefaultHasher.HashChildren(hashes[i][:], hashes[i+1][:])))
		}
		hashes = next
	}
	return hashes[0]
}
