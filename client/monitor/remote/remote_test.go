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

	"idlog/client/monitor/remote"
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
		case "/log/broken":
			w.WriteHeader(http.StatusBadGateway)
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	defer close(hang)
	for _, base := range []string{s.URL + "/log", s.URL + "/log/"} {
		site, err := remote.New(base, nil, 200*time.Millisecond)
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
		for _, path := range []string{"large", "moved", "silent", "broken"} {
			if b, err := site.Note(t.Context(), path); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %d bytes, %v", path, len(b), err)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "log.example", "ftp://log.example", "http://log.example", "http://10.0.0.1", "https://u:p@log.example",
		"https://log.example/?a=b", "https://log.example/#a", "https://", "::"} {
		_, err := remote.New(base, nil, 0)
		if plain := base == "http://log.example" || base == "http://10.0.0.1"; err == nil || errors.Is(err, remote.ErrPlaintext) != plain {
			t.Errorf("%q: %v", base, err)
		}
	}
	for _, base := range []string{"https://log.example", "http://127.0.0.1:80/a/b/", "http://[::1]:80", "http://localhost"} {
		if _, err := remote.New(base, nil, 0); err != nil {
			t.Errorf("%q: %v", base, err)
		}
	}
}
