package log_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

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
