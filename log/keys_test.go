package log_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"idlog/log"
	"idlog/proto/checkpoint"
)

// use gives the configuration these keys. The witnesses look for none any more: a
// request of the run before may still be on its way.
func (w *world) use(keys ...key) {
	w.t.Helper()
	w.keys, w.config.Signers, w.config.VKeys = keys, nil, nil
	for _, k := range keys {
		w.config.Signers, w.config.VKeys = append(w.config.Signers, k.signer), append(w.config.VKeys, k.vkey)
	}
	for _, x := range w.witnesses {
		x.set(func(x *witness) { x.keys = nil })
	}
}

// claim does something with a log that is not open.
func (w *world) claim(f func(*log.Claim) error) error {
	c, err := log.ClaimLog(w.config)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

func (w *world) setKeys(vkeys ...string) {
	w.t.Helper()
	if err := w.claim(func(c *log.Claim) error { return c.SetKeys(vkeys) }); err != nil {
		w.t.Fatal(err)
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
		err := w.claim(func(c *log.Claim) error {
			got, err := c.PublishedKeys(both)
			if !slices.Equal(got, want) {
				t.Errorf("what is published is signed by %v, want %v", got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	signed(old.vkey)

	// The configuration before the identity: refused, and nothing was done.
	w.use(old, next)
	wantRefused(t, w.config, "identity")
	w.setKeys(both...)
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
	r.check(r.publish(3))
	if _, err := log.ClaimLog(w.config); err == nil || !strings.Contains(err.Error(), "the log is open already") {
		t.Errorf("an open log was claimed: %v", err)
	}
	r.close()
	signed(both...)

	// The old one goes.
	w.use(next)
	w.open().close() // the configuration alone
	w.setKeys(next.vkey)
	w.configure(2) // a policy of the new key
	r = w.open()
	r.check(r.publish(2))
	r.close()
	signed(next.vkey)
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
	w.setKeys(other.vkey)
	w.use(other)
	wantRefused(t, w.config, "checkpoint")
}
