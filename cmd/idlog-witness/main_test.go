package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
)

// TestMain lets the test binary be idlog-witness, so that the tests run a
// process with its signals, its exit code and its race detector.
func TestMain(m *testing.M) {
	if os.Getenv("IDLOG_WITNESS_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "IDLOG_WITNESS_MAIN=1")
	return cmd
}

// runs returns the streams and the exit code of a command that ends.
func runs(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t.Context(), args...)
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), diag.String(), cmd.ProcessState.ExitCode()
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := runs(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
	}
	return stdout
}

// daemon is a running idlog-witness serve.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *safeBuffer
	url    string
	admin  string
	ready  string
}

// safeBuffer is written by the process and read by the test.
type safeBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startDaemon returns when the ready file is there.
func startDaemon(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, stderr: new(safeBuffer), ready: filepath.Join(t.TempDir(), "ready")}
	args = append([]string{"serve", "--dir", dir, "--listen", "127.0.0.1:0", "--ready-file", d.ready}, args...)
	d.cmd = command(context.WithoutCancel(t.Context()), args...)
	d.cmd.Stderr = d.stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.end(syscall.SIGKILL)
		}
	})
	d.await("the ready file", func() bool {
		b, err := os.ReadFile(d.ready)
		if err != nil {
			return false
		}
		var addrs map[string]string
		if err := json.Unmarshal(b, &addrs); err != nil {
			t.Fatalf("ready file %q: %v", b, err)
		}
		d.url, d.admin = "http://"+addrs["http"], "http://"+addrs["admin"]
		return true
	})
	return d
}

// await asks until the condition holds; it fails after a minute, or at once when
// the process has ended.
func (d *daemon) await(what string, condition func() bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for !condition() {
		var info syscall.WaitStatus
		if pid, _ := syscall.Wait4(d.cmd.Process.Pid, &info, syscall.WNOHANG, nil); pid != 0 {
			d.t.Fatalf("waiting for %s: the daemon has ended\n%s", what, d.stderr)
		}
		if err := ctx.Err(); err != nil {
			d.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// end sends a signal and returns the exit code.
func (d *daemon) end(sig syscall.Signal) int {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := d.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return d.cmd.ProcessState.ExitCode()
}

type reply struct {
	Status int
	Type   string
	Body   string
}

func (d *daemon) do(method, path, body string) reply {
	d.t.Helper()
	return d.ask(method, d.url+path, body)
}

func (d *daemon) ask(method, url, body string) reply {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header.Get("Content-Type"), string(b)}
}

// testLog is a log of up to two entries, which needs no proof to be built: the
// proof from size 1 to size 2 is the hash of the second.
type testLog struct {
	origin, vkey string
	signer       note.Signer
	branch       string
}

func newLog(t *testing.T, origin string) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{origin: origin, vkey: vkey, signer: s}
}

func (l *testLog) checkpoint(t *testing.T, size int64) []byte {
	t.Helper()
	first, second := tlog.RecordHash([]byte("first"+l.branch)), tlog.RecordHash([]byte("second"+l.branch))
	root := map[int64]tlog.Hash{0: sha256.Sum256(nil), 1: first, 2: tlog.NodeHash(first, second)}[size]
	b, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%v\n", l.origin, size, root)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (l *testLog) request(t *testing.T, old, size int64) string {
	t.Helper()
	var proof string
	if old == 1 && size == 2 {
		proof = tlog.RecordHash([]byte("second"+l.branch)).String() + "\n"
	}
	return fmt.Sprintf("old %d\n%s\n%s", old, proof, l.checkpoint(t, size))
}

func (l *testLog) path() string {
	h := sha256.Sum256([]byte(l.origin))
	return "/" + hex.EncodeToString(h[:]) + "/checkpoint"
}

func newWitness(t *testing.T, args ...string) (dir string, vkeys []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "w1")
	out := mustRun(t, append([]string{"init", "--dir", dir, "--name", "witness.example/w1"}, args...)...)
	return dir, strings.Fields(out)
}

