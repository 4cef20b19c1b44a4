package log_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/policy"
)

// A witness that misbehaves in any way costs nothing but its cosignature.
func TestHostileWitness(t *testing.T) {
	var canary atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { canary.Add(1) }))
	t.Cleanup(elsewhere.Close)
	other := newKey(t, "other.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	hostile := map[string]http.HandlerFunc{
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
		"another's key": func(rw http.ResponseWriter, _ *http.Request) {
			sig, err := other.signer.Sign(checkpoint.Checkpoint{Origin: origin, Size: 1}.Format())
			if err != nil {
				t.Error(err)
			}
			rw.Write(cosign.FormatCosignatures([]checkpoint.Signature{{Name: other.signer.Name(), ID: other.signer.KeyHash(), Bytes: sig}}))
		},
	}
	for name, handler := range hostile {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir()}
			w.keys = []key{newKey(t, origin, checkpoint.Ed25519, checkpoint.LogRole)}
			for _, n := range []string{"w0", "w1", "w2"} {
				w.witnesses = append(w.witnesses, newWitness(t, n, w.keys...))
			}
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			w.witnesses[0].url = server.URL
			w.configure(2)
			w.config.WithoutWitness = []string{"w0"}
			if err := log.Create(t.Context(), w.config); err != nil {
				t.Fatal(err)
			}
			r := w.open()
			for range 3 {
				r.check(r.publish(2))
			}
			if err := r.ReadOnly(); err != nil {
				t.Error(err)
			}
			r.close()
		})
	}
	if n := canary.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// The cosignature of a witness that is slower than the quorum gets into the
// archive.
func TestLateCosignature(t *testing.T) {
	w := newWorld(t, 2, 1)
	hold := make(chan struct{})
	slow := w.witnesses[1]
	inner, err := http.NewRequest(http.MethodGet, slow.url, nil) // its real address
	if err != nil {
		t.Fatal(err)
	}
	var holding atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if holding.Load() {
			select {
			case <-hold:
			case <-t.Context().Done():
			}
		}
		req := r.Clone(r.Context())
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", inner.URL.Host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		rw.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		rw.WriteHeader(resp.StatusCode)
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		rw.Write(b.Bytes())
	}))
	t.Cleanup(front.Close)
	slow.url = front.URL
	w.configure(1)
	r := w.open()
	r.publish(1)
	holding.Store(true)
	p := r.publish(2)
	if bytes.Contains(p.Note, []byte("— w1.example ")) {
		t.Fatal("the slow witness was waited for")
	}
	close(hold)
	// It is there once a later tree is published, whose quorum may be either.
	for p = r.publish(1); ; p = r.publish(1) {
		note, err := r.Archived(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.policy.Verify(note); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(note, []byte("— w1.example ")) && bytes.Contains(note, []byte("— w0.example ")) {
			return
		}
		if p.Size > 2000 {
			t.Fatalf("the archive never got it:\n%s", note)
		}
	}
}

func TestWitnessURL(t *testing.T) {
	w := newWorld(t, 1, 1)
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
		p, err := policy.Parse([]byte(strings.ReplaceAll(string(w.policy.Format()), w.witnesses[0].url, url)))
		if err != nil {
			t.Fatal(err)
		}
		c := w.config
		c.Policy = p
		l, err := log.Open(t.Context(), c)
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
		if err == nil {
			l.Close()
		}
	}
}
