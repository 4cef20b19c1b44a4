package monitor_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"idlog/client/clienttest"
	"idlog/client/monitor"
	"idlog/client/receipt"
	"idlog/proto/checkpoint"
	events "idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/ticket"
)

var ticketKey = prototest.NewKey(ticket.KeyName(family), checkpoint.Ed25519, checkpoint.LogRole)

// submitter is who sends events to the world's log, and keeps what comes back.
type submitter struct {
	*world
	dir string // of receipts and tickets
}

func newSubmitter(t *testing.T) *submitter {
	s := &submitter{newWorld(t), t.TempDir()}
	s.config.Receipts = []string{s.dir}
	return s
}

func (s *submitter) write(name string, b []byte) {
	s.t.Helper()
	check(s.t, os.WriteFile(filepath.Join(s.dir, name), b, 0o600))
}

// logs makes the leaf and the lines of an event, received at a time; what a log does
// to its fields before is lie.
func (s *submitter) logs(id string, received int64, lie func(*eventv1.Event)) ([]byte, []seal.Line) {
	s.t.Helper()
	e := clienttest.SignIn(id)
	if lie != nil {
		lie(e)
	}
	fields, err := events.Fields(e)
	check(s.t, err)
	var lines []seal.Line
	for _, f := range events.StampFields(fields, time.Unix(received, 0)) {
		salt := hash("salt", id, f.Path)
		lines = append(lines, seal.Line{Path: f.Path, State: seal.Shown, Salt: salt, Value: f.Value, Commitment: seal.Commitment(salt, f.Path, f.Value)})
	}
	digest, err := seal.Digest(lines)
	check(s.t, err)
	return s.leaf(id, received, digest), lines
}

func (s *submitter) leaf(id string, received int64, digest leaf.Hash) []byte {
	return event(s.t, id, received, func(e *leaf.Event) { e.Fields = digest })
}

// promise keeps a ticket for a leaf, with a checkpoint of before, if it is not nil.
func (s *submitter) promise(name, id string, l []byte, deadline int64, earlier []byte) {
	s.t.Helper()
	parsed, err := leaf.Parse(l)
	check(s.t, err)
	text, err := (&ticket.Ticket{Log: family, Leaf: leaf.HashOf(l), Received: parsed.(*leaf.Event).Received, Deadline: deadline}).Format()
	check(s.t, err)
	sent, err := receipt.Read(clienttest.SignIn(id))
	check(s.t, err)
	k := receipt.Ticket{Event: parsed.(*leaf.Event), Leaf: l, Note: checkpoint.Join([]byte(text), ticketKey.Sign([]byte(text), 0)), Sent: sent,
		Genesis: s.log.Proof(0, 2, s.log.Note(2, uint64(now()))), Earlier: earlier}
	k.Genesis.Extra = s.log.Leaves[0]
	b, err := k.Format()
	check(s.t, err)
	s.write(name, b)
}

// receipt keeps the receipt of an entry and what was sent for it, under a log's note.
func (s *submitter) receipt(l *prototest.Log, index, size int64, id string, lines []seal.Line) {
	s.t.Helper()
	sent, err := proto.Marshal(&logv1.SubmitEventsRequest{Log: family, Source: source, Events: []*eventv1.Event{clienttest.SignIn(id)}})
	check(s.t, err)
	s.write(fmt.Sprintf("%d.idlog-submission", index), sent)
	p := l.Proof(index, size, l.Note(size, uint64(now()), witnesses...))
	p.Extra = l.Leaves[index]
	b, err := (&seal.Disclosure{Lines: lines, Proof: p}).Format()
	check(s.t, err)
	s.write(fmt.Sprintf("%d.idlog-disclosure", index), b)
}

