package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/serve"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

const family = "acme.example/id"

// site is a whole log behind a socket, and what a reader trusts of it.
type site struct {
	*served
	policy *policy.Policy
	events logv1.EventServiceClient
	reads  logv1.LogServiceClient
}

func newSite(t *testing.T) *site {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	skey, vkey, err := checkpoint.GenerateKey(family+"/0", checkpoint.Ed25519, checkpoint.LogRole)
	must(err)
	ticketKey, _, err := checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	must(err)
	signer, err := checkpoint.NewSigner(skey)
	must(err)
	conf := ilog.Config{
		Dir: filepath.Join(dir, "log"), Heads: filepath.Join(dir, "heads"), Origin: family + "/0",
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
		Sources: []ingest.Source{{Name: "okta", Principals: []string{serve.LocalPrincipal}}, {Name: "closed", Principals: []string{"somebody"}}},
	})
	must(err)

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- l.Run(ctx) }()
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(func() { // after the server, which is cleaned up first
		cancel()
		for _, err := range []error{<-done, <-done, j.Close(), v.Close(), l.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	s := &site{served: start(t, serve.Config{Logs: []serve.Log{{Family: family, Reader: l, Events: in}}})}
	s.events, s.reads = logv1.NewEventServiceClient(s.conn), logv1.NewLogServiceClient(s.conn)
	s.policy, err = policy.Parse([]byte("log " + vkey + "\nquorum none\n"))
	must(err)
	return s
}

// signIn is an event of one person, the id of which is its own.
func signIn(id string) *eventv1.Event {
	return &eventv1.Event{
		Source:       &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("user.session.start")},
		Class:        &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:        &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 0))},
		Actor:        &eventv1.Principal{Issuer: "https://acme.example", Id: "u-" + id},
		Outcome:      &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Raw:          []byte(`{"id":"` + id + `"}`),
		RawMediaType: "application/json",
	}
}

func (s *site) submit(t *testing.T, events ...*eventv1.Event) *logv1.SubmitEventsResponse {
	t.Helper()
	res, err := s.events.SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: "okta", Events: events})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.GetResults()) != len(events) {
		t.Fatalf("%d results for %d events", len(res.GetResults()), len(events))
	}
	return res
}

// included verifies that a leaf is at an index under a checkpoint.
func (s *site) included(t *testing.T, b []byte, index int64, hashes [][]byte, note []byte) *policy.Verified {
	t.Helper()
	p := proof.Proof{Extra: b, Index: index, Checkpoint: note}
	for _, h := range hashes {
		p.Hashes = append(p.Hashes, leaf.Hash(h))
	}
	v, err := p.Verify(s.policy, leaf.HashOf(b))
	if err != nil {
		t.Fatalf("entry %d does not verify: %v", index, err)
	}
	return v
}

// A batch is answered in order, and its receipts share their checkpoint.
func TestSubmit(t *testing.T) {
	s := newSite(t)
	var events []*eventv1.Event
	for i := range 20 {
		events = append(events, signIn(fmt.Sprint(i)))
	}
	res := s.submit(t, events...)
	if len(res.GetCheckpoints()) != 1 {
		t.Errorf("%d checkpoints", len(res.GetCheckpoints()))
	}
	for i, r := range res.GetResults() {
		receipt := r.GetReceipt()
		if receipt == nil {
			t.Fatalf("event %d: %v", i, r)
		}
		s.included(t, receipt.GetLeaf(), receipt.GetIndex(), receipt.GetInclusion(), res.GetCheckpoints()[receipt.GetCheckpoint()])
		if len(receipt.GetOpening().GetSeeds()) == 0 {
			t.Errorf("event %d: no seeds", i)
		}
	}
	again := s.submit(t, events[3])
	if got, want := again.GetResults()[0].GetReceipt().GetIndex(), res.GetResults()[3].GetReceipt().GetIndex(); got != want {
		t.Errorf("submitted again it is at %d, not %d", got, want)
	}
	ticket, err := s.events.SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{
		Source: "okta", Events: []*eventv1.Event{signIn("t")}, Wait: logv1.Wait_WAIT_SEQUENCED})
	if err != nil {
		t.Fatal(err)
	}
	if n := ticket.GetResults()[0].GetTicket().GetNote(); !bytes.HasPrefix(n, []byte("idlog-ticket/v1\n"+family+"\n")) {
		t.Errorf("ticket %q", n)
	}
}

