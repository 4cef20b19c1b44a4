package pebblekv_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PEBBLEKV_KILL"); dir != "" {
		err := victim(dir)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// revision is how many entries an Append takes.
const revision = 60

// entry is entry number i of a log: keys that come again and keys that do not.
func entry(i int64) history.Entry {
	key := func(kind, n int64) leaf.Hash {
		return leaf.HashOf(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(kind)), uint64(n)))
	}
	return history.Entry{Leaf: key(0, i), Keys: []leaf.Hash{key(1, 0), key(2, i%7), key(3, i*i%1009), key(4, i)}}
}

// next appends the next n entries.
func next(x *history.Index, n int64) error {
	var entries []history.Entry
	for i := range n {
		entries = append(entries, entry(x.Size()+i))
	}
	return x.Append(entries)
}

func open(t *testing.T, dir string, fs vfs.FS) *history.Index {
	t.Helper()
	s, err := pebblekv.OpenFS(dir, fs)
	if err != nil {
		t.Fatal(err)
	}
	x, err := history.Open(s, history.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// proves looks up what the entries at both ends of the index say.
func proves(t *testing.T, x *history.Index) {
	t.Helper()
	v := x.View()
	defer v.Close()
	for _, i := range []int64{0, x.Size() - 1} {
		for _, key := range entry(i).Keys {
			if i < 0 || x.Size() == 0 {
				continue
			}
			_, h, err := v.Find(key)
			if err != nil || h.N == 0 {
				t.Fatalf("finding a key of entry %d: %d postings, %v", i, h.N, err)
			}
			n, err := v.Seek(key, i)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := v.Page(key, n, 1); err != nil || p.Postings[0].Index != i || p.Postings[0].Leaf != entry(i).Leaf {
				t.Fatalf("entry %d: page %v, %v", i, p, err)
			}
		}
	}
}

// TestCrash lets the machine fail at any point: what was not synced is gone, or there in part. The index comes back at a size
// that it had, with the roots of that size, and goes on to the same roots.
func TestCrash(t *testing.T) {
	const end = 12_000
	states := map[int64]history.State{}
	clean := open(t, "index", vfs.NewMem())
	states[0] = clean.State()
	for clean.Size() < end {
		if err := next(clean, revision); err != nil {
			t.Fatal(err)
		}
		states[clean.Size()] = clean.State()
	}
	if err := clean.Close(); err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewCrashableMem()
	r := rand.New(rand.NewPCG(1, 1))
	x := open(t, "index", fs)
	returned := 0
	for crashes := 0; crashes < 40 || x.Size() < end; {
		if x.Size() < end && r.IntN(12) > 0 {
			if err := next(x, revision); err != nil {
				t.Fatal(err)
			}
			continue
		}
		crashes++
		left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 0, 50, 100}[r.IntN(4)], RNG: r})
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		fs = left
		x = open(t, "index", fs)
		if want, ok := states[x.Size()]; !ok || x.State() != want {
			t.Fatalf("after crash %d the index has %+v, once had %+v", crashes, x.State(), want)
		}
		if x.Size() > 0 && x.Size() < end {
			returned++
		}
		proves(t, x)
		if crashes > 1000 {
			t.Fatal("no end is in sight")
		}
	}
	if returned < 10 {
		t.Errorf("only %d crashes left part of an index", returned)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

// victim indexes until it is killed, and tells each state once it has it.
func victim(dir string) error {
	s, err := pebblekv.OpenFS(dir, vfs.Default)
	if err != nil {
		return err
	}
	x, err := history.Open(s, history.Config{})
	if err != nil {
		return err
	}
	for out := json.NewEncoder(os.Stdout); ; {
		if err := out.Encode(x.State()); err != nil {
			return err
		}
		if err := next(x, revision); err != nil {
			return err
		}
	}
}

// TestKill kills a process that indexes, again and again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	clean := open(t, "index", vfs.NewMem())
	same := func(state history.State) {
		t.Helper()
		for clean.Size() < state.Size {
			if err := next(clean, revision); err != nil {
				t.Fatal(err)
			}
		}
		if state != clean.State() {
			t.Fatalf("the index came back with %+v, want %+v", state, clean.State())
		}
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 5 {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "PEBBLEKV_KILL="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told := json.NewDecoder(out)
		var state history.State
		for n := range 60 + r.IntN(60) {
			if err := told.Decode(&state); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				same(state) // sizes only grow from one life to the next, since what is on disk stays there
			}
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	x := open(t, dir, vfs.Default)
	if x.Size() == 0 {
		t.Error("five lives left nothing")
	}
	same(x.State())
	proves(t, x)
	if err := errors.Join(x.Close(), clean.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFails has a disk that takes nothing more: appending fails, and the process lives.
func TestDiskFails(t *testing.T) {
	full := errors.New("no space left")
	broken := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return full
		}
		return nil
	})}
	x := open(t, "index", errorfs.Wrap(vfs.NewMem(), &broken))
	if err := next(x, 1000); err != nil {
		t.Fatal(err)
	}
	broken.On()
	var err error
	for range 1000 {
		if err = next(x, 1000); err != nil {
			break
		}
	}
	if !errors.Is(err, full) {
		t.Fatalf("a full disk: %v", err)
	}
	if again := next(x, 1); again == nil {
		t.Error("the index took more after it had failed")
	}
	if err := x.Close(); err == nil {
		t.Error("closing says that all is durable")
	}
}
