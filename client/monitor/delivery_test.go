package monitor_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/client/monitor"
	"idlog/client/monitor/webhook"
)

// dying is a sink whose process dies when it is given a finding of a kind, before
// or after it took it: the run ends, and nothing of it is heard again.
type dying struct {
	kind  string
	after bool
	die   context.CancelFunc
	took  []monitor.Finding
}

func (d *dying) Deliver(ctx context.Context, f monitor.Finding) error {
	if f.Kind != d.kind {
		return nil
	}
	if d.after {
		d.took = append(d.took, f)
	}
	d.die()
	<-ctx.Done()
	return errors.New("it is not known whether it arrived")
}

// dieAt runs a monitor that dies when it delivers a finding of a kind.
func (w *world) dieAt(kind string, after bool) *dying {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	d := &dying{kind: kind, after: after, die: cancel}
	m, _, err := w.open(func(c *monitor.Config) { c.Sinks = []monitor.Sink{d} })
	check(w.t, err)
	check(w.t, m.Run(ctx))
	check(w.t, m.Close())
	if ctx.Err() == nil {
		w.t.Fatal("it did not die")
	}
	return d
}

// sameIn verifies that what was taken before came again, unchanged.
func (d *dying) sameIn(t *testing.T, got *collected) {
	t.Helper()
	for _, f := range d.took {
		if !slices.ContainsFunc(got.all(), func(g monitor.Finding) bool { return cmp.Equal(f, g) }) {
			t.Errorf("it came in another form: %v", f)
		}
	}
}

// refusing is a sink that takes nothing.
type refusing struct{ before context.CancelFunc }

func (r refusing) Deliver(context.Context, monitor.Finding) error {
	if r.before != nil {
		r.before()
	}
	return errors.New("no")
}

// Once ends although a sink refuses, or although it is told to end meanwhile,
// and what it found is what the next run tells first.
func TestOnceUndelivered(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("told to end %t", told), func(t *testing.T) {
			w := newWorld(t)
			for i := range 6 {
				w.log.Append(event(t, fmt.Sprint(i), now()))
			}
			w.show(w.log, 8, now())
			_, _, err := w.once()
			check(t, err)

			w.show(w.fork(5), 8, now())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sink := refusing{}
			if told {
				sink.before = cancel
			}
			m, _, err := w.open(func(c *monitor.Config) { c.Sinks, c.MaxAge = []monitor.Sink{sink}, time.Nanosecond })
			check(t, err)
			err = m.Once(ctx)
			if _, ok := errors.AsType[*monitor.Undelivered](err); ok == told || told && !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
			check(t, m.Close())

			w.show(w.log, 8, now())
			got, _, err := w.once()
			stopped(t, err)
			want(t, got, "fork", "witness-fork")
		})
	}
}

// A finding that may not have arrived is delivered again under its id, even if
// the log has meanwhile taken back what it showed; and nothing is passed over.
func TestDeliveredAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken %t", after), func(t *testing.T) {
			w := newWorld(t)
			for i := range 6 {
				w.log.Append(event(t, fmt.Sprint(i), now()))
			}
			w.show(w.log, 8, now())
			_, _, err := w.once()
			check(t, err)

			// A contradiction, shown once.
			w.show(w.fork(5), 8, now())
			d := w.dieAt("witness-fork", after)
			w.show(w.log, 8, now())
			got, _, err := w.once()
			if s := stopped(t, err); s.Before {
				t.Error("it was told as an old one")
			}
			want(t, got, "fork", "witness-fork")
			d.sameIn(t, got)
			got, _, err = w.once()
			if s := stopped(t, err); !s.Before || len(got.all()) != 0 {
				t.Errorf("then: %v, %v", err, got.all())
			}
			_, _, err = w.once(func(c *monitor.Config) { c.Acknowledge = true })
			check(t, err)

			// A fault: the cursor is before it.
			w.grow(now(), event(t, "x", now()), []byte("no leaf\n"), event(t, "y", now()+7200))
			d = w.dieAt("received", after)
			if n := w.checked(); n != 8 {
				t.Errorf("the cursor is at %d", n)
			}
			got, checked, err := w.once()
			check(t, err)
			d.sameIn(t, got)
			kinds := got.kinds()
			slices.Sort(kinds)
			if diff := cmp.Diff([]string{"grammar", "received"}, slices.Compact(kinds)); diff != "" || checked != 11 {
				t.Errorf("checked %d:\n%s", checked, diff)
			}
			ids := make(map[string]int)
			for _, f := range got.all() {
				ids[f.ID]++
			}
			if len(ids) != 2 {
				t.Errorf("found again under other ids: %v", got.all())
			}
		})
	}
}