// TestLife is a witness from init over a reload, a drain and a kill.
func TestLife(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/b")
	dir, vkeys := newWitness(t)
	if len(vkeys) != 2 {
		t.Fatalf("init printed %q", vkeys)
	}
	var verifiers []note.Verifier
	for _, v := range vkeys {
		verifier, err := checkpoint.NewVerifier(v)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, verifier)
	}
	mustRun(t, "add-log", "--dir", dir, a.vkey, "https://log.example/a")

	d := startDaemon(t, dir)
	if diff := cmp.Diff(reply{200, "text/plain; charset=utf-8", "ok\n"}, d.do("GET", "/healthz", "")); diff != "" {
		t.Error(diff)
	}
	if got := d.do("GET", a.path(), ""); got.Status != 404 {
		t.Errorf("before the first checkpoint: %+v", got)
	}
	got := d.do("POST", "/add-checkpoint", a.request(t, 0, 1))
	n, err := note.Open(append(a.checkpoint(t, 1), got.Body...), note.VerifierList(verifiers...))
	if got.Status != 200 || err != nil || len(n.Sigs) != 2 {
		t.Fatalf("%+v: %v", got, err)
	}
	latest := d.do("GET", a.path(), "")
	if want := (reply{200, "text/plain; charset=utf-8", string(a.checkpoint(t, 1)) + got.Body}); latest != want {
		t.Errorf("latest: %s", cmp.Diff(want, latest))
	}

	if got := d.do("POST", "/add-checkpoint", b.request(t, 0, 1)); got.Status != 404 {
		t.Errorf("log not in the list: %+v", got)
	}
	list := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(list, []byte("# more\nlog "+a.vkey+"\nlog "+b.vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "add-log", "--dir", dir, "--logs", list)
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.await("the reload", func() bool { return d.do("POST", "/add-checkpoint", b.request(t, 0, 1)).Status != 404 })

	// A list that is damaged is not taken, and the old one stays.
	logsFile := filepath.Join(dir, "logs.tlog-policy")
	if err := os.WriteFile(logsFile, []byte("log nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.await("the refusal of the list", func() bool { return strings.Contains(d.stderr.String(), "keeping the old list") })
	if got := d.do("POST", "/add-checkpoint", b.request(t, 1, 2)); got.Status != 200 {
		t.Errorf("after a damaged list: %+v", got)
	}
	if err := os.WriteFile(logsFile, []byte("log "+a.vkey+"\nlog "+b.vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, stderr, code := runs(t, "serve", "--dir", dir, "--listen", "127.0.0.1:0"); code != 75 || !strings.Contains(stderr, "LOCK is held") {
		t.Errorf("a second witness on one directory: exit code %d\n%s", code, stderr)
	}
	if code := d.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, d.stderr)
	}
	if _, err := os.Stat(d.ready); !os.IsNotExist(err) {
		t.Errorf("the ready file is there after the end: %v", err)
	}

	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		d = startDaemon(t, dir)
		if got := d.do("GET", a.path(), ""); got != latest {
			t.Errorf("after a restart: %s", cmp.Diff(latest, got))
		}
		if diff := cmp.Diff(reply{409, cosign.SizeType, "1\n"}, d.do("POST", "/add-checkpoint", a.request(t, 0, 1))); diff != "" {
			t.Error(diff)
		}
		fork := &testLog{origin: a.origin, vkey: a.vkey, signer: a.signer, branch: "x"}
		if got := d.do("POST", "/add-checkpoint", fork.request(t, 1, 1)); got.Status != 422 {
			t.Errorf("fork: %+v", got)
		}
		if files, err := filepath.Glob(filepath.Join(dir, "state", "evidence", "*.idlog-evidence")); err != nil || len(files) != 1 {
			t.Errorf("evidence: %v, %v", files, err)
		}
		d.end(sig)
	}
}

func TestInit(t *testing.T) {
	for keyType, n := range map[string]int{"ed25519": 1, "ml-dsa-44": 1, "both": 2} {
		dir, vkeys := newWitness(t, "--key-type", keyType)
		if len(vkeys) != n {
			t.Errorf("%s: %d keys", keyType, len(vkeys))
		}
		for name, mode := range map[string]os.FileMode{"": 0o700, "witness.key": 0o600, "state": 0o700} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
		public, err := os.ReadFile(filepath.Join(dir, "witness.vkey"))
		if err != nil || string(public) != strings.Join(vkeys, "\n")+"\n" {
			t.Errorf("witness.vkey is %q, %v", public, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
			t.Errorf("left behind: %v", entries)
		}
	}
}

func TestRefusals(t *testing.T) {
	l := newLog(t, "log.example/a")
	dir, vkeys := newWitness(t)
	typo := dir + "x"
	own := vkeys[1] // ML-DSA-44: by its type it could be a log's
	for _, tc := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"init again", "exists", 9, []string{"init", "--dir", dir, "--name", "w.example"}},
		{"init under a missing parent", "no such file", 1, []string{"init", "--dir", typo + "/w", "--name", "w.example"}},
		{"init without name", "--name is required", 2, []string{"init", "--dir", typo}},
		{"init with a bad name", "is no key name", 2, []string{"init", "--dir", typo, "--name", "a b"}},
		{"init with a bad type", "--key-type", 2, []string{"init", "--dir", typo, "--name", "w.example", "--key-type", "rsa"}},
		{"serve a typo", "idlog-witness init --dir " + typo + " --name NAME", 9, []string{"serve", "--dir", typo}},
		{"serve without dir", "--dir is required", 2, []string{"serve"}},
		{"serve to everybody", "not loopback", 2, []string{"serve", "--dir", dir, "--listen", "0.0.0.0:0"}},
		{"serve with an open admin listener", "not loopback", 2, []string{"serve", "--dir", dir, "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"}},
		{"serve with a negative rate", "--log-rate", 2, []string{"serve", "--dir", dir, "--log-rate", "-1"}},
		{"serve with an open webhook", "--webhook is not an https URL", 2, []string{"serve", "--dir", dir, "--webhook", "http://example.com/secret"}},
		{"serve with half of TLS", "both a certificate and its key", 2, []string{"serve", "--dir", dir, "--tls-key", "k"}},
		{"add-log to a typo", "idlog-witness init", 9, []string{"add-log", "--dir", typo, l.vkey}},
		{"add-log of nothing", "either VKEY", 2, []string{"add-log", "--dir", dir}},
		{"add-log of both", "either VKEY", 2, []string{"add-log", "--dir", dir, "--logs", "f", l.vkey}},
		{"add-log of no key", "parsing vkey", 2, []string{"add-log", "--dir", dir, "nonsense"}},
		{"add-log of a witness", "is a witness's", 2, []string{"add-log", "--dir", dir, vkeys[0]}},
		{"add-log of itself", "is itself a log", 2, []string{"add-log", "--dir", dir, own}},
		{"add-log of no file", "no such file", 2, []string{"add-log", "--dir", dir, "--logs", typo}},
		{"unknown command", "\"frob\"", 2, []string{"frob"}},
		{"unknown flag", "unknown flag", 2, []string{"serve", "--frob"}},
		{"extra argument", "unexpected argument", 2, []string{"serve", "x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stdout, stderr, code := runs(t, tc.args...)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.says) {
				t.Errorf("exit code %d, want %d; says %q%s", code, tc.code, stdout, stderr)
			}
		})
	}
	if _, err := os.Stat(typo); !os.IsNotExist(err) {
		t.Errorf("a mistyped directory was made: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "logs.tlog-policy")); err != nil || strings.Contains(string(b), "+") {
		t.Errorf("a refused log was added: %s %v", b, err)
	}
}

