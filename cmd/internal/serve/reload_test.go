package serve_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"idlog/cmd/internal/serve"
)

// Connections to come get what Replace took; one that would turn TLS off, or let clients in without a certificate, is refused
// and changes nothing.
func TestTLSReplace(t *testing.T) {
	dir := t.TempDir()
	files := func(name string) (serve.TLSFiles, tls.Certificate) {
		caFile, _, ca := certificate(t, dir, name+"-ca", nil)
		certFile, keyFile, _ := certificate(t, dir, name, &ca)
		return serve.TLSFiles{Cert: certFile, Key: keyFile, ClientCA: caFile}, ca
	}
	first, firstCA := files("first")
	second, secondCA := files("second")
	served, err := first.Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l, err := serve.Listen(ctx, "127.0.0.1:0", served.Config())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	go func() { done <- serve.HTTP(ctx, l, served.Config(), ok, slog.New(slog.DiscardHandler)) }()
	get := func(ca tls.Certificate, name string) error {
		_, _, client := certificate(t, t.TempDir(), name, &ca)
		roots := x509.NewCertPool()
		roots.AddCert(ca.Leaf)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String())
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	expect := func(when string, old, renewed bool) {
		t.Helper()
		if err := get(firstCA, "a"); (err == nil) != old {
			t.Errorf("%s, a client of the first authority: %v", when, err)
		}
		if err := get(secondCA, "b"); (err == nil) != renewed {
			t.Errorf("%s, a client of the second authority: %v", when, err)
		}
	}
	expect("at first", true, false)
	for name, refused := range map[string]serve.TLSFiles{"no TLS": {}, "no client CA": {Cert: second.Cert, Key: second.Key}} {
		by, err := refused.Open()
		if err != nil {
			t.Fatal(err)
		}
		var exit *serve.ExitError
		if err := served.Replace(by); !errors.As(err, &exit) || exit.Code != serve.CodeUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
	expect("after what was refused", true, false)
	by, err := second.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := served.Replace(by); err != nil {
		t.Fatal(err)
	}
	expect("replaced", false, true)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	none, err := serve.TLSFiles{}.Open()
	if err != nil || none.Config() != nil {
		t.Errorf("without files: %v, %v", none.Config(), err)
	}
	if err := none.Replace(by); err == nil {
		t.Error("TLS was turned on")
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "0.0.0.0:1": false, ":1": false, "example.com:1": false, "127.0.0.1": false} {
		if got := serve.Loopback(addr); got != want {
			t.Errorf("Loopback(%q) = %v", addr, got)
		}
	}
}

// Whoever started the process hears how it stands; if nobody asked, nothing happens.
func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := serve.Notify("READY=1"); err != nil {
		t.Error(err)
	}
	dir, err := os.MkdirTemp("", "n") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := serve.Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("heard %q, %v", b[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody"))
	if err := serve.Notify("READY=1"); err == nil {
		t.Error("nobody listens, and no error")
	}
}
