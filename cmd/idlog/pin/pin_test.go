package pin

import (
	"crypto/sha256"
	"strings"
	"testing"
)

// TestWords: the words of the first four bytes are those of the paper's example 127.0.0.1, and all 32 bytes are in them.
func TestWords(t *testing.T) {
	sum := [32]byte{127, 0, 0, 1}
	got := words(sum)
	if !strings.HasPrefix(got, "lusab babad ") || len(strings.Fields(got)) != 16 {
		t.Errorf("words are %q", got)
	}
	seen := map[string]bool{got: true}
	for i := range sum {
		other := sum
		other[i] ^= 0x10
		if w := words(other); seen[w] {
			t.Errorf("byte %d is not in the words", i)
		} else {
			seen[w] = true
		}
	}
	if words(sha256.Sum256(nil)) == words(sha256.Sum256([]byte("x"))) {
		t.Error("two hashes have the same words")
	}
}
