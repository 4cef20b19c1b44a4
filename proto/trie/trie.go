// Package trie is the hashing and the proofs of the verifiable index: a binary trie from keys to postings lists, each the
// ordered list of the entries that stand under one key. SPEC 2.12.
//
// It trusts a map root, which a root leaf of a verified log names, and nothing in a proof. It holds no state and no
// tree: who builds one is package history. All of it may be used concurrently.
//
// A postings list is a Merkle tree of RFC 6962 over the leaves u64 index || leaf hash. Its head is (n, root). The trie is
// the compressed one: a leaf for each key, and a node where keys part. So its root is a function of the map alone,
// whatever the order and the batches in which it came to be:
//
//	head  = H(0x05 || u64 n || root)
//	leaf  = H(0x02 || key || head)
//	node  = H(0x03 || u8 depth || left || right)    depth: the first bit, from 0, in which the keys below differ
//	empty = H(0x04)
//
// Invariants:
//   - For one map root and one key at most one of "absent" and one head can be proven, also if whoever made the root did
//     not build the trie that he should have: depth is hashed, so the key's own bits say which way a proof goes.
//   - For one head and one position of its list at most one posting can be proven.
package trie

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Hash is 32 bytes: a key or a SHA-256 hash.
type Hash = [32]byte

// MaxDepth is the greatest depth of a node: keys have 256 bits, counted from the first bit of the first byte.
const MaxDepth = 255

// Empty returns the root of a map without keys.
func Empty() Hash { return sha256.Sum256([]byte{0x04}) }

// Leaf returns the hash of the trie's leaf of a key whose list has the head hash.
func Leaf(key, head Hash) Hash {
	var b [65]byte
	b[0] = 0x02
	copy(b[1:], key[:])
	copy(b[33:], head[:])
	return sha256.Sum256(b[:])
}

// Node returns the hash of the node at a depth, 0 to MaxDepth: left are the keys whose bit of that number is 0.
func Node(depth int, left, right Hash) Hash {
	var b [66]byte
	b[0], b[1] = 0x03, byte(depth)
	copy(b[2:], left[:])
	copy(b[34:], right[:])
	return sha256.Sum256(b[:])
}

// Bit returns bit depth of a key, 0 or 1.
func Bit(key Hash, depth int) int { return int(key[depth/8]>>(7-depth%8)) & 1 }

// Parting returns the first bit in which two keys differ, and 256 if they are equal.
func Parting(a, b Hash) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return 256
}

// A Head is a postings list in 40 bytes: how many postings it has, at least one, and the root of the tree over them.
type Head struct {
	N    int64
	Root Hash
}

// Hash returns what the trie holds of the list. It hides the length from those who only see it beside their own path.
func (h Head) Hash() Hash {
	var b [41]byte
	b[0] = 0x05
	binary.BigEndian.PutUint64(b[1:], uint64(h.N))
	copy(b[9:], h.Root[:])
	return sha256.Sum256(b[:])
}

// A Posting is one entry under a key: its index in the log and its leaf hash.
type Posting struct {
	Index int64
	Leaf  Hash
}

// Hash returns the posting's leaf hash in the tree of its list.
func (p Posting) Hash() Hash {
	var b [41]byte
	b[0] = 0x00
	binary.BigEndian.PutUint64(b[1:], uint64(p.Index))
	copy(b[9:], p.Leaf[:])
	return sha256.Sum256(b[:])
}

// A Step is a node on the way from a leaf of the trie to its root: the depth of the node and the other side's hash.
type Step struct {
	Depth   int
	Sibling Hash
}

// A Path leads from the root of a map to where the search for a key ends. The zero value says that the map is empty.
type Path struct {
	// Found is set unless the map is empty.
	Found bool
	// Terminal is the only key that the map could have on the searched key's way: the key itself, or another one, which
	// shows that the key is absent.
	Terminal Hash
	// Head is the head hash of Terminal's list.
	Head Hash
	// Steps go up: depths descend strictly.
	Steps []Step
}

// Verify checks the path of a key under a map root and reports whether the key is in the map; if it is, Head is its
// list's.
func (p Path) Verify(key, root Hash) (present bool, err error) {
	if !p.Found {
		if root != Empty() {
			return false, errors.New("verifying the way to a key: the map is not empty")
		}
		return false, nil
	}
	h := Leaf(p.Terminal, p.Head)
	above := MaxDepth + 1
	for i, s := range p.Steps {
		if s.Depth < 0 || s.Depth >= above {
			return false, fmt.Errorf("verifying the way to a key: depth %d of step %d does not descend", s.Depth, i)
		}
		above = s.Depth
		switch bit := Bit(key, s.Depth); {
		case bit != Bit(p.Terminal, s.Depth):
			return false, fmt.Errorf("verifying the way to a key: it parts from the terminal key at depth %d", s.Depth)
		case bit == 0:
			h = Node(s.Depth, h, s.Sibling)
		default:
			h = Node(s.Depth, s.Sibling, h)
		}
	}
	if h != root {
		return false, errors.New("verifying the way to a key: it does not lead to the map root")
	}
	return p.Terminal == key, nil
}
