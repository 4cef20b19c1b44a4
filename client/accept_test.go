package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"idlog/client"
	"idlog/client/clienttest"
	"idlog/client/trust"
	"idlog/proto/evidence"
)

func open(t *testing.T, dir string) *trust.State {
	t.Helper()
	s, err := trust.Open(dir)
	check(t, err)
	return s
}

func withState(s *trust.State) func(*client.Config) {
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
			state := trust.NewMemory()
			if !memory {
				state = open(t, t.TempDir())
			}
			op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
			_, err := dial(t, op, withState(state)).Checkpoint(t.Context())
			check(t, err)
			op.Set(func(op *clienttest.Operator) { op.Publish = 2 })
			_, err = dial(t, op, withState(state)).Checkpoint(t.Context())
			r, ok := errors.AsType[*trust.Rollback](err)
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
	for _, tt := range []struct {
		known, entries int // after the two that a log begins with
		proven         bool
	}{
		{1, 1, true}, {1, 2, true}, {1, 9, true}, {3, 20, true}, {4, 5, true},
		{2, 9, true}, {6, 20, true}, // a power of two: the log's proof leaves the root out
		{2, 3, false}, // and here no other proof has it
	} {
		t.Run(fmt.Sprintf("%d and %d entries", tt.known, tt.entries), func(t *testing.T) {
			op := clienttest.New(t)
			dir, entries := t.TempDir(), tt.entries
			for range tt.known {
				op.Set(func(op *clienttest.Operator) { op.Add([]byte("x")) })
			}
			_, err := dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
			check(t, err)
			op.Fork(entries)
			_, err = dial(t, op, withState(open(t, dir))).Checkpoint(t.Context())
			f, ok := errors.AsType[*trust.Fork](err)
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
			v, err := evidence.Judge(e, op.Policy)
			if f.Proven != tt.proven || (err == nil) != tt.proven || v.Proven != tt.proven || tt.proven && v.Accused != clienttest.Origin {
				t.Errorf("proven %v; the evidence is judged %+v, %v", f.Proven, v, err)
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

// A client is not made over a state that is damaged.
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
	check(t, os.Truncate(files[0], 40))
	_, err = client.New(client.Config{Target: op.Addr, Policy: op.Policy, State: open(t, dir)})
	if err == nil || !strings.Contains(err.Error(), files[0]) {
		t.Errorf("got %v, want an error that names %s", err, files[0])
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

func isFork(err error) bool { _, ok := errors.AsType[*trust.Fork](err); return ok }

func TestRefusedConfig(t *testing.T) {
	op := clienttest.New(t)
	good := client.Config{Target: op.Addr, Policy: op.Policy, State: trust.NewMemory()}
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
}