// A promise that is kept is said to be, once, by whichever process comes first; one that
// is open, or another log's, is none to speak of.
func TestPromiseKept(t *testing.T) {
	s := newSubmitter(t)
	s.config.Receipts, s.config.Tickets = nil, []string{s.dir}
	deadline := now() + 3600
	l, _ := s.logs("a", now(), nil)
	later, _ := s.logs("b", now(), nil)
	s.promise("ticket-0011.idlog-evidence", "a", l, deadline, nil)
	check(t, os.Link(filepath.Join(s.dir, "ticket-0011.idlog-evidence"), filepath.Join(s.dir, "same.ticket")))
	s.promise("00aa.ticket", "b", later, deadline, nil)
	s.write("other.txt", []byte("no ticket"))
	s.grow(now())
	got, _, err := s.once()
	check(t, err)
	want(t, got)

	// The event comes while the monitor runs, and so does a copy of the ticket.
	step := 0
	got, err = s.follow(func(c *collected) bool {
		if step == 0 {
			s.grow(now(), l)
			step++
		}
		return has("promise-kept")(c)
	})
	check(t, err)
	want(t, got, "promise-kept")
	f := got.all()[0]
	if f.Severity != monitor.Info || f.Index == nil || *f.Index != 2 || f.Evidence != "" {
		t.Errorf("found %+v", f)
	}
	s.promise("copy.ticket", "a", l, deadline, nil)
	for range 2 {
		got, _, err = s.once()
		check(t, err)
		want(t, got)
	}
}

// TestPromiseBroken has a log that promises and does not keep its word. It stops the
// monitor once witnesses have seen the log after the deadline, and not before.
func TestPromiseBroken(t *testing.T) {
	for _, test := range []struct {
		name    string
		archive bool // whether there is a checkpoint of before the event
		earlier bool // whether the ticket has it
		other   bool // whether the event is there as another leaf
		parts   int
	}{
		{"a young log", false, false, false, 5},
		{"an old log", true, false, false, 6},
		{"an old log whose archive is gone", false, true, false, 6},
		{"another leaf", true, false, true, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSubmitter(t)
			received := now() - 1000
			var earlier []byte
			for i := range 5 {
				s.log.Append(event(t, fmt.Sprint(i), now()-5000))
			}
			s.show(s.log, 7, now()-4000)
			if test.earlier {
				earlier = s.note
			}
			if !test.archive {
				s.set(func() { clear(s.archive) })
			}
			l, _ := s.logs("a", received, nil)
			s.promise("ticket-00.idlog-evidence", "a", l, received+600, earlier)
			kept, _ := s.logs("b", received, nil)
			s.promise("ticket-01.idlog-evidence", "b", kept, received+600, earlier)
			s.grow(received+590, kept)
			if test.other {
				s.grow(received+595, s.leaf("a", received, hash("other fields")))
			}
			got, _, _ := s.once() // its checkpoint is old
			if has("broken-promise")(got) || !has("promise-kept")(got) {
				t.Fatalf("before the deadline: %v", got.kinds())
			}
			s.grow(now(), event(t, "x", now()))
			got, _, err := s.once()
			stop := stopped(t, err)
			f := got.all()[len(got.all())-1]
			if stop.Finding.ID != f.ID || f.Kind != "broken-promise" || f.Severity != monitor.Contradiction {
				t.Fatalf("stopped with %v after %v", stop, got.all())
			}
			v, err := s.judge(f.Evidence)
			if err != nil || !v.Proven || v.Accused != origin {
				t.Errorf("judged %+v, %v", v, err)
			}
			b, err := os.ReadFile(f.Evidence)
			check(t, err)
			if n := bytes.Count(b, []byte("\npart ")); n != test.parts {
				t.Errorf("evidence of %d parts", n)
			}
			// The next start refuses; acknowledged it goes on, and never speaks of it again.
			_, _, err = s.once()
			if !stopped(t, err).Before {
				t.Error("it looked")
			}
			_, _, err = s.once(func(c *monitor.Config) { c.Acknowledge = true })
			check(t, err)
			got, _, err = s.once()
			check(t, err)
			want(t, got)
		})
	}
}

// A promise that was kept below where the monitor began, or late, is kept.
func TestPromiseKeptUnread(t *testing.T) {
	s := newSubmitter(t)
	l, _ := s.logs("a", now()-1000, nil)
	s.promise("a.ticket", "a", l, now()-500, nil)
	s.grow(now(), l)
	got, _, err := s.once(func(c *monitor.Config) { c.FromNow = true })
	check(t, err)
	want(t, got, "promise-kept")
}

// Who dies while it tells of a broken promise tells it again.
func TestBrokenPromiseDelivered(t *testing.T) {
	for _, after := range []bool{false, true} {
		s := newSubmitter(t)
		l, _ := s.logs("a", now()-1000, nil)
		s.promise("a.ticket", "a", l, now()-500, nil)
		s.grow(now())
		d := s.dieAt("broken-promise", after)
		check(t, os.RemoveAll(s.dir)) // what it was found in is not needed any more
		check(t, os.Mkdir(s.dir, 0o700))
		got, _, err := s.once()
		stopped(t, err)
		want(t, got, "broken-promise")
		d.sameIn(t, got)
	}
}

