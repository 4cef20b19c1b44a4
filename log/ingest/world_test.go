package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

const (
	family = "acme.example/id"
	issuer = "https://acme.example"
)

// fakeLog is a log in memory that polices its contract: one appender, no leaf
// twice in one process, nothing signed beyond what was released.
type fakeLog struct {
	t      testing.TB
	before func([][]byte) // called by Append before it does anything
	after  func()         // called by Append when all is in the log
	signed func()         // called by Release when all is published

	mu        sync.Mutex
	log       *prototest.Log
	seen      map[string]bool
	appending bool
	released  int64
	hold      bool // publish nothing
	published ilog.Published
	readOnly  error
	changed   chan struct{}
}

func newFakeLog(t testing.TB, leaves [][]byte) *fakeLog {
	f := &fakeLog{t: t, seen: make(map[string]bool), changed: make(chan struct{})}
	f.log = prototest.NewLog(family+"/0", prototest.NewKey(family+"/0", checkpoint.Ed25519, checkpoint.LogRole))
	f.log.Append(leaves...)
	return f
}

func (f *fakeLog) Append(_ context.Context, leaves [][]byte) (int64, error) {
	if f.before != nil {
		f.before(leaves)
	}
	f.mu.Lock()
	if f.appending {
		f.t.Error("two goroutines append at a time")
	}
	f.appending = true
	if f.readOnly != nil {
		defer f.mu.Unlock()
		return 0, f.readOnly
	}
	for _, b := range leaves {
		if f.seen[string(b)] {
			f.t.Errorf("a leaf is appended twice by one process:\n%s", b)
		}
		f.seen[string(b)] = true
	}
	first := f.log.Append(leaves...)
	f.mu.Unlock()
	if f.after != nil {
		f.after()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appending = false
	return first, nil
}

func (f *fakeLog) Integrated() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.log.Leaves))
}

func (f *fakeLog) Entry(_ context.Context, i int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i < 0 || i >= int64(len(f.log.Leaves)) {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(f.log.Leaves[i]), nil
}

func (f *fakeLog) Release(size int64) {
	f.mu.Lock()
	if size > int64(len(f.log.Leaves)) || size < f.released {
		f.t.Errorf("released %d after %d, of %d", size, f.released, len(f.log.Leaves))
	}
	f.released = size
	f.publish()
	f.mu.Unlock()
	if f.signed != nil {
		f.signed()
	}
}

// publish publishes what is released. mu is held.
func (f *fakeLog) publish() {
	if f.hold || f.released == f.published.Size {
		return
	}
	c := f.log.Checkpoint(f.released)
	f.published = ilog.Published{Size: c.Size, Root: c.Root, Note: f.log.Note(c.Size, 1763629200)}
	f.notify()
}

func (f *fakeLog) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// set changes something of the log.
func (f *fakeLog) set(change func(f *fakeLog)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
	f.publish()
	f.notify()
}

func (f *fakeLog) Published() (ilog.Published, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published, f.published.Note != nil
}

func (f *fakeLog) Await(ctx context.Context, size int64) (ilog.Published, error) {
	for {
		f.mu.Lock()
		p, readOnly, changed := f.published, f.readOnly, f.changed
		f.mu.Unlock()
		if p.Size >= size {
			return p, nil
		}
		if readOnly != nil {
			return ilog.Published{}, readOnly
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ilog.Published{}, ctx.Err()
		}
	}
}

func (f *fakeLog) Inclusion(_ context.Context, index, size int64) ([]leaf.Hash, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Inclusion(index, size), nil
}

func (f *fakeLog) ReadOnly() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readOnly
}

func (f *fakeLog) leaves() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log.Leaves)
}

// world is a log's operator: folders, keys, and what runs on them.
type world struct {
	*ingest.Ingest
	t       testing.TB
	dir     string
	master  vault.Master
	log     *fakeLog
	config  ingest.Config
	ids     map[subject.Identifier]bool // of all events that were made for this world
	stop    func()
	journal *journal.Journal
	vault   *vault.Vault
}

// newWorld makes a new log and runs it.
func newWorld(t testing.TB, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: newFakeLog(t, nil), ids: make(map[subject.Identifier]bool)}
	var err error
	if w.master, err = vault.CreateMaster(filepath.Join(w.dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(vault.Create(filepath.Join(w.dir, "subjects"), w.master), journal.Create(filepath.Join(w.dir, "journal"))); err != nil {
		t.Fatal(err)
	}
	ticket, _, err := checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	w.config = ingest.Config{
		Family: family, TicketKey: ticket, AckTimeout: time.Minute,
		Sources: []ingest.Source{{Name: "okta", Principals: []string{"poller", "second"}}, {Name: "app", Principals: []string{"service"}}},
	}
	for _, c := range change {
		c(w)
	}
	w.start()
	return w
}

// open opens the parts and does not run them.
func (w *world) open() error {
	var err error
	if w.vault, err = vault.Open(filepath.Join(w.dir, "subjects"), w.master, nil); err != nil {
		return err
	}
	if w.journal, err = journal.Open(filepath.Join(w.dir, "journal"), nil); err != nil {
		return errors.Join(err, w.vault.Close())
	}
	c := w.config
	c.Log, c.Vault, c.Journal = w.log, w.vault, w.journal
	if w.Ingest, err = ingest.New(w.t.Context(), c); err != nil {
		return errors.Join(err, w.vault.Close(), w.journal.Close())
	}
	return nil
}

func (w *world) start() {
	w.t.Helper()
	if err := w.open(); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	in, j, v := w.Ingest, w.journal, w.vault
	go func() { done <- in.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, j.Close(), v.Close()); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
}

// crashed is the world as a new start would find it if the process died now. It
// is not started.
func (w *world) crashed() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: w.t.TempDir(), master: w.master, config: w.config, ids: w.ids, log: newFakeLog(w.t, w.log.leaves())}
	c.log.published, _ = w.log.Published()
	c.log.released = c.log.published.Size
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// restart stops the world in order and starts it again.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.log = newFakeLog(w.t, w.log.leaves())
	w.start()
}

