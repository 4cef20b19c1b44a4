package ingest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log/ingest"
	"idlog/proto/checkpoint"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// person is the opaque identifier of somebody whom w.event names.
func personOf(name string) subject.Identifier {
	return subject.Identifier{Issuer: issuer, Format: subject.FormatOpaque, ID: "canary-" + name}
}

func statement(id string, persons ...subject.Identifier) ingest.Statement {
	return ingest.Statement{
		Source: "okta", Principal: "poller", ID: id, Identifiers: persons,
		Authority: "canary registrar", Reason: "canary ticket 4711",
	}
}

// link makes a statement and checks its receipt as who made it can.
func (w *world) link(s ingest.Statement) *ingest.Receipt {
	w.t.Helper()
	r, err := w.Link(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	text, _, err := checkpoint.Split(r.Checkpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := proof.Inclusion(leaf.HashOf(r.Leaf), r.Index, c.Size, r.Inclusion, c.Root); err != nil {
		w.t.Error(err)
	}
	l, err := leaf.Parse(r.Leaf)
	if err != nil {
		w.t.Fatal(err)
	}
	got := l.(*leaf.Subject)
	list, _, err := w.Enrolments(w.t.Context(), s.Identifiers)
	if err != nil {
		w.t.Fatal(err)
	}
	want := &leaf.Subject{Log: family, Received: r.Opening.Received.Unix(), Keys: 1, Fields: got.Fields}
	for i, e := range list {
		etag, err := subject.VerifyVRF(w.vault.VRF(), s.Identifiers[i], e.Proof)
		if err != nil {
			w.t.Fatal(err)
		}
		want.Etags = append(want.Etags, etag)
		for _, h := range e.Handles {
			if h.Entry.Index >= r.Index {
				w.t.Errorf("it names entry %d, and stands at %d", h.Entry.Index, r.Index)
			}
			hash := leaf.HashOf(h.Entry.Leaf)
			want.Links = append(want.Links, hash)
			if id, ok, err := w.Identify(hash); err != nil || !ok || id != s.Identifiers[i] {
				w.t.Errorf("enrolment %d is of %v, %v, %v", h.Entry.Index, id, ok, err)
			}
		}
	}
	for _, hashes := range [][]leaf.Hash{want.Links, want.Etags} {
		slices.SortFunc(hashes, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	}
	if s.Unlink {
		want.Links, want.Unlinks = nil, want.Links
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("leaf (-want +got):\n%s", diff)
	}
	var lines []seal.Line
	for path, text := range map[string]string{"authority": s.Authority, "reason": s.Reason} {
		salt := seal.Salt(r.Opening.Seeds[0].Seed, path)
		lines = append(lines, seal.Line{Path: path, State: seal.Shown, Salt: salt, Value: seal.String(text), Commitment: seal.Commitment(salt, path, seal.String(text))})
	}
	slices.SortFunc(lines, func(a, b seal.Line) int { return strings.Compare(a.Path, b.Path) })
	if d, err := seal.Digest(lines); err != nil || d != *got.Fields || len(r.Opening.Seeds) != 1 {
		w.t.Errorf("the seed does not open the fields: %v", err)
	}
	shown, raw, err := w.Disclose(w.t.Context(), r.Index)
	for i := range shown {
		shown[i].Owners = slices.Clip(shown[i].Owners)
		if len(shown[i].Owners) == 0 {
			shown[i].Owners = nil
		}
	}
	if diff := cmp.Diff(lines, shown); err != nil || raw != nil || diff != "" {
		w.t.Errorf("disclosed %v, %q (-want +got):\n%s", err, raw, diff)
	}
	return r
}

func TestLink(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	mail := subject.Email("canary-a@acme.example")
	first := w.link(statement("1", personOf("a"), mail))
	undo := statement("1", personOf("a"), mail)
	undo.Unlink = true
	undone := w.link(undo)
	other := w.link(statement("1", personOf("a"), personOf("b"), mail))
	second := w.link(statement("2", mail, personOf("a")))
	// Said again, before and after a restart, by who else may write, and in another order: the same.
	for range 2 {
		again := statement("1", mail, personOf("a"))
		again.Principal = "second"
		for want, s := range map[*ingest.Receipt]ingest.Statement{first: again, undone: undo, second: statement("2", mail, personOf("a"))} {
			if got := w.link(s); got.Index != want.Index || !bytes.Equal(got.Leaf, want.Leaf) || got.Opening.Seeds[0].Seed != want.Opening.Seeds[0].Seed {
				t.Errorf("said again it is at %d, first at %d", got.Index, want.Index)
			}
		}
		w.checkLog()
		w.restart()
	}
	if size := int64(len(w.log.leaves())); other.Index != undone.Index+1 || second.Index != size-1 {
		t.Errorf("statements at %d, %d, %d, %d of %d", first.Index, undone.Index, other.Index, second.Index, size)
	}
	if _, ok, err := w.Identify(leaf.Hash{1}); ok || err != nil {
		t.Errorf("an enrolment that is not there: %v, %v", ok, err)
	}
}

func TestLinkRefuses(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	a, b := personOf("a"), personOf("b")
	many := []subject.Identifier{a}
	for i := range 16 {
		many = append(many, personOf(fmt.Sprint(i)))
	}
	size := w.log.Integrated()
	for name, c := range map[string]struct {
		change func(s *ingest.Statement)
		reason logv1.Reason
		path   string
	}{
		"one":              {func(s *ingest.Statement) { s.Identifiers = s.Identifiers[:1] }, logv1.Reason_REASON_FIELD_INVALID, "identifiers"},
		"too many":         {func(s *ingest.Statement) { s.Identifiers = many }, logv1.Reason_REASON_FIELD_INVALID, "identifiers"},
		"twice":            {func(s *ingest.Statement) { s.Identifiers = []subject.Identifier{a, b, a} }, logv1.Reason_REASON_FIELD_INVALID, "identifiers[2]"},
		"a stranger":       {func(s *ingest.Statement) { s.Identifiers[1] = personOf("c") }, logv1.Reason_REASON_NOT_FOUND, "identifiers[1]"},
		"no authority":     {func(s *ingest.Statement) { s.Authority = "" }, logv1.Reason_REASON_FIELD_INVALID, "authority"},
		"long authority":   {func(s *ingest.Statement) { s.Authority = strings.Repeat("x", 257) }, logv1.Reason_REASON_FIELD_INVALID, "authority"},
		"no text":          {func(s *ingest.Statement) { s.Reason = "\xff" }, logv1.Reason_REASON_FIELD_INVALID, "reason"},
		"long reason":      {func(s *ingest.Statement) { s.Reason = strings.Repeat("x", 1025) }, logv1.Reason_REASON_FIELD_INVALID, "reason"},
		"long id":          {func(s *ingest.Statement) { s.ID = strings.Repeat("x", 65) }, logv1.Reason_REASON_FIELD_INVALID, "id"},
		"another's source": {func(s *ingest.Statement) { s.Principal = "service" }, logv1.Reason_REASON_SOURCE_NOT_BOUND, ""},
		"no source":        {func(s *ingest.Statement) { s.Source = "entra" }, logv1.Reason_REASON_SOURCE_UNKNOWN, ""},
	} {
		s := statement("1", a, b)
		c.change(&s)
		_, err := w.Link(t.Context(), s)
		var r *ingest.Refusal
		if !errors.As(err, &r) || r.Reason != c.reason || r.Path != c.path {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := w.log.Integrated(); now != size {
		t.Errorf("%d entries came in", now-size)
	}
}

// Of many who make one statement at once, one makes it, and all get it.
func TestLinkTogether(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	size := int64(len(w.log.leaves()))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r, err := w.Link(t.Context(), statement("1", personOf("a"), personOf("b"))); err != nil || r.Index != size {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if now := int64(len(w.log.leaves())); now != size+1 {
		t.Errorf("%d entries came in", now-size)
	}
}

// Who is told nothing, because no checkpoint came or the process died, asks again and gets the one statement.
func TestLinkInterrupted(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.AckTimeout = 50 * time.Millisecond })
	w.receipts(w.event("1", "a", "b"))
	w.log.set(func(f *fakeLog) { f.hold = true })
	s := statement("1", personOf("a"), personOf("b"))
	if _, err := w.Link(t.Context(), s); reason(err) != logv1.Reason_REASON_BACKLOG_FULL {
		t.Fatalf("without a checkpoint: %v", err)
	}
	c := w.crashed()
	c.start()
	if r := c.link(s); r.Index != int64(len(c.log.leaves()))-1 {
		t.Errorf("it stands at %d of %d", r.Index, len(c.log.leaves()))
	}
	w.log.set(func(f *fakeLog) { f.hold = false })
	w.link(s)
}

// Between the append and the journal's knowing of it everything may stop: the statement is in the log once.
func TestLinkCrashAtAppend(t *testing.T) {
	w := newWorld(t)
	w.receipts(w.event("1", "a", "b"))
	var crashed *world
	var once sync.Once
	w.log.after = func() { once.Do(func() { crashed = w.crashed() }) }
	s := statement("1", personOf("a"), personOf("b"))
	want := w.link(s)
	crashed.start()
	if got := crashed.link(s); got.Index != want.Index || !bytes.Equal(got.Leaf, want.Leaf) || len(crashed.log.leaves()) != int(want.Index)+1 {
		t.Errorf("after the crash it is at %d of %d, and before at %d", got.Index, len(crashed.log.leaves()), want.Index)
	}
}
