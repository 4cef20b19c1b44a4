package quorum_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/log/heads"
	"idlog/log/quorum"
	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
)

const origin = "audit.example/id"

var logKey = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)

// A world is a log with all the leaves that its checkpoints will ever have, and
// witnesses w0, w1 and so on, each behind a handler.
type world struct {
	t       *testing.T
	log     *prototest.Log
	keys    []prototest.Key
	urls    []string
	config  quorum.Config
	policy  *policy.Policy
	answers []quorum.Answer // given to take
	late    []checkpoint.Signature
}

// newWorld makes a log with these witnesses, of which need must cosign.
func newWorld(t *testing.T, need int, handlers ...http.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t, log: prototest.NewLog(origin, logKey)}
	w.log.Fill(20)
	for i, h := range handlers {
		w.keys = append(w.keys, witnessKey(i))
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		w.urls = append(w.urls, server.URL)
	}
	w.configure(need)
	return w
}

func witnessKey(i int) prototest.Key {
	return prototest.NewKey(fmt.Sprintf("w%d.example", i), checkpoint.Ed25519, checkpoint.WitnessRole)
}

func (w *world) configure(need int) {
	w.t.Helper()
	b := fmt.Appendf(nil, "log %s\n", logKey.VKey)
	var names []string
	for i, k := range w.keys {
		b = fmt.Appendf(b, "witness w%d %s %s\n", i, k.VKey, w.urls[i])
		names = append(names, fmt.Sprintf("w%d", i))
	}
	if need > 0 {
		b = fmt.Appendf(b, "group all %d %s\nquorum all\n", need, strings.Join(names, " "))
	} else {
		b = append(b, "quorum none\n"...)
	}
	p, err := policy.Parse(b)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := checkpoint.NewVerifier(logKey.VKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.policy = p
	w.config = quorum.Config{
		Origin: origin, Keys: []note.Verifier{v}, Policy: p,
		Prove: func(_ context.Context, from, to int64) ([]leaf.Hash, error) {
			return w.log.Consistency(from, to), nil
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// A caller is started, and ends with the test.
func (w *world) start() *quorum.Caller {
	w.t.Helper()
	q, err := quorum.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	return q
}

func (w *world) head(size int64) *heads.Head {
	c := w.log.Checkpoint(size)
	return &heads.Head{Checkpoint: c, Text: c.Format(), Sigs: []checkpoint.Signature{logKey.Sign(c.Format(), 0)}}
}

// collect asks about a size and verifies what comes of it.
func (w *world) collect(q *quorum.Caller, size int64) []checkpoint.Signature {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	h := w.head(size)
	sigs, err := q.Collect(ctx, h, w.take(q))
	if err != nil {
		w.t.Fatalf("collecting for %d: %v", size, err)
	}
	if _, err := w.policy.Verify(h.Note(sigs...)); err != nil {
		w.t.Fatalf("collected for %d: %v", size, err)
	}
	return sigs
}

func (w *world) take(q *quorum.Caller) func(quorum.Answer) error {
	return func(a quorum.Answer) error {
		w.answers = append(w.answers, a)
		w.late = append(w.late, q.Take(a)...)
		return nil
	}
}

// witness returns the handler of a witness that follows the specification and
// fails the test if the log does not. It has cosigned nothing yet.
func witness(t *testing.T, i int) http.HandlerFunc {
	var latest checkpoint.Checkpoint // requests come one after the other
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		req, err := cosign.ParseRequest(body)
		if err != nil {
			t.Error(err)
			return
		}
		v, err := checkpoint.NewVerifier(logKey.VKey)
		if err != nil {
			t.Error(err)
			return
		}
		c, by, err := checkpoint.Open(req.Checkpoint, origin, v)
		if err != nil || by != 1 {
			t.Errorf("a checkpoint signed by %d keys, %v", by, err)
			return
		}
		if req.Old != latest.Size {
			conflict(latest.Size)(rw, r)
			return
		}
		if err := proof.Consistency(req.Old, c.Size, orEmpty(latest), c.Root, req.Proof); err != nil {
			t.Error(err)
			return
		}
		latest = c
		rw.Write(witnessKey(i).Sign(c.Format(), 1_700_000_000).Line())
	}
}

func orEmpty(c checkpoint.Checkpoint) leaf.Hash {
	if c.Size == 0 {
		return sha256.Sum256(nil)
	}
	return c.Root
}

func conflict(size int64) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", cosign.SizeType)
		rw.WriteHeader(http.StatusConflict)
		rw.Write(cosign.FormatSize(size))
	}
}

func down(rw http.ResponseWriter, _ *http.Request) {
	http.Error(rw, "down", http.StatusInternalServerError)
}

func TestCollect(t *testing.T) {
	w := newWorld(t, 3, witness(t, 0), witness(t, 1), witness(t, 2))
	q := w.start()
	for _, size := range []int64{0, 1, 2, 7, 7, 20} {
		var sigs []checkpoint.Signature
		if size > 0 {
			sigs = w.collect(q, size)
		} else if _, err := q.Collect(t.Context(), w.head(0), w.take(q)); err != nil {
			t.Fatal(err)
		}
		for i, s := range sigs {
			if s.Name != fmt.Sprintf("w%d.example", i) {
				t.Errorf("cosignature %d is of %s: not in the order of the policy", i, s.Name)
			}
		}
	}
	for _, a := range w.answers {
		if a.Proof != nil {
			t.Errorf("%s shows a proof of nothing", a.Witness)
		}
	}
}

// A witness that misbehaves in any way costs nothing but its cosignature.
func TestHostileWitness(t *testing.T) {
	var canary atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { canary.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for name, hostile := range map[string]http.HandlerFunc{
		"down": down,
		"redirects": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"talks long": func(rw http.ResponseWriter, _ *http.Request) { rw.Write(bytes.Repeat([]byte("x"), 1<<20)) },
		"garbage":    func(rw http.ResponseWriter, _ *http.Request) { rw.Write([]byte("— w0.example AAAA\n")) },
		"silence": func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not see that the client goes
			<-r.Context().Done()
		},
		"no size": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusConflict) },
		"size as text": func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusConflict)
			rw.Write([]byte("3\n"))
		},
		"negative size": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", cosign.SizeType)
			rw.WriteHeader(http.StatusConflict)
			rw.Write([]byte("-1\n"))
		},
		"large size": conflict(1 << 60),
		"two sizes": func() http.HandlerFunc {
			var n atomic.Int64
			return func(rw http.ResponseWriter, r *http.Request) { conflict(n.Add(1)%2)(rw, r) }
		}(),
		"another's key": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Write(witnessKey(1).Sign(checkpoint.Checkpoint{Origin: origin, Size: 1}.Format(), 1).Line())
		},
		"another's text": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Write(witnessKey(0).Sign(checkpoint.Checkpoint{Origin: origin, Size: 1}.Format(), 1).Line())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, hostile, witness(t, 1), witness(t, 2))
			w.config.Without = []string{"w0"}
			q := w.start()
			for _, size := range []int64{2, 4, 6} {
				if sigs := w.collect(q, size); len(sigs) != 2 {
					t.Errorf("%d cosignatures", len(sigs))
				}
			}
			for _, a := range w.answers {
				if a.Proof != nil {
					t.Errorf("%s has proof of size %d", a.Witness, a.Shown.Size)
				}
			}
		})
	}
	if n := canary.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// No round is complete before enough witnesses have said what they have seen.
