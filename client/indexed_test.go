package client_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tag"
	"idlog/proto/trie"
)

// tagOf returns the first tag of a field of a receipt; that of the source is no tag of the leaf.
func tagOf(r *client.Receipt, field uint16) leaf.Tag {
	for _, t := range r.Event.Tags {
		if t.Field == field {
			return t
		}
	}
	return leaf.Tag{Field: mapfn.Source, Value: mapfn.SourceValue(r.Event.Source)}
}

// TestIndexed makes the operator log the root of an index that is not that of the entries, in each way in turn.
func TestIndexed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		field uint16 // of the list that change is given
		claim evidence.Claim
		// before is done when the receipts of e0, e1 and e2 came, and before the root leaf; change falsifies a list of e1,
		// and is told which entry the keys leaf is.
		before func(op *clienttest.Operator, r *client.Receipt) error
		change func(list []trie.Posting, keys trie.Posting) []trie.Posting
	}{
		{name: "honest"},
		{name: "the same leaf again", before: func(op *clienttest.Operator, r *client.Receipt) error { op.Again(r.Index); return nil }},
		{name: "an erasure that names the tags", before: func(op *clienttest.Operator, r *client.Receipt) error {
			return op.Erase(2, tagOf(r, tag.EventID), tagOf(r, tag.Person))
		}},
		{name: "a key that is left out", field: tag.Target, claim: evidence.Omission,
			change: func([]trie.Posting, trie.Posting) []trie.Posting { return nil }},
		{name: "an id that is left out", field: tag.EventID, claim: evidence.Omission,
			change: func([]trie.Posting, trie.Posting) []trie.Posting { return nil }},
		{name: "an entry that is left out", field: tag.Person, claim: evidence.Omission,
			change: func(l []trie.Posting, _ trie.Posting) []trie.Posting { return []trie.Posting{l[0], l[2]} }},
		{name: "left out of its source", field: mapfn.Source, claim: evidence.Omission,
			change: func(l []trie.Posting, _ trie.Posting) []trie.Posting { return l[:1] }},
		{name: "moved", field: tag.Actor, claim: evidence.Omission,
			change: func(l []trie.Posting, _ trie.Posting) []trie.Posting { l[0].Index--; l[1].Index--; return l }},
		{name: "under another leaf", field: tag.Class, claim: evidence.Omission,
			change: func(l []trie.Posting, _ trie.Posting) []trie.Posting { l[1].Leaf[0] ^= 1; return l }},
		{name: "an entry that has another id", field: tag.EventID, claim: evidence.Addition,
			change: func(l []trie.Posting, keys trie.Posting) []trie.Posting { return append([]trie.Posting{keys}, l...) }},
		{name: "an entry that is not in the log", field: tag.EventID, claim: evidence.Addition,
			change: func(l []trie.Posting, _ trie.Posting) []trie.Posting { return append([]trie.Posting{{Index: 1}}, l...) }},
		{name: "the event as another leaf", claim: evidence.Duplicate,
			before: func(op *clienttest.Operator, _ *client.Receipt) error { return op.Log(clienttest.SignIn("e1")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op := clienttest.New(t)
			c := dial(t, op, withState(open(t, t.TempDir())))
			var receipts []*client.Receipt
			for _, id := range []string{"e0", "e1", "e2"} {
				res := submitOne(t, c, clienttest.SignIn(id), client.Options{})
				check(t, res.Err)
				receipts = append(receipts, res.Receipt)
			}
			r := receipts[1]
			entry, err := c.Entry(t.Context(), 1, client.Show{})
			check(t, err)
			keys := trie.Posting{Index: 1, Leaf: leaf.HashOf(entry.Bytes)}
			op.Set(func(op *clienttest.Operator) {
				if tt.before != nil {
					check(t, tt.before(op, r))
				}
				var change func(clienttest.Lists)
				if tt.change != nil {
					of := tagOf(r, tt.field)
					key := mapfn.Key(of.Field, of.Value)
					change = func(x clienttest.Lists) {
						if x[key] = tt.change(x[key], keys); x[key] == nil {
							delete(x, key)
						}
					}
				}
				check(t, op.Root(change))
			})
			err = c.Indexed(t.Context(), r)
			if tt.claim == "" {
				check(t, err)
				for _, r := range receipts {
					check(t, c.Indexed(t.Context(), r))
				}
				return
			}
			m, ok := errors.AsType[*client.Mismatch](err)
			if !ok || m.Step != 9 || !strings.Contains(m.What, string(tt.claim)) {
				t.Fatalf("got %v, want a mismatch in step 9: %s", err, tt.claim)
			}
			b, err := os.ReadFile(m.File)
			check(t, err)
			e, err := evidence.Parse(b)
			check(t, err)
			verdict, err := evidence.Judge(e, op.Policy)
			check(t, err)
			if !verdict.Proven || verdict.Claim != tt.claim {
				t.Errorf("the evidence is judged %+v", verdict)
			}
		})
	}
}

// An answer that does not hold is none, and kept.
func TestIndexedAnswers(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op, withState(open(t, t.TempDir())))
	res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{})
	check(t, res.Err)
	op.Set(func(op *clienttest.Operator) { check(t, op.Root(nil)) })
	for _, lie := range []string{"another list", "false page", "elsewhere"} {
		op.Set(func(op *clienttest.Operator) { op.Lie = lie })
		if m, ok := errors.AsType[*client.Mismatch](c.Indexed(t.Context(), res.Receipt)); !ok || m.Step != 0 || m.Evidence != nil {
			t.Errorf("%s: got %v", lie, m)
		} else if _, err := os.Stat(m.File); err != nil && lie != "elsewhere" {
			t.Errorf("%s: the answer is not kept: %v", lie, err)
		}
	}
}

// An index that is late is waited for, and none shows nothing.
func TestIndexedLater(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	res := submitOne(t, c, clienttest.SignIn("e1"), client.Options{})
	check(t, res.Err)
	if err := c.Indexed(t.Context(), res.Receipt); !errors.Is(err, client.ErrNoIndex) {
		t.Fatalf("without an index: %v", err)
	}
	op.Set(func(op *clienttest.Operator) { check(t, op.Root(nil)) })
	late := submitOne(t, c, clienttest.SignIn("e2"), client.Options{})
	check(t, late.Err)

	// asked waits until the log was asked once more.
	asked := func(before int) {
		for n := before; n == before; runtime.Gosched() {
			op.Set(func(op *clienttest.Operator) { n = op.Calls["History"] })
		}
	}
	var before int
	op.Set(func(op *clienttest.Operator) { before = op.Calls["History"] })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Indexed(ctx, late.Receipt) }()
	asked(before)
	asked(before + 1) // the first answer was read
	cancel()
	if e, ok := errors.AsType[*client.Unindexed](<-ended); !ok || e.Index != late.Receipt.Index || e.Size > e.Index || !errors.Is(e, context.Canceled) {
		t.Fatalf("got %v", e)
	}
	go func() { ended <- c.Indexed(t.Context(), late.Receipt) }()
	op.Set(func(op *clienttest.Operator) { before = op.Calls["History"] })
	asked(before)
	op.Set(func(op *clienttest.Operator) { check(t, op.Root(nil)) })
	check(t, <-ended)
}
