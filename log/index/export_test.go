package index

import (
	"idlog/proto/leaf"
	"idlog/proto/trie"
)

// Change is what Roots computes with.
type Change = change

// NewChange returns the change of a key.
func NewChange(key leaf.Hash, path trie.Path, head trie.Head) Change {
	return Change{key: key, path: path, head: head.Hash()}
}

// Roots computes the roots before and after changes.
var Roots = roots
