package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"idlog/client"
	"idlog/client/trust"
	"idlog/proto/answer"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/policy"
)

// oracle answers every question with one file.
type oracle struct {
	logv1.UnimplementedQueryServiceServer
	file []byte
	req  *logv1.HistoryRequest // the last one
}

func (o *oracle) History(req *logv1.HistoryRequest, stream logv1.QueryService_HistoryServer) error {
	o.req = req
	for chunk := range bytesIn(o.file, 1000) {
		if err := stream.Send(&logv1.HistoryResponse{Chunk: chunk}); err != nil {
			return err
		}
	}
	return nil
}

func bytesIn(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(len(b), size)
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// judged is the vectors of SPEC 2.15.
type judged struct {
	Trust string
	Cases []struct {
		Name, Verdict, Refusal, Input string
		Now                           int64
	}
}

func readJudged(t *testing.T) (v judged, by *policy.Trust) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "history-verify.json"))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err == nil {
		by, err = policy.ParseTrust([]byte(v.Trust))
	}
	if err != nil {
		t.Fatal(err)
	}
	return v, by
}

// asking is a client of an oracle over a socket, at a time of day.
func asking(t *testing.T, o *oracle, by *policy.Trust, dir string, now int64) *client.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	logv1.RegisterQueryServiceServer(s, o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	state, err := trust.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{
		Target: l.Addr().String(), Policy: by.Policy, Trust: by, State: state, Attempts: 1,
		Clock: func() time.Time { return time.Unix(now, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := c.Close()
		s.Stop()
		if err = errors.Join(err, <-served); err != nil {
			t.Error(err)
		}
	})
	return c
}

// questionOf is what a file says that it answers.
func questionOf(h *answer.History) client.Question {
	q := client.Question{Asks: h.Asks, NoLinks: h.NoLinks}
	if h.Window != nil {
		q.From, q.To = h.Window.From, h.Window.To
	}
	return q
}

// What holds offline holds here, and what does not is an error that keeps the file.
func TestHistory(t *testing.T) {
	v, by := readJudged(t)
	for _, tt := range v.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			h, err := answer.Parse([]byte(tt.Input))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			o := &oracle{file: []byte(tt.Input)}
			got, err := asking(t, o, by, dir, tt.Now).History(t.Context(), questionOf(h))
			if tt.Verdict != "" {
				if err != nil || got.Verdict.String() != tt.Verdict || !bytes.Equal(got.File, o.file) {
					t.Fatalf("%v, want %s", err, tt.Verdict)
				}
				return
			}
			m, ok := errors.AsType[*client.Mismatch](err)
			if !ok && h.Log == by.Log {
				if _, quorum := errors.AsType[*policy.QuorumError](err); !quorum {
					t.Fatalf("%v, want a mismatch", err)
				}
				return
			}
			_, incomplete := errors.AsType[*answer.IncompleteError](err)
			_, stale := errors.AsType[*answer.StaleError](err)
			if incomplete != (tt.Refusal == "incomplete") || stale != (tt.Refusal == "stale") {
				t.Errorf("%v, want %s", err, tt.Refusal)
			}
			if kept, err := os.ReadFile(m.File); err != nil || !bytes.Equal(kept, o.file) {
				t.Errorf("%s does not keep the answer: %v", m.File, err)
			}
		})
	}
}

// The answer to another question is none, however true it is.
func TestHistoryOfAnotherQuestion(t *testing.T) {
	v, by := readJudged(t)
	for _, tt := range v.Cases {
		if tt.Verdict == "" {
			continue
		}
		h, err := answer.Parse([]byte(tt.Input))
		if err != nil {
			t.Fatal(err)
		}
		c := asking(t, &oracle{file: []byte(tt.Input)}, by, t.TempDir(), tt.Now)
		for what, change := range map[string]func(*client.Question){
			"one ask more": func(q *client.Question) {
				q.Asks = append(q.Asks[:len(q.Asks):len(q.Asks)], answer.Ask{Kind: answer.OfEvent, Value: "x"})
			},
			"another":           func(q *client.Question) { q.Asks = []answer.Ask{{Kind: answer.OfEvent, Value: "x"}} },
			"links":             func(q *client.Question) { q.NoLinks = !q.NoLinks },
			"more of the log":   func(q *client.Question) { q.From, q.To = 1, 7 },
			"a time long ago":   func(q *client.Question) { q.After, q.Until = time.Unix(1, 0), time.Unix(2, 0) },
			"a continuation":    func(q *client.Question) { q.Since = h; q.Asks = []answer.Ask{{Kind: answer.OfEvent, Value: "x"}} },
			"in the future too": func(q *client.Question) { q.Until = time.Unix(tt.Now+100, 0) },
		} {
			q := questionOf(h)
			change(&q)
			if a, err := c.History(t.Context(), q); err == nil {
				t.Errorf("%s is taken for an answer to %s: %v", tt.Name, what, a.Verdict)
			}
		}
	}
}

// A trust file without verifiers asks for the strict mode; a log that holds more than a reader may is refused.
func TestHistoryAttested(t *testing.T) {
	v, by := readJudged(t)
	alone := client.Attested(by.Policy, by.Log)
	for _, tt := range v.Cases {
		if !strings.HasPrefix(tt.Verdict, "operator-attested") {
			continue
		}
		h, err := answer.Parse([]byte(tt.Input))
		if err != nil {
			t.Fatal(err)
		}
		o := &oracle{file: []byte(tt.Input)}
		got, err := asking(t, o, alone, t.TempDir(), tt.Now).History(t.Context(), questionOf(h))
		if err != nil || got.Verdict.Proven || !o.req.GetStrict() {
			t.Errorf("%s: %v, asked strictly %t", tt.Name, err, o.req.GetStrict())
		}
	}
	o := &oracle{file: make([]byte, answer.MaxFile+1)}
	_, err := asking(t, o, by, t.TempDir(), v.Cases[0].Now).History(t.Context(), client.Question{Asks: []answer.Ask{{Kind: answer.OfSource, Source: "okta"}}})
	if _, ok := errors.AsType[*client.Mismatch](err); !ok {
		t.Errorf("a file without end: %v", err)
	}
}
