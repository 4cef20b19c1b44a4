package log_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log"
)

// wantLost says that heads are not recovered, for a reason, and that nothing was changed.
func wantLost(t *testing.T, w *world, c log.Config, reason string) {
	t.Helper()
	before := snapshot(t, w.dir)
	_, err := log.RecoverHeads(t.Context(), c, time.Now())
	var refused *log.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v, want a refusal with %q", err, reason)
	}
	if diff := cmp.Diff(before, snapshot(t, w.dir)); diff != "" {
		t.Errorf("the refusal changed something:\n%s", diff)
	}
}

// The disk of the heads is lost: what the witnesses have seen is what was signed.
func TestRecoverHeads(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	r.publish(4)
	r.close()
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.config.Dir, old)
	r = w.open()
	last := r.publish(300)
	for i := range w.witnesses { // the third may be late
		for n := int64(0); n < last.Size; w.witnesses[i].set(func(x *witness) { n = x.latest.Size }) {
		}
	}
	r.close()
	wantLost(t, w, w.config, "it is not empty")
	if err := os.RemoveAll(w.config.Heads); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, w.config, "heads")

	down := func(i int, is bool) { w.witnesses[i].set(func(x *witness) { x.down = is }) }
	down(0, true)
	wantLost(t, w, w.config, "not every witness says what it has seen: w0: status 500")
	down(1, true)
	named := w.config
	named.WithoutWitness = []string{"w0", "w1"}
	wantLost(t, w, named, "the witnesses that do not answer are a quorum")
	down(1, false)

	// An old copy of the log's directory as well: the witnesses have seen more.
	good := filepath.Join(t.TempDir(), "good")
	copyDir(t, w.config.Dir, good)
	os.RemoveAll(w.config.Dir)
	copyDir(t, old, w.config.Dir)
	named.WithoutWitness = []string{"w0"}
	wantLost(t, w, named, "it has 4 entries, and w1 has seen 304")

	// Without any directory the heads come back, and a restore has to bring what they say.
	os.RemoveAll(w.config.Dir)
	hwm, err := log.RecoverHeads(t.Context(), named, time.Now())
	if err != nil || hwm.Size != last.Size || hwm.Root != last.Root {
		t.Fatalf("recovered %+v, %v; want %d", hwm, err, last.Size)
	}
	copyDir(t, good, w.config.Dir)
	down(0, false)
	r = w.open()
	r.check(r.publish(3))
	r.close()
}

// A witness that has seen another tree of this log: its key is used elsewhere.
func TestRecoverHeadsOfAFork(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	r.publish(4)
	r.close()
	fork := newWorld(t, 0, 0)
	fork.keys = w.keys
	fork.config.Signers, fork.config.VKeys = w.config.Signers, w.config.VKeys
	os.RemoveAll(fork.dir)
	if err := log.Create(t.Context(), fork.config); err != nil {
		t.Fatal(err)
	}
	f := fork.open()
	if _, err := f.Append(t.Context(), [][]byte{[]byte("w"), []byte("x"), []byte("y"), []byte("z")}); err != nil {
		t.Fatal(err)
	}
	f.Release(4)
	p, err := f.Await(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	w.witnesses[1].set(func(x *witness) { x.note = p.Note })
	os.RemoveAll(w.config.Heads)
	wantLost(t, w, w.config, "has another tree of size 4 than others")
}

func TestRecoverHeadsNeedsWitnesses(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(4)
	r.close()
	os.RemoveAll(w.config.Heads)
	wantLost(t, w, w.config, "nobody knows what it has signed")
}
