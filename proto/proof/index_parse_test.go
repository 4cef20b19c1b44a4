package proof_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

func reformatIndex(b []byte) ([]byte, error) {
	x, err := proof.ParseIndex(b)
	if err != nil {
		return nil, err
	}
	return x.Format()
}

func indexParseCases(t testing.TB) []prototest.Case {
	l := indexLog(t)
	b, err := l.IndexProof(indexAt, indexSize, indexNote(l), true, prototest.Query{Field: 2, Value: nobody},
		prototest.Query{Field: 2, Value: alice, Start: 3, Count: 2},
		prototest.Query{Field: mapfn.Source, Value: mapfn.SourceValue("auth0"), Count: 2, HashesOnly: true}).Format()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	lines := strings.SplitAfter(good[:strings.Index(good, "\n\n")+1], "\n")
	first := func(word string) string { // the first line of a word
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, word) })
		return strings.TrimSuffix(lines[i], "\n")
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the proof", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	value := func(line string, n int, v string) string { // the proof with another value n of the first line of a word
		words := strings.Split(first(line), " ")
		words[n] = v
		return swap(first(line)+"\n", strings.Join(words, " ")+"\n")
	}
	h := to64(make([]byte, 32))
	absent := first("absent")
	bare := prototest.NewLog(logKey.Name(), logKey)
	bare.AppendRoot(0, 1)
	empty, err := bare.IndexProof(0, 1, bare.Note(1, 1, witness), false, prototest.Query{Field: 1}).Format()
	if err != nil {
		t.Fatal(err)
	}
	onEmpty := func(old, new string) string { return strings.Replace(string(empty), old, new, 1) }
	self := mapfn.Key(1, leaf.Hash{})
	note := good[strings.Index(good, "\n\n")+2:]
	return []prototest.Case{
		prototest.Accept("of three queries, strict", good),
		prototest.Accept("an empty map", empty),
		prototest.Accept("the largest numbers", onEmpty("root 0 ", "root 9223372036854775807 ")),
		prototest.Accept("field 65535", onEmpty("query 1 ", "query 65535 ")),
		prototest.Accept("absent without steps", onEmpty("empty\n", "absent "+h+" "+h+"\n")),
		prototest.Accept("present without steps", onEmpty("empty\n", "present\nlist 1 "+h+" 0 0\n")),
		prototest.Accept("steps of depths 255 and 0", onEmpty("empty\n", "absent "+h+" "+h+"\nstep 255 "+h+"\nstep 0 "+h+"\n")),
		prototest.Accept("a list of no postings", onEmpty("empty\n", "present\nlist 0 "+h+" 0 0\n")),
		prototest.Accept("a start outside of the list", onEmpty("empty\n", "present\nlist 1 "+h+" 9223372036854775807 0\n")),
		prototest.Accept("postings in no order", onEmpty("empty\n", "present\nlist 2 "+h+" 0 2\nposting 7 "+h+"\nposting 7 "+h+"\n")),
		prototest.Accept("a root leaf that is none", onEmpty(" root "+to64(bare.Leaves[0]), " root AA==")),

		prototest.Refuse("empty", ""),
		prototest.Refuse("header alone", "tlog-index-proof/v1\n"),
		prototest.Refuse("other version", swap("/v1", "/v2")),
		prototest.Refuse("byte order mark", "\ufeff"+good),
		prototest.Refuse("carriage returns", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("no query", onEmpty("query 1 "+h+"\nempty\n", "")),
		prototest.Refuse("no root", swap(first("root")+"\n", "")),
		prototest.Refuse("two roots", swap(first("root")+"\n", first("root")+"\n"+first("root")+"\n")),
		prototest.Refuse("root before the queries", onEmpty("query", "root 0 root AA==\nquery")),
		prototest.Refuse("unknown line", swap("root ", "note x\nroot ")),
		prototest.Refuse("unknown line at the end", swap("\n\n", "\nnote x\n\n")),
		prototest.Refuse("an empty line between the answers", swap("query 5", "\nquery 5")),
		prototest.Refuse("a space before a line", swap("query 5", " query 5")),
		prototest.Refuse("a space after a line", swap("present\n", "present \n")),
		prototest.Refuse("two spaces", swap("query 5", "query  5")),
		prototest.Refuse("field 0", value("query", 1, "0")),
		prototest.Refuse("field 65536", onEmpty("query 1 ", "query 65536 ")),
		prototest.Refuse("field with leading zero", value("query", 1, "02")),
		prototest.Refuse("value without padding", value("query", 2, h[:43])),
		prototest.Refuse("value of 31 bytes", value("query", 2, to64(make([]byte, 31)))),
		prototest.Refuse("value with unused bits set", value("query", 2, h[:42]+"B=")),
		prototest.Refuse("a query without a value", swap(first("query"), "query 2")),
		prototest.Refuse("a query of three values", swap(first("query"), first("query")+" "+h)),
		prototest.Refuse("queries descend by field", onEmpty("root ", "query 0 "+h+"\nempty\nroot ")),
		prototest.Refuse("queries descend by value", onEmpty("query 1 "+h, "query 1 "+to64(bytes.Repeat([]byte{1}, 32))+"\nempty\nquery 1 "+h)),
		prototest.Refuse("a query twice", onEmpty("root ", "query 1 "+h+"\nempty\nroot ")),
		prototest.Refuse("a query without an answer", onEmpty("empty\n", "")),
		prototest.Refuse("a query of two answers", onEmpty("empty\n", "empty\nempty\n")),
		prototest.Refuse("an empty map with a step", onEmpty("empty\n", "empty\nstep 0 "+h+"\n")),
		prototest.Refuse("an empty map with a value", onEmpty("empty\n", "empty "+h+"\n")),
		prototest.Refuse("an absent key is its own terminal key", onEmpty("empty\n", "absent "+to64(self[:])+" "+h+"\n")),
		prototest.Refuse("absent without a head", swap(absent, absent[:strings.LastIndex(absent, " ")])),
		prototest.Refuse("absent with a list", onEmpty("empty\n", "absent "+h+" "+h+"\nlist 1 "+h+" 0 0\n")),
		prototest.Refuse("present with a terminal key", swap("present\n", "present "+h+"\n")),
		prototest.Refuse("present without a list", onEmpty("empty\n", "present\n")),
		prototest.Refuse("two lists", onEmpty("empty\n", "present\nlist 1 "+h+" 0 0\nlist 1 "+h+" 0 0\n")),
		prototest.Refuse("depth 256", value("step", 1, "256")),
		prototest.Refuse("depth -1", value("step", 1, "-1")),
		prototest.Refuse("depth with leading zero", value("step", 1, "0"+strings.Fields(first("step"))[1])),
		prototest.Refuse("depths ascend", onEmpty("empty\n", "absent "+h+" "+h+"\nstep 0 "+h+"\nstep 1 "+h+"\n")),
		prototest.Refuse("a depth twice", swap(first("step"), first("step")+"\n"+first("step"))),
		prototest.Refuse("a step after the list", onEmpty("empty\n", "present\nlist 1 "+h+" 0 0\nstep 0 "+h+"\n")),
		prototest.Refuse("a list of 2^63", value("list", 1, "9223372036854775808")),
		prototest.Refuse("a negative start", value("list", 3, "-1")),
		prototest.Refuse("more postings than lines", value("list", 4, "3")),
		prototest.Refuse("fewer postings than lines", value("list", 4, "1")),
		prototest.Refuse("a count above all bounds", value("list", 4, "131073")),
		prototest.Refuse("a count of 2^63", value("list", 4, "9223372036854775808")),
		prototest.Refuse("a count with leading zero", value("list", 4, "02")),
		prototest.Refuse("left after the postings", onEmpty("empty\n", "present\nlist 1 "+h+" 0 1\nposting 0 "+h+"\nleft "+h+"\n")),
		prototest.Refuse("right before the postings", onEmpty("empty\n", "present\nlist 1 "+h+" 0 1\nright "+h+"\nposting 0 "+h+"\n")),
		prototest.Refuse("left after right", onEmpty("empty\n", "present\nlist 1 "+h+" 0 0\nright "+h+"\nleft "+h+"\n")),
		prototest.Refuse("a hash of two values", swap(first("hash"), first("hash")+" "+h)),
		prototest.Refuse("a hash of 33 bytes", value("hash", 1, to64(make([]byte, 33)))),
		prototest.Refuse("a hash before the root", swap(first("root"), first("hash")+"\n"+first("root"))),
		prototest.Refuse("an entry of no bytes", value("entry", 2, "")),
		prototest.Refuse("an entry with unused bits set", value("entry", 2, "AB==")),
		prototest.Refuse("an entry without padding", value("entry", 2, "AA")),
		prototest.Refuse("an entry without index", value("entry", 1, "")),
		prototest.Refuse("a posting of index 2^63", value("posting", 1, "9223372036854775808")),
		prototest.Refuse("an unknown mode", value("root", 2, "lax")),
		prototest.Refuse("a root without mode", swap(" strict ", " ")),
		prototest.Refuse("a root leaf of no bytes", value("root", 3, "")),
		prototest.Refuse("no empty line", swap("\n\n", "\n")),
		prototest.Refuse("two empty lines", swap("\n\n", "\n\n\n")),
		prototest.Refuse("no checkpoint", strings.TrimSuffix(good, note)),
		prototest.Refuse("checkpoint without signatures", good[:strings.LastIndex(good, "\n\n")+1]),
		prototest.Refuse("a note that is no checkpoint", swap("\n41\n", "\nforty\n")),
		prototest.Refuse("no final newline", strings.TrimSuffix(good, "\n")),
		prototest.Refuse("two proofs", good+good),
		prototest.Refuse("trailing byte", good+"\n"),
	}
}

