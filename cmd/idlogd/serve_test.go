package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// daemon is a serving idlogd in a process of its own.
type daemon struct {
	t         *testing.T
	cmd       *exec.Cmd
	out, errs *bytes.Buffer
	ready     string
	addresses map[string]string
	conn      *grpc.ClientConn
}

func startDaemon(t *testing.T, args ...string) *daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	d := &daemon{t: t, ready: filepath.Join(t.TempDir(), "ready")}
	d.cmd, d.out, d.errs = idlogd(ctx, append(args, "--ready-file", d.ready, "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")...)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(d.ready)
		if err == nil {
			if err := json.Unmarshal(b, &d.addresses); err != nil {
				t.Fatal(err)
			}
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("idlogd is not ready: %v\n%s", err, d.errs)
		}
	}
	var err error
	if d.conn, err = grpc.NewClient(d.addresses["grpc"], grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	return d
}

// waitFor waits for a condition of the running daemon.
func (d *daemon) waitFor(holds func() bool) {
	d.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			d.t.Fatalf("it did not come about\n%s", d.errs)
		}
	}
}

// stop asks the daemon to drain and wants it to end well.
func (d *daemon) stop() {
	d.t.Helper()
	if err := errors.Join(d.conn.Close(), d.cmd.Process.Signal(syscall.SIGTERM), d.cmd.Wait()); err != nil {
		d.t.Fatalf("%v\n%s", err, d.errs)
	}
	if _, err := os.Stat(d.ready); !errors.Is(err, fs.ErrNotExist) {
		d.t.Errorf("the ready file outlives the server: %v", err)
	}
}

func (d *daemon) get(path string) (int, string) {
	d.t.Helper()
	res, err := http.Get("http://" + d.addresses["http"] + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func submitOne(t *testing.T, conn *grpc.ClientConn, log, id string) (*logv1.Receipt, string) {
	t.Helper()
	res, err := logv1.NewEventServiceClient(conn).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Log: log, Source: "app", Events: []*eventv1.Event{{
		Source:  &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("sign-in")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Actor:   &eventv1.Principal{Issuer: "https://acme.example", Id: "u-1"},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	r := res.GetResults()[0].GetReceipt()
	if r == nil {
		t.Fatalf("no receipt: %v", res)
	}
	return r, string(res.GetCheckpoints()[r.GetCheckpoint()])
}

// Two logs live in one process, each under its own name, and what was logged is
// there after a restart.
func TestServeTwoLogs(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", filepath.Join(dir, "a"), "--family", "a.example/id", "--source", "app")
	exits(t, serve.CodeOK, "init", "--dir", filepath.Join(dir, "b"), "--family", "b.example/id", "--source", "app")
	both := joinConfigs(t, dir, "a", "b")

	d := startDaemon(t, "serve", "--config", both)
	first, note := submitOne(t, d.conn, "", "1")
	if !strings.HasPrefix(note, "a.example/id/0\n") {
		t.Errorf("the default log signs %q", note)
	}
	_, noteB := submitOne(t, d.conn, "b.example/id", "1")
	if !strings.HasPrefix(noteB, "b.example/id/0\n") {
		t.Errorf("the second log signs %q", noteB)
	}
	_, err := logv1.NewLogServiceClient(d.conn).GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{Log: "c.example/id"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a third log: %v", err)
	}
	for path, origin := range map[string]string{"/checkpoint": "a.example/id/0", "/a.example/id/0/checkpoint": "a.example/id/0", "/b.example/id/0/checkpoint": "b.example/id/0"} {
		if code, body := d.get(path); code != http.StatusOK || !strings.HasPrefix(body, origin+"\n") {
			t.Errorf("GET %s: %d %q", path, code, body)
		}
	}
	if code, _ := d.get("/keys/log.key"); code != http.StatusNotFound {
		t.Errorf("GET /keys/log.key: %d", code)
	}
	d.stop()

	d = startDaemon(t, "serve", "--config", both)
	again, _ := submitOne(t, d.conn, "a.example/id", "1")
	if again.GetIndex() != first.GetIndex() {
		t.Errorf("after a restart the event is at %d, not %d", again.GetIndex(), first.GetIndex())
	}
	next, _ := submitOne(t, d.conn, "a.example/id", "2")
	if next.GetIndex() <= first.GetIndex() {
		t.Errorf("the next event is at %d, not after %d", next.GetIndex(), first.GetIndex())
	}
	d.stop()
	if text := d.errs.String(); strings.Contains(text, "u-1") {
		t.Errorf("the log of the server names a person: %s", text)
	}
}

// joinConfigs makes one configuration of those of some folders.
func joinConfigs(t *testing.T, dir string, names ...string) string {
	t.Helper()
	var all strings.Builder
	for i, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name, config.Name))
		if err != nil {
			t.Fatal(err)
		}
		head, logs, ok := strings.Cut(string(b), "logs:\n")
		if !ok {
			t.Fatalf("no logs in %s", b)
		}
		if i == 0 {
			all.WriteString(head + "logs:\n")
		}
		for _, file := range []string{"log", "heads", "journal", "subjects", "policy.tlog-policy"} {
			logs = strings.ReplaceAll(logs, ": "+file+"\n", ": "+name+"/"+file+"\n")
		}
		all.WriteString(strings.ReplaceAll(logs, "keys/", name+"/keys/"))
	}
	file := filepath.Join(dir, "both.yaml")
	if err := os.WriteFile(file, []byte(all.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is not there, or is somebody else's, is refused with its name, and the
// log is as it was.
func TestServeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(dir string) error
		code int
		want string
	}{
		{"no log", func(dir string) error { return os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "away")) }, serve.CodeInit, "idlogd init"},
		{"no journal", func(dir string) error { return os.Rename(filepath.Join(dir, "journal"), filepath.Join(dir, "away")) }, serve.CodeInit, "journal"},
		{"no subjects", func(dir string) error { return os.Rename(filepath.Join(dir, "subjects"), filepath.Join(dir, "away")) }, serve.CodeInit, "subjects"},
		{"no master key", func(dir string) error { return os.Remove(filepath.Join(dir, "keys/master.key")) }, serve.CodeInit, "master.key"},
		{"an open ticket key", func(dir string) error { return os.Chmod(filepath.Join(dir, "keys/ticket.key"), 0o640) }, serve.CodePermission, "chmod 600"},
		{"another log key", func(dir string) error {
			skey, _, err := checkpoint.GenerateKey("a.example/id/0", checkpoint.Ed25519, checkpoint.LogRole)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "keys/log.key"), []byte(skey+"\n"), 0o600))
		}, serve.CodeError, "identity"},
		{"the key of another log", func(dir string) error {
			skey, _, err := checkpoint.GenerateKey("b.example/id/0", checkpoint.Ed25519, checkpoint.LogRole)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "keys/log.key"), []byte(skey+"\n"), 0o600))
		}, serve.CodeUsage, "b.example/id/0"},
		{"no heads", func(dir string) error { return os.Rename(filepath.Join(dir, "heads"), filepath.Join(dir, "away")) }, serve.CodeError, "heads"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
			if err := tt.harm(dir); err != nil {
				t.Fatal(err)
			}
			before := folder(t, dir)
			_, errs := exits(t, tt.code, "serve", "--config", filepath.Join(dir, config.Name), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
			if !strings.Contains(errs, tt.want) {
				t.Errorf("it does not say %q: %s", tt.want, errs)
			}
			if after := folder(t, dir); after != before {
				t.Errorf("the refusal changed\n%s\nto\n%s", before, after)
			}
		})
	}
}

