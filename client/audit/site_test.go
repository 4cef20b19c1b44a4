package audit_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/client/audit"
	"idlog/client/remote"
	"idlog/proto/tile"
)

func site(t testing.TB, url string) audit.Site {
	s, err := remote.New(url, remote.Config{Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	return audit.Site{Site: s}
}

// TestSite audits a log whose server answers what no log is, and what is no
// answer at all.
func TestSite(t *testing.T) {
	b := build(t)
	b.fill(600)
	b.publish(2, 300)
	answers := make(map[string]func(http.ResponseWriter)) // by path, in place of the file
	files := http.FileServer(http.Dir(b.dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, ok := answers[r.URL.Path]; ok {
			f(w)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer s.Close()
	log := site(t, s.URL)
	large := func(w http.ResponseWriter) { w.Write(make([]byte, tile.MaxBundle+1)) }

	answers["/tile/entries/000"] = large
	answers["/archive/1"] = large
	r := b.run(func(c *audit.Config) { c.Log = log })
	want := []string{s.URL + "/archive/1: archive: it is larger than any checkpoint", "tile/entries/000: tile: is larger than any tile"}
	if diff := cmp.Diff(want, found(r)); diff != "" {
		t.Error(diff)
	}
	if want := "entries are missing, so keys and enrolments were not judged: from 0 on"; !slices.Contains(r.Notes, want) {
		t.Error(r.Notes)
	}

	clear(answers)
	answers["/tile/0/001"] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }
	_, err := audit.Run(t.Context(), audit.Config{Log: log, Policy: b.policy})
	if status, ok := errors.AsType[*remote.StatusError](err); !ok || status.Code != http.StatusForbidden {
		t.Error(err)
	}
	for h, err := range log.Heads(t.Context(), 1<<40) { // there is no archive
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