// A step that was cut off after its ids were committed is read again, and finds
// itself.
func TestStepAgain(t *testing.T) {
	w := newWorld(t)
	w.grow(now(), event(t, "x", now()))
	_, _, err := w.once()
	check(t, err)
	before, err := os.ReadFile(w.file("cursor"))
	check(t, err)
	w.grow(now(), event(t, "y", now()), event(t, "z", now()), event(t, "y", now()))
	got, _, err := w.once()
	check(t, err)
	want(t, got, "repeat")
	check(t, os.WriteFile(w.file("cursor"), before, 0o600))
	again, checked, err := w.once()
	check(t, err)
	want(t, again, "repeat")
	if checked != 6 || again.all()[0].ID != got.all()[0].ID {
		t.Errorf("checked %d, found %v and then %v", checked, got.all(), again.all())
	}
}

// receiver is a webhook that answers as it is told, and checks what it is sent.
type receiver struct {
	t      *testing.T
	secret []byte

	mu      sync.Mutex // guards what follows
	answers []int      // of the next calls; 200 when there are none left
	ids     []string   // of all calls
	got     []monitor.Finding
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	id, at := req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, r.secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("webhook-signature") != want {
		r.t.Errorf("signed %q, not %q", req.Header.Get("webhook-signature"), want)
	}
	r.ids = append(r.ids, id)
	if len(r.answers) > 0 {
		status := r.answers[0]
		r.answers = r.answers[1:]
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		return
	}
	var m struct {
		Type string
		Data monitor.Finding
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Type != "idlog.monitor."+m.Data.Kind || m.Data.ID != id {
		r.t.Errorf("body %s, %v", body, err)
	}
	r.got = append(r.got, m.Data)
}

// A webhook that fails is called until it answers 2xx, under the same id, and
// only then the cursor moves.
func TestWebhook(t *testing.T) {
	r := &receiver{t: t, secret: []byte("0123456789abcdef0123456789abcdef"), answers: []int{500, 302}}
	server := httptest.NewServer(r)
	defer server.Close()
	h, err := webhook.New(server.URL+"/hook?key=value", "whsec_"+base64.StdEncoding.EncodeToString(r.secret)+"\n")
	check(t, err)

	w := newWorld(t)
	w.grow(now(), []byte("no leaf\n"))
	ctx, cancel := context.WithCancel(t.Context())
	// Until the first 2xx there is no cursor: it is not even a first contact.
	m, got, err := w.open(func(c *monitor.Config) {
		c.Sinks = append(c.Sinks, monitor.Webhook(h), sinkFunc(func(context.Context, monitor.Finding) error {
			if _, err := os.Stat(w.file("cursor")); len(r.got) == 1 && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the cursor moved early: %v", err)
			}
			return nil
		}))
	})
	check(t, err)
	check(t, m.Once(ctx))
	cancel()
	check(t, m.Close())
	if n := len(r.ids); n != 4 || r.ids[0] != r.ids[1] || r.ids[1] != r.ids[2] || r.ids[2] == r.ids[3] {
		t.Errorf("called with %q", r.ids)
	}
	// Each of the sinks is given each finding once: one that fails repeats no other.
	if diff := cmp.Diff(got.all(), r.got); diff != "" {
		t.Errorf("written and posted differ:\n%s", diff)
	}
}

type sinkFunc func(context.Context, monitor.Finding) error

func (f sinkFunc) Deliver(ctx context.Context, found monitor.Finding) error { return f(ctx, found) }

// When its own disk fails, the monitor ends and says so: it checks nothing that
// it could not remember.
func TestDiskFails(t *testing.T) {
	w := newWorld(t)
	w.grow(now(), event(t, "x", now()))
	m, _, err := w.open(func(c *monitor.Config) {
		c.Sinks = []monitor.Sink{sinkFunc(func(context.Context, monitor.Finding) error {
			return os.RemoveAll(w.file(""))
		})}
	})
	check(t, err)
	if _, ok := errors.AsType[*monitor.StateError](m.Run(t.Context())); !ok {
		t.Error("it went on")
	}
	if m.Checked() != 0 {
		t.Errorf("checked %d", m.Checked())
	}
	m.Close() // whatever is left of it
}
