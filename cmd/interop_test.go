package cmd_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
)

// litewitnessVersion is the witness that is not ours: it shares no code with this repository but x/mod.
const litewitnessVersion = "filippo.io/torchwood/cmd/litewitness@v0.9.0"

// TestForeignLog lets a log that is not ours, with its own publisher and its own client of witnesses, be cosigned by ours.
func TestForeignLog(t *testing.T) {
	bin, dir := build(t), t.TempDir()
	vkeys := strings.Fields(run(t, filepath.Join(bin, "idlog-witness"), "init", "--dir", filepath.Join(dir, "w"), "--name", "w.example"))
	w := spawn(t, "witness", filepath.Join(dir, "w.ready"), filepath.Join(bin, "idlog-witness"), "serve", "--dir", filepath.Join(dir, "w"), "--listen", "127.0.0.1:0")

	const origin = "foreign.example/log"
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join(bin, "idlog-witness"), "add-log", "--dir", filepath.Join(dir, "w"), vkey)
	w.kill() // the foreign log meets it after a crash, at another address
	w = spawn(t, "witness", filepath.Join(dir, "w.again"), filepath.Join(bin, "idlog-witness"), "serve", "--dir", filepath.Join(dir, "w"), "--listen", "127.0.0.1:0")

	root, err := url.Parse("http://" + w.addresses["http"])
	if err != nil {
		t.Fatal(err)
	}
	witness, err := tessera.NewWitness(vkeys[0], root)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := posix.New(t.Context(), posix.Config{Path: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	appender, shutdown, reader, err := tessera.NewAppender(t.Context(), driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(16, 20*time.Millisecond).
		WithCheckpointInterval(100*time.Millisecond).
		WithWitnesses(tessera.NewWitnessGroup(1, witness), nil))
	if err != nil {
		t.Fatal(err)
	}
	awaiter := tessera.NewPublicationAwaiter(t.Context(), reader.ReadCheckpoint, 20*time.Millisecond)
	var published []byte
	for i := range 40 { // several checkpoints, so several consistency proofs
		if i%8 != 0 {
			appender.Add(t.Context(), tessera.NewEntry(fmt.Appendf(nil, "entry %d", i)))
			continue
		}
		if _, published, err = awaiter.Await(t.Context(), appender.Add(t.Context(), tessera.NewEntry(fmt.Appendf(nil, "entry %d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	ours, err := checkpoint.NewVerifier(vkeys[0])
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(published, note.VerifierList(ours, theirs)); err != nil || len(n.Sigs) != 2 {
		t.Errorf("what the foreign log published: %v\n%s", err, published)
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// What we show of it to monitors is cosigned with both our keys.
	res, err := http.Get(fmt.Sprintf("http://%s/%x/checkpoint", w.addresses["http"], sha256.Sum256([]byte(origin))))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	latest, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	second, err := checkpoint.NewVerifier(vkeys[1])
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(latest, note.VerifierList(ours, second, theirs)); err != nil || len(n.Sigs) != 3 {
		t.Errorf("what we show of it: %v\n%s", err, latest)
	}
}

// TestForeignWitness lets a witness that is not ours cosign our log, alone and beside ours; a receipt rests on its word.
func TestForeignWitness(t *testing.T) {
	lite := foreignWitness(t)
	bin, dir := build(t), t.TempDir()
	ourVKey := strings.TrimSpace(run(t, filepath.Join(bin, "idlog-witness"), "init", "--dir", filepath.Join(dir, "w"), "--name", "w.example", "--key-type", "ed25519"))
	w := spawn(t, "witness", filepath.Join(dir, "w.ready"), filepath.Join(bin, "idlog-witness"), "serve", "--dir", filepath.Join(dir, "w"), "--listen", "127.0.0.1:0")

	witnesses := filepath.Join(dir, "witnesses.tlog-policy")
	text := fmt.Sprintf("witness lite %s %s\nwitness ours %s http://%s\ngroup both all lite ours\nquorum both\n", lite.vkey, lite.url, ourVKey, w.addresses["http"])
	if err := os.WriteFile(witnesses, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	idlogd, idlog := filepath.Join(bin, "idlogd"), filepath.Join(bin, "idlog")
	acme := filepath.Join(dir, "acme")
	run(t, idlogd, "init", "--dir", acme, "--family", "acme.example/id", "--source", "app=https://acme.example", "--witness-policy", witnesses)
	readers := filepath.Join(acme, "policy.tlog-policy")
	run(t, filepath.Join(bin, "idlog-witness"), "add-log", "--dir", filepath.Join(dir, "w"), "--logs", readers)
	w.kill()
	spawn(t, "witness", filepath.Join(dir, "w.again"), filepath.Join(bin, "idlog-witness"), "serve", "--dir", filepath.Join(dir, "w"), "--listen", w.addresses["http"])
	vkey, err := os.ReadFile(filepath.Join(acme, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	lite.addLog(t, "acme.example/id/0", strings.TrimSpace(string(vkey)))

	sample, err := filepath.Abs("../testdata/samples/event.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for start := range 2 { // the second start asks both witnesses what they have seen
		server := spawn(t, "idlogd", filepath.Join(dir, fmt.Sprint("idlogd.ready", start)), idlogd, "serve", "--config", filepath.Join(acme, "idlogd.yaml"),
			"--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
		receipts := filepath.Join(dir, fmt.Sprint("receipts", start))
		t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
		out := run(t, idlog, "submit", sample, "--source", "app", "--server", server.addresses["grpc"], "--policy", readers, "--receipts", receipts)
		if strings.Count(out, "lite,ours")+strings.Count(out, "ours,lite") != strings.Count(out, "\n") {
			t.Errorf("not cosigned by both:\n%s", out)
		}
		files, err := filepath.Glob(filepath.Join(receipts, "*.idlog-disclosure"))
		if err != nil || len(files) == 0 {
			t.Fatalf("receipts: %v, %v", files, err)
		}
		if out := run(t, idlog, "verify", files[0], "--policy", readers); !strings.Contains(out, "lite") {
			t.Errorf("the receipt does not name the witness:\n%s", out)
		}
		server.kill()
	}
}

// foreign is a running litewitness.
type foreign struct{ db, url, vkey, bin string }

// foreignWitness builds and starts one, with its key in an ssh-agent, which is how it wants it. A machine that cannot skips.
func foreignWitness(t *testing.T) *foreign {
	if os.Getenv("IDLOG_INTEROP") == "" {
		t.Skip("skipped: it builds another witness; run it with IDLOG_INTEROP=1, as .ci/run interop does")
	}
	for _, tool := range []string{"ssh-agent", "ssh-add", "ssh-keygen", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("skipped: no %s here; litewitness has its key in an agent, and its list of logs in SQLite", tool)
		}
	}
	f := &foreign{bin: foreignBin(t)}
	dir, err := os.MkdirTemp("", "lw") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, key := filepath.Join(dir, "agent"), filepath.Join(dir, "key")
	launch(t, "ssh-agent", nil, "ssh-agent", "-D", "-a", socket)
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "witness", "-f", key)
	fingerprint := strings.Fields(run(t, "ssh-keygen", "-l", "-E", "sha256", "-f", key))[1]
	if err := until(func() (bool, error) { _, err := os.Stat(socket); return err == nil, nil }); err != nil {
		t.Fatal(err)
	}
	add := exec.CommandContext(t.Context(), "ssh-add", "-q", key)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	f.db = filepath.Join(dir, "litewitness.db")
	address := freeAddress(t)
	f.url = "http://" + address
	p := launch(t, "litewitness", nil, filepath.Join(f.bin, "litewitness"), "-db", f.db, "-ssh-agent", socket, "-key", fingerprint,
		"-name", "lite.example/w", "-listen", address)
	said := regexp.MustCompile(`vkey=(\S+)`)
	if err := until(func() (bool, error) {
		select {
		case <-p.exited:
			return false, errors.New("litewitness ended: " + p.said())
		default:
		}
		m := said.FindStringSubmatch(p.said())
		if m == nil {
			return false, nil
		}
		f.vkey = strings.Trim(m[1], `"`)
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

// addLog tells it of a log, as its witnessctl does; that one links a module that not every proxy has.
func (f *foreign) addLog(t *testing.T, origin, vkey string) {
	t.Helper()
	run(t, "python3", "-c", `
import base64, hashlib, sqlite3, sys
path, origin, key = sys.argv[1:]
db = sqlite3.connect(path, timeout=30)
empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
db.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, empty))
db.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (origin, key))
db.commit()
`, f.db, origin, vkey)
}

// foreignBin builds litewitness, from the module cache or the module proxy.
func foreignBin(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "install", litewitnessVersion)
	build.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		if regexp.MustCompile(`dial tcp|no such host|connection refused|i/o timeout|Forbidden|proxyconnect|module lookup disabled`).Match(out) {
			t.Skipf("skipped: no module proxy to have litewitness from: %v", err)
		}
		t.Fatalf("building %s: %v\n%s", litewitnessVersion, err, out)
	}
	return bin
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
