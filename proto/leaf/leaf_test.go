package leaf_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/leaf"
)

// vector is one entry of testdata/vectors/leaf.json.
type vector struct {
	Name     string
	Accept   bool
	Line     int // of a refused leaf
	Input    string
	LeafHash []byte `json:"leaf_hash"` // of an accepted one
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("../../testdata/vectors/leaf.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			l, err := leaf.Parse([]byte(v.Input))
			if !v.Accept {
				syntax, ok := errors.AsType[*leaf.SyntaxError](err)
				if !ok {
					t.Fatalf("Parse gave %#v, %v; want a SyntaxError", l, err)
				}
				if syntax.Line != v.Line {
					t.Errorf("refused at line %d, want %d: %v", syntax.Line, v.Line, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Format()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.Input, string(b)); diff != "" {
				t.Errorf("Format (-want +got):\n%s", diff)
			}
			if h := leaf.HashOf(b); string(h[:]) != string(v.LeafHash) {
				t.Errorf("leaf hash %x, want %x", h, v.LeafHash)
			}
		})
	}
}

func accepted(t testing.TB, name string) string {
	t.Helper()
	for _, v := range vectors(t) {
		if v.Name == name {
			return v.Input
		}
	}
	t.Fatalf("no vector %q", name)
	return ""
}

func TestParseEvent(t *testing.T) {
	got, err := leaf.Parse([]byte(accepted(t, "event")))
	if err != nil {
		t.Fatal(err)
	}
	hash := func(first byte) (h leaf.Hash) {
		for i := range h {
			h[i] = first + byte(i)
		}
		return h
	}
	want := &leaf.Event{
		Log:       "example.com/audit",
		Source:    "okta-prod",
		Received:  1790000000,
		Assurance: leaf.AssurancePulled,
		Keys:      1,
		Fields:    hash(0),
		Tags:      []leaf.Tag{{Field: 1, Value: hash(32)}, {Field: 2, Value: hash(64)}, {Field: 2, Value: hash(96)}, {Field: 3, Value: hash(64)}},
	}
	if diff := cmp.Diff(leaf.Leaf(want), got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]leaf.Hash{hash(64), hash(96)}, want.Persons()); diff != "" {
		t.Errorf("Persons (-want +got):\n%s", diff)
	}
}

// TestFormatRefuses holds Format to the rules of Parse: what could not be read is not written.
func TestFormatRefuses(t *testing.T) {
	event := func(change func(*leaf.Event)) leaf.Leaf {
		e := &leaf.Event{Log: "a", Source: "a", Assurance: leaf.AssurancePulled, Keys: 1}
		change(e)
		return e
	}
	hashes := []leaf.Hash{{1}, {2}}
	vkey := strings.Fields(accepted(t, "genesis"))[9]
	for name, l := range map[string]leaf.Leaf{
		"empty event":                 &leaf.Event{},
		"line feed in log":            event(func(e *leaf.Event) { e.Log = "a\nsource b" }),
		"line feed in source":         event(func(e *leaf.Event) { e.Source = "a\nreceived 1" }),
		"negative received":           event(func(e *leaf.Event) { e.Received = -1 }),
		"epoch 0":                     event(func(e *leaf.Event) { e.Keys = 0 }),
		"unknown assurance":           event(func(e *leaf.Event) { e.Assurance = "trusted" }),
		"tags descend":                event(func(e *leaf.Event) { e.Tags = []leaf.Tag{{Field: 2}, {Field: 1}} }),
		"tag twice":                   event(func(e *leaf.Event) { e.Tags = []leaf.Tag{{Field: 2}, {Field: 2}} }),
		"tag 0":                       event(func(e *leaf.Event) { e.Tags = []leaf.Tag{{}} }),
		"tag 32768":                   event(func(e *leaf.Event) { e.Tags = []leaf.Tag{{Field: 32768}} }),
		"257 tags":                    event(func(e *leaf.Event) { e.Tags = tags(3, 257) }),
		"251 persons":                 event(func(e *leaf.Event) { e.Tags = tags(2, 251) }),
		"subject of neither kind":     &leaf.Subject{Log: "a", Keys: 1, Etags: hashes[:1]},
		"subject of both kinds":       &leaf.Subject{Log: "a", Keys: 1, Commit: &leaf.Hash{}, Fields: &leaf.Hash{}, Links: hashes, Etags: hashes},
		"enrolment with links":        &leaf.Subject{Log: "a", Keys: 1, Commit: &leaf.Hash{}, Links: hashes, Etags: hashes[:1]},
		"enrolment of two etags":      &leaf.Subject{Log: "a", Keys: 1, Commit: &leaf.Hash{}, Etags: hashes},
		"links and unlinks":           &leaf.Subject{Log: "a", Keys: 1, Fields: &leaf.Hash{}, Links: hashes, Unlinks: hashes, Etags: hashes},
		"fields without links":        &leaf.Subject{Log: "a", Keys: 1, Fields: &leaf.Hash{}, Etags: hashes},
		"one link":                    &leaf.Subject{Log: "a", Keys: 1, Fields: &leaf.Hash{}, Links: hashes[:1], Etags: hashes},
		"links descend":               &leaf.Subject{Log: "a", Keys: 1, Fields: &leaf.Hash{}, Links: []leaf.Hash{{2}, {1}}, Etags: hashes},
		"commit of field 0":           &leaf.Keys{Log: "a", Epoch: 1, Commits: []leaf.Commit{{Source: "a"}}},
		"commit of a bad source":      &leaf.Keys{Log: "a", Epoch: 1, Commits: []leaf.Commit{{Field: 1, Source: "a b"}}},
		"65 commits":                  &leaf.Keys{Log: "a", Epoch: 1, Commits: commits(65)},
		"erasure of nothing":          &leaf.Erasure{Log: "a"},
		"erasure with both":           &leaf.Erasure{Log: "a", Enrolments: hashes, Tags: tags(2, 1), To: 1},
		"erasure without tags":        &leaf.Erasure{Log: "a", Enrolments: hashes},
		"erasure of an empty range":   &leaf.Erasure{Log: "a", From: 1},
		"erasure of a negative range": &leaf.Erasure{Log: "a", From: -1, To: 1},
		"loss of nothing":             &leaf.Loss{Log: "a"},
		"shard of neither kind":       &leaf.Shard{Log: "a"},
		"shard of both kinds":         &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1, Ticket: vkey}, Seal: &leaf.Seal{Next: "a", Keys: []string{vkey}}},
		"genesis without a ticket":    &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1}},
		"line feed in ticket":         &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1, Ticket: vkey + "\nreason x"}},
		"line feed in reason":         &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1, Ticket: vkey, Reason: "a\nb"}},
		"previous without a name":     &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1, Ticket: vkey, Previous: &leaf.Previous{}}},
		"negative previous":           &leaf.Shard{Log: "a", Genesis: &leaf.Genesis{MapFn: "a", Keys: 1, Ticket: vkey, Previous: &leaf.Previous{Origin: "a", Size: -1}}},
		"seal without keys":           &leaf.Shard{Log: "a", Seal: &leaf.Seal{Next: "a"}},
		"seal with a key twice":       &leaf.Shard{Log: "a", Seal: &leaf.Seal{Next: "a", Keys: []string{vkey, vkey}}},
		"root of another function":    &leaf.Root{Origin: "a", MapFn: "idlog-mapfn/2"},
		"root with negative time":     &leaf.Root{Origin: "a", MapFn: leaf.MapFn, Millis: -1},
	} {
		if b, err := l.Format(); err == nil {
			t.Errorf("%s: Format gave %q", name, b)
		} else if _, ok := errors.AsType[*leaf.SyntaxError](err); !ok {
			t.Errorf("%s: %v is no SyntaxError", name, err)
		}
	}
}

