package witness_test

import (
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
	for _, bad := range []string{
		"log\n", "log x\n", "log " + a.vkeys[0] + " u v\n", "witness w " + a.vkeys[0] + "\n", "quorum none\n",
		"log " + cosigner + "\n", "log " + a.vkeys[0] + "\nlog " + a.vkeys[0] + "\n", "log " + a.vkeys[0] + "\r\n",
	} {
		if l, err := witness.ParseLogs([]byte(bad)); err == nil {
			t.Errorf("%q: accepted %v", bad, l)
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