// event makes an event of two persons. All of its text begins with canary.
func (w *world) event(id, actor, target string) *eventv1.Event {
	person := func(name string) *eventv1.Principal {
		return &eventv1.Principal{
			Kind: eventv1.Principal_KIND_USER, Issuer: issuer, Id: "canary-" + name,
			Email: "Canary-" + name + "@acme.example", Display: "canary " + name,
		}
	}
	e := &eventv1.Event{
		Source:       &eventv1.Source{NativeId: proto.String("canary-" + id), NativeType: proto.String("user.session.start")},
		Class:        &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:        &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 412000000))},
		Actor:        person(actor),
		Targets:      []*eventv1.Target{{Role: "user", Principal: person(target)}, {Type: "app", Id: "canary-app"}},
		Outcome:      &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Correlation:  &eventv1.Correlation{Session: "canary-session"},
		Network:      &eventv1.Network{Ip: "203.0.113.9"},
		RawMediaType: "application/json",
		Raw:          []byte(`{"canary-raw":"` + id + `"}`),
	}
	roll, err := event.NewRoll(e)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, id := range roll.Identifiers {
		w.ids[id] = true
	}
	return e
}

func request(events ...*eventv1.Event) ingest.Request {
	return ingest.Request{Source: "okta", Principal: "poller", Assurance: leaf.AssurancePulled, Events: events}
}

