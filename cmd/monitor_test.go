package cmd_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
)

// lyingLog is a log whose server shows what a test tells it to, and a receiver
// of webhooks that answers as it is told.
type lyingLog struct {
	t        *testing.T
	log      *prototest.Log
	witness  prototest.Key
	server   *httptest.Server
	hook     *httptest.Server
	secret   []byte
	dir, bin string

	mu     sync.Mutex // guards what follows
	files  map[string][]byte
	status int             // of the webhook
	posted []hookedFinding // all that it was sent, accepted or not
}

type hookedFinding struct {
	ID, Kind, Evidence string
	accepted           bool
}

func newLyingLog(t *testing.T, family string) *lyingLog {
	origin := family + "/1"
	key := prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	l := &lyingLog{t: t, log: prototest.NewLog(origin, key), witness: prototest.NewKey("w1.example", checkpoint.Ed25519, checkpoint.WitnessRole),
		secret: []byte("0123456789abcdef0123456789abcdef"), dir: t.TempDir(), bin: build(t), status: http.StatusNoContent}
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		b, ok := l.files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	}))
	t.Cleanup(l.server.Close)
	l.hook = httptest.NewServer(http.HandlerFunc(l.receive))
	t.Cleanup(l.hook.Close)
	l.write("policy", 0o644, "log "+key.VKey+"\nwitness w1 "+l.witness.VKey+"\nquorum w1\n")
	l.write("hook.secret", 0o600, "whsec_"+base64.StdEncoding.EncodeToString(l.secret)+"\n")
	now := time.Now().Unix()
	ticket := prototest.NewKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	l.append(&leaf.Shard{Log: family, Received: now, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: ticket.VKey}},
		&leaf.Keys{Log: family, Received: now, Epoch: 1})
	l.show(l.log)
	return l
}

func (l *lyingLog) write(name string, mode fs.FileMode, text string) {
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), mode); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lyingLog) append(leaves ...leaf.Leaf) {
	for _, f := range leaves {
		b, err := f.Format()
		if err != nil {
			l.t.Fatal(err)
		}
		l.log.Append(b)
	}
}

// show publishes all of a log, cosigned now.
func (l *lyingLog) show(log *prototest.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := int64(len(log.Leaves))
	l.files = log.Resources(size)
	l.files["checkpoint"] = log.Note(size, uint64(time.Now().Unix()), l.witness)
	for i := range size + 1 {
		l.files[fmt.Sprintf("archive/%d", i)] = l.files["checkpoint"]
	}
}

// fork publishes another tree of the same size.
func (l *lyingLog) fork() {
	other := prototest.NewLog(l.log.Origin, l.log.Keys...)
	other.Append(l.log.Leaves[0])
	other.Append([]byte("what nobody else was shown\n"))
	l.show(other)
}

func (l *lyingLog) receive(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever called was killed meanwhile
	}
	mac := hmac.New(sha256.New, l.secret)
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		l.t.Error("a call of the webhook is not signed")
	}
	var m struct{ Data hookedFinding }
	if err := json.Unmarshal(body, &m); err != nil || m.Data.ID != r.Header.Get("webhook-id") {
		l.t.Errorf("the webhook was sent %s", body)
	}
	m.Data.accepted = l.status/100 == 2
	l.posted = append(l.posted, m.Data)
	w.WriteHeader(l.status)
}

// last is the newest call of the webhook.
func (l *lyingLog) last() hookedFinding {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posted) == 0 {
		return hookedFinding{}
	}
	return l.posted[len(l.posted)-1]
}

func (l *lyingLog) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.bin, "idlog"), append(args, "-p", filepath.Join(l.dir, "policy"), "--state", filepath.Join(l.dir, "state"))...)
	cmd.Env = append(os.Environ(), "IDLOG_WEBHOOK="+l.hook.URL+"/hook")
	return cmd
}

