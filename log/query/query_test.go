package query_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/index"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/query"
	"idlog/log/vault"
	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/policy"
	"idlog/proto/subject"
)

const (
	family = "acme.example/id"
	origin = family + "/0"
	issuer = "https://acme.example"
	poller = "poller" // bound to both sources
	clerk  = "clerk"  // bound to okta alone
	reader = "reader" // of okta
)

// world is a whole log with its index, and what a reader trusts of it.
type world struct {
	*query.Query
	t      *testing.T
	log    *ilog.Log
	ingest *ingest.Ingest
	index  *index.Index
	trust  *policy.Trust
}

func newWorld(t *testing.T) *world {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	skey, vkey, err := checkpoint.GenerateKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	must(err)
	ticketKey, _, err := checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	must(err)
	signer, err := checkpoint.NewSigner(skey)
	must(err)
	conf := ilog.Config{
		Dir: filepath.Join(dir, "log"), Heads: filepath.Join(dir, "heads"), Origin: origin,
		Signers: []note.Signer{signer}, VKeys: []string{vkey},
	}
	must(ilog.Create(t.Context(), conf))
	l, err := ilog.Open(t.Context(), conf)
	must(err)
	master, err := vault.CreateMaster(filepath.Join(dir, "master"))
	must(err)
	must(vault.Create(filepath.Join(dir, "vault"), master))
	v, err := vault.Open(filepath.Join(dir, "vault"), master, nil)
	must(err)
	must(journal.Create(filepath.Join(dir, "journal")))
	j, err := journal.Open(filepath.Join(dir, "journal"), nil)
	must(err)
	in, err := ingest.New(t.Context(), ingest.Config{
		Family: family, Log: l, Journal: j, Vault: v, TicketKey: ticketKey,
		Sources: []ingest.Source{{Name: "okta", Principals: []string{poller, clerk}, Readers: []string{reader}}, {Name: "github", Principals: []string{poller}}},
	})
	must(err)
	x, err := index.Open(index.Config{Dir: filepath.Join(dir, "index"), Origin: origin, Log: l, Writer: in, Interval: time.Millisecond})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- l.Run(ctx) }()
	go func() { done <- in.Run(ctx) }()
	go func() { x.Run(ctx); done <- nil }()
	t.Cleanup(func() {
		cancel()
		for _, err := range []error{<-done, <-done, <-done, x.Close(), j.Close(), v.Close(), l.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	p, err := policy.Parse([]byte("log " + vkey + "\nquorum none\n"))
	must(err)
	return &world{
		t: t, log: l, ingest: in, index: x,
		Query: query.New(query.Config{Family: family, Sources: []string{"okta", "github"}, Index: x, Log: l, Events: in, Vault: v, Policy: p}),
		trust: &policy.Trust{Log: family, MaxLag: 1000, MaxAge: time.Hour, Skew: time.Minute, Origins: []string{origin}, Policy: p},
	}
}

func person(name string) subject.Identifier {
	return subject.Identifier{Issuer: issuer, Format: subject.FormatOpaque, ID: name}
}

// event is a sign-in of somebody, in a session of its name.
func event(id, name string) *eventv1.Event {
	return &eventv1.Event{
		Source:      &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("user.session.start")},
		Class:       &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:       &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 0))},
		Actor:       &eventv1.Principal{Issuer: issuer, Id: name},
		Outcome:     &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Correlation: &eventv1.Correlation{Session: "session of " + name},
		Targets:     []*eventv1.Target{{Type: "AppInstance", Id: "payroll"}},
	}
}

// submit logs events, waits until the index has them, and returns where they stand.
func (w *world) submit(source string, events ...*eventv1.Event) (at []int64) {
	w.t.Helper()
	answers, err := w.ingest.Submit(w.t.Context(), ingest.Request{Source: source, Principal: poller, Assurance: "pushed", Events: events})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range answers {
		if a.Receipt == nil {
			w.t.Fatal(a.Err)
		}
		at = append(at, a.Receipt.Index)
	}
	w.indexed(slices.Max(at) + 1)
	return at
}

