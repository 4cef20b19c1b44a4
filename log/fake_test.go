package log_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

const origin = "audit.example/id"

// A key is a key pair of a test.
type key struct {
	vkey   string
	signer note.Signer
}

func newKey(t testing.TB, name string, alg checkpoint.Alg, role checkpoint.Role) key {
	t.Helper()
	skey, vkey, err := checkpoint.GenerateKey(name, alg, role)
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return key{vkey, s}
}

// A witness follows c2sp.org/tlog-witness for one log, over real HTTP, and
// polices the log: a checkpoint that does not continue the last one fails the
// test.
type witness struct {
	t    testing.TB
	name string
	key  key
	url  string

	mu       sync.Mutex
	keys     []note.Verifier // of the log
	latest   checkpoint.Checkpoint
	note     []byte
	down     bool          // answers 500
	lie      int64         // if not 0, answers 409 with this size
	status   int           // if not 0, answers this
	answered chan struct{} // closed and replaced at each request
	requests int
}

func newWitness(t testing.TB, name string, logKeys ...key) *witness {
	w := &witness{t: t, name: name, key: newKey(t, name+".example", checkpoint.Ed25519, checkpoint.WitnessRole), answered: make(chan struct{})}
	for _, k := range logKeys {
		v, err := checkpoint.NewVerifier(k.vkey)
		if err != nil {
			t.Fatal(err)
		}
		w.keys = append(w.keys, v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.add)
	mux.HandleFunc("GET /"+fmt.Sprintf("%x", sha256.Sum256([]byte(origin)))+"/checkpoint", w.monitor)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *witness) add(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, cosign.MaxRequest))
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	defer func() {
		close(w.answered)
		w.answered = make(chan struct{})
	}()
	if w.down {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
	if w.status != 0 {
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, "not now", w.status)
		return
	}
	req, err := cosign.ParseRequest(body)
	if err != nil {
		w.t.Errorf("witness %s: %v", w.name, err)
		return
	}
	text, sigs, err := checkpoint.Split(req.Checkpoint)
	if err != nil {
		w.t.Errorf("witness %s: %v", w.name, err)
		return
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		w.t.Errorf("witness %s: %v", w.name, err)
		return
	}
	for _, v := range w.keys {
		ok := false
		for _, s := range sigs {
			ok = ok || s.Name == v.Name() && s.ID == v.KeyHash() && v.Verify(text, s.Bytes)
		}
		if !ok {
			w.t.Errorf("witness %s: the checkpoint is not signed by %s+%08x", w.name, v.Name(), v.KeyHash())
		}
	}
	size := w.latest.Size
	if w.lie != 0 {
		size = w.lie
	}
	if req.Old != size || req.Old == c.Size && w.note != nil && w.latest.Root != c.Root {
		rw.Header().Set("Content-Type", cosign.SizeType)
		rw.WriteHeader(http.StatusConflict)
		rw.Write(cosign.FormatSize(size))
		return
	}
	if w.note != nil {
		if err := proof.Consistency(w.latest.Size, c.Size, w.latest.Root, c.Root, req.Proof); err != nil {
			w.t.Errorf("witness %s: size %d does not continue %d: %v", w.name, c.Size, w.latest.Size, err)
			http.Error(rw, "inconsistent", http.StatusUnprocessableEntity)
			return
		}
	}
	w.latest, w.note = c, req.Checkpoint
	sig, err := w.key.signer.Sign(text)
	if err != nil {
		w.t.Errorf("witness %s: %v", w.name, err)
		return
	}
	rw.Write(cosign.FormatCosignatures([]checkpoint.Signature{{Name: w.key.signer.Name(), ID: w.key.signer.KeyHash(), Bytes: sig}}))
}

func (w *witness) monitor(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
	if w.note == nil {
		http.NotFound(rw, r)
		return
	}
	rw.Write(w.note)
}