func (l *lyingLog) monitor(args ...string) *exec.Cmd {
	return l.command(append([]string{"monitor", l.server.URL, "--webhook-secret", filepath.Join(l.dir, "hook.secret"), "--interval", "20ms"}, args...)...)
}

// exits runs a command to its end, which must be with this code.
func (l *lyingLog) exits(code int, cmd *exec.Cmd) string {
	l.t.Helper()
	out, err := cmd.CombinedOutput()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		l.t.Fatal(err)
	}
	if got != code {
		l.t.Fatalf("%v: exit code %d, not %d:\n%s", cmd.Args[1:], got, code, out)
	}
	return string(out)
}

// TestMonitorKilled kills the monitor with SIGKILL while it tells of a fork that
// the log showed it once. The next one tells it again, under its id, to the end;
// then it refuses to go on, until somebody says that they know.
func TestMonitorKilled(t *testing.T) {
	l := newLyingLog(t, "log.example/id")
	l.exits(0, l.monitor("--once"))
	if first := l.last(); first.Kind != "baseline" {
		t.Errorf("first told %+v", first)
	}

	// The webhook is down, and the log shows another tree of this size.
	l.mu.Lock()
	l.status = http.StatusServiceUnavailable
	l.mu.Unlock()
	l.fork()
	running := l.monitor()
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	if err := until(func() (bool, error) { return l.last().Kind == "fork", nil }); err != nil {
		t.Error(err)
	}
	running.Process.Kill()
	running.Wait()
	cut := l.last()

	// Meanwhile the log denies it, and the webhook is up.
	l.mu.Lock()
	l.status = http.StatusOK
	l.mu.Unlock()
	l.append(&leaf.Keys{Log: "log.example/id", Received: time.Now().Unix(), Epoch: 1})
	l.show(l.log)
	out := l.exits(3, l.monitor())
	if !strings.Contains(out, "  contradiction  fork  ") || !strings.Contains(out, "  contradiction  witness-fork  ") {
		t.Errorf("it said %s", out)
	}
	told := make(map[string]bool)
	for _, p := range l.posted {
		if p.accepted {
			told[p.ID] = true
		}
	}
	if !told[cut.ID] || len(told) != 3 {
		t.Errorf("told of %v, and was cut off at %s", told, cut.ID)
	}
	if out := l.exits(0, l.command("verify", l.last().Evidence)); !strings.Contains(out, "verdict    proven") {
		t.Errorf("verify said %s", out)
	}
	if out := l.exits(0, l.command("verify", cut.Evidence)); !strings.Contains(out, "signed two trees of size 2") {
		t.Errorf("verify said %s", out)
	}

	calls := len(l.posted)
	out = l.exits(3, l.monitor("--once"))
	if !strings.Contains(out, "not followed since") || !strings.Contains(out, "--acknowledge") || len(l.posted) != calls {
		t.Errorf("the next start said %s", out)
	}
	l.exits(0, l.monitor("--once", "--acknowledge"))
	if out := l.exits(0, l.monitor("--once")); strings.Contains(out, "fork") {
		t.Errorf("acknowledged, and still %s", out)
	}
}

// TestMonitorSeveral follows two logs. One contradicts itself and is not followed
// any more; the other one is, until the monitor is told to end.
func TestMonitorSeveral(t *testing.T) {
	bad, good := newLyingLog(t, "log.example/id"), newLyingLog(t, "other.example/id")
	bad.write("logs.txt", 0o644, fmt.Sprintf("# two\n%s %s\n%s %s\n",
		filepath.Join(bad.dir, "policy"), bad.server.URL, filepath.Join(good.dir, "policy"), good.server.URL))
	list := func(args ...string) *exec.Cmd {
		return bad.command(append([]string{"monitor", "--list", filepath.Join(bad.dir, "logs.txt"), "--webhook-secret", filepath.Join(bad.dir, "hook.secret"),
			"--interval", "20ms"}, args...)...)
	}
	bad.exits(0, list("--once"))
	bad.fork()
	running := list()
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	defer running.Process.Kill()
	told := func(kind string) func() (bool, error) {
		return func() (bool, error) { return bad.last().Kind == kind, nil }
	}
	if err := until(told("witness-fork")); err != nil {
		t.Fatal(err)
	}
	good.log.Append([]byte("no leaf\n"))
	good.show(good.log)
	if err := until(told("grammar")); err != nil {
		t.Fatal(err)
	}
	if err := running.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exit, ok := errors.AsType[*exec.ExitError](running.Wait())
	if !ok || exit.ExitCode() != 3 {
		t.Errorf("it ended with %v", exit)
	}
	// The next start follows what can be followed.
	good.log.Append([]byte("no leaf either\n"))
	good.show(good.log)
	if out := bad.exits(3, list("--once")); !strings.Contains(out, "  fault  grammar  other.example/id/1  entry 3") {
		t.Errorf("the next start said %s", out)
	}
}

