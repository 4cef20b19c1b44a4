package log_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

func TestPublish(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	if _, ok := r.Published(); ok {
		t.Error("an empty log has published something")
	}
	var all []log.Published
	for _, n := range []int{1, 2, 252, 1, 3, 600} { // across bundle and tile ends
		p := r.publish(n)
		r.check(p)
		all = append(all, p)
	}
	last := all[len(all)-1]
	for _, p := range all {
		hashes, err := r.Consistency(t.Context(), p.Size, last.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.Consistency(p.Size, last.Size, p.Root, last.Root, hashes); err != nil {
			t.Errorf("from %d: %v", p.Size, err)
		}
		note, err := r.Archived(t.Context(), p.Size)
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.policy.Verify(note)
		if err != nil || v.Checkpoint.Size != p.Size {
			t.Errorf("archived %d: %v", p.Size, err)
		}
	}
	if _, err := r.Archived(t.Context(), last.Size+1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("archived beyond the last: %v", err)
	}
	readAll(t, r, last)

	// A restart goes on where it was, also with proofs from disk.
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	r = w.open()
	if p, ok := r.Published(); !ok || !bytes.Equal(p.Note, last.Note) {
		t.Error("the restart serves another checkpoint")
	}
	r.check(r.publish(5))
}

// readAll reads the log as an outsider does.
func readAll(t *testing.T, r *running, p log.Published) {
	t.Helper()
	reader := tile.NewReader(checkpoint.Checkpoint{Origin: origin, Size: p.Size, Root: p.Root}, r.Resource)
	n := 0
	for e, err := range reader.Entries(t.Context(), 0, p.Size) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Data, r.w.leaves[e.Index]) {
			t.Fatalf("entry %d is %q", e.Index, e.Data)
		}
		n++
	}
	if int64(n) != p.Size {
		t.Errorf("%d entries, want %d", n, p.Size)
	}
}

func TestTwoKeysSignOneText(t *testing.T) {
	w := &world{t: t, dir: t.TempDir()}
	w.keys = []key{newKey(t, origin, checkpoint.Ed25519, checkpoint.LogRole), newKey(t, origin, checkpoint.MLDSA44, checkpoint.LogRole)}
	w.witnesses = []*witness{newWitness(t, "w0", w.keys...)}
	w.configure(1)
	if err := log.Create(t.Context(), w.config); err != nil {
		t.Fatal(err)
	}
	r := w.open()
	p := r.publish(3)
	v, err := w.policy.Verify(p.Note)
	if err != nil || len(v.LogKeys) != 2 {
		t.Errorf("keys %v, %v", v.LogKeys, err)
	}
}

// Nothing beyond the published size leaves through Resource, though it is on
// disk, and what does leave is cut.
func TestResourceIsCut(t *testing.T) {
	w := newWorld(t, 1, 1)
	r := w.open()
	p := r.publish(10)
	w.witnesses[0].set(func(x *witness) { x.down = true })
	r.add(300)
	for _, path := range []string{"tile/0/000", "tile/0/000.p/11", "tile/entries/000", "tile/entries/001.p/54", "tile/1/000.p/1"} {
		if _, err := r.Resource(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", path, err)
		}
	}
	for _, path := range []string{"tile/0/../0/000", "checkpoint", "tile/0/x000/000", ".state/treeState"} {
		if b, err := r.Resource(t.Context(), path); err == nil || b != nil {
			t.Errorf("%s was read", path)
		}
	}
	for _, n := range []int{1, 7, 10} { // widths that no file has, but 10
		b, err := r.Resource(t.Context(), fmt.Sprintf("tile/entries/000.p/%d", n))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := tile.Bundle(b, n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.leaves[:n], entries); diff != "" {
			t.Error(diff)
		}
		b, err = r.Resource(t.Context(), fmt.Sprintf("tile/0/000.p/%d", n))
		if err != nil || len(b) != 32*n {
			t.Errorf("tile of %d: %d bytes, %v", n, len(b), err)
		}
	}
	readAll(t, r, p)
}