// submit returns the answers of a call that must succeed.
func (w *world) submit(r ingest.Request) []ingest.Answer {
	w.t.Helper()
	answers, err := w.Submit(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(answers) != len(r.Events) {
		w.t.Fatalf("%d answers for %d events", len(answers), len(r.Events))
	}
	return answers
}

// receipts submits and checks the receipt of each event.
func (w *world) receipts(events ...*eventv1.Event) []*ingest.Receipt {
	w.t.Helper()
	var list []*ingest.Receipt
	for i, a := range w.submit(request(events...)) {
		if a.Receipt == nil {
			w.t.Fatalf("event %d: no receipt: %+v, %v", i, a.Ticket, a.Err)
		}
		w.check(events[i], a.Receipt)
		list = append(list, a.Receipt)
	}
	return list
}

// check is SPEC 3.1, as far as it concerns what ingest does.
func (w *world) check(e *eventv1.Event, r *ingest.Receipt) {
	w.t.Helper()
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
	parsed, err := leaf.Parse(r.Leaf)
	if err != nil {
		w.t.Fatal(err)
	}
	l := parsed.(*leaf.Event)
	if l.Log != family || l.Source != "okta" || l.Assurance != leaf.AssurancePulled || l.Received != r.Opening.Received.Unix() {
		w.t.Errorf("header of\n%s", r.Leaf)
	}
	stamped := proto.CloneOf(e)
	event.Stamp(stamped, r.Opening.Received)
	fields, err := event.Fields(stamped)
	if err != nil {
		w.t.Fatal(err)
	}
	keys := w.neutral("okta", r.Index)
	roll, err := event.NewRoll(stamped)
	if err != nil {
		w.t.Fatal(err)
	}
	list, _, err := w.Enrolments(w.t.Context(), roll.Identifiers)
	if err != nil {
		w.t.Fatal(err)
	}
	var handles [][32]byte
	for i, e := range list {
		if len(e.Handles) != 1 || e.Handles[0].Entry.Index >= r.Index {
			w.t.Fatalf("%v is not enrolled once before %d: %+v", roll.Identifiers[i], r.Index, e)
		}
		handles = append(handles, e.Handles[0].Handle.T)
	}
	tagged := roll.Tag(fields, keys, handles)
	if !slices.Equal(tagged.Tags, l.Tags) {
		w.t.Errorf("tags of entry %d are not TagFn's", r.Index)
	}
	used := 0
	for _, s := range r.Opening.Seeds {
		for _, f := range tagged.Fields {
			if bytes.Equal(f.Owners, s.Owners) {
				used++
				break
			}
		}
	}
	if used != len(r.Opening.Seeds) {
		w.t.Errorf("%d seeds, %d are used", len(r.Opening.Seeds), used)
	}
	lines := make([]seal.Line, len(tagged.Fields))
	for i, f := range tagged.Fields {
		at := slices.IndexFunc(r.Opening.Seeds, func(s vault.Seed) bool { return bytes.Equal(s.Owners, f.Owners) })
		if at < 0 {
			w.t.Fatalf("no seed for %s", f.Path)
		}
		lines[i] = seal.Line{Path: f.Path, Owners: f.Owners, Commitment: seal.Commitment(seal.Salt(r.Opening.Seeds[at].Seed, f.Path), f.Path, f.Value)}
	}
	if d, err := seal.Digest(lines); err != nil || d != l.Fields {
		w.t.Errorf("entry %d commits to other fields, %v", r.Index, err)
	}
}

// neutral returns the keys of a source after checking that they were announced
// before an entry.
func (w *world) neutral(source string, before int64) event.NeutralKeys {
	w.t.Helper()
	k, err := w.SourceKeys(w.t.Context(), source)
	if err != nil {
		w.t.Fatal(err)
	}
	announced, err := leaf.Parse(k.Keys[0].Entry.Leaf)
	if err != nil {
		w.t.Fatal(err)
	}
	for field, key := range k.Keys[0].Keys {
		if !slices.Contains(announced.(*leaf.Keys).Commits, leaf.Commit{Field: field, Source: source, Commit: key.Commit(field, source)}) {
			w.t.Errorf("key %d of %s was not announced", field, source)
		}
	}
	if k.Keys[0].Entry.Index >= before || k.Genesis.Index != 0 {
		w.t.Errorf("keys at %d, genesis at %d", k.Keys[0].Entry.Index, k.Genesis.Index)
	}
	m := k.Keys[0].Keys
	return event.NeutralKeys{EventID: m[tag.EventID], Session: m[tag.Session], Class: m[tag.Class], Target: m[tag.Target]}
}

// checkLog re-derives the whole log: every leaf is one of ours and stands once,
// genesis and keys come first, every person of an event was enrolled before it
// under the identifier's own etag, and every event opens.
func (w *world) checkLog() {
	w.t.Helper()
	ctx := w.t.Context()
	leaves := w.log.leaves()
	if _, err := w.log.Await(ctx, int64(len(leaves))); err != nil {
		w.t.Fatal(err)
	}
	enrolled := make(map[leaf.Hash]int64) // by tag 2
	var ids []subject.Identifier
	for id := range w.ids {
		ids = append(ids, id)
	}
	list, _, err := w.Enrolments(ctx, ids)
	if err != nil {
		w.t.Fatal(err)
	}
	handles := 0
	for i, e := range list {
		for _, h := range e.Handles {
			l, err := leaf.Parse(h.Entry.Leaf)
			if err != nil {
				w.t.Fatal(err)
			}
			s := l.(*leaf.Subject)
			etag, err := subject.VerifyVRF(w.vault.VRF(), ids[i], e.Proof)
			if err != nil || s.Etags[0] != etag || *s.Commit != h.Handle.Commit() {
				w.t.Errorf("enrolment of %v: %v", ids[i], err)
			}
			enrolled[tag.OfPerson(h.Handle.T, tag.Person)] = h.Entry.Index
			handles++
		}
		if len(e.Handles) > 1 {
			w.t.Errorf("%v has %d enrolments", ids[i], len(e.Handles))
		}
	}
	seen := make(map[leaf.Hash]int)
	for i, b := range leaves {
		l, err := leaf.Parse(b)
		if err != nil {
			w.t.Fatalf("entry %d: %v", i, err)
		}
		key := leaf.HashOf(b)
		switch l := l.(type) {
		case *leaf.Shard:
			if i != 0 {
				w.t.Errorf("genesis at %d", i)
			}
		case *leaf.Keys:
			if i == 0 {
				w.t.Error("keys before genesis")
			}
		case *leaf.Subject:
			if l.Commit != nil {
				handles--
			}
		case *leaf.Event:
			key = l.Tags[0].Value
			for _, mark := range l.Persons() {
				if at, ok := enrolled[mark]; !ok || at >= int64(i) {
					w.t.Errorf("a person of entry %d is enrolled at %d, %v", i, at, ok)
				}
			}
			if _, raw, err := w.Disclose(ctx, int64(i)); err != nil || !bytes.Contains(raw, []byte("canary-raw")) {
				w.t.Errorf("disclosing %d: %q, %v", i, raw, err)
			}
		}
		if at, ok := seen[key]; ok {
			w.t.Errorf("entries %d and %d are one", at, i)
		}
		seen[key] = i
	}
	if l, err := leaf.Parse(leaves[1]); err != nil || l.(*leaf.Keys) == nil {
		w.t.Errorf("entry 1 is no keys leaf: %v", err)
	}
	if handles != 0 {
		w.t.Errorf("%d enrolments are nobody's", -handles)
	}
}

// reason of an error.
func reason(err error) logv1.Reason {
	var r *ingest.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return logv1.Reason_REASON_UNSPECIFIED
}
