package client_test

import (
	"bytes"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// alice is her two names in clienttest.SignIn.
var alice = []subject.Identifier{
	{Issuer: "https://acme.example", Format: subject.FormatOpaque, ID: "00u1"},
	subject.Email("alice@acme.example"),
}

func TestLink(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	said := client.Statement{Source: clienttest.Source, Identifiers: alice, Authority: "hr.acme.example", Reason: "4711", ID: "1"}
	first, err := c.Link(t.Context(), said)
	check(t, err)
	l := first.Leaf.(*leaf.Subject)
	if len(l.Links) != 2 || len(l.Unlinks) > 0 || first.Disclosure() != nil {
		t.Fatalf("leaf %+v", l)
	}
	for i, want := range []string{"hr.acme.example", "4711"} {
		if !bytes.Equal(first.Lines[i].Value, seal.String(want)) {
			t.Errorf("%s is %q", first.Lines[i].Path, first.Lines[i].Value)
		}
	}
	// Again, and by whoever reads the log: the same entry.
	again, err := dial(t, op).Link(t.Context(), said)
	check(t, err)
	read, err := c.Entry(t.Context(), first.Index, client.Show{Fields: true})
	check(t, err)
	for _, e := range []*client.Entry{again, read} {
		if e.Index != first.Index || !bytes.Equal(e.Bytes, first.Bytes) || len(e.Lines) != 2 || !bytes.Equal(e.Lines[1].Value, seal.String("4711")) {
			t.Errorf("entry %d with lines %v", e.Index, e.Lines)
		}
	}
	// Taken back, and without an id said twice, it is another.
	said.Unlink, said.ID = true, ""
	for want := first.Index + 1; want < first.Index+3; want++ {
		undone, err := c.Link(t.Context(), said)
		check(t, err)
		if l := undone.Leaf.(*leaf.Subject); undone.Index != want || len(l.Unlinks) != 2 {
			t.Errorf("entry %d %+v", undone.Index, l)
		}
	}
	said.Identifiers = []subject.Identifier{alice[0], subject.Email("nobody@acme.example")}
	if _, err := c.Link(t.Context(), said); reasonOf(err) != logv1.Reason_REASON_NOT_FOUND {
		t.Errorf("a stranger: %v", err)
	} else if i, ok := client.Stranger(err); !ok || i != 1 {
		t.Errorf("%v names %d, %v", err, i, ok)
	}
	said.Identifiers = []subject.Identifier{alice[0], {}}
	if _, err := c.Link(t.Context(), said); err == nil {
		t.Error("nobody was linked")
	}
}

// Whatever of a statement, or of the proof that it is in the log, is not what was said, is found.
func TestLinkLies(t *testing.T) {
	for _, lie := range []string{
		"other authority", "otherwise", "somebody else", "one more", "other etags", "old statement", "foreign statement",
		"unknown epoch", "statement not included", "other statement", "no seed", "somebody's etag", "other VRF key",
	} {
		t.Run(lie, func(t *testing.T) {
			op := clienttest.New(t)
			c := dial(t, op)
			check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
			op.Set(func(op *clienttest.Operator) { op.Lie = lie })
			_, err := c.Link(t.Context(), client.Statement{Source: clienttest.Source, Identifiers: alice, Authority: "hr.acme.example"})
			if !isMismatch(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A reader is shown what the leaf commits to, or it says so.
func TestStatementHidden(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op)
	check(t, submitOne(t, c, clienttest.SignIn("e1"), client.Options{}).Err)
	e, err := c.Link(t.Context(), client.Statement{Source: clienttest.Source, Identifiers: alice, Authority: "hr.acme.example"})
	check(t, err)
	op.Set(func(op *clienttest.Operator) { op.Lie = "hidden line" })
	if _, err := c.Entry(t.Context(), e.Index, client.Show{Fields: true}); !isMismatch(err) {
		t.Errorf("got %v", err)
	}
}