func TestQuorumLostAndFound(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	before := r.publish(4)
	for _, x := range w.witnesses[:2] {
		x.set(func(x *witness) { x.down = true })
	}
	r.add(1)
	w.witnesses[0].wait(2) // it was tried, and tried again
	if p, _ := r.Published(); !bytes.Equal(p.Note, before.Note) {
		t.Fatal("published without a quorum")
	}
	r.add(7)
	w.witnesses[1].set(func(x *witness) { x.down = false })
	r.check(r.await(12))
}

// One bad witness of three does not delay, let alone stop.
func TestOneBadWitness(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	r.publish(4)
	w.witnesses[2].set(func(x *witness) { x.lie = 1 << 60 })
	for range 20 {
		r.publish(1)
	}
	if err := r.ReadOnly(); err != nil {
		t.Error(err)
	}
}

// At a start, a claim that cannot be proven does not stop a log either.
func TestLyingWitnessAtStart(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	r.publish(4)
	r.close()
	w.witnesses[2].set(func(x *witness) { x.lie = 1 << 60 })
	r = w.open()
	r.publish(1)
	if err := r.ReadOnly(); err != nil {
		t.Error(err)
	}
}

// A silent witness stops new signatures after a start until the operator names
// it, and then only if the others suffice.
func TestSilentWitnessAtStart(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	before := r.publish(4)
	r.close()
	w.witnesses[0].set(func(x *witness) { x.down = true })
	r = w.open()
	r.add(1)
	w.witnesses[0].wait(2)
	if p, _ := r.Published(); p.Size != before.Size {
		t.Fatal("signed though a witness was silent")
	}
	r.close()
	w.config.WithoutWitness = []string{"w0"}
	r = w.open()
	r.Release(r.Integrated())
	r.await(5)
	r.close()

	w.witnesses[1].set(func(x *witness) { x.down = true })
	w.config.WithoutWitness = []string{"w0", "w1"}
	r = w.open()
	r.add(1)
	w.witnesses[1].wait(2)
	if p, _ := r.Published(); p.Size != 5 {
		t.Fatal("signed though a quorum was silent")
	}
	w.witnesses[1].set(func(x *witness) { x.down = false })
	r.await(6)
}

// Everything put back from an old copy, heads and all: only the witnesses know,
// and one of them has the proof.
func TestOldCopyOfEverything(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	r.publish(4)
	r.close()
	copyDir(t, w.dir, w.dir+".old")
	r = w.open()
	r.publish(300)
	r.close()
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, w.dir+".old", w.dir)
	os.RemoveAll(w.dir + ".old")

	r = w.open()
	r.Release(4)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var readOnly *log.ReadOnlyError
	if _, err := r.Await(ctx, 5); !errors.As(err, &readOnly) {
		t.Fatalf("awaiting: %v, want a ReadOnlyError", err)
	}
	if _, err := r.Append(ctx, [][]byte{[]byte("x")}); !errors.As(err, &readOnly) {
		t.Errorf("appending: %v, want a ReadOnlyError", err)
	}
	b, err := os.ReadFile(readOnly.File)
	if err != nil || !bytes.Contains(b, w.witnesses[0].note) && !bytes.Contains(b, w.witnesses[1].note) && !bytes.Contains(b, w.witnesses[2].note) {
		t.Errorf("the refusal does not hold the evidence: %v\n%s", err, b)
	}
	// It is sticky, and reads go on.
	r.close()
	r = w.open()
	if err := r.ReadOnly(); !errors.As(err, &readOnly) {
		t.Fatalf("after a restart: %v", err)
	}
	w.leaves = w.leaves[:4]
	p, _ := r.Published()
	r.check(p)
	r.close()
	if err := log.ClearRefusal(w.config.Heads, time.Now()); err != nil {
		t.Fatal(err)
	}
	r = w.open()
	if err := r.ReadOnly(); errors.As(err, &readOnly) && strings.Contains(readOnly.Reason, "refused") {
		t.Error(err)
	}
}

