package proof_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

// An indexVector is one of testdata/vectors/index-verify.json: a whole index proof, the policy it is judged by, and what it
// says if it holds.
type indexVector struct {
	Name    string   `json:"name"`
	Accept  bool     `json:"accept"`
	Policy  string   `json:"policy"`
	Input   string   `json:"input"`
	Verdict []string `json:"verdict,omitempty"`
}

// verdict is what a proof that was verified says, in lines.
func verdict(x *proof.Index, v *proof.IndexVerified) []string {
	mode := "root"
	if x.Strict {
		mode = "strict"
	}
	out := []string{fmt.Sprintf("log %s size %d", v.Checkpoint.Origin, v.Checkpoint.Size),
		fmt.Sprintf("root %d entries %d keys %d %s", x.At, v.Root.N, v.Root.Keys, mode)}
	for _, c := range v.Cosignatures {
		out = append(out, fmt.Sprintf("witness %s at %d", c.Witness, c.Time.Unix()))
	}
	since := "since -"
	if oldest := v.Oldest(); !oldest.IsZero() {
		since = fmt.Sprintf("since %d", oldest.Unix())
	}
	out = append(out, since)
	for _, a := range x.Answers {
		query := fmt.Sprintf("query %d %s", a.Field, to64(a.Value[:]))
		if a.List == nil {
			out = append(out, query+" absent")
			continue
		}
		out = append(out, fmt.Sprintf("%s present %d from %d", query, a.List.Head.N, a.List.Page.Start))
		for i, p := range a.List.Page.Postings {
			word := "posting"
			if a.List.Entries[i] != nil {
				word = "entry"
			}
			out = append(out, fmt.Sprintf("%s %d %s", word, p.Index, to64(p.Leaf[:])))
		}
	}
	return out
}

func to64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// retell makes a proof say what an index has that is not the log's: the answers become those of that index, hashes only.
func retell(l *prototest.Log, x *prototest.Index, strict bool, queries ...prototest.Query) *proof.Index {
	p := l.IndexProof(indexAt, indexSize, indexNote(l), strict)
	for _, q := range queries {
		key := mapfn.Key(q.Field, q.Value)
		a := proof.Answer{Field: q.Field, Value: q.Value}
		var head trie.Head
		if a.Path, head = x.Path(key); head.N > 0 {
			a.List = &proof.List{Head: head, Page: x.Page(key, 0, head.N), Entries: make([][]byte, head.N)}
		}
		p.Answers = append(p.Answers, a)
	}
	if !strict {
		return p
	}
	// The hashes are those of the log around the places that the liar names.
	var known []int64
	for _, a := range p.Answers {
		for i := 0; a.List != nil && i < len(a.List.Page.Postings); i++ {
			known = append(known, a.List.Page.Postings[i].Index)
		}
	}
	p.Hashes, _ = proof.IndexHashes(indexSize, indexN, indexAt, known, func(from, to int64) ([][32]byte, error) {
		return l.Subtrees(from, to), nil
	})
	return p
}