// Each bad event gets its own answer, with the path at fault, and the good ones
// beside it go in.
func TestBadEvents(t *testing.T) {
	s := newSite(t)
	change := func(f func(e *eventv1.Event)) *eventv1.Event {
		e := signIn("bad")
		f(e)
		return e
	}
	persons := change(func(e *eventv1.Event) {
		for i := range 251 {
			e.Targets = append(e.Targets, &eventv1.Target{Principal: &eventv1.Principal{Issuer: "i", Id: fmt.Sprint(i)}})
		}
	})
	for _, tt := range []struct {
		name  string
		event *eventv1.Event
		want  told
	}{
		{"nothing", &eventv1.Event{}, told{Code: codes.InvalidArgument, Reason: "FIELD_MISSING", Fields: []string{"class"}}},
		{"no id", change(func(e *eventv1.Event) { e.Source.NativeId = nil }), told{Code: codes.InvalidArgument, Reason: "FIELD_MISSING", Fields: []string{"source.native_id"}}},
		{"no outcome", change(func(e *eventv1.Event) { e.Outcome = nil }), told{Code: codes.InvalidArgument, Reason: "FIELD_MISSING", Fields: []string{"outcome"}}},
		{"class", change(func(e *eventv1.Event) { e.Class.ClassUid = proto.Int64(-1) }), told{Code: codes.InvalidArgument, Reason: "FIELD_INVALID", Fields: []string{"class.class_uid"}}},
		{"long id", change(func(e *eventv1.Event) { e.Actor.Id = strings.Repeat("x", 513) }), told{Code: codes.InvalidArgument, Reason: "TOO_LARGE", Fields: []string{"actor.id"}}},
		{"persons", persons, told{Code: codes.InvalidArgument, Reason: "TOO_MANY_PERSONS"}},
		{"raw", change(func(e *eventv1.Event) { e.Raw = make([]byte, 4<<20+1) }), told{Code: codes.InvalidArgument, Reason: "TOO_LARGE", Fields: []string{"raw"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := s.submit(t, signIn(tt.name), tt.event)
			if res.GetResults()[0].GetReceipt() == nil {
				t.Errorf("the good event: %v", res.GetResults()[0])
			}
			if diff := cmp.Diff(tt.want, ofResult(t, res.GetResults()[1])); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
		})
	}
	first := s.submit(t, signIn("same")).GetResults()[0].GetReceipt()
	other := signIn("same")
	other.Raw = []byte(`{"id":"same","outcome":"FAILURE"}`)
	conflict := s.submit(t, other).GetResults()[0]
	if diff := cmp.Diff(told{Code: codes.AlreadyExists, Reason: "ID_CONFLICT"}, ofResult(t, conflict)); diff != "" {
		t.Errorf("conflict: error differs (-want +got):\n%s", diff)
	}
	if first == nil || !strings.Contains(conflict.GetError().String(), fmt.Sprintf("%d", first.GetIndex())) {
		t.Errorf("the conflict does not tell the index of the first to the one who wrote it: %v", conflict)
	}
}

// A source is written to, and its keys and persons are told, only to whom it is bound.
func TestSourcesAreBound(t *testing.T) {
	s := newSite(t)
	id, err := subject.Email("a@acme.example").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]told{
		"closed":  {Code: codes.PermissionDenied, Reason: "SOURCE_NOT_BOUND"},
		"unknown": {Code: codes.NotFound, Reason: "SOURCE_UNKNOWN", Kind: "idlog/source"},
	} {
		_, submit := s.events.SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: source, Events: []*eventv1.Event{signIn("1")}})
		_, keys := s.events.GetSourceKeys(t.Context(), &logv1.GetSourceKeysRequest{Source: source})
		_, enrolments := s.events.GetEnrolments(t.Context(), &logv1.GetEnrolmentsRequest{Source: source, Identifiers: [][]byte{id}})
		_, link := s.events.LinkSubjects(t.Context(), &logv1.LinkSubjectsRequest{Source: source, Identifiers: [][]byte{id, append(id, 'x')}, Authority: "a"})
		for method, err := range map[string]error{"SubmitEvents": submit, "GetSourceKeys": keys, "GetEnrolments": enrolments, "LinkSubjects": link} {
			if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
				t.Errorf("%s of %s: error differs (-want +got):\n%s", method, source, diff)
			}
		}
	}
}