// Publishing the same tree again gives the same text with new cosignatures.
func TestRepublish(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.config.Republish = time.Millisecond
	r := w.open()
	p := r.publish(3)
	for range 2 { // a second each: cosignatures tell the time in seconds
		next, err := r.Next(t.Context(), p.Note)
		if err != nil {
			t.Fatal(err)
		}
		a, _, _ := checkpoint.Split(p.Note)
		b, _, err := checkpoint.Split(next.Note)
		if err != nil || !bytes.Equal(a, b) {
			t.Fatalf("republished\n%s\nas\n%s", a, b)
		}
		p = next
	}
}

func TestWithoutWitnesses(t *testing.T) {
	w := newWorld(t, 0, 0)
	for range 2 {
		r := w.open()
		r.check(r.publish(5))
		if note, err := r.Archived(t.Context(), 1); err != nil {
			t.Error(err)
		} else if _, err := w.policy.Verify(note); err != nil {
			t.Error(err)
		}
		r.close()
	}
}

func TestNothingAboveJ(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(2)
	if _, err := r.Append(t.Context(), [][]byte{[]byte("a"), []byte("b")}); err != nil {
		t.Fatal(err)
	}
	w.leaves = append(w.leaves, []byte("a"), []byte("b"))
	if r.Integrated() != 4 {
		t.Fatalf("integrated %d", r.Integrated())
	}
	r.Release(3)
	if p := r.await(3); p.Size != 3 {
		t.Errorf("published %d, want 3", p.Size)
	}
	r.Release(1 << 40) // clamped
	if p := r.await(4); p.Size != 4 {
		t.Errorf("published %d, want 4", p.Size)
	}
}

func TestCreateAndOpenOnce(t *testing.T) {
	w := newWorld(t, 0, 0)
	if err := log.Create(t.Context(), w.config); !errors.Is(err, log.ErrExists) {
		t.Errorf("creating twice: %v", err)
	}
	r := w.open()
	r.publish(1) // after which a log without work writes nothing
	wantRefused(t, w.config, "LOCK")
	r.close()
	w.open().close()

	empty := w.config
	empty.Dir = t.TempDir()
	if _, err := log.Open(t.Context(), empty); !errors.Is(err, log.ErrNotInitialised) || !strings.Contains(err.Error(), empty.Dir) {
		t.Errorf("opening an empty directory: %v", err)
	}
	if names, _ := os.ReadDir(empty.Dir); len(names) != 0 {
		t.Errorf("opening left %v", names)
	}
}

func TestWrongIdentity(t *testing.T) {
	w := newWorld(t, 0, 0)
	other := newKey(t, origin, checkpoint.Ed25519, checkpoint.LogRole)
	c := w.config
	c.Signers, c.VKeys = nil, []string{other.vkey}
	c.Signers = append(c.Signers, other.signer)
	wantRefused(t, c, "identity")

	stranger := newKey(t, "other.example/id", checkpoint.Ed25519, checkpoint.LogRole)
	c = w.config
	c.Origin, c.Signers, c.VKeys = "other.example/id", nil, []string{stranger.vkey}
	c.Signers = append(c.Signers, stranger.signer)
	wantRefused(t, c, "identity")

	c = w.config
	c.VKeys = []string{other.vkey}
	if _, err := log.Open(t.Context(), c); err == nil {
		t.Error("a signer with another's vkey was accepted")
	}
}

func wantRefused(t *testing.T, c log.Config, file string) {
	t.Helper()
	before := snapshot(t, filepath.Dir(c.Dir))
	l, err := log.Open(t.Context(), c)
	if err == nil {
		l.Close()
		t.Errorf("opened; want a refusal that names %s", file)
		return
	}
	var refused *log.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.File, file) || refused.Problem == "" || refused.Remedy == "" {
		t.Errorf("got %v; want a refusal that names %s", err, file)
	}
	if diff := cmp.Diff(before, snapshot(t, filepath.Dir(c.Dir))); diff != "" {
		t.Errorf("the refusal changed the directory:\n%s", diff)
	}
}

// snapshot returns all files below dir with their contents.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
