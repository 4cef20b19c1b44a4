package witness_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/witness"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// snapshot is every file of a directory with its content.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files[path] = readFile(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRestart(t *testing.T) {
	a, b := newLog(t, "log.example/a").grow(9, "a"), newLog(t, "log.example/b").grow(9, "b")
	dir, skeys := newDir(t), keys(t, checkpoint.Ed25519, checkpoint.MLDSA44)
	w := start(t, dir, skeys, a, b)
	w.mustAdd(b, 0, 2)
	w.mustAdd(a, 0, 5)
	w.mustAdd(a, 5, 7)
	wantA, wantB := w.latest(a.origin), w.latest(b.origin)
	for range 3 {
		w.stop()
		w = start(t, dir, skeys, a, b)
		if diff := cmp.Diff([]reply{wantA, wantB}, []reply{w.latest(a.origin), w.latest(b.origin)}); diff != "" {
			t.Fatal(diff)
		}
		if got := w.add(a.request(5, 9)); got.Status != http.StatusConflict || got.Body != "7\n" {
			t.Fatalf("after a restart: %+v", got)
		}
		if got := w.add(a.fork().grow(9, "x").request(7, 9)); got.Status != http.StatusUnprocessableEntity {
			t.Fatalf("a fork after a restart: %+v", got)
		}
	}
	// A log that is taken from the list is remembered all the same.
	w.stop()
	w = start(t, dir, skeys, a)
	if got := w.add(b.request(2, 3)); got.Status != http.StatusNotFound {
		t.Fatalf("log not in the list: %+v", got)
	}
	if err := w.w.SetLogs(logs(t, a, b)); err != nil {
		t.Fatal(err)
	}
	w.mustAdd(b, 2, 3)
}

func TestOpenRefuses(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	state := witness.StateName(l.origin)
	for _, tc := range []struct {
		name string
		file string // named by the error
		harm func(t *testing.T, dir string)
	}{
		{"state deleted", state, func(t *testing.T, dir string) { remove(t, dir, state) }},
		{"state empty", state, func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, state), "") }},
		{"state bit flipped", state, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, state), 60) }},
		{"sum bit flipped", state, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, state), -5) }},
		{"state of another log", state, func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, state), readFile(t, filepath.Join(dir, witness.StateName("log.example/b"))))
		}},
		{"state under another name", strings.Repeat("0", 64), func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, strings.Repeat("0", 64)), readFile(t, filepath.Join(dir, state)))
		}},
		{"manifest deleted", "manifest", func(t *testing.T, dir string) { remove(t, dir, "manifest") }},
		{"manifest bit flipped", "manifest", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "manifest"), 30) }},
		{"manifest cut", "manifest", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "manifest"), "idlog-witness-manifest/v1\n")
		}},
		{"lock deleted", "LOCK", func(t *testing.T, dir string) { remove(t, dir, "LOCK") }},
		{"stray file", "notes.txt", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "notes.txt"), "x") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newDir(t)
			w := start(t, dir, keys(t, checkpoint.Ed25519), l, newLog(t, "log.example/b"))
			w.mustAdd(l, 0, 5)
			b := newLog(t, "log.example/b").grow(1, "b")
			if err := w.w.SetLogs(logs(t, l, b)); err != nil {
				t.Fatal(err)
			}
			w.mustAdd(b, 0, 1)
			w.stop()
			tc.harm(t, dir)
			before := snapshot(t, dir)

			s, err := witness.OpenStore(dir)
			var refused *witness.StateError
			if !errors.As(err, &refused) || refused.File != filepath.Join(dir, tc.file) {
				t.Fatalf("OpenStore = %v, %v", s, err)
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("a refused directory was changed:\n%s", diff)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, i int) {
	t.Helper()
	b := []byte(readFile(t, path))
	if i < 0 {
		i += len(b)
	}
	b[i] ^= 1
	writeFile(t, path, string(b))
}

func TestStoreIsExplicit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	if _, err := witness.OpenStore(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenStore of nothing: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenStore made something: %v", err)
	}
	if err := witness.CreateStore(dir); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	if err := witness.CreateStore(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateStore over a store: %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Error(diff)
	}
	s := openStore(t, dir)
	defer s.Close()
	var refused *witness.StateError
	if _, err := witness.OpenStore(dir); !errors.As(err, &refused) || filepath.Base(refused.File) != "LOCK" {
		t.Errorf("opened twice in one process: %v", err)
	}
}

