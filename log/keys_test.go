package log_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"idlog/log"
	"idlog/proto/checkpoint"
)

// use gives the configuration and the witnesses these keys.
func (w *world) use(keys ...key) {
	w.t.Helper()
	w.keys, w.config.Signers, w.config.VKeys = keys, nil, nil
	var vs []note.Verifier
	for _, k := range keys {
		v, err := checkpoint.NewVerifier(k.vkey)
		if err != nil {
			w.t.Fatal(err)
		}
		vs = append(vs, v)
		w.config.Signers, w.config.VKeys = append(w.config.Signers, k.signer), append(w.config.VKeys, k.vkey)
	}
	for _, x := range w.witnesses {
		x.set(func(x *witness) { x.keys = vs })
	}
}

// A log changes its key without a break: first it signs with both, and only then
// with the new one alone. At each step it may die and open with what it had.
func TestKeySuccession(t *testing.T) {
	w := newWorld(t, 3, 2)
	r := w.open()
	last := r.publish(4)
	r.close()
	old, next := w.keys[0], newKey(t, origin, checkpoint.MLDSA44, checkpoint.LogRole)
	both := []string{old.vkey, next.vkey}
	signed := func(want ...string) {
		t.Helper()
		got, err := log.PublishedKeys(w.config.Dir, origin, both)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("what is published is signed by %v, %v; want %v", got, err, want)
		}
	}
	signed(old.vkey)

	// The configuration before the identity: refused, and nothing was done.
	w.use(old, next)
	wantRefused(t, w.config, "identity")
	if err := log.SetKeys(w.config.Dir, origin, both); err != nil {
		t.Fatal(err)
	}
	w.use(old)
	w.open().close() // the identity alone: the old key goes on

	w.use(old, next)
	r = w.open()
	p, _ := r.Published()
	for strings.Count(string(p.Note), "— "+origin+" ") < 2 {
		var err error
		if p, err = r.Next(t.Context(), p.Note); err != nil {
			t.Fatal(err)
		}
	}
	if p.Size != last.Size || p.Root != last.Root {
		t.Errorf("under both keys it published %+v", p)
	}
	signed(both...)
	r.check(r.publish(3))
	if err := log.SetKeys(w.config.Dir, origin, both); err == nil || !strings.Contains(err.Error(), "LOCK") {
		t.Errorf("the keys of an open log were changed: %v", err)
	}
	r.close()

	// The old one goes.
	w.use(next)
	w.open().close() // the configuration alone
	if err := log.SetKeys(w.config.Dir, origin, []string{next.vkey}); err != nil {
		t.Fatal(err)
	}
	w.configure(2) // a policy of the new key
	r = w.open()
	r.check(r.publish(2))
	signed(next.vkey)
	r.close()
	w.use(old)
	wantRefused(t, w.config, "identity")
}

// The only key is exchanged for another by hand, against the order: what was
// published is of neither of the configuration's keys, and the log says so.
func TestKeyExchangedAtOnce(t *testing.T) {
	w := newWorld(t, 0, 0)
	r := w.open()
	r.publish(4)
	r.close()
	other := newKey(t, origin, checkpoint.Ed25519, checkpoint.LogRole)
	if err := log.SetKeys(w.config.Dir, origin, []string{other.vkey}); err != nil {
		t.Fatal(err)
	}
	w.use(other)
	wantRefused(t, w.config, "checkpoint")
}
