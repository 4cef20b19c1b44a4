package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/backup"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/tag"
	"idlog/proto/tile"
)

const (
	family = "acme.example/id"
	origin = family + "/0"
)

// world is a log on disk with all its parts, and what was submitted to it.
type world struct {
	t      testing.TB
	dir    string
	master vault.Master
	config ilog.Config
	ticket string
	sent   map[string]int64 // by id: where it stands, or -1 if nobody was told

	log     *ilog.Log // while it runs
	journal *journal.Journal
	vault   *vault.Vault
	ingest  *ingest.Ingest
	stop    func()
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newWorld makes a log that publishes without witnesses. It does not run yet.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), sent: make(map[string]int64)}
	skey, vkey, err := checkpoint.GenerateKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	must(t, err)
	signer, err := checkpoint.NewSigner(skey)
	must(t, err)
	w.ticket, _, err = checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	must(t, err)
	w.master, err = vault.CreateMaster(w.path("master.key"))
	must(t, err)
	w.config = ilog.Config{Dir: w.path("log"), Heads: w.path("heads"), Origin: origin, Signers: []note.Signer{signer}, VKeys: []string{vkey}, Republish: -1}
	must(t, ilog.Create(t.Context(), w.config), vault.Create(w.path("subjects"), w.master), journal.Create(w.path("journal")))
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// open opens all parts, as a server does at its start.
func (w *world) open() error {
	if err := backup.Unfinished(w.path("log"), w.path("journal"), w.path("subjects")); err != nil {
		return err
	}
	var err error
	if w.log, err = ilog.Open(w.t.Context(), w.config); err != nil {
		return err
	}
	if w.vault, err = vault.Open(w.path("subjects"), w.master, nil); err != nil {
		return errors.Join(err, w.log.Close())
	}
	if w.journal, err = journal.Open(w.path("journal"), nil); err != nil {
		return errors.Join(err, w.log.Close(), w.vault.Close())
	}
	w.ingest, err = ingest.New(w.t.Context(), ingest.Config{
		Family: family, Sources: []ingest.Source{{Name: "app", Principals: []string{"service"}}},
		Log: w.log, Journal: w.journal, Vault: w.vault, TicketKey: w.ticket, AckTimeout: time.Minute,
	})
	if err != nil {
		return errors.Join(err, w.log.Close(), w.vault.Close(), w.journal.Close())
	}
	return nil
}

func (w *world) start() {
	w.t.Helper()
	must(w.t, w.open())
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 2)
	l, in, j, v := w.log, w.ingest, w.journal, w.vault
	go func() { done <- l.Run(ctx) }()
	go func() { done <- in.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, <-done, j.Close(), v.Close(), l.Close()); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
}

func event(id, person string) *eventv1.Event {
	return &eventv1.Event{
		Source:  &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("user.session.start")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:   &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 412000000))},
		Actor:   &eventv1.Principal{Kind: eventv1.Principal_KIND_USER, Issuer: "https://acme.example", Id: person},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
	}
}

// submit submits events of an id each, all of one person, and returns how many were opened. An id that is known must be
// answered with where it stands, or with that and that its opening is lost.
func (w *world) submit(person string, ids ...string) (opened int) {
	w.t.Helper()
	for chunk := range slices.Chunk(ids, ingest.MaxEvents) {
		var events []*eventv1.Event
		for _, id := range chunk {
			events = append(events, event(id, person))
		}
		answers, err := w.ingest.Submit(w.t.Context(), ingest.Request{Source: "app", Principal: "service", Events: events})
		must(w.t, err)
		for i, a := range answers {
			id, index := chunk[i], int64(-1)
			var refusal *ingest.Refusal
			switch {
			case a.Receipt != nil:
				index = a.Receipt.Index
				opened++
			case errors.As(a.Err, &refusal) && refusal.Reason == logv1.Reason_REASON_OPENING_LOST:
				continue // who submitted is lost too, so the index is told to nobody; verify looks at the log
			default:
				w.t.Fatalf("%s: %+v", id, a)
			}
			if before, known := w.sent[id]; known && before != index {
				w.t.Errorf("%s stands at %d, and is now said to be at %d", id, before, index)
			}
			w.sent[id] = index
		}
	}
	return opened
}

func ids(prefix string, n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%s-%d", prefix, i))
	}
	return list
}

// verify reads the whole published log as anyone would: each id that was sent stands in it where it was said to, and once.
func (w *world) verify() {
	w.t.Helper()
	p, ok := w.log.Published()
	if !ok {
		w.t.Fatal("nothing is published")
	}
	at := make(map[leaf.Hash][]int64)
	reader := tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: p.Size, Root: p.Root}, w.log.Resource)
	for e, err := range reader.Entries(w.t.Context(), 0, p.Size) {
		must(w.t, err)
		l, err := leaf.Parse(e.Data)
		must(w.t, err)
		if l, ok := l.(*leaf.Event); ok {
			at[l.Tags[0].Value] = append(at[l.Tags[0].Value], e.Index)
		}
	}
	key := w.vault.Key(tag.EventID, "app")
	for id, index := range w.sent {
		if got := at[key.Tag([]byte(id))]; !slices.Equal(got, []int64{index}) {
			w.t.Errorf("%s stands at %v, want %d alone", id, got, index)
		}
	}
	if len(at) != len(w.sent) {
		w.t.Errorf("the log has %d events, %d were sent", len(at), len(w.sent))
	}
}

func (w *world) source() backup.Source {
	return backup.Source{Origin: origin, VKeys: w.config.VKeys, Log: w.log, Journal: w.journal, Subjects: w.vault,
		Public: map[string]string{"NOTE": w.path("note")}}
}

func (w *world) target(keep ...backup.Part) backup.Target {
	return backup.Target{Log: w.config, Journal: w.path("journal"), Subjects: w.path("subjects"), Keep: keep}
}

// backup backs the running log up and verifies the copy.
func (w *world) backup(to string) *backup.Manifest {
	w.t.Helper()
	must(w.t, os.WriteFile(w.path("note"), []byte("for people\n"), 0o600))
	made, err := backup.Make(w.t.Context(), w.source(), w.path(to), time.Now(), nil)
	must(w.t, err)
	_, err = backup.Verify(w.t.Context(), w.path(to), nil)
	must(w.t, err)
	return made
}

// copy makes another world of a copy of all that is on disk.
func (w *world) copy() *world {
	w.t.Helper()
	c := *w
	c.dir, c.sent = w.t.TempDir(), make(map[string]int64)
	for id, at := range w.sent {
		c.sent[id] = at
	}
	must(w.t, os.CopyFS(c.dir, os.DirFS(w.dir)))
	c.config.Dir, c.config.Heads = c.path("log"), c.path("heads")
	return &c
}

// replace puts the folder from in place of the folder to; an empty from takes it away.
func (w *world) replace(to, from string) {
	w.t.Helper()
	must(w.t, os.RemoveAll(w.path(to)))
	if from != "" {
		must(w.t, os.CopyFS(w.path(to), os.DirFS(w.path(from))))
	}
}
