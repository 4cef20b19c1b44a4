package witness_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/witness"
)

// logHashes is a log made by hand with x/mod/sumdb: its stored hashes.
type logHashes []tlog.Hash

func (l logHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, l[i])
	}
	return out, nil
}

// testLog is a log that is not ours: x/mod/sumdb/tlog for the tree,
// x/mod/sumdb/note for the signatures, fmt for the checkpoint.
type testLog struct {
	t       testing.TB
	origin  string
	signers []note.Signer
	vkeys   []string
	hashes  logHashes
	size    int64
}

func newLog(t testing.TB, origin string) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{t: t, origin: origin, signers: []note.Signer{s}, vkeys: []string{vkey}}
}

// fork is a log of the same keys with no entries.
func (l *testLog) fork() *testLog {
	return &testLog{t: l.t, origin: l.origin, signers: l.signers, vkeys: l.vkeys}
}

// grow appends n entries, whose content depends on branch.
func (l *testLog) grow(n int, branch string) *testLog {
	l.t.Helper()
	for range n {
		h, err := tlog.StoredHashes(l.size, fmt.Appendf(nil, "%s %d", branch, l.size), l.hashes)
		if err != nil {
			l.t.Fatal(err)
		}
		l.hashes = append(l.hashes, h...)
		l.size++
	}
	return l
}