// TestForkRace is the promise: of two inconsistent checkpoints that arrive at
// once, at most one is cosigned, at every step of a log's life.
func TestForkRace(t *testing.T) {
	honest := newLog(t, "log.example/a").grow(6, "a")
	forked := honest.fork().grow(6, "x")
	dir, skeys := newDir(t), keys(t, checkpoint.Ed25519)
	w := start(t, dir, skeys, honest)
	current := []*testLog{honest, forked} // whose checkpoints may still continue
	for size := range int64(6) {
		const each = 8
		var wg sync.WaitGroup
		got := make([][]reply, 2)
		begin := make(chan struct{})
		var mu sync.Mutex
		for b, l := range []*testLog{honest, forked} {
			request := l.request(size, size+1)
			for range each {
				wg.Go(func() {
					<-begin
					r := w.add(request)
					mu.Lock()
					defer mu.Unlock()
					got[b] = append(got[b], r)
				})
			}
		}
		close(begin)
		wg.Wait()
		var cosigned []*testLog
		for b, l := range []*testLog{honest, forked} {
			ok := 0
			for _, r := range got[b] {
				switch r.Status {
				case http.StatusOK:
					ok++
				case http.StatusConflict, http.StatusUnprocessableEntity:
				default:
					t.Fatalf("size %d: %+v", size+1, r)
				}
			}
			if ok > 0 {
				cosigned = append(cosigned, l)
			}
		}
		if len(cosigned) != 1 {
			t.Fatalf("size %d: %d branches were cosigned", size+1, len(cosigned))
		}
		if size > 0 && cosigned[0] != current[0] {
			t.Fatalf("size %d: the witness changed to the other branch", size+1)
		}
		current = cosigned
	}
	want := w.latest(honest.origin)
	w.stop()
	w = start(t, dir, skeys, honest)
	if diff := cmp.Diff(want, w.latest(honest.origin)); diff != "" {
		t.Error(diff)
	}
}

// TestManyLogsAtOnce lets the manifest grow from many requests: none is lost.
func TestManyLogsAtOnce(t *testing.T) {
	var ls []*testLog
	for i := range 24 {
		ls = append(ls, newLog(t, fmt.Sprint("log.example/", i)).grow(4, "a"))
	}
	dir, skeys := newDir(t), keys(t, checkpoint.Ed25519)
	w := start(t, dir, skeys, ls...)
	var wg sync.WaitGroup
	for _, l := range ls {
		wg.Go(func() {
			for size := range int64(4) {
				if got := w.add(l.request(size, size+1)); got.Status != http.StatusOK {
					t.Errorf("%s: %+v", l.origin, got)
				}
			}
		})
	}
	wg.Wait()
	w.stop()
	for _, l := range ls {
		t.Run(l.origin, func(t *testing.T) {
			path := filepath.Join(dir, witness.StateName(l.origin))
			content := readFile(t, path)
			remove(t, dir, witness.StateName(l.origin))
			if s, err := witness.OpenStore(dir); err == nil {
				s.Close()
				t.Error("a deleted state was not noticed")
			}
			writeFile(t, path, content)
		})
	}
}

func TestSwap(t *testing.T) {
	l := newLog(t, "log.example/a").grow(3, "a")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	w.mustAdd(l, 0, 1)
	first := w.store.Latest(l.origin)
	next := *first
	for _, old := range []*witness.Latest{nil, &next} { // equal is not the same
		if err := w.store.Swap(t.Context(), old, &next); !errors.Is(err, witness.ErrConflict) {
			t.Errorf("Swap from another state: %v", err)
		}
	}
	if w.store.Latest(l.origin) != first {
		t.Error("a conflict changed the state")
	}
	if err := w.store.Swap(t.Context(), first, &next); err != nil {
		t.Error(err)
	}
	if w.store.Latest(l.origin) != &next {
		t.Error("Swap did not change the state")
	}
}