// A receipt of what was sent is nothing to speak of; one of something else is a statement
// of who sent it, and one of another tree is a fork.
func TestReceipts(t *testing.T) {
	for _, test := range []struct {
		name string
		lie  func(*eventv1.Event)
		want string // what differs; empty if nothing does
	}{
		{"what was sent", nil, ""},
		{"another value", func(e *eventv1.Event) { e.Outcome.Reason = "OK" }, "another value of the field outcome.reason"},
		{"a field less", func(e *eventv1.Event) { e.Outcome.Reason = "" }, "lacks the field outcome.reason"},
		{"a field more", func(e *eventv1.Event) { e.Outcome.Code = "E1" }, "the field outcome.code, which was not sent"},
		{"other raw bytes", func(e *eventv1.Event) { e.Raw = append(e.Raw, ' ') }, "another value of the field raw"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSubmitter(t)
			l, lines := s.logs("a", now(), test.lie)
			s.grow(now(), l)
			s.receipt(s.log, 2, 3, "a", lines)
			s.grow(now(), event(t, "x", now()))
			got, _, err := s.once()
			if test.want == "" {
				check(t, err)
				want(t, got)
				return
			}
			f := stopped(t, err).Finding
			want(t, got, "receipt-mismatch")
			if v, err := s.judge(f.Evidence); err != nil || v.Proven || v.Accused != origin || *f.Index != 2 || !strings.Contains(f.Message, test.want) {
				t.Errorf("%s: judged %+v, %v", f.Message, v, err)
			}
		})
	}
	t.Run("of another tree", func(t *testing.T) {
		for _, size := range []int64{5, 8} { // smaller than the log, and of its size
			s := newSubmitter(t)
			l, lines := s.logs("a", now(), nil)
			other := prototest.NewLog(origin, logKey)
			other.Append(s.log.Leaves[:2]...)
			other.Append(l)
			for i := range 5 {
				s.log.Append(event(t, fmt.Sprint(i), now()))
				other.Append(event(t, fmt.Sprint("other ", i), now()))
			}
			s.grow(now(), event(t, "x", now()))
			s.receipt(other, 2, size, "a", lines)
			got, _, err := s.once()
			stopped(t, err)
			kinds := []string{"fork"}
			if size == 8 {
				kinds = append(kinds, "witness-fork")
			}
			want(t, got, kinds...)
			for _, f := range got.all()[1:] {
				if v, err := s.judge(f.Evidence); err != nil || !v.Proven {
					t.Errorf("judged %+v, %v", v, err)
				}
			}
		}
	})
	t.Run("of a larger tree", func(t *testing.T) {
		s := newSubmitter(t)
		l, lines := s.logs("a", now(), nil)
		s.grow(now() + 50) // so that nothing but the receipt is old
		s.log.Append(l)
		s.receipt(s.log, 2, 3, "a", lines)
		got, err := s.follow(has("withheld"), func(c *monitor.Config) { c.MaxAge = time.Millisecond })
		check(t, err)
		want(t, got, "withheld")
		s.grow(now())
		got, _, err = s.once()
		check(t, err)
		want(t, got)
	})
}

// What cannot be read is told once, and is in nobody's way.
func TestUnread(t *testing.T) {
	s := newSubmitter(t)
	l, _ := s.logs("a", now(), nil)
	s.write("1.idlog-disclosure", []byte("idlog-disclosure/v9\n"))
	s.write("ticket-.idlog-evidence", []byte("idlog-evidence/v1\nclaim fork\n"))
	s.promise("z.ticket", "a", l, now()+3600, nil)
	s.grow(now(), l)
	got, _, err := s.once()
	check(t, err)
	if !has("unread", "promise-kept")(got) || len(got.kinds()) != 3 {
		t.Errorf("found %v", got.all())
	}
	got, _, err = s.once()
	check(t, err)
	want(t, got)
	// A folder that is gone is an alarm; before it begins, an error.
	got, err = s.follow(func(c *collected) bool {
		os.RemoveAll(s.dir)
		return has("unread")(c)
	})
	check(t, err)
	want(t, got, "unread")
	if m, _, err := s.open(); err == nil {
		m.Close()
		t.Error("it opened without the folder")
	}
}
