package tag_test

import (
	"encoding/json"
	"os"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/tag"
)

// TestVectors recomputes testdata/vectors/tag.json, which another implementation made.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("../../testdata/vectors/tag.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name                      string
		Epoch, Key, Commit, Value []byte // of a neutral tag
		Handle                    []byte // of a person's tag
		Field                     uint16
		Source                    string
		Tag                       []byte
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Handle != nil {
			if got := tag.OfPerson([32]byte(v.Handle), v.Field); got != leaf.Hash(v.Tag) {
				t.Errorf("%s: tag %x, want %x", v.Name, got, v.Tag)
			}
			continue
		}
		key := tag.Derive(tag.Key(v.Epoch), v.Field, v.Source)
		if key != tag.Key(v.Key) {
			t.Errorf("%s: key %x, want %x", v.Name, key, v.Key)
		}
		if got := key.Commit(v.Field, v.Source); got != leaf.Hash(v.Commit) {
			t.Errorf("%s: commit %x, want %x", v.Name, got, v.Commit)
		}
		if got := key.Tag(v.Value); got != leaf.Hash(v.Tag) {
			t.Errorf("%s: tag %x, want %x", v.Name, got, v.Tag)
		}
	}
}

// TestSeparation: no two of field, source, epoch and value share a key, a commitment or a tag.
func TestSeparation(t *testing.T) {
	seen := make(map[[32]byte]string)
	add := func(what string, h [32]byte) {
		if other, ok := seen[h]; ok {
			t.Errorf("%s equals %s", what, other)
		}
		seen[h] = what
	}
	for _, epoch := range []tag.Key{{1}, {2}} {
		for _, field := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
			for _, source := range []string{"a", "ab", "b"} {
				what := string(rune('0'+epoch[0])) + "/" + string(rune('0'+field)) + "/" + source
				key := tag.Derive(epoch, field, source)
				add("key "+what, key)
				add("commit "+what, key.Commit(field, source))
				add("tag "+what, key.Tag([]byte("v")))
			}
		}
	}
	add("person", tag.OfPerson([32]byte{1}, tag.Person))
	add("actor", tag.OfPerson([32]byte{1}, tag.Actor))
	add("other person", tag.OfPerson([32]byte{2}, tag.Person))
}
