package evidence_test

import (
	"bytes"
	"testing"

	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

// indexed appends some entries to a log and a root leaf over all that it has, which change may falsify; it returns
// the index of the first entry and that of the root leaf.
func indexed(t *testing.T, l *prototest.Log, change func(*leaf.Root)) (first, at int64) {
	t.Helper()
	first = l.Append(event(t, nil), event(t, func(e *leaf.Event) { e.Tags[0].Value, e.Fields = [32]byte{7}, [32]byte{7} }), []byte("nobody's"))
	root := prototest.IndexOf(l.Leaves).Root(origin, at64)
	if change != nil {
		change(root)
	}
	b, err := root.Format()
	if err != nil {
		t.Fatal(err)
	}
	return first, l.Append(b)
}

const at64 = int64(at) * 1000

// indexes adds the verdicts on claims about the index. Its logs are its own: what stands in the log of the others is as it was.
func indexes(t *testing.T, add func(name string, claim evidence.Claim, proven bool, accused string, parts ...evidence.Part)) {
	fresh := func() *prototest.Log {
		l := prototest.NewLog(origin, logKey)
		l.Fill(5)
		return l
	}
	part := func(l *prototest.Log, i int64) evidence.Part {
		size := int64(len(l.Leaves))
		b, err := l.Proof(i, size, l.Note(size, at)).Format()
		if err != nil {
			t.Fatal(err)
		}
		return evidence.Part{Type: evidence.Proof, Data: b}
	}
	own := func(root *leaf.Root) evidence.Part {
		b, err := root.Format()
		if err != nil {
			t.Fatal(err)
		}
		return evidence.Part{Type: evidence.Leaf, Data: b}
	}

	honest := fresh()
	_, root := indexed(t, honest, nil)
	again := honest.AppendRoot(root, at64)
	add("bad-root: a true one", evidence.BadRoot, false, "", part(honest, root))
	add("bad-root: two true ones", evidence.BadRoot, false, "", part(honest, root), part(honest, honest.AppendRoot(root+1, at64)))
	add("bad-root: one twice", evidence.BadRoot, false, "", part(honest, again), part(honest, again))
	add("bad-root: no root", evidence.BadRoot, false, "", part(honest, 5))
	add("bad-root: by the log's own root of the entries", evidence.BadRoot, false, "", part(honest, root), ranges(t, honest, root, int64(len(honest.Leaves))))
	add("bad-root: the same as its accuser's", evidence.BadRoot, false, "", part(honest, root), own(prototest.IndexOf(honest.Leaves[:root]).Root(origin, 0)))

	for _, c := range []struct {
		name   string
		change func(*leaf.Root)
	}{
		{"of another map", func(r *leaf.Root) { r.MapRoot[0] ^= 1 }},
		{"of another number of keys", func(r *leaf.Root) { r.Keys++ }},
	} {
		l := fresh()
		_, root := indexed(t, l, c.change)
		right := l.AppendRoot(root, at64)
		add("bad-root: two of one size, the first "+c.name, evidence.BadRoot, true, origin, part(l, root), part(l, right))
		add("bad-root "+c.name+", by its accuser's word", evidence.BadRoot, false, origin, part(l, root), own(prototest.IndexOf(l.Leaves[:root]).Root(origin, 0)))
	}
	l := fresh()
	_, root = indexed(t, l, func(r *leaf.Root) { r.LogRoot[0] ^= 1 })
	add("bad-root of other entries", evidence.BadRoot, true, origin, part(l, root), ranges(t, l, root, int64(len(l.Leaves))))
	add("bad-root of other entries, by the hashes of another log", evidence.BadRoot, false, "", part(l, root), ranges(t, honest, root, int64(len(honest.Leaves))))
	l = fresh()
	_, root = indexed(t, l, func(r *leaf.Root) { r.N += 5 })
	add("bad-root: of entries to come", evidence.BadRoot, true, origin, part(l, root))
	l = fresh()
	_, root = indexed(t, l, func(r *leaf.Root) { *r = *prototest.IndexOf(nil).Root(origin, at64) })
	add("bad-root of no entries", evidence.BadRoot, true, origin, part(l, root))
	l = fresh()
	_, root = indexed(t, l, func(r *leaf.Root) { r.Origin = "other.example/id/2026" })
	add("bad-root of another log", evidence.BadRoot, true, origin, part(l, root))
	l = fresh()
	_, root = indexed(t, l, nil)
	add("bad-root: fewer entries than before", evidence.BadRoot, true, origin, part(l, root), part(l, l.AppendRoot(root-1, at64)))

	// An index that is not that of the entries: its root stands in the log, and proofs hold under it.
	tag := leaf.Tag{Field: 1, Value: [32]byte{7}}
	key := mapfn.Key(tag.Field, tag.Value)
	lie := func(change func(lists map[leaf.Hash][]trie.Posting)) (l *prototest.Log, first int64, answered evidence.Part) {
		l = fresh()
		first = l.Append(event(t, func(e *leaf.Event) { e.Tags = []leaf.Tag{tag} }), event(t, func(e *leaf.Event) { e.Tags, e.Received = []leaf.Tag{tag}, e.Received+1 }))
		x := prototest.IndexOf(l.Leaves)
		root := x.Root(origin, at64)
		change(x.Lists)
		x = prototest.NewIndex(x.Lists)
		lies := x.Root(origin, at64)
		root.Keys, root.MapRoot = lies.Keys, lies.MapRoot
		b, err := root.Format()
		if err != nil {
			t.Fatal(err)
		}
		rootAt := l.Append(b)
		size := int64(len(l.Leaves))
		p := l.IndexProof(rootAt, size, l.Note(size, at), false, prototest.Query{Field: tag.Field, Value: tag.Value, HashesOnly: true})
		a := &p.Answers[0]
		var head trie.Head
		if a.Path, head = x.Path(key); head.N == 0 {
			a.List = nil
		} else {
			a.List = &proof.List{Head: head, Page: x.Page(key, 0, head.N), Entries: make([][]byte, head.N)}
		}
		if b, err = p.Format(); err != nil {
			t.Fatal(err)
		}
		return l, first, evidence.Part{Type: evidence.IndexProof, Data: b}
	}
	type lists = map[leaf.Hash][]trie.Posting
	l, first, answered := lie(func(x lists) { x[key] = x[key][:1] })
	add("omission of an entry", evidence.Omission, true, origin, part(l, first+1), answered)
	add("omission: the entry is there", evidence.Omission, false, "", part(l, first), answered)
	add("omission: an entry of other keys", evidence.Omission, false, "", part(l, 0), answered)
	late := l.Append(event(t, func(e *leaf.Event) { e.Tags = []leaf.Tag{tag} }))
	add("omission: an entry that the index does not reach", evidence.Omission, false, "", part(l, late), answered)
	l, first, answered = lie(func(x lists) { delete(x, key) })
	add("omission of a key", evidence.Omission, true, origin, part(l, first), answered)
	l, first, answered = lie(func(x lists) { x[key][0].Index-- })
	add("omission of an entry that was moved", evidence.Omission, true, origin, part(l, first), answered)
	add("addition of an entry that was moved", evidence.Addition, true, origin, answered, part(l, first-1))
	add("addition: the entry belongs there", evidence.Addition, false, "", answered, part(l, first+1))
	l, first, answered = lie(func(x lists) { x[key][1].Leaf[0] ^= 1 })
	add("addition of an entry that no log has", evidence.Addition, true, origin, answered, part(l, first+1))
	add("addition: another log's entry", evidence.Addition, false, "", answered, part(stranger(), 0))

	l = fresh()
	first, root = indexed(t, l, nil)
	size := int64(len(l.Leaves))
	b, err := l.IndexProof(root, size, l.Note(size, at), false, prototest.Query{Field: 1, Value: [32]byte{7}}).Format()
	if err != nil {
		t.Fatal(err)
	}
	whole := evidence.Part{Type: evidence.IndexProof, Data: b}
	add("omission: an index that leaves nothing out", evidence.Omission, false, "", part(l, first+1), whole)
	add("addition: an index that has nothing added", evidence.Addition, false, "", whole, part(l, first+1))
	replaced := func(old, new string) evidence.Part {
		return evidence.Part{Type: evidence.IndexProof, Data: bytes.Replace(whole.Data, []byte(old), []byte(new), 1)}
	}
	add("omission: an answer that does not hold", evidence.Omission, false, "", part(l, first+1), replaced("list 1 ", "list 2 "))
	add("omission: an index of a tree that nobody signed", evidence.Omission, false, "", part(l, first+1), replaced("\n— ", "\n— x"))
}

func stranger() *prototest.Log {
	l := prototest.NewLog("other.example/id/2026", other)
	l.Fill(300)
	return l
}
