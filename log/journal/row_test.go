package journal_test

import (
	"bytes"
	"strings"
	"testing"

	"idlog/log/journal"
)

// hash is one in base64; the other is not what an encoder writes.
const (
	hash  = "VrZ+G+ug/tTSIE4phajX8fMnEPLUadqE3KCEUHyG8vo="
	other = "VrZ+G+ug/tTSIE4phajX8fMnEPLUadqE3KCEUHyG8vp="
)

func TestPack(t *testing.T) {
	for leaf, want := range map[string]int{
		"":                           0,
		"tag 1 x\n":                  8,
		"tag 1 " + hash + "\n":       6 + 33 + 1,
		hash + hash:                  66,
		"=" + hash + "=":             35,
		other:                        44,
		hash[1:]:                     43,
		hash[:20] + "\n" + hash[20:]: 45,
	} {
		if got := journal.Pack([]byte(leaf)); len(got) != want || string(journal.Unpack(got)) != leaf {
			t.Errorf("%q is packed into %d bytes, want %d", leaf, len(got), want)
		}
	}
	if b := journal.Unpack([]byte("tag 1 \x00short")); b != nil {
		t.Errorf("unpacked %q", b)
	}
	// Any leaf comes back as it was put, with zeros too.
	j, dir := create(t)
	r := row("zeros")
	r.Leaf = []byte(hash + "\x00" + hash + "\x00")
	put(t, j, row("a"), r)
	got, err := crashed(t, dir).Get(t.Context(), r.Key)
	if err != nil || !bytes.Equal(got.Leaf, r.Leaf) {
		t.Errorf("leaf %q, %v", got.Leaf, err)
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte("fields " + hash + "\ntag 1 " + hash + "\n"))
	f.Add([]byte(strings.Repeat("=", 100)))
	f.Fuzz(func(t *testing.T, leaf []byte) {
		leaf = bytes.ReplaceAll(leaf, []byte{0}, nil)
		packed := journal.Pack(leaf)
		if len(packed) > len(leaf) || !bytes.Equal(journal.Unpack(packed), leaf) {
			t.Errorf("%q does not come back", leaf)
		}
		journal.Unpack(leaf) // whatever it is
	})
}
