package index_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/index"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tile"
	"idlog/proto/trie"
)

const (
	family = "acme.example/id"
	origin = family + "/0"
)

// world is a log's operator on a disk: keys, folders, and while it runs, its parts.
type world struct {
	t      *testing.T
	dir    string
	master vault.Master
	log    ilog.Config
	ingest ingest.Config
	index  index.Config // what is set before start
	events int

	*running
}

// running is one life of the operator's process.
type running struct {
	log    *ilog.Log
	ingest *ingest.Ingest
	index  *index.Index
	stop   func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	skey, vkey, err := checkpoint.GenerateKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	ticket, _, err := checkpoint.GenerateKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	w.log = ilog.Config{
		Dir: filepath.Join(w.dir, "log"), Heads: filepath.Join(w.dir, "heads"), Origin: origin, Republish: -1,
		Signers: []note.Signer{signer}, VKeys: []string{vkey},
	}
	w.ingest = ingest.Config{Family: family, TicketKey: ticket, Sources: []ingest.Source{{Name: "app", Principals: []string{"me"}}}}
	w.index = index.Config{Dir: filepath.Join(w.dir, "index"), Origin: origin, Interval: time.Millisecond}
	w.master, err = vault.CreateMaster(filepath.Join(w.dir, "master.key"))
	err = errors.Join(err, ilog.Create(t.Context(), w.log), vault.Create(filepath.Join(w.dir, "subjects"), w.master),
		journal.Create(filepath.Join(w.dir, "journal")))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs the log, and the index if it is wanted.
func (w *world) start(indexed bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	r := &running{}
	var err error
	if r.log, err = ilog.Open(ctx, w.log); err != nil {
		w.t.Fatal(err)
	}
	v, err := vault.Open(filepath.Join(w.dir, "subjects"), w.master, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := journal.Open(filepath.Join(w.dir, "journal"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := w.ingest
	c.Log, c.Vault, c.Journal = r.log, v, j
	if r.ingest, err = ingest.New(ctx, c); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 3)
	go func() { done <- r.log.Run(ctx) }()
	go func() { done <- r.ingest.Run(ctx) }()
	closeIndex := func() error { return nil }
	if indexed {
		c := w.index
		c.Log, c.Writer = r.log, r.ingest
		if r.index, err = index.Open(c); err != nil {
			w.t.Fatal(err)
		}
		closeIndex = r.index.Close
		go func() { r.index.Run(ctx); done <- nil }()
	} else {
		done <- nil
	}
	r.stop = func() {
		cancel()
		if err := errors.Join(<-done, <-done, <-done, closeIndex(), j.Close(), v.Close(), r.log.Close()); err != nil {
			w.t.Error(err)
		}
		r.stop = func() {}
	}
	w.running = r
	w.t.Cleanup(func() { r.stop() })
}

// event makes an event of a person.
func (w *world) event(person string) *eventv1.Event {
	w.events++
	return &eventv1.Event{
		Source:  &eventv1.Source{NativeId: proto.String(fmt.Sprint("event-", w.events)), NativeType: proto.String("login")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:   &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 0))},
		Actor:   &eventv1.Principal{Kind: eventv1.Principal_KIND_USER, Issuer: "https://acme.example", Id: person},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
	}
}

func (w *world) request(events ...*eventv1.Event) ingest.Request {
	return ingest.Request{Source: "app", Principal: "me", Events: events}
}

// submit logs events, all of which are published when it returns.
func (w *world) submit(events ...*eventv1.Event) (last int64) {
	w.t.Helper()
	answers, err := w.running.ingest.Submit(w.t.Context(), w.request(events...))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range answers {
		if a.Receipt == nil {
			w.t.Fatalf("answer %+v", a)
		}
		last = a.Receipt.Index
	}
	return last
}

// until waits for something that another goroutine brings about.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("waiting until %s: %+v", what, w.running.index.Status())
		}
	}
}

// indexed waits until a root leaf that everybody sees covers everything in the log.
func (w *world) indexed() {
	w.t.Helper()
	w.until("all is indexed", func() bool {
		s := w.running.index.Status()
		if s.Stopped != "" {
			w.t.Fatalf("stopped: %s", s.Stopped)
		}
		all := w.entries()
		last := rootLeaf(all[len(all)-1])
		return s.Lag == 0 && last != nil && last.N == s.Root
	})
}