func TestSilentAtStart(t *testing.T) {
	for _, test := range []struct {
		name     string
		handlers []http.HandlerFunc
		without  []string
		done     bool
	}{
		{"one down", []http.HandlerFunc{down, witness(t, 1), witness(t, 2)}, nil, false},
		{"another named", []http.HandlerFunc{down, witness(t, 1), witness(t, 2)}, []string{"w1"}, false},
		{"named", []http.HandlerFunc{down, witness(t, 1), witness(t, 2)}, []string{"w0"}, true},
		{"a quorum named", []http.HandlerFunc{down, down, witness(t, 2)}, []string{"w0", "w1"}, false},
		{"a liar", []http.HandlerFunc{conflict(9), witness(t, 1), witness(t, 2)}, nil, true},
		{"a quorum of liars", []http.HandlerFunc{conflict(9), conflict(9), witness(t, 2)}, nil, false},
		{"a liar and one down", []http.HandlerFunc{conflict(9), down, witness(t, 2)}, []string{"w1"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 2, test.handlers...)
			w.config.Without = test.without
			q := w.start()
			waits := errors.New("all were heard, and it still waits")
			heard := make(map[string]bool)
			_, err := q.Collect(t.Context(), w.head(0), func(a quorum.Answer) error {
				if len(heard) == len(w.keys) {
					return waits
				}
				heard[a.Witness] = true
				q.Take(a)
				return nil
			})
			if test.done && err != nil || !test.done && !errors.Is(err, waits) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What a witness shows under our own key is handed on, verified.
func TestProof(t *testing.T) {
	other := prototest.NewLog(origin, logKey)
	other.Append([]byte("another history"))
	other.Fill(9)
	stranger := prototest.NewLog(origin, prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.LogRole))
	stranger.Fill(9)
	for name, test := range map[string]struct {
		shown  []byte
		size   int64
		proven bool
	}{
		"larger":        {other.Note(9, 1), 9, true},
		"same size":     {other.Note(5, 1), 5, true},
		"smaller":       {other.Note(4, 1), 9, false},
		"other key":     {stranger.Note(9, 1), 9, false},
		"garbage":       {[]byte("garbage\n"), 9, false},
		"other origin":  {prototest.NewLog("other.example/id", logKey).Note(0, 1), 9, false},
		"nothing shown": {nil, 9, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte(origin)))
			w := newWorld(t, 2, func(rw http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost:
					conflict(test.size)(rw, r)
				case r.URL.Path != path:
					t.Errorf("asked for %s", r.URL.Path)
				case test.shown == nil:
					http.NotFound(rw, r)
				default:
					rw.Write(test.shown)
				}
			}, witness(t, 1), witness(t, 2))
			q := w.start()
			done := errors.New("heard")
			_, err := q.Collect(t.Context(), w.head(5), func(a quorum.Answer) error {
				q.Take(a)
				if a.Witness != "w0" {
					return nil
				}
				if test.proven != (a.Proof != nil) || test.proven && (!bytes.Equal(a.Proof, test.shown) || a.Shown.Size != test.size || a.Size != 5) {
					t.Errorf("shown %q at %d", a.Proof, a.Shown.Size)
				}
				return done
			})
			// With a liar set aside, the other two may be done before it is heard.
			if err != nil && !errors.Is(err, done) {
				t.Error(err)
			}
		})
	}
}