// indexed waits until answers speak of so many entries.
func (w *world) indexed(size int64) {
	w.t.Helper()
	for p, _ := w.log.Published(); ; {
		if a, ok := w.index.Answering(); ok {
			covered := a.View.State().Size
			_ = a.Close() // is nil
			if covered >= size {
				return
			}
		}
		var err error
		if p, err = w.log.Next(w.t.Context(), p.Note); err != nil {
			w.t.Fatalf("the index does not come to %d entries: %v; %+v", size, err, w.index.Status())
		}
	}
}

// ask asks for the poller, and verifies the answer as a reader does.
func (w *world) ask(req *logv1.HistoryRequest) (*answer.Verdict, error) {
	w.t.Helper()
	b, err := w.History(w.t.Context(), poller, req)
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := answer.Parse(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Verify(w.trust, time.Now())
}

// finds asks and holds the answer to where the events stand.
func (w *world) finds(what string, req *logv1.HistoryRequest, want ...int64) *answer.Verdict {
	w.t.Helper()
	v, err := w.ask(req)
	if err != nil {
		w.t.Errorf("%s: %v", what, err)
		return nil
	}
	var got []int64
	for _, e := range v.Events {
		got = append(got, e.Index)
		if e.Leaf == nil {
			w.t.Errorf("%s: entry %d is not given", what, e.Index)
		}
	}
	if !slices.Equal(got, want) || !v.Complete || v.Proven {
		w.t.Errorf("%s: entries %d, want %d; %v", what, got, want, v)
	}
	return v
}

func ofSubject(t *testing.T, id subject.Identifier) *logv1.Ask {
	t.Helper()
	b, err := id.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return &logv1.Ask{Key: &logv1.Ask_Subject{Subject: b}}
}

func ofActor(t *testing.T, id subject.Identifier) *logv1.Ask {
	return &logv1.Ask{Key: &logv1.Ask_Actor{Actor: ofSubject(t, id).GetSubject()}}
}

func ofSource(name string) *logv1.Ask  { return &logv1.Ask{Key: &logv1.Ask_Source{Source: name}} }
func ofSession(name string) *logv1.Ask { return &logv1.Ask{Key: &logv1.Ask_Session{Session: name}} }
func ofClass(n int64) *logv1.Ask       { return &logv1.Ask{Key: &logv1.Ask_Class{Class: n}} }
func ofEvent(id string) *logv1.Ask     { return &logv1.Ask{Key: &logv1.Ask_Event{Event: id}} }

func question(asks ...*logv1.Ask) *logv1.HistoryRequest { return &logv1.HistoryRequest{Asks: asks} }

// Every kind of question is answered completely, and a reader says so.
func TestHistory(t *testing.T) {
	w := newWorld(t)
	granted := event("3", "bob")
	granted.Class.ActivityId = proto.Int64(2)
	granted.Targets = append(granted.Targets, &eventv1.Target{Role: "user", Principal: &eventv1.Principal{Issuer: issuer, Id: "alice"}})
	okta := w.submit("okta", event("1", "alice"), event("2", "bob"), granted, event("4", "alice"))
	github := w.submit("github", event("1", "alice"))
	a1, bob, grant, a2, hub := okta[0], okta[1], okta[2], okta[3], github[0]
	all := []int64{a1, bob, grant, a2, hub}
	slices.Sort(all)
	alice := ofSubject(t, person("alice"))
	sorted := func(n ...int64) []int64 { slices.Sort(n); return n }

	w.finds("a subject", question(alice), sorted(a1, grant, a2, hub)...)
	w.finds("an actor", question(ofActor(t, person("alice"))), sorted(a1, a2, hub)...)
	w.finds("nobody", question(ofSubject(t, person("carol"))))
	w.finds("a source", question(ofSource("okta")), sorted(okta...)...)
	w.finds("a session", question(ofSession("session of alice")), sorted(a1, a2, hub)...)
	w.finds("no such session", question(ofSession("session of carol")))
	w.finds("a class", question(ofClass(300201)), sorted(a1, bob, a2, hub)...)
	w.finds("an id of two sources", question(ofEvent("1")), sorted(a1, hub)...)
	w.finds("a target", question(&logv1.Ask{Key: &logv1.Ask_Target_{Target: &logv1.Ask_Target{Type: "AppInstance", Id: "payroll"}}}), all...)
	w.finds("an id of one source", question(ofSource("github"), ofEvent("1")), hub)
	both := w.finds("a subject and a class", question(ofClass(300202), alice), grant)
	if both != nil && len(both.Lists) != 2 {
		t.Errorf("the lists are not those of the rarer ask: %d", len(both.Lists))
	}
	w.finds("two persons", question(alice, ofSubject(t, person("bob"))), grant)
	w.finds("a window", &logv1.HistoryRequest{Asks: []*logv1.Ask{alice}, Window: &logv1.Window{From: a1 + 1, To: hub}}, sorted(grant, a2)...)
	strict := question(alice)
	strict.Strict = true
	w.finds("in strict mode", strict, sorted(a1, grant, a2, hub)...)

	shown := question(ofClass(300202), alice)
	shown.Disclose = true
	if v := w.finds("with fields", shown, grant); v != nil && len(v.Events[0].Fields) < 10 {
		t.Errorf("%d fields", len(v.Events[0].Fields))
	}
	for _, l := range both.Lists {
		if l.Source == "okta" {
			w.finds("a tag by itself", question(&logv1.Ask{Key: &logv1.Ask_Tag_{Tag: &logv1.Ask_Tag{Field: uint32(l.Tag.Field), Value: l.Tag.Value[:]}}}), grant)
		}
	}
}

// Pages together are the list, and none of them alone says that it is.
func TestPages(t *testing.T) {
	w := newWorld(t)
	var events []*eventv1.Event
	for i := range 25 {
		events = append(events, event(fmt.Sprint(i), "alice"))
	}
	want := w.submit("okta", events...)
	slices.Sort(want)
	var got []int64
	for start := int64(0); start < 25; start += 10 {
		req := question(ofActor(t, person("alice")))
		req.Page = &logv1.Page{Start: start, Count: 10}
		v, err := w.ask(req)
		if err != nil {
			t.Fatal(err)
		}
		if v.Complete {
			t.Errorf("the page from %d calls itself complete", start)
		}
		for _, e := range v.Events {
			got = append(got, e.Index)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages have %d, want %d", got, want)
	}
}

// What came since an older answer is complete together with it.
func TestSince(t *testing.T) {
	w := newWorld(t)
	w.submit("okta", event("1", "alice"), event("2", "alice"))
	alice := question(ofSubject(t, person("alice")))
	old, err := w.ask(alice)
	if err != nil {
		t.Fatal(err)
	}
	added := w.submit("okta", event("3", "alice"), event("4", "bob"))
	for _, l := range old.Lists {
		alice.Since = append(alice.Since, &logv1.Since{Field: uint32(l.Tag.Field), Value: l.Tag.Value[:], Count: l.Head.N})
	}
	for range 2 { // the second time nothing has come
		v, err := w.ask(alice)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Continues(old); err != nil || !v.Complete {
			t.Errorf("complete %t, %v", v.Complete, err)
		}
		if len(added) != len(v.Events)+1 || len(v.Events) > 0 && v.Events[0].Index != added[0] {
			t.Errorf("%d new events", len(v.Events))
		}
		for i, l := range v.Lists {
			alice.Since[i].Count = l.Head.N
		}
		old, added = v, added[:1]
		old.Complete = true
	}
}

// Whoever knows an entry to be there is not answered before the index has it.
func TestCovering(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		answers, err := w.ingest.Submit(t.Context(), ingest.Request{
			Source: "okta", Principal: poller, Assurance: "pushed", Events: []*eventv1.Event{event(fmt.Sprint(i), "alice")},
		})
		if err != nil {
			t.Fatal(err)
		}
		req := question(ofActor(t, person("alice")))
		req.Covering = answers[0].Receipt.Index + 1
		v, err := w.ask(req)
		if err != nil || len(v.Events) != i+1 {
			t.Fatalf("after %d events: %v, %v", i+1, v, err)
		}
	}
	p, _ := w.log.Published()
	req := question(ofActor(t, person("alice")))
	req.Covering = p.Size // the last is a root leaf, and no other follows it
	if _, err := w.ask(req); err != nil {
		t.Error(err)
	}
	req.Covering = 1 << 40 // what no log has is waited for by nobody
	if _, err := w.ask(req); err != nil {
		t.Error(err)
	}
}

// Who is linked to whom is followed, and told.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	at := w.submit("okta", event("1", "alice"), event("2", "alice.b"), event("3", "bob"))
	state := func(unlink bool, id string) int64 {
		r, err := w.ingest.Link(t.Context(), ingest.Statement{
			Source: "okta", Principal: poller, ID: id, Unlink: unlink, Authority: "hr",
			Identifiers: []subject.Identifier{person("alice"), person("alice.b")},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.indexed(r.Index + 1)
		return r.Index
	}
	alone := question(ofSubject(t, person("alice")))
	alone.NoLinks = true
	linked := state(false, "1")
	both := question(ofSubject(t, person("alice")))
	both.Disclose = true
	v := w.finds("both", both, min(at[0], at[1]), max(at[0], at[1]))
	if v != nil && (len(v.Links) != 1 || v.Links[0].Index != linked || len(v.Links[0].Fields) != 2 || len(v.Identifiers) != 2) {
		t.Errorf("links %+v, identifiers %+v", v.Links, v.Identifiers)
	}
	w.finds("alice alone", alone, at[0])
	state(true, "2")
	w.finds("alice again", question(ofSubject(t, person("alice"))), at[0])
}

// Who may not have keys or handles is refused, and nothing is asked that is nothing.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.submit("okta", event("1", "alice"))
	alice := ofSubject(t, person("alice"))
	for _, tt := range []struct {
		what, principal string
		req             *logv1.HistoryRequest
		want            logv1.Reason
	}{
		{"a person, by nobody of the log", "stranger", question(alice), logv1.Reason_REASON_SOURCE_NOT_BOUND},
		{"a session, by nobody of the log", "stranger", question(ofSession("1")), logv1.Reason_REASON_SOURCE_NOT_BOUND},
		{"a session of sources of others", clerk, question(ofSession("1")), logv1.Reason_REASON_SOURCE_NOT_BOUND},
		{"a session of another source", clerk, question(ofSession("1"), ofSource("github")), logv1.Reason_REASON_SOURCE_NOT_BOUND},
		{"the same twice", poller, question(alice, alice), logv1.Reason_REASON_FIELD_INVALID},
		{"no identifier", poller, question(&logv1.Ask{Key: &logv1.Ask_Subject{Subject: []byte("12345")}}), logv1.Reason_REASON_FIELD_INVALID},
		{"a time without witnesses", poller, &logv1.HistoryRequest{Asks: []*logv1.Ask{alice}, Window: &logv1.Window{FromTime: timestamppb.Now()}}, logv1.Reason_REASON_FIELD_INVALID},
		{"an empty window", poller, &logv1.HistoryRequest{Asks: []*logv1.Ask{alice}, Window: &logv1.Window{From: 5, To: 5}}, logv1.Reason_REASON_FIELD_INVALID},
	} {
		_, err := w.History(t.Context(), tt.principal, tt.req)
		if r, ok := errors.AsType[*ingest.Refusal](err); !ok || r.Reason != tt.want || strings.Contains(r.Message, "alice") {
			t.Errorf("%s: %v, want %v", tt.what, err, tt.want)
		}
	}
	for what, req := range map[string]*logv1.HistoryRequest{
		"a person": question(alice), "a session of one's own source": question(ofSession("1"), ofSource("okta")),
	} {
		for _, principal := range []string{clerk, reader} {
			if _, err := w.History(t.Context(), principal, req); err != nil {
				t.Errorf("%s, by %s: %v", what, principal, err)
			}
		}
	}
	if err := w.ingest.Bound("okta", reader); err == nil {
		t.Error("a reader may write")
	}
	if _, err := w.History(t.Context(), "stranger", question(ofSource("okta"))); err != nil {
		t.Errorf("a source, by anybody: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.History(ended, poller, question(alice)); !errors.Is(err, context.Canceled) {
		t.Errorf("for a caller who has left: %v", err)
	}
}
