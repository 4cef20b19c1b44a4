package witness_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"

	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/policy"
)

// judge reads a kept file and judges it by the log's key alone.
func judge(t *testing.T, l *testLog, file string) (*evidence.Evidence, evidence.Verdict, error) {
	t.Helper()
	e, err := evidence.Parse([]byte(readFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse([]byte("log " + l.vkeys[0] + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := evidence.Judge(e, p)
	return e, v, err
}

func TestEvidence(t *testing.T) {
	l := newLog(t, "log.example/a").grow(5, "a")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	w.mustAdd(l, 0, 5)
	for range 2 { // the second time adds nothing
		w.add(l.fork().grow(5, "x").request(5, 5))
	}
	files := w.evidence("idlog-evidence")
	if len(files) != 1 {
		t.Fatalf("evidence: %v", files)
	}
	got, v, err := judge(t, l, files[0])
	want := &evidence.Evidence{Claim: evidence.Fork, Parts: []evidence.Part{
		{Type: evidence.Checkpoint, Data: []byte(w.latest(l.origin).Body)},
		{Type: evidence.Checkpoint, Data: l.fork().grow(5, "x").checkpoint(5)},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err != nil || !v.Proven || v.Accused != l.origin {
		t.Errorf("judged %+v, %v", v, err)
	}
	for i := range 40 {
		w.add(l.fork().grow(5, fmt.Sprint("x", i)).request(5, 5))
	}
	if n := len(w.evidence("idlog-evidence")); n != 16 {
		t.Errorf("%d pieces of evidence are kept, want 16", n)
	}
}

// TestForkOfTwoSizes: a log that forked and goes on sends the proof of its new
// tree. Whoever knows its key is convinced by it, at every pair of sizes where
// the proof holds the old root, and never by an honest log's.
func TestForkOfTwoSizes(t *testing.T) {
	for n := int64(1); n <= 9; n++ {
		for m := n + 1; m <= 17; m++ {
			l := newLog(t, "log.example/a").grow(int(m), "a")
			forked := l.fork().grow(int(m), "x")
			w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
			w.mustAdd(l, 0, n)
			if got := w.add(forked.request(n, m)); got.Status != 422 {
				t.Fatalf("%d to %d: %+v", n, m, got)
			}
			proven, suspects := w.evidence("idlog-evidence"), w.evidence("idlog-suspect")
			if powerOfTwo := n&(n-1) == 0; powerOfTwo {
				// The proof leaves the old root out, so it names none.
				if len(proven) != 0 || len(suspects) != 1 {
					t.Errorf("%d to %d: kept %v, %v", n, m, proven, suspects)
				} else if _, v, err := judge(t, l, suspects[0]); err == nil {
					t.Errorf("%d to %d: judged %+v", n, m, v)
				}
				continue
			}
			if len(proven) != 1 || len(suspects) != 0 {
				t.Errorf("%d to %d: kept %v, %v", n, m, proven, suspects)
			} else if _, v, err := judge(t, l, proven[0]); err != nil || !v.Proven || v.Accused != l.origin {
				t.Errorf("%d to %d: judged %+v, %v", n, m, v, err)
			}
			w.mustAdd(l, n, m) // the tree that was cosigned goes on
		}
	}
}

// TestUnproven: the log's own checkpoint, sent by anybody with a proof that is
// none, proves nothing against the log. It is kept apart, and takes no room.
func TestUnproven(t *testing.T) {
	l := newLog(t, "log.example/a").grow(40, "a")
	forked := l.fork().grow(40, "x")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l)
	w.mustAdd(l, 0, 5)
	for i, proof := range [][]tlog.Hash{nil, forked.proof(5, 10), make([]tlog.Hash, 63), append(l.proof(5, 13), tlog.Hash{})} {
		if got := w.add(body(5, proof, l.checkpoint(10+int64(i)))); got.Status != 422 {
			t.Fatalf("%+v", got)
		}
	}
	for i := range 20 {
		w.add(body(5, nil, l.checkpoint(20+int64(i))))
	}
	suspects := w.evidence("idlog-suspect")
	if len(suspects) != 4 || len(w.evidence("idlog-evidence")) != 0 {
		t.Fatalf("kept %v", suspects)
	}
	for _, file := range suspects {
		e, v, err := judge(t, l, file)
		if err == nil {
			t.Errorf("%s: judged %+v", file, v)
		}
		if len(e.Parts) == 3 {
			for line := range strings.Lines(string(e.Parts[2].Data)) {
				if b, err := base64.StdEncoding.DecodeString(line); err != nil || len(b) != 32 {
					t.Errorf("%s: hash %q", file, line)
				}
			}
		}
	}
	w.add(forked.request(5, 9))
	if n := len(w.evidence("idlog-evidence")); n != 1 {
		t.Errorf("%d proofs beside the suspicions, want 1", n)
	}
}

// TestContradictions: what is kept can be listed and read by its name, and
// nothing else of the directory can.
func TestContradictions(t *testing.T) {
	l, other := newLog(t, "log.example/a").grow(9, "a"), newLog(t, "log.example/b")
	w := start(t, newDir(t), keys(t, checkpoint.Ed25519), l, other)
	w.mustAdd(l, 0, 5)
	w.add(l.fork().grow(9, "x").request(5, 5))
	w.add(body(5, nil, l.checkpoint(9)))
	cs, err := w.store.Contradictions()
	if err != nil || len(cs) != 2 || cs[0].Proven == cs[1].Proven {
		t.Fatalf("%+v, %v", cs, err)
	}
	for _, c := range cs {
		b, err := w.store.Evidence(c.Name)
		if err != nil || int64(len(b)) != c.Bytes || string(b) != readFile(t, filepath.Join(w.dir, "evidence", c.Name)) {
			t.Errorf("%s: %d bytes, %v", c.Name, len(b), err)
		}
		if !c.Against(l.origin) || c.Against(other.origin) || c.Announced {
			t.Errorf("%+v", c)
		}
	}
	if err := w.store.SetAnnounced(cs[1].Name); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w = start(t, w.dir, keys(t, checkpoint.Ed25519), l, other)
	if again, err := w.store.Contradictions(); err != nil || len(again) != 2 || again[0].Announced || !again[1].Announced {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
	if got := w.store.Origins(); !slices.Equal(got, []string{l.origin}) {
		t.Errorf("origins: %v", got)
	}
	for _, name := range []string{"", ".", "..", "manifest", "../manifest", "x.idlog-evidence", "../evidence/" + cs[0].Name} {
		if b, err := w.store.Evidence(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %q, %v", name, b, err)
		}
	}
}
