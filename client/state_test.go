package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/proto/evidence"
)

func open(t *testing.T, dir string) *client.State {
	t.Helper()
	s, err := client.OpenState(dir)
	check(t, err)
	return s
}

func withState(s *client.State) func(*client.Config) {
	return func(cfg *client.Config) { cfg.State = s }
}

func TestStateGoesForward(t *testing.T) {
	op := clienttest.New(t)
	dir := t.TempDir()
	for size := int64(2); size < 8; size++ {
		c := dial(t, op, withState(open(t, dir))) // a new process each time
		cp, err := c.Checkpoint(t.Context())
		check(t, err)
		seen, ok, err := open(t, dir).Seen(clienttest.Origin)
		check(t, err)
		if !ok || seen.Size != size || seen.Root != cp.Checkpoint.Root || !bytes.Equal(seen.Note, cp.Note) {
			t.Fatalf("the state remembers %d, want %d", seen.Size, size)
		}
		op.Set(func(op *clienttest.Operator) { op.Add([]byte{byte(size)}) })
	}
	if op.Calls["GetConsistencyProof"] != 5 {
		t.Errorf("%d consistency proofs for 5 steps", op.Calls["GetConsistencyProof"])
	}
}

func TestRollback(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprint("memory ", memory), func(t *testing.T) {
			op := clienttest.New(t)
			state := client.NewMemoryState()
			if !memory {
				state = open(t, t.TempDir())
			}
			op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
			_, err := dial(t, op, withState(state)).Checkpoint(t.Context())
			check(t, err)
			op.Set(func(op *clienttest.Operator) { op.Publish = 2 })
			_, err = dial(t, op, withState(state)).Checkpoint(t.Context())
			r, ok := errors.AsType[*client.Rollback](err)
			if !ok || r.Known != 3 || r.Shown != 2 {
				t.Fatalf("got %v, want a rollback from 3 to 2", err)
			}
			if _, err := os.Stat(r.File); memory != (err != nil) {
				t.Errorf("evidence file: %v", err)
			}
			seen, _, err := state.Seen(clienttest.Origin)
			check(t, err)
			if seen.Size != 3 {
				t.Errorf("the state went back to %d", seen.Size)
			}
		})
	}
}

func TestFork(t *testing.T) {
	for _, entries := range []int{1, 2, 9} {
		t.Run(fmt.Sprint("entries ", entries), func(t *testing.T) {
			op := clienttest.New(t)
			dir := t.TempDir()
			op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
			_, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
			check(t, err)
			op.Fork(entries)
			_, err = dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
			f, ok := errors.AsType[*client.Fork](err)
			if !ok {
				t.Fatalf("got %v, want a fork", err)
			}
			for _, n := range [][]byte{f.Old, f.New} {
				if _, err := op.Policy.Verify(n); err != nil {
					t.Errorf("a note of the evidence does not verify: %v", err)
				}
			}
			b, err := os.ReadFile(f.File)
			check(t, err)
			e, err := evidence.Parse(b)
			check(t, err)
			if v, err := evidence.Judge(e, op.Policy); entries == 1 && (err != nil || !v.Proven || v.Accused != clienttest.Origin) {
				t.Errorf("two roots of one size are judged %+v, %v", v, err)
			}
			seen, _, err := open(t, dir).Seen(clienttest.Origin)
			check(t, err)
			if !bytes.Equal(seen.Note, f.Old) {
				t.Error("the state moved to the fork")
			}
		})
	}
}

