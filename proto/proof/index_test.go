package proof_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/tile"
)

const (
	indexFamily = "log.example/id"
	indexN      = 34 // entries that the root leaf speaks of
	indexAt     = 35 // where it stands
	indexSize   = 41
)

var (
	alice  = leaf.Hash{0xa1} // 11 events have this tag 2
	nobody = leaf.Hash{0x0b}
	other  = prototest.NewKey("log.example/id/2027", checkpoint.Ed25519, checkpoint.LogRole)
)

// indexLog has keys, an entry that is no leaf, events of two sources of which some are alice's, and a root leaf, which each
// change may make a lie.
func indexLog(t testing.TB, change ...func(*leaf.Root)) *prototest.Log {
	t.Helper()
	l := prototest.NewLog(logKey.Name(), logKey)
	l.Append(indexLeaf(t, &leaf.Keys{Log: indexFamily, Received: 1, Epoch: 1, VRF: leaf.Hash{9}}))
	l.Fill(2)
	for i := range indexN - 2 {
		e := leaf.Event{Log: indexFamily, Source: "okta", Received: int64(i), Assurance: leaf.AssurancePulled, Keys: 1,
			Fields: leaf.Hash{byte(i)}, Tags: []leaf.Tag{{Field: 1, Value: leaf.Hash{1, byte(i)}}}}
		switch i % 3 {
		case 0:
			e.Tags = append(e.Tags, leaf.Tag{Field: 2, Value: alice})
		case 1:
			e.Source = "auth0"
		}
		l.Append(indexLeaf(t, &e))
	}
	l.Fill(indexAt)
	r := prototest.IndexOf(l.Leaves[:indexN]).Root(l.Origin, 1_800_000_000_000)
	for _, c := range change {
		c(r)
	}
	l.Append(indexLeaf(t, r))
	l.Fill(indexSize)
	return l
}

func indexLeaf(t testing.TB, l interface{ Format() ([]byte, error) }) []byte {
	t.Helper()
	b, err := l.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func indexPolicyOf() string {
	return "log " + logKey.VKey + "\nlog " + other.VKey + "\nwitness w " + witness.VKey + "\nquorum w\n"
}

func indexPolicy(t testing.TB) *policy.Policy {
	t.Helper()
	pol, err := policy.Parse([]byte(indexPolicyOf()))
	if err != nil {
		t.Fatal(err)
	}
	return pol
}

func indexNote(l *prototest.Log) []byte { return l.Note(int64(len(l.Leaves)), 1_800_000_000, witness) }

// indexQueries are an absent key, a whole list with entries, a page of hashes and a list of one.
func indexQueries() []prototest.Query {
	return []prototest.Query{
		{Field: 2, Value: nobody},
		{Field: 2, Value: alice},
		{Field: mapfn.Source, Value: mapfn.SourceValue("auth0"), Start: 3, Count: 5, HashesOnly: true},
		{Field: mapfn.Keys},
	}
}

func indexProof(t testing.TB, strict bool) *proof.Index {
	l := indexLog(t)
	return l.IndexProof(indexAt, indexSize, indexNote(l), strict, indexQueries()...)
}

// TestIndexVerify: proofs of the oracle hold, say what the log has, and their hashes are those that a reader of the log's
// tiles gets.
func TestIndexVerify(t *testing.T) {
	for _, strict := range []bool{false, true} {
		l, x := indexLog(t), indexProof(t, strict)
		v, err := x.Verify(indexPolicy(t))
		if err != nil {
			t.Fatal(err)
		}
		if v.Root.N != indexN || v.Checkpoint.Size != indexSize || len(v.Cosignatures) != 1 {
			t.Errorf("says %+v", v)
		}
		if a := x.Answer(2, nobody); a == nil || a.List != nil {
			t.Errorf("nobody: %+v", a)
		}
		if a := x.Answer(2, alice); a == nil || a.List.Head.N != 11 || !a.List.Page.Whole(a.List.Head) {
			t.Errorf("alice: %+v", a)
		}
		if x.Answer(3, alice) != nil || x.Answer(1, leaf.Hash{}) != nil {
			t.Error("answers what was not asked")
		}
		var known []int64
		for _, a := range x.Answers {
			for i := 0; strict && a.List != nil && i < len(a.List.Page.Postings); i++ {
				known = append(known, a.List.Page.Postings[i].Index)
			}
		}
		r := tile.NewReader(v.Checkpoint, prototest.Fetch(l.Resources(indexSize)))
		hashes, err := proof.IndexHashes(indexSize, indexN, indexAt, known, func(from, to int64) ([][32]byte, error) {
			return r.Subtrees(context.Background(), from, to)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.Hashes, hashes); diff != "" {
			t.Errorf("strict %v: hashes (-oracle +reader):\n%s", strict, diff)
		}
	}
}

// TestIndexHashes: places in any order and twice are one each, and what cannot be proven is an error.
func TestIndexHashes(t *testing.T) {
	l := indexLog(t)
	subtrees := func(from, to int64) ([][32]byte, error) { return l.Subtrees(from, to), nil }
	want, err := proof.IndexHashes(indexSize, indexN, indexAt, []int64{2, 5, 33}, subtrees)
	if err != nil {
		t.Fatal(err)
	}
	entries := []int64{33, 5, 2, 5}
	if got, err := proof.IndexHashes(indexSize, indexN, indexAt, entries, subtrees); err != nil || !slices.Equal(got, want) {
		t.Errorf("in another order: %x, %v", got, err)
	}
	if !slices.Equal(entries, []int64{33, 5, 2, 5}) {
		t.Error("sorts its caller's slice")
	}
	for _, c := range []struct {
		name        string
		size, n, at int64
		entries     []int64
	}{
		{"an entry beyond the root leaf's", indexSize, indexN, indexAt, []int64{indexN}},
		{"a negative entry", indexSize, indexN, indexAt, []int64{-1}},
		{"a root leaf over what follows it", indexSize, indexAt + 1, indexAt, nil},
		{"a root leaf beyond the tree", indexAt, indexN, indexAt, nil},
	} {
		if hashes, err := proof.IndexHashes(c.size, c.n, c.at, c.entries, subtrees); err == nil {
			t.Errorf("%s: %x", c.name, hashes)
		}
	}
	failed := errors.New("a tile is missing")
	if _, err := proof.IndexHashes(indexSize, indexN, indexAt, nil, func(from, to int64) ([][32]byte, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// TestParseIndexGarbled: a line whose first value is none, and whose others then are not looked at, is refused.
func TestParseIndexGarbled(t *testing.T) {
	good, err := indexProof(t, true).Format()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good[:bytes.Index(good, []byte("\n\n"))+1]), "\n")
	for i, l := range lines {
		words := strings.Split(strings.TrimSuffix(l, "\n"), " ")
		for j := range words {
			for _, bad := range []string{"", "!", "-1", "x x"} {
				changed := slices.Clone(words)
				changed[j] = bad
				all := slices.Clone(lines)
				all[i] = strings.Join(changed, " ") + "\n"
				if _, err := proof.ParseIndex([]byte(strings.Join(all, "") + string(good[len(strings.Join(lines, "")):]))); err == nil && l != "" {
					t.Errorf("accepted %q for %q", all[i], l)
				}
			}
		}
	}
}