func (l *testLog) root(size int64) tlog.Hash {
	l.t.Helper()
	if size == 0 {
		return sha256.Sum256(nil)
	}
	h, err := tlog.TreeHash(size, l.hashes)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (l *testLog) sign(text string) []byte {
	l.t.Helper()
	b, err := note.Sign(&note.Note{Text: text}, l.signers...)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *testLog) checkpoint(size int64) []byte {
	l.t.Helper()
	return l.sign(fmt.Sprintf("%s\n%d\n%v\n", l.origin, size, l.root(size)))
}

func (l *testLog) proof(from, to int64) []tlog.Hash {
	l.t.Helper()
	if from == 0 || from == to {
		return nil
	}
	p, err := tlog.ProveTree(to, from, l.hashes)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// request is the body that moves a witness from size from to size to.
func (l *testLog) request(from, to int64) string {
	return body(from, l.proof(from, to), l.checkpoint(to))
}

func body(old int64, proof []tlog.Hash, checkpoint []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		fmt.Fprintf(&b, "%v\n", h)
	}
	return b.String() + "\n" + string(checkpoint)
}

func logs(t testing.TB, ls ...*testLog) *witness.Logs {
	t.Helper()
	var b strings.Builder
	for _, l := range ls {
		for _, v := range l.vkeys {
			fmt.Fprintf(&b, "log %s\n", v)
		}
	}
	got, err := witness.ParseLogs([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// keys makes the private keys of a witness of both algorithms.
func keys(t testing.TB, algs ...checkpoint.Alg) []string {
	t.Helper()
	var skeys []string
	for _, alg := range algs {
		skey, _, err := checkpoint.GenerateKey("witness.example/w1", alg, checkpoint.WitnessRole)
		if err != nil {
			t.Fatal(err)
		}
		skeys = append(skeys, skey)
	}
	return skeys
}

func openStore(t testing.TB, dir string) *witness.Store {
	t.Helper()
	s, err := witness.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := witness.CreateStore(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// instance is a witness in its process-like whole: directory, handler, keys.
type instance struct {
	t     testing.TB
	dir   string
	store *witness.Store
	w     *witness.Witness
	h     http.Handler
}

// start runs a witness on dir until the test ends or stop is called.
func start(t testing.TB, dir string, skeys []string, ls ...*testLog) *instance {
	t.Helper()
	store := openStore(t, dir)
	w, err := witness.New(witness.Config{PrivateKeys: skeys, Store: store, Logs: logs(t, ls...)})
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{t: t, dir: dir, store: store, w: w, h: w.Handler()}
	t.Cleanup(i.stop)
	return i
}

func (i *instance) stop() {
	if i.store == nil {
		return
	}
	if err := i.store.Close(); err != nil {
		i.t.Error(err)
	}
	i.store = nil
}

type reply struct {
	Status int
	Type   string
	Body   string
}

func (i *instance) do(method, path, body string) reply {
	rec := httptest.NewRecorder()
	i.h.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body)))
	resp := rec.Result()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Error(err)
	}
	return reply{resp.StatusCode, resp.Header.Get("Content-Type"), string(b)}
}

func (i *instance) add(body string) reply { return i.do("POST", "/add-checkpoint", body) }

// mustAdd adds and verifies the reply as a client does: the lines, appended to
// the checkpoint, are a note that verifies under every key of the witness.
func (i *instance) mustAdd(l *testLog, from, to int64) {
	i.t.Helper()
	got := i.add(l.request(from, to))
	if got.Status != http.StatusOK {
		i.t.Fatalf("adding %d to %d: %+v", from, to, got)
	}
	i.verify(append(l.checkpoint(to), got.Body...))
	if got := i.latest(l.origin); got.Status != http.StatusOK {
		i.t.Fatalf("latest checkpoint: %+v", got)
	} else {
		i.verify([]byte(got.Body))
		if !bytes.HasPrefix([]byte(got.Body), l.checkpoint(to)) {
			i.t.Fatalf("latest checkpoint is not of size %d:\n%s", to, got.Body)
		}
	}
}

func (i *instance) verify(b []byte) {
	i.t.Helper()
	var vs []note.Verifier
	for _, v := range i.w.VKeys() {
		verifier, err := checkpoint.NewVerifier(v)
		if err != nil {
			i.t.Fatal(err)
		}
		vs = append(vs, verifier)
	}
	n, err := note.Open(b, note.VerifierList(vs...))
	if err != nil {
		i.t.Fatalf("%v:\n%s", err, b)
	}
	if len(n.Sigs) != len(vs) {
		i.t.Fatalf("%d cosignatures, want %d", len(n.Sigs), len(vs))
	}
}

func (i *instance) latest(origin string) reply {
	h := sha256.Sum256([]byte(origin))
	return i.do("GET", "/"+hex.EncodeToString(h[:])+"/checkpoint", "")
}

// evidence lists what is kept of a kind: idlog-evidence or idlog-suspect.
func (i *instance) evidence(kind string) []string {
	i.t.Helper()
	files, err := filepath.Glob(filepath.Join(i.dir, "evidence", "*."+kind))
	if err != nil {
		i.t.Fatal(err)
	}
	return files
}

func TestGrow(t *testing.T) {
	for _, algs := range [][]checkpoint.Alg{{checkpoint.Ed25519}, {checkpoint.MLDSA44}, {checkpoint.MLDSA44, checkpoint.Ed25519}} {
		t.Run(fmt.Sprint(algs), func(t *testing.T) {
			l := newLog(t, "log.example/a").grow(300, "a")
			w := start(t, newDir(t), keys(t, algs...), l)
			if got := w.latest(l.origin); got.Status != http.StatusNotFound {
				t.Errorf("latest before the first: %+v", got)
			}
			at := int64(0)
			for _, to := range []int64{0, 0, 1, 2, 2, 3, 64, 255, 256, 257, 300, 300} {
				w.mustAdd(l, at, to)
				at = to
			}
		})
	}
}

// TestStatus has one row per sentence of the specification that assigns a
// status, on a witness whose latest checkpoint has size 5.
func TestStatus(t *testing.T) {
	l := newLog(t, "log.example/a").grow(8, "a")
	other := newLog(t, "log.example/b").grow(8, "b")
	impostor := newLog(t, l.origin).grow(8, "a") // the origin with another key
	forked := l.fork().grow(8, "x")
	l0 := newLog(t, "log.example/never") // known and never cosigned
	badRoot := base64.StdEncoding.EncodeToString(make([]byte, 32))
	hash := badRoot + "\n"
	good := l.request(5, 8)
	lines := func(b string) string { return b[strings.Index(b, "—"):] }
	falsify := func(b string) string { // one character of the last signature
		i, c := len(b)-20, "A"
		if b[i] == 'A' {
			c = "B"
		}
		return b[:i] + c + b[i+1:]
	}

	for _, tc := range []struct {
		name, body string
		status     int
		forks      int
	}{
		{"continues", good, 200, 0},
		{"same again", l.request(5, 5), 200, 0},
		{"unknown signatures are ignored", good + lines(string(impostor.checkpoint(8))), 200, 0},
		{"repeated signature", good + lines(good), 200, 0},
		{"extension lines", body(5, l.proof(5, 8), l.sign(fmt.Sprintf("%s\n8\n%v\nextension\n", l.origin, l.root(8)))), 200, 0},
		{"first of another log, size 0", l0.request(0, 0), 200, 0},
		{"first of another log", l0.fork().grow(3, "n").request(0, 3), 200, 0},

		{"unknown origin", other.request(0, 8), 404, 0},
		{"unknown origin, wrong root of size 0", body(0, nil, other.sign(other.origin+"\n0\n"+hash)), 404, 0},
		{"key unknown", impostor.request(5, 8), 403, 0},
		{"false line of a known key", falsify(good), 403, 0},
		{"a good and a false line", falsify(good + lines(good)), 403, 0},
		{"key of another log", strings.Replace(good, "— "+l.origin, "— "+other.origin, 1), 403, 0},

		{"old above the checkpoint", body(9, nil, l.checkpoint(8)), 400, 0},
		{"old below the latest", l.request(4, 8), 409, 0},
		{"old zero asks for the size", l.request(0, 8), 409, 0},
		{"old above the latest", l.request(6, 8), 409, 0},
		{"old and checkpoint below the latest", l.request(3, 4), 409, 0},
		{"old of a log never cosigned", body(1, nil, l0.fork().grow(3, "n").checkpoint(3)), 409, 0},

		{"empty proof", body(5, nil, l.checkpoint(8)), 422, 0},
		{"proof of another tree", body(5, forked.proof(5, 8), l.checkpoint(8)), 422, 0},
		{"another tree with its own proof", forked.request(5, 8), 422, 1},
		{"proof too long", body(5, append(l.proof(5, 8), tlog.Hash{}), l.checkpoint(8)), 422, 0},
		{"proof between equal sizes", body(5, make([]tlog.Hash, 1), l.checkpoint(5)), 422, 0},
		{"proof from size 0", body(0, make([]tlog.Hash, 1), l0.fork().grow(3, "n").checkpoint(3)), 422, 0},
		{"63 lines are form enough", body(5, make([]tlog.Hash, 63), l.checkpoint(8)), 422, 0},
		{"wrong root of size 0", body(0, nil, l0.sign(l0.origin+"\n0\n"+hash)), 422, 0},
		{"fork at the same size", forked.request(5, 5), 422, 1},
		{"fork at the same size, wrong old", forked.request(0, 5), 409, 1},
		{"fork at the same size, old above", body(6, nil, forked.checkpoint(5)), 400, 1},

		{"empty", "", 400, 0},
		{"no checkpoint", "old 5\n\n", 400, 0},
		{"no empty line", strings.Replace(good, "\n\n", "\n", 1), 400, 0},
		{"no old line", good[strings.Index(good, "\n")+1:], 400, 0},
		{"no signature", good[:strings.Index(good, "—")], 400, 0},
		{"64 proof lines", body(5, make([]tlog.Hash, 64), l.checkpoint(8)), 400, 0},
		{"leading zero", strings.Replace(good, "old 5", "old 05", 1), 400, 0},
		{"plus", strings.Replace(good, "old 5", "old +5", 1), 400, 0},
		{"minus", strings.Replace(good, "old 5", "old -5", 1), 400, 0},
		{"2^63", strings.Replace(good, "old 5", "old 9223372036854775808", 1), 400, 0},
		{"2^64+5", strings.Replace(good, "old 5", "old 18446744073709551621", 1), 400, 0},
		{"two spaces", strings.Replace(good, "old 5", "old  5", 1), 400, 0},
		{"CRLF", strings.ReplaceAll(good, "\n", "\r\n"), 400, 0},
		{"no last newline", strings.TrimSuffix(good, "\n"), 400, 0},
		{"short hash", strings.Replace(good, "old 5\n", "old 5\nAAAA\n", 1), 400, 0},
		{"base64 with a stray bit", strings.Replace(good, "old 5\n", "old 5\n"+badRoot[:42]+"B=\n", 1), 400, 0},
		{"wrong hash of size 0 is short", body(0, nil, l0.sign(l0.origin+"\n0\nAAAA\n")), 400, 0},
		{"checkpoint of two lines", body(5, nil, l.sign(l.origin+"\n8\n")), 400, 0},
		{"checkpoint with a leading zero", body(5, nil, l.sign(l.origin+"\n08\n"+hash)), 400, 0},
		{"not UTF-8", good + "\xff\n", 400, 0},
		{"too large", good + strings.Repeat("x", cosign.MaxRequest), 413, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l, l0)
			w.mustAdd(l, 0, 5)
			before := w.latest(l.origin)
			got := w.add(tc.body)
			if got.Status != tc.status {
				t.Fatalf("got %+v, want %d", got, tc.status)
			}
			if got.Status == 409 {
				want := reply{409, "text/x.tlog.size", "5\n"}
				if strings.Contains(tc.body, l0.origin) {
					want.Body = "0\n"
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
			if got.Status != 200 {
				if diff := cmp.Diff(before, w.latest(l.origin)); diff != "" {
					t.Errorf("a refusal changed the state:\n%s", diff)
				}
				if strings.Contains(got.Body, "—") {
					t.Errorf("a refusal has a signature line: %s", got.Body)
				}
				w.mustAdd(l, 5, 8) // and the log goes on
			}
			if n := len(w.evidence("idlog-evidence")); n != tc.forks {
				t.Errorf("%d pieces of evidence, want %d", n, tc.forks)
			}
		})
	}
}

// TestBigSizes: a tree of any size below 2^63 is cosigned; its nodes are made up,
// for no witness sees entries.
func TestBigSizes(t *testing.T) {
	l := newLog(t, "log.example/a")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	at, root := int64(0), tlog.Hash{}
	add := func(size int64, proof ...tlog.Hash) reply {
		t.Helper()
		return w.add(body(at, proof, l.sign(fmt.Sprintf("%s\n%d\n%v\n", l.origin, size, root))))
	}
	for _, size := range []int64{1 << 31, 1 << 32, 1 << 53, 1 << 62} {
		old := root
		if at == 0 {
			root = tlog.RecordHash([]byte("first"))
			if got := add(size); got.Status != 200 {
				t.Fatalf("%d: %+v", size, got)
			}
			at = size
			continue
		}
		// Every level between the two is the old tree on the left, made up on the right.
		var proof []tlog.Hash
		root = old
		for s := at; s < size; s *= 2 {
			right := tlog.RecordHash(fmt.Appendf(nil, "right of %d", s))
			proof = append(proof, right)
			root = tlog.NodeHash(root, right)
		}
		if got := add(size, proof...); got.Status != 200 {
			t.Fatalf("%d: %+v", size, got)
		}
		at = size
	}
	if got := w.add(body(at, nil, l.sign(fmt.Sprintf("%s\n%s\n%v\n", l.origin, "9223372036854775808", root)))); got.Status != 400 {
		t.Errorf("2^63: %+v", got)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	l := newLog(t, "log.example/a").grow(3, "a")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	w.mustAdd(l, 0, 3)
	name := witness.StateName(l.origin)
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/" + name + "/checkpoint", 200},
		{"HEAD", "/" + name + "/checkpoint", 200},
		{"GET", "/" + strings.ToUpper(name) + "/checkpoint", 404},
		{"GET", "/" + name[:62] + "/checkpoint", 404},
		{"GET", "/manifest/checkpoint", 404},
		{"GET", "/" + name, 404},
		{"POST", "/" + name + "/checkpoint", 405},
		{"GET", "/add-checkpoint", 405},
		{"PUT", "/add-checkpoint", 405},
		{"POST", "/sign-subtree", 404},
	} {
		if got := w.do(tc.method, tc.path, l.request(3, 3)); got.Status != tc.status {
			t.Errorf("%s %s: %+v, want %d", tc.method, tc.path, got, tc.status)
		}
	}
}

func TestSeveralKeysOfOneLog(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	second := newLog(t, l.origin)
	skey, vkey, err := checkpoint.GenerateKey(l.origin, checkpoint.MLDSA44, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	third, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	first := l.signers[0]
	l.vkeys = append(l.vkeys, second.vkeys[0], vkey)
	w := start(t, newDir(t), keys(t, checkpoint.MLDSA44), l)
	at := int64(0)
	for _, signers := range [][]note.Signer{{first}, second.signers, {third}, {third, first}} {
		l.signers = signers
		if got := w.add(l.request(at, at+1)); got.Status != 200 {
			t.Fatalf("%d signers at %d: %+v", len(signers), at, got)
		}
		if n := strings.Count(w.latest(l.origin).Body, "— "+l.origin+" "); n != len(signers) {
			t.Errorf("latest has %d lines of the log, want %d", n, len(signers))
		}
		at++
	}
}
