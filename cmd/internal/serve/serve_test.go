package serve_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/cmd/internal/serve"
)

// TestMain lets the test binary play a daemon, so that signals are real.
func TestMain(m *testing.M) {
	switch os.Getenv("SERVE_TEST_DAEMON") {
	case "":
		os.Exit(m.Run())
	case "drains":
		os.Exit(serve.Main(func(ctx context.Context, env serve.Env) error {
			fmt.Fprintln(env.Stdout, "up")
			<-ctx.Done()
			return nil
		}))
	case "hangs":
		os.Exit(serve.Main(func(ctx context.Context, env serve.Env) error {
			fmt.Fprintln(env.Stdout, "up")
			<-ctx.Done()
			fmt.Fprintln(env.Stdout, "draining")
			select {}
		}))
	case "interrupted":
		os.Exit(serve.Main(func(ctx context.Context, env serve.Env) error {
			fmt.Fprintln(env.Stdout, "up")
			<-ctx.Done()
			return fmt.Errorf("fetching: %w", ctx.Err())
		}))
	}
}

func daemon(t *testing.T, kind string) (*exec.Cmd, *lineReader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SERVE_TEST_DAEMON="+kind)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := &lineReader{r: out}
	if got := lines.next(t); got != "up" {
		t.Fatalf("daemon says %q", got)
	}
	return cmd, lines
}

type lineReader struct{ r io.Reader }

func (l *lineReader) next(t *testing.T) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := l.r.Read(b); err != nil {
			t.Fatalf("reading from the daemon: %v", err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func TestSignals(t *testing.T) {
	for _, tc := range []struct {
		kind string
		sig  []syscall.Signal
		code int
	}{
		{"drains", []syscall.Signal{syscall.SIGTERM}, serve.CodeOK},
		{"drains", []syscall.Signal{syscall.SIGINT}, serve.CodeOK},
		{"hangs", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, serve.CodeError},
		{"interrupted", []syscall.Signal{syscall.SIGINT}, serve.CodeInterrupted},
	} {
		t.Run(fmt.Sprint(tc.kind, tc.sig), func(t *testing.T) {
			cmd, lines := daemon(t, tc.kind)
			for i, sig := range tc.sig {
				if i > 0 && lines.next(t) != "draining" {
					t.Fatal("not draining")
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			err := cmd.Wait()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.code {
				t.Errorf("exit code %d, want %d", got, tc.code)
			}
		})
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	err := fmt.Errorf("serving: %w", &serve.ExitError{Code: serve.CodeInit, Err: errors.New("d is not initialised"), Remedy: "idlog-x init --dir d"})
	if code := serve.Report(&out, "idlog-x", err); code != 9 {
		t.Errorf("code %d", code)
	}
	want := "idlog-x: serving: d is not initialised\nidlog-x: try: idlog-x init --dir d\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if code := serve.Report(&out, "idlog-x", nil); code != serve.CodeOK {
		t.Errorf("code of nil %d", code)
	}
	if code := serve.Report(io.Discard, "idlog-x", errors.New("x")); code != serve.CodeError {
		t.Errorf("code %d", code)
	}
}

func TestListenRefusesOpenAddresses(t *testing.T) {
	noClients := &tls.Config{MinVersion: tls.VersionTLS13}
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1", "127.0.0.1.example.com:0"} {
		for _, conf := range []*tls.Config{nil, noClients} {
			l, err := serve.Listen(t.Context(), addr, conf)
			var exit *serve.ExitError
			if !errors.As(err, &exit) || exit.Code != serve.CodeUsage {
				t.Errorf("Listen(%q) = %v, %v", addr, l, err)
			}
		}
	}
	clients := &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	for addr, conf := range map[string]*tls.Config{"127.0.0.1:0": nil, "localhost:0": nil, "0.0.0.0:0": clients} {
		l, err := serve.Listen(t.Context(), addr, conf)
		if err != nil {
			t.Errorf("Listen(%q): %v", addr, err)
			continue
		}
		l.Close()
	}
}

func TestHTTPDrains(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		io.WriteString(w, "whole")
	})
	l, err := serve.Listen(ctx, "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve.HTTP(ctx, l, nil, h, slog.New(slog.DiscardHandler)) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		answer <- fmt.Sprint(string(b), err)
	}()
	<-entered
	stop()
	close(leave)
	if got := <-answer; got != "whole<nil>" {
		t.Errorf("request in flight got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("HTTP returned %v", err)
	}
}

// certificate writes a certificate and its key, signed by parent or by itself.
func certificate(t *testing.T, dir, name string, parent *tls.Certificate) (certFile, keyFile string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: parent == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, cert
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	caFile, _, ca := certificate(t, dir, "ca", nil)
	certFile, keyFile, _ := certificate(t, dir, "server", &ca)
	_, _, client := certificate(t, dir, "client", &ca)
	_, _, stranger := certificate(t, dir, "stranger", nil)
	conf, err := serve.TLSFiles{Cert: certFile, Key: keyFile, ClientCA: caFile}.Config()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	l, err := serve.Listen(ctx, "0.0.0.0:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	go func() { served <- serve.HTTP(ctx, l, conf, h, slog.New(slog.DiscardHandler)) }()

	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	url := fmt.Sprintf("https://127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
	get := func(certs ...tls.Certificate) (string, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	if got, err := get(client); got != "client" || err != nil {
		t.Errorf("a client of the CA: %q, %v", got, err)
	}
	for name, certs := range map[string][]tls.Certificate{"no certificate": nil, "another CA": {stranger}} {
		if got, err := get(certs...); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready")
	want := map[string]string{"http": "127.0.0.1:1", "admin": "127.0.0.1:2"}
	for range 2 { // the second replaces the first
		if err := serve.WriteReady(path, want); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	for range 2 { // a missing file is fine
		if err := serve.RemoveReady(path); err != nil {
			t.Error(err)
		}
	}
	if err := serve.WriteReady(filepath.Join(t.TempDir(), "no", "dir"), want); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
}

func TestTLSFiles(t *testing.T) {
	if conf, err := (serve.TLSFiles{}).Config(); conf != nil || err != nil {
		t.Errorf("no files: %v, %v", conf, err)
	}
	for _, f := range []serve.TLSFiles{{Cert: "c"}, {Key: "k"}, {ClientCA: "a"}, {Cert: "/nonexistent", Key: "/nonexistent"}} {
		if conf, err := f.Config(); err == nil {
			t.Errorf("%+v: %v", f, conf)
		}
	}
}

func TestLoggerIsJSONOffTerminal(t *testing.T) {
	var out bytes.Buffer
	logger := serve.Logger(&out, slog.LevelInfo)
	logger.Debug("hidden")
	logger.Info("shown", "size", 7)
	if got := out.String(); !strings.HasPrefix(got, "{") || strings.Count(got, "\n") != 1 {
		t.Errorf("log is %q", got)
	}
}
