package audit_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"idlog/client/audit"
)

// TestSite asks again where an answer may be another the next time, and not
// where it is an answer.
func TestSite(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		switch {
		case r.URL.Path == "/id/checkpoint" && n < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/id/checkpoint":
			w.Write([]byte("note"))
		case r.URL.Path == "/id/tile/0/000":
			w.WriteHeader(http.StatusForbidden)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	site, err := audit.NewSite(s.URL+"/id/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := site.Newest(t.Context()); string(b) != "note" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	calls.Store(10)
	_, err = site.Resource(t.Context(), "tile/0/000")
	if status, ok := errors.AsType[*audit.StatusError](err); !ok || status.Code != http.StatusForbidden {
		t.Error(err)
	}
	if _, err := site.Resource(t.Context(), "tile/0/001"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if n := calls.Load(); n != 12 {
		t.Errorf("asked %d times for what has an answer", n-10)
	}
	for h, err := range site.Heads(t.Context(), 1<<40) { // there is no archive
		t.Error(h, err)
	}
}

// FuzzHeads reads any bytes as a segment of tree heads.
func FuzzHeads(f *testing.F) {
	seed := func(t testing.TB) *built {
		b := build(t)
		b.fill(10)
		b.publish()
		return b
	}
	b := seed(f)
	b.heads("h", 2, 5, 10)
	whole := b.read("h/00000001.heads")
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(whole[:len(whole):len(whole)], make([]byte, 40)...))
	dir := b.dir
	f.Fuzz(func(t *testing.T, data []byte) {
		heads := t.TempDir()
		if err := os.WriteFile(filepath.Join(heads, "00000001.heads"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := audit.Open(dir, heads)
		if err != nil {
			t.Fatal(err)
		}
		for h, err := range d.Heads(t.Context(), 10) {
			if err != nil || (h.Problem == "") == (h.Note == nil) {
				t.Errorf("%+v, %v", h, err)
			}
		}
	})
}