// What comes after the quorum is for the archive.
func TestLate(t *testing.T) {
	hold := make(chan struct{})
	slow := witness(t, 1)
	var held atomic.Bool
	w := newWorld(t, 1, witness(t, 0), func(rw http.ResponseWriter, r *http.Request) {
		if held.Load() {
			select {
			case <-hold:
			case <-t.Context().Done():
			}
		}
		slow(rw, r)
	})
	q := w.start()
	// At first everybody is heard, and each of the two cosigns before or after the quorum.
	if n := len(w.collect(q, 1)) + len(w.late); n != 2 {
		t.Fatalf("%d cosignatures", n)
	}
	w.late = nil
	held.Store(true)
	if sigs := w.collect(q, 3); len(sigs) != 1 || sigs[0].Name != "w0.example" {
		t.Fatal("the slow witness was waited for")
	}
	close(hold)
	for len(w.late) == 0 {
		select {
		case a := <-q.Answers():
			if err := w.take(q)(a); err != nil {
				t.Fatal(err)
			}
			if a.Size != 3 {
				t.Errorf("late for %d, want 3", a.Size)
			}
		case <-t.Context().Done():
			t.Fatal("it never came")
		}
	}
	if _, err := w.policy.Verify(w.head(3).Note(w.late...)); err != nil || w.late[0].Name != "w1.example" {
		t.Errorf("late from %s: %v", w.late[0].Name, err)
	}
}

func TestWithoutPolicy(t *testing.T) {
	w := newWorld(t, 0, down)
	for _, p := range []*policy.Policy{nil, w.policy} {
		w.config.Policy = p
		sigs, err := w.start().Collect(t.Context(), w.head(3), w.take(nil))
		if err != nil || len(sigs) != 0 {
			t.Errorf("%d cosignatures, %v", len(sigs), err)
		}
	}
}

func TestURL(t *testing.T) {
	w := newWorld(t, 1, witness(t, 0))
	for url, ok := range map[string]bool{
		"https://witness.example/x":       true,
		"http://127.0.0.1:1/":             true,
		"http://[::1]:1/":                 true,
		"http://localhost:1":              true,
		"http://witness.example/x":        false,
		"http://127.0.0.1.example/":       false,
		"http://10.0.0.1/":                false,
		"file:///etc/passwd":              false,
		"ftp://127.0.0.1/":                false,
		"http://localhost.example@evil/x": false,
	} {
		w.urls[0] = url
		w.configure(1)
		if _, err := quorum.New(w.config); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}
