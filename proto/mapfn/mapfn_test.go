package mapfn_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/prototest"
	"idlog/proto/tag"
)

var update = flag.Bool("update", false, "write the vectors")

// vectors are testdata/vectors/mapfn.json.
type vectors struct {
	Keys    []under  `json:"keys"`
	Sources []source `json:"sources"`
	Entries []entry  `json:"entries"`
}

// under is a field and value, and the key that they are.
type under struct {
	Field uint16 `json:"field"`
	Value []byte `json:"value"`
	Key   []byte `json:"key"`
}

type source struct {
	Source string `json:"source"`
	Value  []byte `json:"value"`
}

// entry is an entry, as text or Bytes as in a prototest.Case, and what it stands under: ascending by key.
type entry struct {
	Name  string  `json:"name"`
	Input string  `json:"input,omitempty"`
	Bytes []byte  `json:"bytes,omitempty"`
	Under []under `json:"under"`
}

func (e entry) data() []byte {
	if e.Bytes != nil {
		return e.Bytes
	}
	return []byte(e.Input)
}

// at is what SPEC 2.5 says of a field and value, by code of the test's own.
func at(field uint16, value leaf.Hash) under {
	b := append(binary.BigEndian.AppendUint16([]byte("idlog/mapkey/v1\x00"), field), value[:]...)
	key := sha256.Sum256(b)
	return under{Field: field, Value: value[:], Key: key[:]}
}

func sourceOf(name string) leaf.Hash { return sha256.Sum256([]byte("idlog/source/v1\x00" + name)) }

func h(b ...byte) (h leaf.Hash) {
	copy(h[:], b)
	return h
}

const family = "log.example/id"

// event is an event of okta-prod with a tag of every field.
var event = leaf.Event{Log: family, Source: "okta-prod", Received: 1, Assurance: leaf.AssurancePulled, Keys: 1, Tags: []leaf.Tag{
	{Field: 1, Value: h(1)}, {Field: 2, Value: h(2)}, {Field: 2, Value: h(3)}, {Field: 3, Value: h(2)}, {Field: 4, Value: h(4)},
	{Field: 6, Value: h(6)}, {Field: 7, Value: h(7)}, {Field: 32767, Value: h(7)}}}

func made(t testing.TB) vectors {
	v := vectors{}
	for _, f := range []uint16{1, 2, 5, 0x7fff, 0x8000, 0x8001, 0xff00, 0xffff} {
		v.Keys = append(v.Keys, at(f, h()), at(f, h(1)), at(f, leaf.Hash(bytes.Repeat([]byte{0xff}, 32))))
	}
	for _, s := range []string{"okta-prod", "a", "auth0.eu_1", strings.Repeat("s", 64)} {
		value := sourceOf(s)
		v.Sources = append(v.Sources, source{s, value[:]})
	}
	add := func(name string, b []byte, keys ...under) {
		slices.SortFunc(keys, func(a, b under) int { return bytes.Compare(a.Key, b.Key) })
		e := entry{Name: name, Under: keys}
		if e.Input = string(b); !utf8.Valid(b) {
			e.Input, e.Bytes = "", b
		}
		v.Entries = append(v.Entries, e)
	}
	of := func(l interface{ Format() ([]byte, error) }) []byte {
		b, err := l.Format()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tags := []under{at(5, sourceOf("okta-prod"))}
	for _, line := range event.Tags {
		tags = append(tags, at(line.Field, line.Value))
	}
	bare := event
	bare.Tags = nil
	add("event", of(&event), tags...)
	add("event without tags", of(&bare), at(5, sourceOf("okta-prod")))
	commit := h(0xc0)
	add("enrolment", of(&leaf.Subject{Log: family, Received: 1, Keys: 1, Commit: &commit, Etags: []leaf.Hash{h(0xe1)}}), at(0x8001, h(0xe1)))
	add("link", of(&leaf.Subject{Log: family, Received: 1, Keys: 1, Links: []leaf.Hash{h(1), h(2)}, Fields: &commit, Etags: []leaf.Hash{h(1), h(0xe2)}}),
		at(0x8001, h(1)), at(0x8001, h(0xe2)), at(0x8002, h(1)), at(0x8002, h(2)))
	add("unlink", of(&leaf.Subject{Log: family, Received: 1, Keys: 1, Unlinks: []leaf.Hash{h(1), h(2)}, Fields: &commit, Etags: []leaf.Hash{h(1), h(0xe2)}}),
		at(0x8001, h(1)), at(0x8001, h(0xe2)), at(0x8002, h(1)), at(0x8002, h(2)))
	add("erasure of a person", of(&leaf.Erasure{Log: family, Received: 1, Enrolments: []leaf.Hash{h(1), h(2)}, Tags: []leaf.Tag{{Field: 2, Value: h(2)}, {Field: 3, Value: h(2)}}}),
		at(0x8003, h(1)), at(0x8003, h(2)), at(2, h(2)), at(3, h(2)), at(0xff03, h()))
	add("erasure of a range", of(&leaf.Erasure{Log: family, Received: 1, From: 3, To: 5}), at(0xff03, h()))
	add("loss", of(&leaf.Loss{Log: family, Received: 1, From: 3, To: 5}), at(0xff03, h()))
	add("keys", of(&leaf.Keys{Log: family, Received: 1, Epoch: 1, Commits: []leaf.Commit{{Field: 1, Source: "okta-prod", Commit: h(1)}}}), at(0xff02, h()))
	add("root", of(&leaf.Root{Origin: family + "/2026", N: 7, MapFn: leaf.MapFn, Keys: 3, Millis: 1}), at(0xff01, h()))
	ticket := prototest.NewKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole).VKey
	add("genesis", of(&leaf.Shard{Log: family, Received: 1, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: ticket}}), at(0xff04, h()))
	add("seal", of(&leaf.Shard{Log: family, Received: 1, Seal: &leaf.Seal{Next: family + "/2027", Keys: []string{ticket}}}), at(0xff04, h()))

	add("nothing", nil, at(0xff00, h()))
	add("text", []byte("an entry of somebody"), at(0xff00, h()))
	add("bytes", []byte{0xff, 0, 1}, at(0xff00, h()))
	add("an event without its last newline", bytes.TrimSuffix(of(&event), []byte("\n")), at(0xff00, h()))
	add("an event of another version", bytes.Replace(of(&event), []byte("/v1"), []byte("/v2"), 1), at(0xff00, h()))
	add("an event whose tags descend", append(of(&bare), []byte("tag 2 "+strings.Repeat("A", 43)+"=\ntag 1 "+strings.Repeat("A", 43)+"=\n")...), at(0xff00, h()))
	add("a root of another function", []byte("tlog-index-root/v1\nlog.example/id/2026\n7\n"+strings.Repeat("A", 43)+"=\nidlog-mapfn/2\n3\n"+strings.Repeat("A", 43)+"=\n1\n"), at(0xff00, h()))
	add("an entry too large for a leaf", bytes.Repeat([]byte("x"), 16385), at(0xff00, h()))
	return v
}

