package log_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"idlog/log"
	"idlog/proto/policy"
)

// verifiedBy makes a log whose index is verified by n cosigners, all of whom are needed.
func (w *world) verifiedBy(n int) (verifiers []*witness, both *policy.Policy) {
	w.t.Helper()
	var b strings.Builder
	var names []string
	for i := range n {
		v := newWitness(w.t, fmt.Sprintf("v%d", i), w.keys...)
		verifiers = append(verifiers, v)
		fmt.Fprintf(&b, "witness %s %s %s\n", v.name, v.key.vkey, v.url)
		names = append(names, v.name)
	}
	fmt.Fprintf(&b, "group verifiers all %s\n", strings.Join(names, " "))
	parse := func(text string) *policy.Policy {
		p, err := policy.Parse([]byte(text))
		if err != nil {
			w.t.Fatal(err)
		}
		return p
	}
	w.config.Verifiers = parse(b.String() + "quorum verifiers\n")
	text := strings.Replace(string(w.policy.Format()), "quorum all\n", "", 1)
	return verifiers, parse(text + b.String() + "group both all all verifiers\nquorum both\n")
}

// awaitVerified waits for a verified checkpoint of at least size, which must hold under the policy of both quorums.
func (r *running) awaitVerified(size int64, both *policy.Policy) log.Published {
	r.w.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		p, ok := r.Verified()
		if ok {
			if v, err := both.Verify(p.Note); err != nil || v.Checkpoint.Size != p.Size || v.Checkpoint.Root != p.Root {
				r.w.t.Fatalf("verified %d: %v", p.Size, err)
			}
			if p.Size >= size {
				return p
			}
		}
		if time.Since(began) > 20*time.Second {
			r.w.t.Fatalf("verified %d after 20 s, want %d: %+v", p.Size, size, r.Verifiers())
		}
	}
}

func behind(v *witness, status int) { v.set(func(x *witness) { x.status = status }) }

// What is published is verified a moment later, and publication does not wait for it.
func TestVerified(t *testing.T) {
	w := newWorld(t, 2, 1)
	vs, both := w.verifiedBy(2)
	r := w.open()
	if _, ok := r.Verified(); ok {
		t.Error("something is verified from the start")
	}
	p := r.publish(4)
	v := r.awaitVerified(p.Size, both)
	if _, newer := r.Unverified(); newer || v.Root != p.Root {
		t.Errorf("%+v after %+v", v, p)
	}
	// The archive has their lines too.
	if note, err := r.Archived(t.Context(), p.Size); err != nil {
		t.Error(err)
	} else if _, err := both.Verify(note); err != nil {
		t.Errorf("archived: %v\n%s", err, note)
	}

	behind(vs[1], http.StatusServiceUnavailable)
	began := time.Now()
	for range 20 {
		r.check(r.publish(3))
	}
	since, newer := r.Unverified()
	if still, _ := r.Verified(); !newer || since.Before(began) || still.Size != p.Size {
		t.Errorf("verified %d, unverified since %v", still.Size, since)
	}
	for !r.Verifiers()[1].Behind {
		vs[1].wait(1)
	}
	behind(vs[1], 0)
	last := r.publish(1)
	r.awaitVerified(last.Size, both)
	for _, s := range r.Verifiers() {
		if s.Size != last.Size || s.Last.IsZero() || s.Behind || s.Refused || s.Error != "" {
			t.Errorf("%+v", s)
		}
	}

	// Under load they have sizes in common.
	stop := last.Size + 400
	for int64(len(w.leaves)) < stop {
		r.publish(1)
		if v, _ := r.Verified(); v.Size > last.Size+100 {
			stop = 0
		}
	}
	r.awaitVerified(last.Size+1, both)
}

// A start serves what was verified before, though nobody answers; under policies of others it serves nothing.
func TestVerifiedRestart(t *testing.T) {
	w := newWorld(t, 2, 1)
	vs, both := w.verifiedBy(1)
	r := w.open()
	r.publish(4)
	before := r.awaitVerified(4, both)
	r.close()
	vs[0].set(func(x *witness) { x.down = true })
	r = w.open()
	if p, ok := r.Verified(); !ok || !bytes.Equal(p.Note, before.Note) {
		t.Errorf("after a start: %+v", p)
	}
	r.publish(2)
	r.close()
	_, both = w.verifiedBy(1)
	r = w.open()
	if p, ok := r.Verified(); ok && p.Size <= before.Size && bytes.Equal(p.Note, before.Note) {
		t.Errorf("under another policy: %+v", p)
	}
	r.awaitVerified(6, both)
}

// A cosigner that found a root false stops no publication, and is told apart from one that is behind.
func TestVerifierRefuses(t *testing.T) {
	w := newWorld(t, 1, 1)
	vs, _ := w.verifiedBy(1)
	behind(vs[0], http.StatusUnprocessableEntity)
	r := w.open()
	r.publish(4)
	for !r.Verifiers()[0].Refused {
		vs[0].wait(1)
	}
	r.check(r.publish(4))
	if s := r.Verifiers()[0]; !strings.Contains(s.Error, `status 422: "not now"`) {
		t.Errorf("%+v", s)
	}
}

// A cosigner that somebody else has brought a newer checkpoint never signs the one it is asked for: it is asked for the newest.
func TestVerifierPassed(t *testing.T) {
	w := newWorld(t, 1, 1)
	vs, both := w.verifiedBy(2)
	behind(vs[0], http.StatusServiceUnavailable)
	behind(vs[1], http.StatusServiceUnavailable)
	r := w.open()
	r.publish(4)
	vs[0].wait(1)
	newer := r.publish(5)
	vs[0].set(func(x *witness) {
		x.latest.Origin, x.latest.Size, x.latest.Root, x.note, x.status = origin, newer.Size, newer.Root, newer.Note, 0
	})
	behind(vs[1], 0)
	r.awaitVerified(newer.Size, both)
	if err := r.ReadOnly(); err != nil {
		t.Error(err)
	}
}

// Verifiers with the key of a witness, or of whom none is needed, are refused.
func TestVerifiersRefused(t *testing.T) {
	w := newWorld(t, 1, 1)
	x := w.witnesses[0]
	for name, text := range map[string]string{
		"has the key of witness": fmt.Sprintf("witness v %s %s\nquorum v\n", x.key.vkey, x.url),
		"asks for none":          fmt.Sprintf("witness v %s %s\nquorum none\n", newWitness(t, "v").key.vkey, x.url),
		"is not an https URL":    fmt.Sprintf("witness v %s http://verifier.example\nquorum v\n", newWitness(t, "v").key.vkey),
	} {
		p, err := policy.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		w.config.Verifiers = p
		if l, err := log.Open(t.Context(), w.config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				l.Close()
			}
		}
	}
}