// TestMonitorIndexKilled kills the monitor with SIGKILL, again and again, while it computes the index of a log that grows.
// Whatever its store has lost or kept, it goes on and finds nothing false, until a root leaf leaves an entry out.
func TestMonitorIndexKilled(t *testing.T) {
	l := newLyingLog(t, "log.example/id")
	state := filepath.Join(l.dir, "state", "monitor", "log.example%2Fid%2F1", "index", "state")
	compared := func(root int64) func() (bool, error) {
		return func() (bool, error) {
			b, err := os.ReadFile(state)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return strings.Contains(string(b), fmt.Sprintf("\nlast %d\n", root)), err
		}
	}
	enrol := func(n int) {
		for range n {
			i := len(l.log.Leaves)
			commit, etag := leaf.HashOf(fmt.Append(nil, "commit", i)), leaf.HashOf(fmt.Append(nil, "etag", i/3))
			l.append(&leaf.Subject{Log: "log.example/id", Received: time.Now().Unix(), Keys: 1, Commit: &commit, Etags: []leaf.Hash{etag}})
		}
	}
	at := int64(0)
	for round := range 6 {
		running := l.monitor("--index")
		if err := running.Start(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			enrol(50)
			at = l.log.AppendRoot(int64(len(l.log.Leaves)-round), time.Now().UnixMilli())
			l.show(l.log)
			if round%2 == 0 { // else it is killed wherever it is
				if err := until(compared(at)); err != nil {
					t.Fatal(err)
				}
			}
		}
		running.Process.Kill()
		running.Wait()
		if round == 3 { // and what is lost with the machine
			if err := os.RemoveAll(filepath.Join(filepath.Dir(state), "store")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out := l.exits(0, l.monitor("--index", "--once")); strings.Contains(out, "bad-root") || strings.Contains(out, "fault") {
		t.Errorf("it said %s", out)
	}
	if done, err := compared(at)(); !done || err != nil {
		t.Errorf("the last root leaf, at %d, was not compared: %v", at, err)
	}

	enrol(5)
	size := len(l.log.Leaves)
	left := prototest.IndexOf(append(append([][]byte{}, l.log.Leaves[:size-3]...), []byte("no leaf\n"), l.log.Leaves[size-2], l.log.Leaves[size-1]))
	lie, truth := left.Root(l.log.Origin, time.Now().UnixMilli()), prototest.IndexOf(l.log.Leaves).Root(l.log.Origin, 0)
	lie.LogRoot = truth.LogRoot
	l.append(lie)
	l.show(l.log)
	out := l.exits(3, l.monitor("--index"))
	if !strings.Contains(out, fmt.Sprintf("  contradiction  bad-root  log.example/id/1  the root leaf at entry %d is false: ", size)) {
		t.Errorf("it said %s", out)
	}
	if out := l.exits(0, l.command("verify", l.last().Evidence)); !strings.Contains(out, "has another root than its accuser came to") {
		t.Errorf("verify said %s", out)
	}
	if out := l.exits(3, l.monitor("--index", "--once")); !strings.Contains(out, "not followed since") {
		t.Errorf("the next start said %s", out)
	}
}