func TestIndexVectors(t *testing.T) {
	prototest.Vectors(t, "index-proof.json", *update, indexParseCases(t), reformatIndex)
}

// TestIndexBounds: what is of the largest size is read, and nothing larger.
func TestIndexBounds(t *testing.T) {
	x := indexProof(t, false)
	read := func(what string, want bool, change func(x *proof.Index)) {
		t.Helper()
		changed := *x
		change(&changed)
		b, err := changed.Format()
		if (err == nil) != want {
			t.Fatalf("%s: written: %v", what, err)
		}
		if again, err := reformatIndex(b); err == nil && !bytes.Equal(again, b) {
			t.Errorf("%s: written again it differs", what)
		}
	}
	answers := func(n int) (all []proof.Answer) {
		for i := range n {
			all = append(all, proof.Answer{Field: 1, Value: leaf.Hash{byte(i >> 8), byte(i)}})
		}
		return all
	}
	postings := func(n int) *proof.List {
		return &proof.List{Page: trie.Page{Postings: make([]trie.Posting, n)}}
	}
	read("most answers", true, func(x *proof.Index) { x.Answers = answers(proof.MaxAnswers) })
	read("an answer too many", false, func(x *proof.Index) { x.Answers = answers(proof.MaxAnswers + 1) })
	read("most postings", true, func(x *proof.Index) {
		x.Answers = answers(2)
		x.Answers[0].List, x.Answers[1].List = postings(proof.MaxPostings-1), postings(1)
	})
	read("a posting too many", false, func(x *proof.Index) {
		x.Answers = answers(2)
		x.Answers[0].List, x.Answers[1].List = postings(proof.MaxPostings-1), postings(2)
	})
	read("no answer", false, func(x *proof.Index) { x.Answers = nil })
	read("answers that descend", false, func(x *proof.Index) { x.Answers = answers(2); slices.Reverse(x.Answers) })
	read("an answer twice", false, func(x *proof.Index) { x.Answers = slices.Repeat(answers(1), 2) })
	read("field 0", false, func(x *proof.Index) { x.Answers = []proof.Answer{{}} })
	read("a negative index", false, func(x *proof.Index) { x.At = -1 })
	read("no root leaf", false, func(x *proof.Index) { x.Root = nil })
	read("the largest root leaf", true, func(x *proof.Index) { x.Root = make([]byte, proof.MaxExtra) })
	read("a root leaf too large", false, func(x *proof.Index) { x.Root = make([]byte, proof.MaxExtra+1) })
	entry := func(size int) func(x *proof.Index) {
		return func(x *proof.Index) {
			x.Answers = answers(1)
			x.Answers[0].List = postings(1)
			x.Answers[0].List.Entries = [][]byte{make([]byte, size)}
		}
	}
	read("the largest entry", true, entry(65535))
	read("an entry too large", false, entry(65536))
	read("an entry of no bytes", false, entry(0))
	read("no checkpoint", false, func(x *proof.Index) { x.Checkpoint = nil })
	read("an absent key as its own terminal key", false, func(x *proof.Index) {
		x.Answers = answers(1)
		x.Answers[0].Path = trie.Path{Found: true, Terminal: mapfn.Key(1, leaf.Hash{})}
	})
	if _, err := proof.ParseIndex(make([]byte, proof.MaxIndex+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file too large: %v", err)
	}
}

// said is all that a proof that holds says.
func said(x *proof.Index, v *proof.IndexVerified) any {
	return []any{x.Answers, x.At, x.Strict, v.Root, v.Checkpoint, v.Cosignatures}
}

// TestIndexEveryByte: a proof of which a byte is changed, or a line dropped, doubled or moved, is refused or says the same.
// The way to an absent key is that of all keys whose search ends there, so it may say the same of another absent key.
func TestIndexEveryByte(t *testing.T) {
	l, pol := indexLog(t), indexPolicy(t)
	index := prototest.IndexOf(l.Leaves[:indexN])
	for _, strict := range []bool{false, true} {
		x := l.IndexProof(indexAt, indexSize, indexNote(l), strict, prototest.Query{Field: 2, Value: nobody},
			prototest.Query{Field: 2, Value: alice, Start: 4, Count: 2}, prototest.Query{Field: mapfn.Unknown, HashesOnly: true})
		v, err := x.Verify(pol)
		if err != nil {
			t.Fatal(err)
		}
		want, absent := said(x, v), x.Answers[0]
		good, err := x.Format()
		if err != nil {
			t.Fatal(err)
		}
		try := func(what string, b []byte) {
			x, err := proof.ParseIndex(b)
			if err != nil {
				return
			}
			if v, err := x.Verify(pol); err == nil {
				if a := &x.Answers[0]; a.List == nil && index.Head(mapfn.Key(a.Field, a.Value)).N == 0 {
					a.Field, a.Value = absent.Field, absent.Value
				}
				if diff := cmp.Diff(want, said(x, v)); diff != "" {
					t.Errorf("strict %v: %s says something else (-good +changed):\n%s", strict, what, diff)
				}
			}
		}
		for i := range good {
			b := bytes.Clone(good)
			for _, flip := range []byte{0x01, 0x20} {
				b[i] = good[i] ^ flip
				try(fmt.Sprintf("byte %d as %q", i, b[i]), b)
			}
			try(fmt.Sprintf("without byte %d", i), slices.Delete(bytes.Clone(good), i, i+1))
		}
		lines := bytes.SplitAfter(good, []byte("\n"))
		for i := range lines[:len(lines)-1] {
			try(fmt.Sprintf("without line %d", i), bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil))
			try(fmt.Sprintf("line %d twice", i), bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil))
			for j := range i {
				moved := slices.Clone(lines)
				moved[i], moved[j] = moved[j], moved[i]
				try(fmt.Sprintf("lines %d and %d swapped", i, j), bytes.Join(moved, nil))
			}
		}
	}
}

