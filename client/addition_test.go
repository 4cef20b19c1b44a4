package client_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/proto/answer"
	"idlog/proto/evidence"
	"idlog/proto/mapfn"
	"idlog/proto/tag"
	"idlog/proto/trie"
)

// A history whose list has an entry that does not belong there is refused with evidence that convinces anyone, and one that does
// not show what it lists is refused.
func TestHistoryAddition(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op, withState(open(t, t.TempDir())))
	var receipts []*client.Receipt
	for _, id := range []string{"e1", "e2"} {
		res := submitOne(t, c, clienttest.SignIn(id), client.Options{})
		check(t, res.Err)
		receipts = append(receipts, res.Receipt)
	}
	list := tagOf(receipts[0], tag.EventID)
	ask := func() (*client.History, *client.Mismatch) {
		t.Helper()
		h, err := c.History(t.Context(), client.Question{Asks: []answer.Ask{{Kind: answer.OfTag, Tag: list}}})
		m, ok := errors.AsType[*client.Mismatch](err)
		if err != nil && !ok {
			t.Fatal(err)
		}
		return h, m
	}

	op.Set(func(op *clienttest.Operator) { check(t, op.Root(nil)) })
	if h, m := ask(); m != nil || h.Verdict.Proven || !h.Verdict.Complete || len(h.Verdict.Events) != 1 {
		t.Fatalf("an honest log answers %+v, %v", h, m)
	}
	op.Set(func(op *clienttest.Operator) { op.Lie = "unshown" })
	if _, m := ask(); m == nil || m.Evidence != nil || !strings.Contains(m.Error(), "listed that is not shown") {
		t.Errorf("an event that is not shown: %v", m)
	} else if _, err := os.Stat(m.File); err != nil {
		t.Errorf("the answer is not kept: %v", err)
	}

	op.Set(func(op *clienttest.Operator) {
		op.Lie = ""
		check(t, op.Root(func(x clienttest.Lists) {
			key, other := mapfn.Key(list.Field, list.Value), tagOf(receipts[1], tag.EventID)
			x[key] = append([]trie.Posting{}, append(x[key], x[mapfn.Key(other.Field, other.Value)]...)...)
		}))
	})
	_, m := ask()
	if m == nil || m.Evidence == nil {
		t.Fatalf("an entry of another list: %v", m)
	}
	b, err := os.ReadFile(m.File)
	check(t, err)
	e, err := evidence.Parse(b)
	check(t, err)
	if v, err := evidence.Judge(e, op.Policy); err != nil || !v.Proven || v.Claim != evidence.Addition {
		t.Errorf("the evidence is judged %+v, %v", v, err)
	}
}