// TestWriteFails makes every step of every durable write fail in both ways,
// lost and kept but reported lost. No cosignature comes out, the log never
// forks, and a restart finds a witness that works.
func TestWriteFails(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	forked := l.fork().grow(9, "x")
	for _, first := range []bool{true, false} {
		for _, name := range []string{witness.StateName(l.origin), "manifest"} {
			for _, step := range []string{"write", "rename", "sync"} {
				if !first && name == "manifest" {
					continue // it is written with the first state only
				}
				t.Run(fmt.Sprint("first=", first, " ", step, " ", name), func(t *testing.T) {
					dir, skeys := newDir(t), keys(t, checkpoint.Ed25519)
					w := start(t, dir, skeys, l)
					from, to := int64(0), int64(3)
					if !first {
						w.mustAdd(l, 0, 3)
						from, to = 3, 5
					}
					before := w.latest(l.origin)
					var broken error = syscall.EIO
					w.store.SetFault(func(s, n string) error {
						if s == step && n == name {
							return broken
						}
						return nil
					})
					if got := w.add(l.request(from, to)); got.Status != http.StatusInternalServerError || strings.Contains(got.Body, "—") {
						t.Fatalf("with a failing %s: %+v", step, got)
					}
					if diff := cmp.Diff(before, w.latest(l.origin)); diff != "" {
						t.Errorf("monitors see what was not stored:\n%s", diff)
					}
					broken = nil
					again := w.add(l.request(from, to))
					if step == "write" { // the old file is known to stand
						if again.Status != http.StatusOK {
							t.Errorf("after the disk is well again: %+v", again)
						}
					} else {
						if again.Status != http.StatusInternalServerError {
							t.Errorf("wrote on an unknown disk: %+v", again)
						}
						if err := w.store.Wait(t.Context()); !errors.Is(err, syscall.EIO) {
							t.Errorf("Wait: %v", err)
						}
					}
					w.stop()
					w = start(t, dir, skeys, l)
					finish(t, w, l, forked, from, to)
				})
			}
		}
	}
}

// TestEvidenceWriteFails: a fork is refused and the log goes on, whether or not
// the evidence could be kept.
func TestEvidenceWriteFails(t *testing.T) {
	for _, step := range []string{"write", "rename", "sync"} {
		l := newLog(t, "log.example/a").grow(9, "a")
		w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
		w.mustAdd(l, 0, 5)
		w.store.SetFault(func(s, n string) error {
			if s == step && strings.HasSuffix(n, ".idlog-evidence") {
				return syscall.ENOSPC
			}
			return nil
		})
		if got := w.add(l.fork().grow(5, "x").request(5, 5)); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %+v", step, got)
		}
		w.mustAdd(l, 5, 9)
	}
}

// TestClientGone: a request whose client has gone changes nothing and is no
// failure of the witness.
func TestClientGone(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	held, release := make(chan struct{}), make(chan struct{})
	w.store.SetFault(func(step, _ string) error {
		if step == "write" {
			select {
			case <-held:
			default:
				close(held)
				<-release
			}
		}
		return nil
	})
	first := make(chan reply, 1)
	go func() { first <- w.add(l.request(0, 5)) }()
	<-held // the first request is writing
	ctx, leave := context.WithCancel(t.Context())
	leave()
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "POST", "/add-checkpoint", strings.NewReader(l.request(0, 3))))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("the client that left: %d %s", rec.Code, rec.Body)
	}
	close(release)
	if got := <-first; got.Status != http.StatusOK {
		t.Errorf("the client that stayed: %+v", got)
	}
	w.mustAdd(l, 5, 9)
}

// finish is what a log does after a witness gave no answer to from..to: it asks
// again, and follows a 409. The other branch gets nothing.
func finish(t *testing.T, w *instance, l, forked *testLog, from, to int64) {
	t.Helper()
	got := w.add(l.request(from, to))
	if got.Status == http.StatusConflict {
		size, err := cosign.ParseSize([]byte(got.Body))
		if err != nil || size != to {
			t.Fatalf("409 with %q", got.Body)
		}
		got = w.add(l.request(size, to))
	}
	if got.Status != http.StatusOK {
		t.Fatalf("asked again: %+v", got)
	}
	if got := w.add(forked.request(to, to)); got.Status != http.StatusUnprocessableEntity {
		t.Fatalf("the fork: %+v", got)
	}
	w.mustAdd(l, to, 9)
}