func TestEvidence(t *testing.T) {
	s := newSite(t)
	s.submit(t, signIn("1"))
	keys, err := s.events.GetSourceKeys(t.Context(), &logv1.GetSourceKeysRequest{Source: "okta"})
	if err != nil {
		t.Fatal(err)
	}
	s.included(t, keys.GetGenesis(), 0, keys.GetGenesisInclusion(), keys.GetCheckpoint())
	for _, k := range keys.GetKeys() {
		s.included(t, k.GetLeaf(), k.GetIndex(), k.GetInclusion(), keys.GetCheckpoint())
		var fields []uint32
		for _, key := range k.GetTagKeys() {
			fields = append(fields, key.GetField())
		}
		if diff := cmp.Diff([]uint32{1, 4, 6, 7}, fields); diff != "" {
			t.Errorf("fields with keys differ (-want +got):\n%s", diff)
		}
	}
	known, err := subject.Identifier{Issuer: "https://acme.example", Format: "opaque", ID: "u-1"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := subject.Email("nobody@acme.example").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.events.GetEnrolments(t.Context(), &logv1.GetEnrolmentsRequest{Source: "okta", Identifiers: [][]byte{known, unknown}})
	if err != nil {
		t.Fatal(err)
	}
	if n, m := len(res.GetEnrolments()[0].GetHandles()), len(res.GetEnrolments()[1].GetHandles()); n != 1 || m != 0 {
		t.Fatalf("%d handles of the known person, %d of the unknown one", n, m)
	}
	h := res.GetEnrolments()[0].GetHandles()[0]
	s.included(t, h.GetLeaf(), h.GetIndex(), h.GetInclusion(), res.GetCheckpoint())

	_, err = s.events.GetEnrolments(t.Context(), &logv1.GetEnrolmentsRequest{Source: "okta", Identifiers: [][]byte{known, []byte("no identifier")}})
	if diff := cmp.Diff(told{Code: codes.InvalidArgument, Reason: "FIELD_INVALID", Fields: []string{"identifiers[1]"}}, ofError(t, err)); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}

// A statement is proven, and shown by what it says.
func TestLinkSubjects(t *testing.T) {
	s := newSite(t)
	e := signIn("1")
	e.Actor.Email = "ada@acme.example"
	s.submit(t, e)
	id, err := subject.Identifier{Issuer: "https://acme.example", Format: "opaque", ID: "u-1"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	mail, err := subject.Email("ada@acme.example").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	req := &logv1.LinkSubjectsRequest{Source: "okta", Identifiers: [][]byte{id, mail}, Authority: "hr.acme.example", Reason: "4711", Unlink: true, Id: "1"}
	res, err := s.events.LinkSubjects(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	s.included(t, res.GetLeaf(), res.GetIndex(), res.GetInclusion(), res.GetCheckpoint())
	if l, err := leaf.Parse(res.GetLeaf()); err != nil || len(l.(*leaf.Subject).Unlinks) != 2 || len(res.GetOpening().GetSeeds()) != 1 {
		t.Errorf("%v: %s", err, res.GetLeaf())
	}
	again, err := s.events.LinkSubjects(t.Context(), req)
	if err != nil || again.GetIndex() != res.GetIndex() {
		t.Errorf("again it is at %d and not %d: %v", again.GetIndex(), res.GetIndex(), err)
	}
	shown, err := s.reads.GetEntry(t.Context(), &logv1.GetEntryRequest{Index: res.GetIndex(), Disclose: true, Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	lines, _, err := seal.ParseLines(shown.GetDisclosure())
	if err != nil || len(lines) != 2 || string(lines[0].Value) != "shr.acme.example" || string(lines[1].Value) != "s4711" || shown.GetRaw() != nil {
		t.Errorf("%s: %v", shown.GetDisclosure(), err)
	}
	req.Identifiers[1] = append(bytes.Clone(mail), 'x')
	_, err = s.events.LinkSubjects(t.Context(), req)
	if diff := cmp.Diff(told{Code: codes.NotFound, Reason: "NOT_FOUND", Fields: []string{"identifiers[1]"}, Kind: "idlog/entry"}, ofError(t, err)); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}

// On a stream each request has its answer, in order; one that fails does not
// end it.
func TestSubmitStream(t *testing.T) {
	s := newSite(t)
	stream, err := s.events.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests := []*logv1.SubmitEventsRequest{
		{Source: "okta", Events: []*eventv1.Event{signIn("1")}},
		{Source: "okta"},
		nil,
		{Source: "closed", Events: []*eventv1.Event{signIn("1")}},
		{Source: "okta", Events: []*eventv1.Event{signIn("2"), {}}},
	}
	for _, r := range requests {
		if err := stream.Send(&logv1.SubmitStreamRequest{Request: r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var answers []*logv1.SubmitStreamResponse
	for range requests {
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, res)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Errorf("at the end: %v", err)
	}
	for i, want := range []string{"", "FIELD_INVALID", "FIELD_INVALID", "SOURCE_NOT_BOUND", ""} {
		if want == "" {
			if answers[i].GetResponse().GetResults()[0].GetReceipt() == nil {
				t.Errorf("answer %d: %v", i, answers[i])
			}
			continue
		}
		if got := ofProto(t, answers[i].GetError()); got.Reason != want {
			t.Errorf("answer %d: reason %s, want %s", i, got.Reason, want)
		}
	}
	if got := ofResult(t, answers[4].GetResponse().GetResults()[1]); got.Reason != "FIELD_MISSING" {
		t.Errorf("the bad event beside a good one: reason %s", got.Reason)
	}
	if a, b := answers[0].GetResponse().GetResults()[0].GetReceipt().GetIndex(), answers[4].GetResponse().GetResults()[0].GetReceipt().GetIndex(); a >= b {
		t.Errorf("sent in order, logged at %d and %d", a, b)
	}
}

// Every entry is watched from any index on, verified, and disclosed on request.
func TestWatchEntries(t *testing.T) {
	s := newSite(t)
	s.submit(t, signIn("1"), signIn("2"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := s.reads.WatchEntries(ctx, &logv1.WatchEntriesRequest{Disclose: true})
	if err != nil {
		t.Fatal(err)
	}
	var note []byte
	events := 0
	for index := int64(0); events < 3; index++ {
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if res.GetIndex() != index {
			t.Fatalf("entry %d came in place of %d", res.GetIndex(), index)
		}
		if len(res.GetCheckpoint()) > 0 {
			note = res.GetCheckpoint()
		}
		s.included(t, res.GetLeaf(), index, res.GetInclusion(), note)
		parsed, err := leaf.Parse(res.GetLeaf())
		if err != nil {
			t.Fatal(err)
		}
		e, ok := parsed.(*leaf.Event)
		if ok != (len(res.GetDisclosure()) > 0) {
			t.Errorf("entry %d is %T and has a disclosure of %d bytes", index, parsed, len(res.GetDisclosure()))
		}
		if !ok {
			continue
		}
		lines, _, err := seal.ParseLines(res.GetDisclosure())
		if err != nil {
			t.Fatal(err)
		}
		if digest, err := seal.Digest(lines); err != nil || digest != e.Fields {
			t.Errorf("entry %d: the disclosure is not the leaf's: %v", index, err)
		}
		if events++; events == 2 {
			s.submit(t, signIn("3")) // comes while the stream waits
		}
	}
}

func TestWatchCheckpoints(t *testing.T) {
	s := newSite(t)
	stream, err := s.reads.WatchCheckpoints(t.Context(), &logv1.WatchCheckpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	size := int64(-1)
	for i := range 3 {
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.policy.Verify(res.GetCheckpoint())
		if err != nil {
			t.Fatal(err)
		}
		if v.Checkpoint.Size <= size {
			t.Errorf("size %d after %d", v.Checkpoint.Size, size)
		}
		size = v.Checkpoint.Size
		s.submit(t, signIn(fmt.Sprint(i)))
	}
}

func TestReads(t *testing.T) {
	s := newSite(t)
	first := s.submit(t, signIn("1"))
	receipt := first.GetResults()[0].GetReceipt()
	small := s.included(t, receipt.GetLeaf(), receipt.GetIndex(), receipt.GetInclusion(), first.GetCheckpoints()[0])
	s.submit(t, signIn("2"), signIn("3"))

	entry, err := s.reads.GetEntry(t.Context(), &logv1.GetEntryRequest{Log: family, Index: receipt.GetIndex(), Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	s.included(t, entry.GetLeaf(), receipt.GetIndex(), entry.GetInclusion(), entry.GetCheckpoint())
	if string(entry.GetRaw()) != `{"id":"1"}` || len(entry.GetDisclosure()) != 0 {
		t.Errorf("raw %q, disclosure %q", entry.GetRaw(), entry.GetDisclosure())
	}
	genesis, err := s.reads.GetEntry(t.Context(), &logv1.GetEntryRequest{Disclose: true, Raw: true})
	if err != nil || len(genesis.GetDisclosure())+len(genesis.GetRaw()) != 0 {
		t.Errorf("the genesis is disclosed: %v, %v", genesis, err)
	}
	inclusion, err := s.reads.GetInclusionProof(t.Context(), &logv1.GetInclusionProofRequest{Index: receipt.GetIndex()})
	if err != nil {
		t.Fatal(err)
	}
	large := s.included(t, receipt.GetLeaf(), receipt.GetIndex(), inclusion.GetInclusion(), inclusion.GetCheckpoint())

	consistency, err := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: small.Checkpoint.Size})
	if err != nil {
		t.Fatal(err)
	}
	var hashes []leaf.Hash
	for _, h := range consistency.GetConsistency() {
		hashes = append(hashes, leaf.Hash(h))
	}
	if err := proof.Consistency(small.Checkpoint.Size, large.Checkpoint.Size, small.Checkpoint.Root, large.Checkpoint.Root, hashes); err != nil {
		t.Error(err)
	}

	between, err := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: 1, To: small.Checkpoint.Size})
	if err != nil || len(between.GetCheckpoint()) != 0 {
		t.Fatalf("between two sizes: %q, %v", between.GetCheckpoint(), err)
	}
	hashes = nil
	for _, h := range between.GetConsistency() {
		hashes = append(hashes, leaf.Hash(h))
	}
	genesisRoot := leaf.HashOf(genesis.GetLeaf())
	if err := proof.Consistency(1, small.Checkpoint.Size, genesisRoot, small.Checkpoint.Root, hashes); err != nil {
		t.Error(err)
	}

	beyond := large.Checkpoint.Size
	want := told{Code: codes.OutOfRange, Reason: "INDEX_OUT_OF_RANGE"}
	_, getEntry := s.reads.GetEntry(t.Context(), &logv1.GetEntryRequest{Index: beyond})
	_, getInclusion := s.reads.GetInclusionProof(t.Context(), &logv1.GetInclusionProofRequest{Index: beyond})
	_, getConsistency := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: beyond + 1})
	_, toBeyond := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: 1, To: beyond + 1})
	_, backwards := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: 2, To: 1})
	for i, err := range []error{getEntry, getInclusion, getConsistency, toBeyond} {
		if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
			t.Errorf("%d: error differs (-want +got):\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(told{Code: codes.InvalidArgument, Reason: "FIELD_INVALID", Fields: []string{"to"}}, ofError(t, backwards)); diff != "" {
		t.Errorf("backwards: error differs (-want +got):\n%s", diff)
	}
	if _, err := s.reads.GetConsistencyProof(t.Context(), &logv1.GetConsistencyProofRequest{From: 0}); err != nil {
		t.Errorf("from nothing: %v", err)
	}
	newest, err := s.reads.GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{})
	if err != nil || !slices.Equal(newest.GetCheckpoint(), inclusion.GetCheckpoint()) {
		t.Errorf("the newest checkpoint is %q, %v", newest.GetCheckpoint(), err)
	}
}