// entries reads the log as anyone may.
func (w *world) entries() []tile.Entry {
	w.t.Helper()
	p, _ := w.running.log.Published()
	var all []tile.Entry
	for e, err := range tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: p.Size, Root: p.Root}, w.running.log.Resource).Entries(w.t.Context(), 0, p.Size) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func rootLeaf(e tile.Entry) *leaf.Root {
	l, _ := leaf.Parse(e.Data)
	r, _ := l.(*leaf.Root)
	return r
}

// check holds every root leaf of the log against SPEC 2.12 and returns how many there are.
func (w *world) check() (roots int) {
	w.t.Helper()
	all := w.entries()
	p, _ := w.running.log.Published()
	reader := tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: p.Size, Root: p.Root}, w.running.log.Resource)
	last := int64(0)
	for _, e := range all {
		r := rootLeaf(e)
		if r == nil {
			continue
		}
		roots++
		if r.Origin != origin || r.N > e.Index || r.N <= last {
			w.t.Fatalf("root leaf at %d is of %d, after one of %d", e.Index, r.N, last)
		}
		if !slices.ContainsFunc(all[last:r.N], func(e tile.Entry) bool { return rootLeaf(e) == nil }) {
			w.t.Errorf("root leaf at %d: from %d to %d there are root leaves only", e.Index, last, r.N)
		}
		last = r.N
		note, err := w.running.log.Archived(w.t.Context(), r.N)
		if err != nil {
			w.t.Fatal(err)
		}
		text, _, err := checkpoint.Split(note)
		if err != nil {
			w.t.Fatal(err)
		}
		if c, err := checkpoint.Parse(text); err != nil || c.Size != r.N {
			w.t.Errorf("root leaf at %d is of %d, which was not published: %v", e.Index, r.N, err)
		}
		logRoot, err := reader.Root(w.t.Context(), r.N)
		if err != nil {
			w.t.Fatal(err)
		}
		keys, mapRoot := oracle(all[:r.N])
		if r.LogRoot != logRoot || r.Keys != keys || r.MapRoot != mapRoot {
			w.t.Errorf("root leaf at %d is false: %+v", e.Index, r)
		}
	}
	return roots
}

// oracle computes the map root of entries by the definitions of SPEC 2.12, with nothing of the engine's.
func oracle(entries []tile.Entry) (keys int64, root leaf.Hash) {
	lists := make(map[leaf.Hash][]leaf.Hash)
	for _, e := range entries {
		for _, k := range mapfn.OfEntry(e.Data) {
			lists[k] = append(lists[k], trie.Posting{Index: e.Index, Leaf: e.Hash}.Hash())
		}
	}
	if len(lists) == 0 {
		return 0, trie.Empty()
	}
	var all []leaf.Hash
	for k := range lists {
		all = append(all, k)
	}
	return int64(len(lists)), oracleTrie(lists, all, 0)
}

func oracleTrie(lists map[leaf.Hash][]leaf.Hash, keys []leaf.Hash, depth int) leaf.Hash {
	if len(keys) == 1 {
		list := lists[keys[0]]
		return trie.Leaf(keys[0], trie.Head{N: int64(len(list)), Root: oracleTree(list)}.Hash())
	}
	var sides [2][]leaf.Hash
	for _, k := range keys {
		b := trie.Bit(k, depth)
		sides[b] = append(sides[b], k)
	}
	switch {
	case len(sides[0]) == 0:
		return oracleTrie(lists, sides[1], depth+1)
	case len(sides[1]) == 0:
		return oracleTrie(lists, sides[0], depth+1)
	}
	return trie.Node(depth, oracleTrie(lists, sides[0], depth+1), oracleTrie(lists, sides[1], depth+1))
}

// oracleTree is the root of an RFC 6962 tree over leaf hashes.
func oracleTree(hashes []leaf.Hash) leaf.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return leaf.Hash(tlog.NodeHash(tlog.Hash(oracleTree(hashes[:k])), tlog.Hash(oracleTree(hashes[k:]))))
}