// There is nothing to clear where nothing was refused.
func TestClearRefusal(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	file := filepath.Join(dir, config.Name)
	exits(t, serve.CodeNotFound, "clear-refusal", "--config", file)
	exits(t, serve.CodeNotFound, "clear-refusal", "--config", file, "--log", "b.example/id")
	marker := filepath.Join(dir, "heads", "refused")
	if err := os.WriteFile(marker, []byte("idlog-refused/v1\ntime 2026-11-23T00:00:00Z\nreason a test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, "serve", "--config", file)
	_, err := logv1.NewEventServiceClient(d.conn).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: "app", Events: []*eventv1.Event{{}}})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a log that refused to sign answers a submission with %v", err)
	}
	d.stop()
	exits(t, serve.CodeOK, "clear-refusal", "--config", file)
	if _, err := os.Stat(marker); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the marker is still there: %v", err)
	}
}

// The end waits for the last checkpoint: what was promised before SIGTERM is published when the process is gone.
func TestLastCheckpoint(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name), "--set", "logs.0.min_interval=1s")
	submitOne(t, d.conn, "", "1")
	res, err := logv1.NewEventServiceClient(d.conn).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{
		Source: "app", Wait: logv1.Wait_WAIT_SEQUENCED, Events: []*eventv1.Event{{
			Source:  &eventv1.Source{NativeId: proto.String("2"), NativeType: proto.String("sign-in")},
			Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
			Actor:   &eventv1.Principal{Issuer: "https://acme.example", Id: "u-1"},
			Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		}},
	})
	if err != nil || res.GetResults()[0].GetTicket() == nil {
		t.Fatalf("no ticket: %v, %v", res, err)
	}
	d.stop()
	b, err := os.ReadFile(filepath.Join(dir, "log", "published", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	d = startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name))
	receipt, _ := submitOne(t, d.conn, "", "2")
	d.stop()
	size, err := strconv.ParseInt(strings.Split(string(b), "\n")[1], 10, 64)
	if err != nil || size <= receipt.GetIndex() {
		t.Errorf("the event is at %d, and the last checkpoint before the end was of size %d, %v", receipt.GetIndex(), size, err)
	}
}

// A configuration that is named by the environment is read, and a variable that is no setting is not passed over.
func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	t.Setenv("IDLOGD_CONFIG", filepath.Join(dir, config.Name))
	if out, _ := exits(t, serve.CodeOK, "config", "check"); !strings.Contains(out, dir) {
		t.Errorf("checked %s", out)
	}
	t.Setenv("IDLOGD_LISTEN_GPRC", "127.0.0.1:0")
	if _, errs := exits(t, serve.CodeUsage, "serve"); !strings.Contains(errs, "the environment has IDLOGD_LISTEN_GPRC") {
		t.Errorf("it says %s", errs)
	}
}