func tags(field uint16, n int) []leaf.Tag {
	var ts []leaf.Tag
	for i := range n {
		ts = append(ts, leaf.Tag{Field: field, Value: leaf.Hash{byte(i >> 8), byte(i)}})
	}
	return ts
}

func commits(n int) []leaf.Commit {
	var cs []leaf.Commit
	for i := range n {
		cs = append(cs, leaf.Commit{Field: uint16(i + 1), Source: "a"})
	}
	return cs
}

func TestLogOf(t *testing.T) {
	const family = "log.example/id"
	for _, l := range []leaf.Leaf{
		&leaf.Event{Log: family}, &leaf.Subject{Log: family}, &leaf.Keys{Log: family},
		&leaf.Erasure{Log: family}, &leaf.Loss{Log: family}, &leaf.Shard{Log: family},
	} {
		if got, ok := leaf.LogOf(l); !ok || got != family {
			t.Errorf("%T is of log %q, %t", l, got, ok)
		}
	}
	if got, ok := leaf.LogOf(&leaf.Root{Origin: family + "/1"}); ok {
		t.Errorf("a root is of log %q", got)
	}
}

func TestCompareTags(t *testing.T) {
	sorted := []leaf.Tag{{Field: 1, Value: leaf.Hash{0xff}}, {Field: 2}, {Field: 2, Value: leaf.Hash{0x01}}, {Field: 2, Value: leaf.Hash{0xf8}}, {Field: 10}}
	if !slices.IsSortedFunc(sorted, leaf.CompareTags) {
		t.Error("tags are not ordered by field and bytes")
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Input))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := leaf.Parse(b)
		if err != nil {
			return
		}
		again, err := l.Format()
		if err != nil {
			t.Fatalf("parsed and not formatted: %v", err)
		}
		if string(again) != string(b) {
			t.Fatalf("parsed %q, formatted %q", b, again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	event := []byte(accepted(b, "event"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := leaf.Parse(event); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFormat(b *testing.B) {
	l, err := leaf.Parse([]byte(accepted(b, "event")))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Format(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNames(t *testing.T) {
	for origin, want := range map[string]bool{"a/b/2026": true, "a/b": false, "a/b/": false, "a/b/c/d": false, "a/bc": false, "x/a/b/2026": false, "": false} {
		if leaf.InFamily(origin, "a/b") != want {
			t.Errorf("InFamily(%q): want %v", origin, want)
		}
	}
	for source, want := range map[string]bool{"okta-prod": true, "0.a_b": true, "": false, "Okta": false, "-okta": false, "okta prod": false, strings.Repeat("a", 65): false} {
		if leaf.ValidSource(source) != want {
			t.Errorf("ValidSource(%q): want %v", source, want)
		}
	}
}