func (w *witness) set(change func(w *witness)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// wait returns after n more requests were answered.
func (w *witness) wait(n int) {
	for range n {
		w.mu.Lock()
		c := w.answered
		w.mu.Unlock()
		select {
		case <-c:
		case <-w.t.Context().Done():
			return
		}
	}
}

// A world is a log's surroundings: keys, witnesses, directories.
type world struct {
	t         testing.TB
	dir       string
	keys      []key
	witnesses []*witness
	config    log.Config
	policy    *policy.Policy
	leaves    [][]byte // appended so far
}

// newWorld creates a log with n witnesses, of which quorum must cosign.
func newWorld(t testing.TB, n, quorum int) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.keys = []key{newKey(t, origin, checkpoint.Ed25519, checkpoint.LogRole)}
	for i := range n {
		w.witnesses = append(w.witnesses, newWitness(t, fmt.Sprintf("w%d", i), w.keys...))
	}
	w.configure(quorum)
	if err := log.Create(t.Context(), w.config); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) configure(quorum int) {
	var b strings.Builder
	var names []string
	for _, k := range w.keys {
		fmt.Fprintf(&b, "log %s\n", k.vkey)
	}
	for _, x := range w.witnesses {
		fmt.Fprintf(&b, "witness %s %s %s\n", x.name, x.key.vkey, x.url)
		names = append(names, x.name)
	}
	if quorum > 0 {
		fmt.Fprintf(&b, "group all %d %s\nquorum all\n", quorum, strings.Join(names, " "))
	} else {
		b.WriteString("quorum none\n")
	}
	p, err := policy.Parse([]byte(b.String()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.policy = p
	w.config = log.Config{
		Dir: filepath.Join(w.dir, "log"), Heads: filepath.Join(w.dir, "heads"), Origin: origin, Policy: p, Republish: -1,
	}
	for _, k := range w.keys {
		w.config.Signers = append(w.config.Signers, k.signer)
		w.config.VKeys = append(w.config.VKeys, k.vkey)
	}
}

// A running log.
type running struct {
	*log.Log
	w      *world
	cancel context.CancelFunc
	done   chan error
}

func (w *world) open() *running {
	w.t.Helper()
	l, err := log.Open(w.t.Context(), w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Log: l, w: w, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- l.Run(ctx) }()
	w.t.Cleanup(func() { r.close() })
	return r
}

// close ends the log and returns what Run returned. It may be called twice.
func (r *running) close() error {
	if r.Log == nil {
		return nil
	}
	r.cancel()
	err := <-r.done
	if err := r.Close(); err != nil {
		r.w.t.Errorf("closing: %v", err)
	}
	r.Log = nil
	return err
}

// add appends n leaves and releases them.
func (r *running) add(n int) {
	r.w.t.Helper()
	var leaves [][]byte
	for i := range n {
		leaves = append(leaves, fmt.Appendf(nil, "leaf %d", len(r.w.leaves)+i))
	}
	first, err := r.Append(r.w.t.Context(), leaves)
	if err != nil {
		r.w.t.Fatal(err)
	}
	if first != int64(len(r.w.leaves)) {
		r.w.t.Fatalf("first leaf is at %d, want %d", first, len(r.w.leaves))
	}
	r.w.leaves = append(r.w.leaves, leaves...)
	r.Release(first + int64(n))
}

// publish adds n leaves and waits for a verified checkpoint that covers them.
func (r *running) publish(n int) log.Published {
	r.w.t.Helper()
	r.add(n)
	return r.await(int64(len(r.w.leaves)))
}

func (r *running) await(size int64) log.Published {
	r.w.t.Helper()
	ctx, cancel := context.WithTimeout(r.w.t.Context(), 20*time.Second)
	defer cancel()
	p, err := r.Await(ctx, size)
	if err != nil {
		r.w.t.Fatal(err)
	}
	v, err := r.w.policy.Verify(p.Note)
	if err != nil {
		r.w.t.Fatalf("the published checkpoint: %v", err)
	}
	if v.Checkpoint.Size != p.Size || v.Checkpoint.Root != p.Root {
		r.w.t.Fatalf("published size %d is not its note's %d", p.Size, v.Checkpoint.Size)
	}
	return p
}

// check re-derives the world through the public API: leaves, of a long log a
// sample with both ends, have their bytes and inclusion proofs under the
// published checkpoint.
func (r *running) check(p log.Published) {
	r.w.t.Helper()
	ctx := r.w.t.Context()
	for i, want := range r.w.leaves {
		if int64(i) >= p.Size {
			break
		}
		if i >= 50 && int64(i) < p.Size-50 && i%37 != 0 {
			continue
		}
		got, err := r.Entry(ctx, int64(i))
		if err != nil || !bytes.Equal(got, want) {
			r.w.t.Fatalf("entry %d = %q, %v; want %q", i, got, err, want)
		}
		hashes, err := r.Inclusion(ctx, int64(i), p.Size)
		if err != nil {
			r.w.t.Fatal(err)
		}
		if err := proof.Inclusion(leaf.HashOf(got), int64(i), p.Size, hashes, p.Root); err != nil {
			r.w.t.Fatalf("inclusion of %d in %d: %v", i, p.Size, err)
		}
	}
}