// TestKill kills a process with SIGKILL before each step of a request.
func TestKill(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	forked := l.fork().grow(9, "x")
	state := witness.StateName(l.origin)
	for _, at := range []string{"write " + state, "rename " + state, "sync " + state, "write manifest", "rename manifest", "sync manifest", "release"} {
		for _, from := range []int64{0, 3} {
			if from > 0 && strings.HasSuffix(at, "manifest") {
				continue
			}
			t.Run(fmt.Sprint(at, " from ", from), func(t *testing.T) {
				dir, skeys := newDir(t), keys(t, checkpoint.Ed25519)
				if from > 0 {
					w := start(t, dir, skeys, l)
					w.mustAdd(l, 0, from)
					w.stop()
				}
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
				cmd.Env = append(os.Environ(), "WITNESS_TEST_DIR="+dir, "WITNESS_TEST_KEY="+skeys[0], "WITNESS_TEST_LOG="+l.vkeys[0], "WITNESS_TEST_AT="+at)
				cmd.Stdin = strings.NewReader(l.request(from, from+2))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the child was not killed: %v\n%s", err, out)
				}
				w := start(t, dir, skeys, l)
				finish(t, w, l, forked, from, from+2)
				for path := range snapshot(t, dir) {
					if strings.Contains(path, ".tmp-") {
						t.Errorf("left behind: %s", path)
					}
				}
			})
		}
	}
}

// TestKilledChild is the process that TestKill kills.
func TestKilledChild(t *testing.T) {
	at := os.Getenv("WITNESS_TEST_AT")
	if at == "" {
		t.Skip("run by TestKill")
	}
	die := func() {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	store := openStore(t, os.Getenv("WITNESS_TEST_DIR"))
	store.SetFault(func(step, name string) error {
		if step+" "+name == at {
			die()
		}
		return nil
	})
	list, err := witness.ParseLogs([]byte("log " + os.Getenv("WITNESS_TEST_LOG") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.New(witness.Config{PrivateKeys: []string{os.Getenv("WITNESS_TEST_KEY")}, Store: store, Logs: list})
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{t: t, w: w, h: w.Handler()}
	var body bytes.Buffer
	if _, err := body.ReadFrom(os.Stdin); err != nil {
		t.Fatal(err)
	}
	got := i.add(body.String())
	if at == "release" && got.Status == http.StatusOK {
		die()
	}
	t.Fatalf("not killed: %+v", got)
}

// TestTimeNeverDecreases sets the clock back: a bubble begins in the year 2000.
func TestTimeNeverDecreases(t *testing.T) {
	l := newLog(t, "log.example/a").grow(9, "a")
	dir, skeys := newDir(t), keys(t, checkpoint.Ed25519)
	w := start(t, dir, skeys, l)
	w.mustAdd(l, 0, 3)
	before := w.latest(l.origin)
	synctest.Test(t, func(t *testing.T) {
		list := logs(t, l)
		inner, err := witness.New(witness.Config{PrivateKeys: skeys, Store: w.store, Logs: list})
		if err != nil {
			t.Fatal(err)
		}
		i := &instance{t: t, w: inner, h: inner.Handler()}
		for _, to := range []int64{3, 5} {
			if got := i.add(l.request(3, to)); got.Status != http.StatusServiceUnavailable {
				t.Errorf("with a clock set back: %+v", got)
			}
		}
	})
	if diff := cmp.Diff(before, w.latest(l.origin)); diff != "" {
		t.Error(diff)
	}
	w.mustAdd(l, 3, 5)
}

func TestWaitEndsWithContext(t *testing.T) {
	s := openStore(t, newDir(t))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// TestRefusal: what is refused stays so, also after a start, and a refusal that is damaged keeps the witness from starting.
func TestRefusal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := witness.CreateStore(dir); err != nil {
		t.Fatal(err)
	}
	s, err := witness.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Refusal("log.example/a"); got != "" {
		t.Errorf("refused from the start: %q", got)
	}
	if err := s.Refuse("log.example/a", "entry 7\nis false"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = witness.OpenStore(dir); err != nil {
		t.Fatal(err)
	}
	if a, b := s.Refusal("log.example/a"), s.Refusal("log.example/b"); a != "entry 7 is false" || b != "" {
		t.Errorf("after a start: %q and %q", a, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, witness.StateName("log.example/a")+".refused")
	if err := os.WriteFile(file, []byte("idlog-witness-refusal/v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.OpenStore(dir); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged refusal: %v", err)
	}
}