// indexCases are proofs that hold and proofs that lie. Each error contains why.
func indexCases(t testing.TB) (vs []indexVector, why []string) {
	pol := indexPolicyOf()
	add := func(name, because string, x *proof.Index) {
		t.Helper()
		b, err := x.Format()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vs = append(vs, indexVector{Name: name, Accept: because == "", Policy: pol, Input: string(b)})
		why = append(why, because)
	}
	l := indexLog(t)
	note := indexNote(l)
	prove := func(strict bool, q ...prototest.Query) *proof.Index {
		return l.IndexProof(indexAt, indexSize, note, strict, q...)
	}
	whole := prototest.Query{Field: 2, Value: alice}
	hashes := prototest.Query{Field: 2, Value: alice, HashesOnly: true}
	absent := prototest.Query{Field: 2, Value: nobody}
	one := prototest.Query{Field: mapfn.Keys}

	// What holds.
	add("absent", "", prove(false, absent))
	add("absent, strict", "", prove(true, absent))
	add("a list with entries", "", prove(false, whole))
	add("a list with entries, strict", "", prove(true, whole))
	add("a list of hashes", "", prove(false, hashes))
	add("a list of hashes, strict", "", prove(true, hashes))
	add("a page", "", prove(true, prototest.Query{Field: 2, Value: alice, Start: 3, Count: 4}))
	add("how many alone", "", prove(true, prototest.Query{Field: 2, Value: alice, Count: -1}))
	add("a page behind the last posting", "", prove(true, prototest.Query{Field: 2, Value: alice, Start: 11, Count: -1}))
	add("several queries", "", prove(true, indexQueries()...))
	two := prove(true, prototest.Query{Field: 1, Value: leaf.Hash{1, 0}}, hashes) // both have entry 2
	add("one entry in two lists", "", two)
	{
		l := prototest.NewLog(logKey.Name(), logKey)
		l.AppendRoot(0, 1)
		add("an empty map", "", l.IndexProof(0, 1, indexNote(l), true, absent))
		l.AppendRoot(1, 2)
		add("a map of one key", "", l.IndexProof(1, 2, indexNote(l), true, absent, prototest.Query{Field: mapfn.Root}))
	}
	{
		x := indexLog(t, func(r *leaf.Root) { r.Keys++ })
		add("a false number of keys is the log's word", "", x.IndexProof(indexAt, indexSize, indexNote(x), true, absent))
	}

	// The checkpoint and its policy.
	alter := func(name, because string, x *proof.Index, change func(x *proof.Index)) {
		t.Helper()
		change(x)
		add(name, because, x)
	}
	alter("cosigned by no quorum", "quorum", prove(true, absent), func(x *proof.Index) { x.Checkpoint = l.Note(indexSize, 1) })
	alter("signed by another log's key", "not signed", prove(true, absent), func(x *proof.Index) {
		x.Checkpoint = prototest.Note(l.Checkpoint(indexSize), 1, other, witness)
	})
	alter("a false signature", "signature", prove(true, absent), func(x *proof.Index) {
		x.Checkpoint = l.Note(indexSize-1, 1, witness)
		x.Checkpoint = append(l.Checkpoint(indexSize).Format(), x.Checkpoint[len(l.Checkpoint(indexSize-1).Format()):]...)
	})

	// The root leaf.
	lied := func(change func(r *leaf.Root)) *proof.Index {
		l := indexLog(t, change)
		return l.IndexProof(indexAt, indexSize, indexNote(l), true, absent, one)
	}
	add("a root leaf of another origin", "the root leaf is of", lied(func(r *leaf.Root) { r.Origin = other.Name() }))
	add("another log's checkpoint over the same entries", "the root leaf is of", func() *proof.Index {
		x := prove(true, absent)
		c := l.Checkpoint(indexSize)
		c.Origin = other.Name()
		x.Checkpoint = prototest.Note(c, 1, other, witness)
		return x
	}())
	add("a root over entries after itself", "a root over 36 entries at index 35", lied(func(r *leaf.Root) { r.N = indexAt + 1 }))
	add("a root over another number of entries", "which the root leaf names", lied(func(r *leaf.Root) { r.N = indexN - 1 }))
	add("a false root hash of the entries", "which the root leaf names", lied(func(r *leaf.Root) { r.LogRoot[3] ^= 1 }))
	add("a false map root", "does not lead to the map root", lied(func(r *leaf.Root) { r.MapRoot[3] ^= 1 }))
	alter("a root leaf beyond the checkpoint", "at index 35 of a tree of 35", prove(true, absent), func(x *proof.Index) { x.Checkpoint = l.Note(indexAt, 1, witness) })
	alter("the largest index", "at index 9223372036854775807", prove(true, absent), func(x *proof.Index) { x.At = math.MaxInt64 })
	alter("a root leaf at another place", "hashes", prove(true, absent), func(x *proof.Index) { x.At++ })
	alter("a root leaf that is not in the log", "the root of the checkpoint", prove(true, absent), func(x *proof.Index) {
		x.Root = indexLeaf(t, prototest.IndexOf(l.Leaves[:indexN]).Root(l.Origin, 1))
	})
	alter("an event as root leaf", "no root of the index", prove(true, absent), func(x *proof.Index) { x.Root = l.Leaves[5] })
	alter("no leaf as root leaf", "reading the root leaf", prove(true, absent), func(x *proof.Index) { x.Root = l.Leaves[1] })
	alter("an unknown map function", "reading the root leaf", prove(true, absent), func(x *proof.Index) {
		x.Root = bytes.Replace(x.Root, []byte("idlog-mapfn/1"), []byte("idlog-mapfn/2"), 1)
	})

	// The hashes.
	for _, strict := range []bool{false, true} {
		mode := map[bool]string{true: ", strict", false: ""}[strict]
		alter("a hash too few"+mode, "the hashes do not give", prove(strict, hashes), func(x *proof.Index) { x.Hashes = x.Hashes[1:] })
		alter("the last hash missing"+mode, "hashes end before", prove(strict, hashes), func(x *proof.Index) { x.Hashes = x.Hashes[:len(x.Hashes)-1] })
		alter("no hashes"+mode, "hashes end before", prove(strict, hashes), func(x *proof.Index) { x.Hashes = nil })
		alter("a hash too many"+mode, "1 hashes too many", prove(strict, hashes), func(x *proof.Index) { x.Hashes = append(x.Hashes, [32]byte{}) })
		alter("a hash twice"+mode, "the hashes do not give", prove(strict, hashes), func(x *proof.Index) { x.Hashes = slices.Insert(x.Hashes, 0, x.Hashes[0]) })
		alter("two hashes swapped"+mode, "the hashes do not give", prove(strict, hashes), func(x *proof.Index) { x.Hashes[0], x.Hashes[1] = x.Hashes[1], x.Hashes[0] })
		alter("a changed hash after the root leaf's entries"+mode, "the root of the checkpoint", prove(strict, hashes), func(x *proof.Index) { x.Hashes[len(x.Hashes)-1][7] ^= 1 })
	}
	alter("the hashes of the other mode", "hashes end before", prove(false, hashes), func(x *proof.Index) { x.Strict = true })
	alter("the hashes of the other mode, strict", "the hashes do not give", prove(true, hashes), func(x *proof.Index) { x.Strict = false })

	// The way to a key.
	key := mapfn.Key(2, alice)
	idx := prototest.IndexOf(l.Leaves[:indexN])
	p, head := idx.Path(key)
	alter("a present key as absent beside its neighbour", "it parts from the terminal key", prove(true, hashes), func(x *proof.Index) {
		neighbour := slices.MaxFunc(slices.Collect(maps.Keys(idx.Lists)), func(a, b leaf.Hash) int { return near(key, a) - near(key, b) })
		x.Answers[0].Path, _ = idx.Path(neighbour)
		x.Answers[0].List, x.Hashes = nil, prove(true, absent).Hashes
	})
	alter("a map with keys as empty", "the map is not empty", prove(true, absent), func(x *proof.Index) { x.Answers[0].Path = trie.Path{} })
	alter("an absent key as present with its terminal key's list", "does not lead to the map root", prove(true, absent), func(x *proof.Index) {
		a := &x.Answers[0]
		terminal := a.Path.Terminal
		a.List = &proof.List{Head: idx.Head(terminal), Page: idx.Page(terminal, 0, 0)}
	})
	alter("an absent key as present with alice's answer", "verifying the way to a key", prove(true, absent), func(x *proof.Index) {
		x.Answers[0].Path = p
		x.Answers[0].List = &proof.List{Head: head, Page: idx.Page(key, 0, 0)}
	})
	alter("alice's list for another field", "verifying the way to a key", prove(true, hashes), func(x *proof.Index) { x.Answers[0].Field = 3 })
	alter("a step without its node", "does not lead to the map root", prove(true, hashes), func(x *proof.Index) { x.Answers[0].Path.Steps = p.Steps[1:] })

	// The list and its page.
	list := func(name, because string, change func(l *proof.List)) {
		alter(name, because, prove(false, prototest.Query{Field: 2, Value: alice, Start: 3, Count: 5, HashesOnly: true}), func(x *proof.Index) { change(x.Answers[0].List) })
	}
	list("a list of one more", "does not lead to the map root", func(l *proof.List) { l.Head.N++ })
	list("a list of one less", "does not lead to the map root", func(l *proof.List) { l.Head.N-- })
	list("a list of none", "does not lead to the map root", func(l *proof.List) { l.Head.N = 0 })
	list("another list's root", "does not lead to the map root", func(l *proof.List) { l.Head.Root[0] ^= 1 })
	list("a page shifted by one", "wrong number of hashes", func(l *proof.List) { l.Page.Start++ })
	list("a page shifted back by one", "wrong number of hashes", func(l *proof.List) { l.Page.Start-- })
	list("a page that ends outside of the list", "numbers 7 to 12 of a list of 11", func(l *proof.List) { l.Page.Start = 7 })
	list("a page that begins outside of the list", "numbers 12 to 17", func(l *proof.List) { l.Page.Start = 12 })
	list("a page from the largest number on", "of a list of 11", func(l *proof.List) { l.Page.Start = math.MaxInt64 })
	drop := func(i int) func(l *proof.List) {
		return func(l *proof.List) {
			l.Page.Postings, l.Entries = slices.Delete(l.Page.Postings, i, i+1), slices.Delete(l.Entries, i, i+1)
		}
	}
	list("the first posting dropped", "wrong number of hashes", drop(0))
	list("a posting dropped", "wrong number of hashes", drop(2))
	list("the last posting dropped", "wrong number of hashes", drop(4))
	list("a posting dropped and the page moved", "wrong number of hashes", func(l *proof.List) { drop(0)(l); l.Page.Start++ })
	list("a posting added", "not those of the list's head", func(l *proof.List) {
		l.Page.Postings = slices.Insert(l.Page.Postings, 2, trie.Posting{Index: l.Page.Postings[2].Index - 1})
		l.Entries = append(l.Entries, nil)
	})
	list("a posting in another's place", "after entry", func(l *proof.List) { l.Page.Postings[1], l.Page.Postings[2] = l.Page.Postings[2], l.Page.Postings[1] })
	list("a posting of another index", "not those of the list's head", func(l *proof.List) { l.Page.Postings[2].Index++ })
	list("a posting of another leaf hash", "not those of the list's head", func(l *proof.List) { l.Page.Postings[2].Leaf[0] ^= 1 })
	list("a posting that is no entry of the index", "of 34", func(l *proof.List) { l.Page.Postings[4].Index = indexN })
	list("another entry", "not those of the list's head", func(p *proof.List) {
		p.Entries[2] = l.Leaves[p.Page.Postings[2].Index+1]
	})

	// Maps that are not the log's: the log says that they are, and only in part can a proof show that they are not.
	mapped := func(change func(lists map[leaf.Hash][]trie.Posting)) (*prototest.Log, *prototest.Index) {
		lists := maps.Clone(idx.Lists)
		change(lists)
		x := prototest.NewIndex(lists)
		return indexLog(t, func(r *leaf.Root) { r.MapRoot = x.Root("", 0).MapRoot }), x
	}
	lying, x := mapped(func(lists map[leaf.Hash][]trie.Posting) {
		lists[key] = append(lists[key][:5:5], trie.Posting{Index: indexN - 1, Leaf: leaf.Hash{1}})
	})
	add("an entry that is not in the log is the log's word", "", retell(lying, x, false, hashes))
	add("an entry that is not in the log, strict", "the root of the entries 0 to 33", retell(lying, x, true, hashes))
	lying, x = mapped(func(lists map[leaf.Hash][]trie.Posting) {
		lists[key] = append(slices.Clone(lists[key]), trie.Posting{Index: indexN, Leaf: leaf.HashOf(l.Leaves[indexN])})
	})
	add("an entry that the root leaf does not speak of", "of 34", retell(lying, x, false, hashes))
	add("an entry that the root leaf does not speak of, strict", "entry 34 is not below the 34", retell(lying, x, true, hashes))
	id := prototest.Query{Field: 1, Value: leaf.Hash{1, 0}}
	lying, x = mapped(func(lists map[leaf.Hash][]trie.Posting) {
		lists[mapfn.Key(1, id.Value)] = []trie.Posting{{Index: 2, Leaf: leaf.Hash{1}}}
	})
	add("two leaf hashes for one entry", "two leaf hashes for entry 2", retell(lying, x, true, id, hashes))
	lying, x = mapped(func(lists map[leaf.Hash][]trie.Posting) {
		lists[key] = []trie.Posting{{Index: 2, Leaf: leaf.HashOf(l.Leaves[2])}, {Index: 3, Leaf: leaf.HashOf(l.Leaves[3])}}
	})
	add("an entry under a key that it does not have is the log's word where only its hash is shown", "", retell(lying, x, true, hashes))
	foreign := retell(lying, x, true, hashes)
	foreign.Answers[0].List.Entries = [][]byte{l.Leaves[2], l.Leaves[3]}
	add("an entry under a key that it does not have", "entry 3 does not belong under the key", foreign)
	lying, x = mapped(func(lists map[leaf.Hash][]trie.Posting) {
		lists[key] = slices.Clone(lists[key])
		slices.Reverse(lists[key])
	})
	add("a list that descends", "after entry", retell(lying, x, false, hashes))
	return vs, why
}