// Receipts of one log arrive in any order: a smaller checkpoint is a rollback
// only for who knew a larger one when asking.
func TestConcurrentSubmit(t *testing.T) {
	op := clienttest.New(t)
	c := dial(t, op, withState(open(t, t.TempDir())))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				if res := submitOne(t, c, clienttest.SignIn(fmt.Sprintf("e%d-%d", i, j)), client.Options{}); res.Err != nil {
					t.Error(res.Err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDamagedState(t *testing.T) {
	op := clienttest.New(t)
	dir := t.TempDir()
	_, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
	check(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*.seen"))
	check(t, err)
	if len(files) != 1 {
		t.Fatalf("state files: %v", files)
	}
	good, err := os.ReadFile(files[0])
	check(t, err)
	for name, b := range map[string][]byte{
		"empty":      {},
		"truncated":  good[:len(good)/2],
		"appended":   append(bytes.Clone(good), '\n'),
		"other size": bytes.Replace(good, []byte("size 2"), []byte("size 1"), 1),
		"flipped":    flipped(good),
	} {
		t.Run(name, func(t *testing.T) {
			check(t, os.WriteFile(files[0], b, 0o600))
			_, err := client.New(client.Config{Target: op.Addr, Policy: op.Policy, State: open(t, dir)})
			if err == nil || !strings.Contains(err.Error(), files[0]) {
				t.Errorf("got %v, want an error that names %s", err, files[0])
			}
			now, err := os.ReadFile(files[0])
			check(t, err)
			if !bytes.Equal(now, b) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-9] ^= 1
	return b
}

// A crash between the temporary file and the rename leaves the old state and
// a file that nobody reads.
func TestCrashBeforeRename(t *testing.T) {
	op := clienttest.New(t)
	dir := t.TempDir()
	_, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
	check(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*.seen"))
	check(t, err)
	check(t, os.WriteFile(files[0]+".tmp-1234", []byte("half a sta"), 0o600))
	op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
	cp, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
	check(t, err)
	if cp.Checkpoint.Size != 3 {
		t.Errorf("size %d", cp.Checkpoint.Size)
	}
}

// Two processes are two States of one directory.
func TestTwoProcesses(t *testing.T) {
	op := clienttest.New(t)
	dir := t.TempDir()
	a, b := dial(t, op, withState(open(t, dir))), dial(t, op, withState(open(t, dir)))
	for i := range 6 {
		op.Set(func(op *clienttest.Operator) { op.Add([]byte{byte(i)}) })
		c := a
		if i%2 == 1 {
			c = b
		}
		_, err := c.Checkpoint(t.Context())
		check(t, err)
	}
	op.Fork(6)
	if _, err := a.Checkpoint(t.Context()); !isFork(err) {
		t.Errorf("a: %v", err)
	}
	if _, err := b.Checkpoint(t.Context()); !isFork(err) {
		t.Errorf("b: %v", err)
	}
}

func isFork(err error) bool { _, ok := errors.AsType[*client.Fork](err); return ok }

func TestRefusedConfig(t *testing.T) {
	op := clienttest.New(t)
	good := client.Config{Target: op.Addr, Policy: op.Policy, State: client.NewMemoryState()}
	for name, change := range map[string]func(*client.Config){
		"no policy":  func(c *client.Config) { c.Policy = nil },
		"no state":   func(c *client.Config) { c.State = nil },
		"no target":  func(c *client.Config) { c.Target = "" },
		"other log":  func(c *client.Config) { c.Log = "log.example/other" },
		"no TLS":     func(c *client.Config) { c.Target = "192.0.2.1:7443" },
		"no TLS dns": func(c *client.Config) { c.Target = "dns:///log.example:7443" },
	} {
		cfg := good
		change(&cfg)
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := client.OpenState(""); err == nil {
		t.Error("a state without a directory was opened")
	}
}

// What a State accepts is what it would write.
func FuzzSeen(f *testing.F) {
	text := clienttest.Origin + "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	note := text + "\n— " + clienttest.Origin + " AAAAAAAA\n"
	body := "size 0\nroot 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n" + note
	seen := func(body string) string {
		sum := sha256.Sum256([]byte(body))
		return "idlog-seen/v1 " + base64.StdEncoding.EncodeToString(sum[:]) + "\n" + body
	}
	f.Add([]byte(seen(body)), true)
	f.Add([]byte(body), true)
	f.Add([]byte(body), false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, sum bool) {
		if sum { // let the fuzzer past the checksum
			b = []byte(seen(string(b)))
		}
		check(t, os.WriteFile(filepath.Join(dir, "log.example%2Fid%2F1.seen"), b, 0o600))
		s, ok, err := open(t, dir).Seen(clienttest.Origin)
		if err != nil {
			return
		}
		want := fmt.Sprintf("size %d\nroot %s\n\n%s", s.Size, base64.StdEncoding.EncodeToString(s.Root[:]), s.Note)
		if !ok || string(b) != seen(want) {
			t.Errorf("accepted %q", b)
		}
	})
}