func TestOpenKeyIsRefused(t *testing.T) {
	dir, _ := newWitness(t)
	key := filepath.Join(dir, "witness.key")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o610} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := runs(t, "serve", "--dir", dir, "--listen", "127.0.0.1:0"); code != 6 || !strings.Contains(stderr, "chmod 600 "+key) {
			t.Errorf("mode %04o: exit code %d\n%s", mode, code, stderr)
		}
	}
}

func TestDeletedStateIsRefused(t *testing.T) {
	l := newLog(t, "log.example/a")
	dir, _ := newWitness(t, "--key-type", "ml-dsa-44")
	mustRun(t, "add-log", "--dir", dir, l.vkey)
	d := startDaemon(t, dir)
	if got := d.do("POST", "/add-checkpoint", l.request(t, 0, 1)); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	d.end(syscall.SIGTERM)
	state := filepath.Join(dir, "state", strings.Split(l.path(), "/")[1])
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := runs(t, "serve", "--dir", dir, "--listen", "127.0.0.1:0")
	if code != 75 || !strings.Contains(stderr, state) || !strings.Contains(stderr, l.origin) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

// TestStorageFailureEndsIt puts a directory where a state file has to go: the
// rename fails, what is on disk is not known, and the process ends.
func TestStorageFailureEndsIt(t *testing.T) {
	l := newLog(t, "log.example/a")
	dir, _ := newWitness(t)
	mustRun(t, "add-log", "--dir", dir, l.vkey)
	d := startDaemon(t, dir)
	state := filepath.Join(dir, "state", strings.Split(l.path(), "/")[1])
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := d.do("POST", "/add-checkpoint", l.request(t, 0, 1)); got.Status != 500 || strings.Contains(got.Body, "—") {
		t.Errorf("%+v", got)
	}
	var exit *exec.ExitError
	if err := d.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 75 || !strings.Contains(d.stderr.String(), "what is on disk is not known") {
		t.Errorf("%v\n%s", err, d.stderr)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	d = startDaemon(t, dir)
	if got := d.do("POST", "/add-checkpoint", l.request(t, 0, 1)); got.Status != 200 {
		t.Errorf("after a restart: %+v", got)
	}
}
