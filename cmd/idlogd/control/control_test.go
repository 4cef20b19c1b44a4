package control_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlog/cmd/idlogd/control"
	ilog "idlog/log"
	"idlog/log/backup"
)

// silent is a log that has published nothing.
type silent struct{}

func (silent) Published() (ilog.Published, bool)                { return ilog.Published{}, false }
func (silent) Resource(context.Context, string) ([]byte, error) { return nil, errors.New("unused") }

// start serves the control socket of a folder and returns the folder and what ends it.
func start(t *testing.T) (dir string, stop func() error) {
	t.Helper()
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- control.Serve(ctx, dir, func() backup.Source { return backup.Source{Origin: "acme.example/id/0", Log: silent{}} })
	}()
	end := time.After(20 * time.Second)
	for {
		if conn, err := net.Dial("unix", filepath.Join(dir, "control", "socket")); err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-end:
			t.Fatal("nobody answers")
		case <-time.After(time.Millisecond):
		}
	}
	stop = func() error { cancel(); return <-done }
	return dir, stop
}

func TestRefusalComesBack(t *testing.T) {
	dir, stop := start(t)
	err := control.Backup(t.Context(), dir, filepath.Join(dir, "backup"), nil)
	var refused *backup.RefusedError
	if !errors.As(err, &refused) || refused.Problem != "nothing is published yet" {
		t.Errorf("got %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := control.Backup(t.Context(), dir, filepath.Join(dir, "backup"), nil); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("after its end: %v", err)
	}
	if err := control.Backup(t.Context(), filepath.Join(dir, "none"), "/backup", nil); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("where there is no log: %v", err)
	}
}

// Only the server's own user gets at the socket, and a stale one is replaced.
func TestSocketIsPrivate(t *testing.T) {
	dir, stop := start(t)
	info, err := os.Stat(filepath.Join(dir, "control"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := control.Serve(t.Context(), long, nil); err == nil {
		t.Error("a path that no socket can have was taken")
	}
}

func TestRefusedRequests(t *testing.T) {
	dir, stop := start(t)
	defer stop()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "control", "socket"))
	}}}
	for _, body := range []string{"", "{}", `{"to":"relative"}`, `{"to":"/x","keys":true}`, `{"to":7}`} {
		resp, err := client.Post("http://log/backup", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, resp.StatusCode)
		}
	}
	resp, err := client.Get("http://log/backup")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", resp.StatusCode)
	}
}