// TestIndexContinues: a page that begins where an older proof's list ended has that list before it, unless the log has
// changed what it said.
func TestIndexContinues(t *testing.T) {
	l, pol := indexLog(t), indexPolicy(t)
	query := prototest.Query{Field: 2, Value: alice}
	older := l.IndexProof(indexAt, indexSize, indexNote(l), true, query)
	e, err := leaf.Parse(l.Leaves[2])
	if err != nil {
		t.Fatal(err)
	}
	more := *e.(*leaf.Event)
	more.Received = 99
	l.Append(indexLeaf(t, &more))
	n := int64(len(l.Leaves))
	at := l.AppendRoot(n, 1_800_000_000_001)
	query.Start = older.Answers[0].List.Head.N
	newer := l.IndexProof(at, at+1, indexNote(l), true, query)
	for _, x := range []*proof.Index{older, newer} {
		if _, err := x.Verify(pol); err != nil {
			t.Fatal(err)
		}
	}
	if head, err := newer.Answers[0].List.Page.Before(); err != nil || head != older.Answers[0].List.Head {
		t.Errorf("before the page the list was %+v, %v; was %+v", head, err, older.Answers[0].List.Head)
	}
	if got := newer.Answers[0].List.Page.Postings; len(got) != 1 || got[0].Index != n-1 {
		t.Errorf("since then: %+v", got)
	}
	// The log takes back the first posting, and fills the list up.
	key := mapfn.Key(2, alice)
	lists := prototest.IndexOf(l.Leaves[:n]).Lists
	lists[key] = append(lists[key][1:len(lists[key]):len(lists[key])], trie.Posting{Index: n, Leaf: leaf.Hash{1}})
	if head, err := prototest.NewIndex(lists).Page(key, query.Start, 1).Before(); err != nil || head == older.Answers[0].List.Head {
		t.Errorf("a list that was changed continues the older: %v", err)
	}
}

// FuzzParseIndex: what is read is written as it was, and judging it never fails otherwise than by an error.
func FuzzParseIndex(f *testing.F) {
	for _, c := range indexParseCases(f) {
		if len(c.Data()) < 1<<14 {
			f.Add(c.Data())
		}
	}
	pol := indexPolicy(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := proof.ParseIndex(b)
		if err != nil {
			return
		}
		if again, err := x.Format(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("written again it differs: %v\n%q\n%q", err, b, again)
		}
		x.Verify(pol)
	})
}
