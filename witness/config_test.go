package witness_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"idlog/proto/checkpoint"
	"idlog/witness"
)

func TestNewRefusesKeys(t *testing.T) {
	l := newLog(t, "log.example/a")
	store := openStore(t, newDir(t))
	defer store.Close()
	generate := func(name string, alg checkpoint.Alg, role checkpoint.Role) (skey, vkey string) {
		skey, vkey, err := checkpoint.GenerateKey(name, alg, role)
		if err != nil {
			t.Fatal(err)
		}
		return skey, vkey
	}
	ofLog, _ := generate("w.example", checkpoint.Ed25519, checkpoint.LogRole)
	one, _ := generate("w.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	two, _ := generate("w.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	other, _ := generate("v.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
	named, _ := generate(l.origin, checkpoint.Ed25519, checkpoint.WitnessRole)
	both, bothPublic := generate("both.example", checkpoint.MLDSA44, checkpoint.LogRole)
	l.vkeys = append(l.vkeys, bothPublic)
	for name, skeys := range map[string][]string{
		"none": nil, "garbage": {"x"}, "a log's": {ofLog}, "two of one algorithm": {one, two}, "twice": {one, one},
		"two names": {one, other}, "named as a log": {named}, "also a log's": {both},
	} {
		if _, err := witness.New(witness.Config{PrivateKeys: skeys, Store: store, Logs: logs(t, l)}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseLogs(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/a")
	_, cosigner, err := checkpoint.GenerateKey("w.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	if err != nil {
		t.Fatal(err)
	}
	good := "# logs\n\nlog\t" + a.vkeys[0] + " https://log.example/a/\n  log " + b.vkeys[0]
	if l, err := witness.ParseLogs([]byte(good)); err != nil || l.Len() != 1 {
		t.Errorf("%v, %v", l, err)
	}
	if l, err := witness.ParseLogs([]byte(good)); err != nil {
		t.Error(err)
	} else if l.URL("log.example/a") != "https://log.example/a/" || l.URL("log.example/b") != "" || !l.Has("log.example/a") || l.Has("log.example/b") ||
		len(l.VKeys("log.example/a")) != 2 || !slices.Equal(l.Origins(), []string{"log.example/a"}) {
		t.Errorf("%v, %v", l.Origins(), l.VKeys("log.example/a"))
	}
	for _, bad := range []string{
		"log\n", "log x\n", "log " + a.vkeys[0] + " u v\n", "witness w " + a.vkeys[0] + "\n", "quorum none\n",
		"log " + cosigner + "\n", "log " + a.vkeys[0] + "\nlog " + a.vkeys[0] + "\n", "log " + a.vkeys[0] + "\r\n",
	} {
		_, err := witness.ParseLogs([]byte("\n" + bad))
		if e, ok := errors.AsType[*witness.ListError](err); !ok || e.Line != 1+strings.Count(bad, "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzRequest sends bytes to the handler. Whatever they are, the status is one
// of the specification, and only a request that is signed and consistent moves
// the witness; whatever its state was, an honest log goes on.
func FuzzRequest(f *testing.F) {
	l := newLog(f, "log.example/a").grow(9, "a")
	w := start(f, newDir(f), keys(f, checkpoint.Ed25519), l)
	f.Add([]byte(l.request(0, 5)))
	f.Add([]byte(l.request(5, 8)))
	f.Add([]byte(l.fork().grow(5, "x").request(5, 5)))
	f.Add([]byte(body(0, nil, l.sign(l.origin+"\n0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))))
	f.Add([]byte("old 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := w.store.Latest(l.origin)
		got := w.add(string(b))
		after := w.store.Latest(l.origin)
		switch got.Status {
		case 200:
			if before != nil && (after.Size < before.Size || after.Time < before.Time) {
				t.Errorf("went from %d to %d", before.Size, after.Size)
			}
			here := *w
			here.t = t
			here.verify(after.Note)
		case 400, 403, 404, 409, 413, 422:
			if before != after {
				t.Errorf("status %d changed the state", got.Status)
			}
		default:
			t.Errorf("%+v", got)
		}
		r, err := witness.ParseRequest(b)
		if (err != nil) != (got.Status == 400 && r == nil) {
			t.Errorf("status %d, parsing: %v", got.Status, err)
		}
	})
}

// TestLogRate: a log that asks too often is told to wait and loses nothing; no
// other log waits, and what would not be cosigned does not count.
func TestLogRate(t *testing.T) {
	l, other := newLog(t, "log.example/a").grow(9, "a"), newLog(t, "log.example/b").grow(9, "b")
	store := openStore(t, newDir(t))
	w, err := witness.New(witness.Config{PrivateKeys: keys(t, checkpoint.Ed25519), Store: store, Logs: logs(t, l, other), LogRate: 1e-9, LogBurst: 3})
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{t: t, store: store, w: w, h: w.Handler()}
	t.Cleanup(i.stop)
	for range 9 {
		i.add(l.request(7, 9)) // 409
		i.add(l.fork().grow(5, "x").request(0, 5)[:40])
	}
	i.mustAdd(l, 0, 3)
	i.mustAdd(l, 3, 3)
	i.mustAdd(l, 3, 5)
	before := i.latest(l.origin)
	if got := i.add(l.request(5, 7)); got.Status != 429 || strings.Contains(got.Body, "—") {
		t.Errorf("the fourth: %+v", got)
	}
	if got := i.latest(l.origin); got != before {
		t.Errorf("a refusal changed the state: %+v", got)
	}
	if got := i.add(l.request(0, 7)); got.Status != 409 {
		t.Errorf("the size is told all the same: %+v", got)
	}
	i.mustAdd(other, 0, 9)
}
