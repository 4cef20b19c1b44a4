package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// TLSFiles names PEM files. With Cert and Key empty there is no TLS; with
// ClientCA set every client must present a certificate that chains to it.
type TLSFiles struct{ Cert, Key, ClientCA string }

// Config loads the files. It returns nil without error when no file is named,
// and refuses a certificate without a key, a key without a certificate, and a
// client CA without either. The files are read once.
func (f TLSFiles) Config() (*tls.Config, error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	if f.Cert == "" || f.Key == "" {
		return nil, Usagef("TLS needs both a certificate and its key")
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, &ExitError{Code: CodeUsage, Err: fmt.Errorf("loading the TLS certificate: %w", err)}
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	if f.ClientCA == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, &ExitError{Code: CodeUsage, Err: fmt.Errorf("loading the client CA: %w", err)}
	}
	conf.ClientCAs = x509.NewCertPool()
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, Usagef("loading the client CA: no certificate in %s", f.ClientCA)
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	return conf, nil
}

// Listen opens a TCP listener on addr, host:port; port 0 lets the kernel
// choose. conf is only judged: the listener speaks plain TCP and the caller
// adds TLS (HTTP of this package does, and so do gRPC's credentials).
//
// An address that is not loopback is refused with CodeUsage unless conf
// verifies client certificates: a daemon is never open to a network by a
// forgotten flag.
func Listen(ctx context.Context, addr string, conf *tls.Config) (net.Listener, error) {
	if err := CheckListen(addr, conf); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &ExitError{
			Code: CodeUnavailable, Err: fmt.Errorf("listening: %w", err),
			Remedy: "another address, or stop what listens there",
		}
	}
	// The name localhost is the resolver's to define, so what it gave is checked too.
	if tcp, ok := l.Addr().(*net.TCPAddr); !guarded(conf) && (!ok || !tcp.IP.IsLoopback()) {
		return nil, errors.Join(notLoopback(addr), l.Close())
	}
	return bound(l), nil
}

// CheckListen refuses, without opening anything, an address that Listen would
// refuse: what is not host:port, and what others can reach unguarded.
func CheckListen(addr string, conf *tls.Config) error {
	if err := checkLoopback(addr); err != nil && !guarded(conf) {
		return err
	}
	return nil
}

// guarded reports whether every caller has to show a certificate.
func guarded(conf *tls.Config) bool {
	return conf != nil && conf.ClientAuth == tls.RequireAndVerifyClientCert && conf.ClientCAs != nil
}

// Loopback reports whether host:port names this machine and nothing else. The name localhost does.
func Loopback(addr string) bool { return checkLoopback(addr) == nil }

func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return Usagef("listening on %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return notLoopback(addr)
	}
	return nil
}

func notLoopback(addr string) error {
	return &ExitError{
		Code:   CodeUsage,
		Err:    fmt.Errorf("listening on %q: an address that is not loopback needs TLS and a client CA", addr),
		Remedy: "listen on 127.0.0.1, or give a certificate, its key and a client CA",
	}
}

// HTTP serves h on l until ctx ends, then stops accepting, waits at most
// DrainTimeout for requests in flight and returns nil when all were answered.
// conf nil is plain HTTP. Slow or oversized requests are cut off: headers 5 s
// and 8 KiB, the whole request 10 s, the answer 60 s, an idle connection 2 min.
// A body's size is the handler's to limit. HTTP owns l and closes it.
func HTTP(ctx context.Context, l net.Listener, conf *tls.Config, h http.Handler, logger *slog.Logger) error {
	return HTTPDraining(ctx, l, conf, h, logger, DrainTimeout)
}

// HTTPDraining is HTTP with another bound than DrainTimeout.
func HTTPDraining(ctx context.Context, l net.Listener, conf *tls.Config, h http.Handler, logger *slog.Logger, timeout time.Duration) error {
	srv := &http.Server{
		Handler:           h,
		TLSConfig:         conf,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() {
		if conf == nil {
			done <- srv.Serve(l)
			return
		}
		done <- srv.ServeTLS(l, "", "")
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		return errors.Join(fmt.Errorf("draining HTTP: %w", err), srv.Close())
	}
	<-done // http.ErrServerClosed, the answer to Shutdown
	return nil
}

// WriteReady puts a JSON object of listener name to host:port at path, in one
// rename, so that a reader sees the whole of it or nothing. It is called when
// every listener accepts. An empty path does nothing.
func WriteReady(path string, addrs map[string]string) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(addrs)
	if err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("writing the ready file: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	// Not synced: after a crash of the machine no address in it would be true.
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the ready file: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

// RemoveReady takes away the ready file of an earlier life; it is called
// before the first Listen, and at the end. A missing file and an empty path
// are fine.
func RemoveReady(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old ready file: %w", err)
	}
	return nil
}
