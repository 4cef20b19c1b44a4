package tiles_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"idlog/log"
	"idlog/log/serve/tiles"
	"idlog/proto/checkpoint"
	"idlog/proto/tile"
)

// serve starts a server of a log with n published leaves under /log.
func serve(t *testing.T, n int) (string, log.Published) {
	t.Helper()
	skey, vkey, err := checkpoint.GenerateKey("tiles.example/id", checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := log.Config{
		Dir: filepath.Join(dir, "log"), Heads: filepath.Join(dir, "heads"), Origin: "tiles.example/id",
		Signers: []note.Signer{signer}, VKeys: []string{vkey},
	}
	if err := log.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	l, err := log.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(tiles.New(l, "/log"))
	t.Cleanup(server.Close)
	if n == 0 {
		return server.URL, log.Published{}
	}
	var leaves [][]byte
	for range n {
		leaves = append(leaves, []byte("a leaf of the log"))
	}
	if _, err := l.Append(t.Context(), leaves); err != nil {
		t.Fatal(err)
	}
	l.Release(int64(n))
	p, err := l.Await(t.Context(), int64(n))
	if err != nil {
		t.Fatal(err)
	}
	return server.URL, p
}

// do sends a request whose target is exactly the one given.
func do(t *testing.T, method, url, target string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b bytes.Buffer
	b.WriteString(method + " " + target + " HTTP/1.1\r\nHost: log\r\nConnection: close\r\n")
	header.Write(&b)
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, target, err, raw)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestReadAsOutsider(t *testing.T) {
	url, p := serve(t, 300)
	resp, body := do(t, "GET", url, "/log/checkpoint", nil)
	if !bytes.Equal(body, p.Note) || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("checkpoint: %v\n%s", resp.Header, body)
	}
	if strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Error("the checkpoint is said to be immutable")
	}
	r := tile.NewReader(checkpoint.Checkpoint{Origin: "tiles.example/id", Size: p.Size, Root: p.Root}, func(_ context.Context, path string) ([]byte, error) {
		resp, body := do(t, "GET", url, "/log/"+path, nil)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
		return body, nil
	})
	n := 0
	for _, err := range r.Entries(t.Context(), 0, 300) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 300 {
		t.Errorf("%d entries", n)
	}
	if _, body := do(t, "GET", url, "/log/archive/7", nil); !bytes.Equal(body, p.Note) {
		t.Errorf("archive: %s", body)
	}
}

func TestGzipAndHead(t *testing.T) {
	url, _ := serve(t, 20)
	const path = "/log/tile/entries/000.p/20"
	_, plain := do(t, "GET", url, path, nil)
	resp, packed := do(t, "GET", url, path, http.Header{"Accept-Encoding": {"br, gzip;q=0.5"}})
	if resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("headers %v", resp.Header)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("unpacked %d bytes, want %d: %v", len(got), len(plain), err)
	}
	for _, refusal := range []string{"identity", "gzip;q=0", "gzip; q=0.0"} {
		if resp, _ := do(t, "GET", url, path, http.Header{"Accept-Encoding": {refusal}}); resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s was answered in %s", refusal, resp.Header.Get("Content-Encoding"))
		}
	}
	resp, body := do(t, "HEAD", url, path, nil)
	if resp.StatusCode != http.StatusOK || len(body) != 0 || resp.ContentLength != int64(len(plain)) {
		t.Errorf("HEAD: %d, %d bytes, length %d", resp.StatusCode, len(body), resp.ContentLength)
	}
}

func TestRefusals(t *testing.T) {
	url, _ := serve(t, 300)
	want := map[string]int{
		"GET /log/checkpoint":                       200,
		"GET /log/tile/0/000":                       200,
		"GET /log/tile/0/001.p/44":                  200,
		"GET /log/tile/0/001.p/3":                   200,
		"GET /log/archive/300":                      200,
		"POST /log/checkpoint":                      405,
		"PUT /log/tile/0/000":                       405,
		"DELETE /log/archive/1":                     405,
		"GET /log/tile/0/001":                       404, // not full yet
		"GET /log/tile/0/001.p/45":                  404,
		"GET /log/tile/0/002":                       404,
		"GET /log/tile/2/000":                       404,
		"GET /log/archive/301":                      404,
		"GET /log/archive/":                         400,
		"GET /log/archive/007":                      400,
		"GET /log/archive/-1":                       400,
		"GET /log/archive/9223372036854775808":      400,
		"GET /log/tile/0/x000/000":                  400,
		"GET /log/tile/0/0":                         400,
		"GET /log/tile/0/000.p/0":                   400,
		"GET /log/tile/0/000.p/08":                  400,
		"GET /log/tile/0/000.p/256":                 400,
		"GET /log/tile/00/000":                      400,
		"GET /log/tile/8/000":                       400,
		"GET /log/tile/-1/000":                      400,
		"GET /log/tile/0/../0/000":                  400,
		"GET /log/tile/../.state/treeState":         400,
		"GET /log/tile/../../identity":              400,
		"GET /log/tile/%2e%2e/%2e%2e/identity":      404,
		"GET /log/tile/..%2f..%2fidentity":          404,
		"GET /log/tile/0/%30%30%30":                 404,
		"GET /log/tile/0/000%00":                    404,
		"GET /log/tile/0/000/":                      400,
		"GET /log//tile/0/000":                      404,
		"GET /log/../log/checkpoint":                404,
		"GET /log/":                                 404,
		"GET /log":                                  404,
		"GET /":                                     404,
		"GET /checkpoint":                           404,
		"GET /log/.state/treeState":                 404,
		"GET /log/identity":                         404,
		"GET /log/tile/entries/000.p/300":           400,
		"GET /log/tile/entries/001.p/44?x=../../id": 200,
	}
	got := make(map[string]int)
	for line := range want {
		method, target, _ := strings.Cut(line, " ")
		resp, _ := do(t, method, url, target, nil)
		got[line] = resp.StatusCode
		if cache := resp.Header.Get("Cache-Control"); resp.StatusCode != 200 && cache != "no-store" {
			t.Errorf("%s: %d may be cached: %q", line, resp.StatusCode, cache)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNothingPublished(t *testing.T) {
	url, _ := serve(t, 0)
	for _, path := range []string{"/log/checkpoint", "/log/verified/checkpoint", "/log/tile/0/000", "/log/archive/0"} {
		if resp, _ := do(t, "GET", url, path, nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}
