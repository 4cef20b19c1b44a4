package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// A disk that fills up while the log is served: intake stops before it is full, and resumes by itself when there is room.
func TestDiskFillsAndEmpties(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=160m"); err != nil {
		t.Skipf("no small disk can be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "a")
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name), "--set", "logs.0.disk_reserve=48MiB")
	before, _ := submitOne(t, d.conn, "", "1")
	ready := func(want int) func() bool {
		return func() bool { code, _ := d.admin("/readyz"); return code == want }
	}
	d.waitFor(ready(http.StatusOK))

	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Fallocate(int(filler.Fd()), 0, 0, 120<<20), filler.Close()); err != nil {
		t.Fatal(err)
	}
	d.waitFor(ready(http.StatusServiceUnavailable))
	_, err = logv1.NewEventServiceClient(d.conn).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: "app", Events: []*eventv1.Event{{}}})
	if err == nil || !strings.Contains(err.Error(), "a disk of the log is nearly full") {
		t.Errorf("submitting answers %v", err)
	}
	if code, _ := d.get("/checkpoint"); code != http.StatusOK {
		t.Errorf("reading the checkpoint: %d", code)
	}

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	d.waitFor(ready(http.StatusOK))
	if after, _ := submitOne(t, d.conn, "", "2"); after.GetIndex() <= before.GetIndex() {
		t.Errorf("logged at %d after %d", after.GetIndex(), before.GetIndex())
	}
	d.stop()
}
