package remote_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"idlog/client/remote"
	"idlog/proto/checkpoint"
)

func TestSite(t *testing.T) {
	var cache atomic.Value
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cache.Store(r.Header.Get("Cache-Control"))
		switch r.URL.Path {
		case "/log/checkpoint", "/log/tile/0/000":
			w.Write([]byte("it"))
		case "/log/large":
			w.Write(bytes.Repeat([]byte("x"), checkpoint.MaxNote+1))
		case "/log/moved":
			http.Redirect(w, r, "/log/checkpoint", http.StatusFound)
		case "/log/silent":
			<-hang
		case "/log/gone":
			w.WriteHeader(http.StatusGone)
		case "/log/broken":
			w.WriteHeader(http.StatusBadGateway)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	defer close(hang)
	for _, base := range []string{s.URL + "/log", s.URL + "/log/"} {
		site, err := remote.New(base, remote.Config{Timeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := site.Note(t.Context(), "checkpoint"); string(b) != "it" || err != nil || cache.Load() != "no-cache" {
			t.Errorf("checkpoint %q, %v, cache %q", b, err, cache.Load())
		}
		if b, err := site.Tile(t.Context(), "tile/0/000"); string(b) != "it" || err != nil || cache.Load() != "" {
			t.Errorf("tile %q, %v, cache %q", b, err, cache.Load())
		}
		if _, err := site.Tile(t.Context(), "tile/0/001"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
		if _, err := site.Note(t.Context(), "gone"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("gone: %v", err)
		}
		for _, path := range []string{"large", "moved", "silent", "broken"} {
			b, err := site.Note(t.Context(), path)
			if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, remote.ErrTooLarge) != (path == "large") {
				t.Errorf("%s: %d bytes, %v", path, len(b), err)
			}
			code := 0
			if status, ok := errors.AsType[*remote.StatusError](err); ok {
				code = status.Code
			}
			if want := map[string]int{"moved": http.StatusFound, "broken": http.StatusBadGateway}[path]; code != want {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestAttempts asks again where an answer may be another the next time, and not
// where it is an answer.
func TestAttempts(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		switch {
		case r.URL.Path == "/checkpoint" && n == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/checkpoint" && n == 2:
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/checkpoint":
			w.Write([]byte("note"))
		case r.URL.Path == "/forbidden":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/large":
			w.Write(bytes.Repeat([]byte("x"), checkpoint.MaxNote+1))
		case r.URL.Path == "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	site, err := remote.New(s.URL, remote.Config{Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := site.Note(t.Context(), "checkpoint"); string(b) != "note" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for path, want := range map[string]int64{"forbidden": 1, "none": 1, "large": 1, "busy": 3} {
		calls.Store(0)
		if _, err := site.Note(t.Context(), path); err == nil || calls.Load() != want {
			t.Errorf("%s: asked %d times: %v", path, calls.Load(), err)
		}
	}
	once, err := remote.New(s.URL, remote.Config{})
	if err != nil {
		t.Fatal(err)
	}
	calls.Store(0)
	if _, err := once.Note(t.Context(), "busy"); err == nil || calls.Load() != 1 {
		t.Errorf("asked %d times: %v", calls.Load(), err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "log.example", "ftp://log.example", "http://log.example", "http://10.0.0.1", "https://u:p@log.example",
		"https://log.example/?a=b", "https://log.example/#a", "https://", "::", "https://log.example?x", "https://log.example\n"} {
		_, err := remote.New(base, remote.Config{})
		if plain := base == "http://log.example" || base == "http://10.0.0.1"; err == nil || errors.Is(err, remote.ErrPlaintext) != plain {
			t.Errorf("%q: %v", base, err)
		}
	}
	for _, base := range []string{"https://log.example", "http://127.0.0.1:80/a/b/", "http://[::1]:80", "http://localhost"} {
		if _, err := remote.New(base, remote.Config{}); err != nil {
			t.Errorf("%q: %v", base, err)
		}
	}
}