// TestVectors holds the function, the vectors and SPEC 2.5 as this test spells it out to one another.
func TestVectors(t *testing.T) {
	v := made(t)
	for _, k := range v.Keys {
		if got := mapfn.Key(k.Field, leaf.Hash(k.Value)); got != leaf.Hash(k.Key) {
			t.Errorf("field %d, value %x: key %x, want %x", k.Field, k.Value, got, k.Key)
		}
	}
	for _, s := range v.Sources {
		if got := mapfn.SourceValue(s.Source); got != leaf.Hash(s.Value) {
			t.Errorf("source %s: %x, want %x", s.Source, got, s.Value)
		}
	}
	for _, e := range v.Entries {
		var want []leaf.Hash
		for _, u := range e.Under {
			want = append(want, leaf.Hash(u.Key))
		}
		if diff := cmp.Diff(want, mapfn.OfEntry(e.data())); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", e.Name, diff)
		}
	}
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, "../../testdata/vectors/mapfn.json", *update, append(b, '\n'))
}

// TestFields: no two of the fields that this package and package tag name are one.
func TestFields(t *testing.T) {
	seen := map[uint16]bool{tag.EventID: true}
	for _, f := range []uint16{tag.Person, tag.Actor, tag.Session, tag.Class, tag.Target, mapfn.Source, mapfn.Enrolment, mapfn.Link,
		mapfn.Erasure, mapfn.Unknown, mapfn.Root, mapfn.Keys, mapfn.Erasures, mapfn.Shard} {
		if seen[f] {
			t.Errorf("field %d is two", f)
		}
		seen[f] = true
	}
}

// FuzzOfEntry: whatever the entry, it stands under at least one key, and keys ascend strictly.
func FuzzOfEntry(f *testing.F) {
	for _, e := range made(f).Entries {
		f.Add(e.data())
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		keys := mapfn.OfEntry(entry)
		if len(keys) == 0 {
			t.Fatal("no key")
		}
		for i := range keys[1:] {
			if bytes.Compare(keys[i][:], keys[i+1][:]) >= 0 {
				t.Fatal("keys do not ascend strictly")
			}
		}
		if _, err := leaf.Parse(entry); (err != nil) != (keys[0] == mapfn.Key(mapfn.Unknown, mapfn.None)) {
			t.Error("what is filed as no leaf of ours is not what does not parse")
		}
	})
}