// near is how many bits two keys have in common from the first on; a key is not near itself.
func near(a, b leaf.Hash) int {
	if a == b {
		return -1
	}
	return trie.Parting(a, b)
}

// TestIndexLies holds each proof to its verdict, and the vectors to the proofs.
func TestIndexLies(t *testing.T) {
	vs, why := indexCases(t)
	for i, c := range vs {
		pol, err := policy.Parse([]byte(c.Policy))
		if err != nil {
			t.Fatal(err)
		}
		x, err := proof.ParseIndex([]byte(c.Input))
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		v, err := x.Verify(pol)
		switch {
		case c.Accept && err != nil:
			t.Errorf("%s: refused: %v", c.Name, err)
		case c.Accept:
			vs[i].Verdict = verdict(x, v)
		case err == nil:
			t.Errorf("%s: accepted", c.Name)
		case !strings.Contains(err.Error(), why[i]):
			t.Errorf("%s: refused for %q, want %q", c.Name, err, why[i])
		}
	}
	b, err := json.MarshalIndent(vs, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, "../../testdata/vectors/index-verify.json", *update, append(b, '\n'))
}

// TestIndexMadeByHand: Verify takes nothing from the parser for granted.
func TestIndexMadeByHand(t *testing.T) {
	l, pol := indexLog(t), indexPolicy(t)
	for _, c := range []struct {
		name, why string
		change    func(absent, present *proof.Answer)
	}{
		{"as it is", "", func(absent, present *proof.Answer) {}},
		{"hashes without a slice of entries", "", func(absent, present *proof.Answer) { present.List.Entries = nil }},
		{"an entry for the first posting alone", "", func(absent, present *proof.Answer) { present.List.Entries = present.List.Entries[:1] }},
		{"a present key as absent", "says present true", func(absent, present *proof.Answer) { present.List = nil }},
		{"an absent key as present", "says present false", func(absent, present *proof.Answer) { absent.List = present.List }},
		{"an absent key as present in an empty map", "the map is not empty", func(absent, present *proof.Answer) {
			absent.Path, absent.List = trie.Path{}, present.List
		}},
		{"another list than the path's", "not the one that the map has", func(absent, present *proof.Answer) { present.List.Head.N++ }},
		{"another entry", "not the one that stands in the list", func(absent, present *proof.Answer) { present.List.Entries[2] = l.Leaves[3] }},
		{"a negative index", "after entry -1", func(absent, present *proof.Answer) { present.List.Page.Postings[0].Index = -1 }},
	} {
		x := l.IndexProof(indexAt, indexSize, indexNote(l), false, prototest.Query{Field: 2, Value: nobody}, prototest.Query{Field: 2, Value: alice})
		c.change(&x.Answers[0], &x.Answers[1])
		if _, err := x.Verify(pol); (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.name, err, c.why)
		}
	}
}
