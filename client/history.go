package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/client/call"
	"idlog/proto/answer"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/policy"
)

// Question is what to ask a log for the history of. An entry that answers meets all of the Asks.
type Question struct {
	// Asks are 1 to 8 conditions, none of them twice. Empty means those of Since.
	Asks []answer.Ask
	// From and To are the entries [From, To) that are asked for; To 0 is the end.
	From, To int64
	// After and Until, in place of From and To, ask for what was logged at After or later, and before Until, as the witnesses
	// vouch for it.
	After, Until time.Time
	// Start and Count are a page of each list; Count 0 is all, as far as the server gives it in one answer.
	Start, Count int64
	// NoLinks does not follow statements that identifiers are of one person.
	NoLinks bool
	// Fields asks for the fields of the events as well.
	Fields bool
	// Strict asks for a proof that each entry is in the log, also where verifiers vouch for the index.
	Strict bool
	// Since is an earlier answer to the same question: only what came since is asked for.
	Since *answer.History
	// Checkpoints is how many archived checkpoints, which say when, the answer may have; 0 leaves it to the server.
	Checkpoints int
}

// A History is an answer that holds.
type History struct {
	File    []byte // *.idlog-history, verifiable offline with the trust file
	Verdict *answer.Verdict
}

// Attested is what somebody trusts who has a policy and no trust file: that its log keys and its quorum have signed, for
// shards that it has keys of. It names no verifier, so that a verdict under it is attested by the operator alone.
func Attested(p *policy.Policy, family string) *policy.Trust {
	t := &policy.Trust{Log: family, MaxLag: policy.DefaultMaxLag, MaxAge: policy.DefaultMaxAge, Skew: policy.DefaultSkew, Policy: p}
	for _, l := range p.Logs {
		if familyOf(l.Origin) == family && !slices.Contains(t.Origins, l.Origin) {
			t.Origins = append(t.Origins, l.Origin)
		}
	}
	return t
}

// VerifyEarlier is [answer.History.Verify] for a history that is old, and may be: it answers as of its own time.
func VerifyEarlier(h *answer.History, t *policy.Trust, now time.Time) (*answer.Verdict, error) {
	then := *t
	then.MaxAge = math.MaxInt64
	return h.Verify(&then, now)
}

// History asks the log and verifies the answer, by Config.Trust, as anybody can verify the file later. The log is asked to wait
// until its index has what this reader has seen of it. The answer is one to
// this question, and its checkpoint agrees with all that this reader has seen of the log. Whether the verdict is Proven and
// Complete enough is for the caller to judge.
//
// An answer that does not hold is a *Mismatch, which wraps an [*answer.IncompleteError] or an [*answer.StaleError] where it is
// that; its File keeps what the server said. Other errors are those of Checkpoint, and *Refused.
func (c *Client) History(ctx context.Context, q Question) (*History, error) {
	var old *answer.Verdict
	if q.Since != nil {
		var err error
		if old, err = VerifyEarlier(q.Since, c.trust, c.now()); err != nil {
			return nil, fmt.Errorf("the earlier answer: %w", err)
		}
		if q.Asks == nil {
			q.Asks = q.Since.Asks
		}
		q.NoLinks = q.Since.NoLinks
	}
	req, err := c.historyRequest(q, old)
	if err != nil {
		return nil, err
	}
	for _, o := range c.trust.Origins {
		req.Covering = max(req.Covering, c.horizon()[o])
	}
	var b []byte
	if err := call.Retry(ctx, c.attempts, func(ctx context.Context) (err error) {
		b, err = c.receive(ctx, req)
		return err
	}); err != nil {
		return nil, fmt.Errorf("asking for a history: %w", err)
	}
	v, err := c.judgeHistory(b, q, old)
	if err != nil {
		m := &Mismatch{What: "history", Err: err}
		m.Evidence, m.File, err = c.addition(ctx, b)
		if m.File == "" {
			var err2 error
			m.File, err2 = c.state.SaveAnswer(b)
			err = errors.Join(err, err2)
		}
		return nil, errors.Join(m, err)
	}
	if _, err := c.accept(ctx, v.Checkpoint.Note, nil); err != nil {
		return nil, err
	}
	return &History{File: b, Verdict: v}, nil
}

// receive reads one answer whole.
func (c *Client) receive(ctx context.Context, req *logv1.HistoryRequest) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.queries.History(ctx, req)
	if err != nil {
		return nil, call.ErrorOf(err)
	}
	var b []byte
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, call.ErrorOf(err)
		}
		if b = append(b, res.GetChunk()...); len(b) > answer.MaxFile {
			return nil, &Mismatch{What: fmt.Sprintf("history of more than %d bytes", answer.MaxFile)}
		}
	}
}

// historyRequest is a question as the wire has it.
func (c *Client) historyRequest(q Question, old *answer.Verdict) (*logv1.HistoryRequest, error) {
	req := &logv1.HistoryRequest{
		Log: c.log, NoLinks: q.NoLinks, Disclose: q.Fields, Strict: q.Strict || c.trust.Threshold == 0, Checkpoints: int32(q.Checkpoints),
	}
	for _, a := range q.Asks {
		one := &logv1.Ask{}
		switch a.Kind {
		case answer.OfSubject, answer.OfActor:
			id, err := a.Identifier.Bytes()
			if err != nil {
				return nil, fmt.Errorf("asking for a history: %w", err)
			}
			one.Key = &logv1.Ask_Subject{Subject: id}
			if a.Kind == answer.OfActor {
				one.Key = &logv1.Ask_Actor{Actor: id}
			}
		case answer.OfSource:
			one.Key = &logv1.Ask_Source{Source: a.Source}
		case answer.OfEvent:
			one.Key = &logv1.Ask_Event{Event: a.Value}
		case answer.OfSession:
			one.Key = &logv1.Ask_Session{Session: a.Value}
		case answer.OfClass:
			n, err := strconv.ParseInt(a.Value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("asking for a history: class %w", err)
			}
			one.Key = &logv1.Ask_Class{Class: n}
		case answer.OfTarget:
			kind, id, _ := strings.Cut(a.Value, "\x00")
			one.Key = &logv1.Ask_Target_{Target: &logv1.Ask_Target{Type: kind, Id: id}}
		default:
			one.Key = &logv1.Ask_Tag_{Tag: &logv1.Ask_Tag{Field: uint32(a.Tag.Field), Value: a.Tag.Value[:]}}
		}
		req.Asks = append(req.Asks, one)
	}
	if q.From > 0 || q.To > 0 || !q.After.IsZero() || !q.Until.IsZero() {
		req.Window = &logv1.Window{From: q.From, To: q.To}
		if !q.After.IsZero() {
			req.Window.FromTime = timestamppb.New(q.After)
		}
		if !q.Until.IsZero() {
			req.Window.ToTime = timestamppb.New(q.Until)
		}
	}
	if q.Count > 0 {
		req.Page = &logv1.Page{Start: q.Start, Count: q.Count}
	}
	if old != nil {
		for _, l := range old.Lists {
			if l.Head.N > 0 {
				req.Since = append(req.Since, &logv1.Since{Field: uint32(l.Tag.Field), Value: bytes.Clone(l.Tag.Value[:]), Count: l.Head.N})
			}
		}
	}
	return req, nil
}

// judgeHistory holds an answer to the question, to the trust file, and to an earlier answer.
func (c *Client) judgeHistory(b []byte, q Question, old *answer.Verdict) (*answer.Verdict, error) {
	h, err := answer.Parse(b)
	if err != nil {
		return nil, err
	}
	if err := answers(h, q); err != nil {
		return nil, err
	}
	v, err := h.Verify(c.trust, c.now())
	if err != nil {
		return nil, err
	}
	if err := within(h, v, q, c.trust); err != nil {
		return nil, err
	}
	if old != nil {
		return v, v.Continues(old)
	}
	return v, nil
}

// answers reports whether a file answers a question, and not another one. The server chooses which ask comes first.
func answers(h *answer.History, q Question) error {
	same := len(h.Asks) == len(q.Asks) && h.NoLinks == q.NoLinks
	for _, a := range q.Asks {
		same = same && slices.Contains(h.Asks, a)
	}
	if q.Since != nil {
		same = same && slices.Equal(h.Asks, q.Asks)
	}
	asked := q.From > 0 || q.To > 0 || !q.After.IsZero() || !q.Until.IsZero()
	if h.Window != nil {
		// A window that is wider than the one asked for answers too, and no narrower one does.
		same = same && asked && (!q.After.IsZero() || h.Window.From == q.From) && (!q.Until.IsZero() || h.Window.To == q.To || q.To == 0 && h.Window.To == math.MaxInt64)
	} else {
		same = same && !asked
	}
	if !same {
		return errors.New("it is the answer to another question")
	}
	return nil
}

// within holds the window of a verified answer to the times that were asked for. What was logged at a time or later is not in a
// tree that a quorum vouched for before; what was logged before is in one that it called the newest afterwards.
func within(h *answer.History, v *answer.Verdict, q Question, t *policy.Trust) error {
	if q.After.IsZero() && q.Until.IsZero() {
		return nil
	}
	from, to := q.After.IsZero() || h.Window.From == 0, q.Until.IsZero() || h.Window.To >= v.Root.N
	for _, a := range h.Anchors {
		c, _, err := t.Verify(a.Checkpoint)
		if err != nil {
			return err
		}
		from = from || c.Checkpoint.Size >= h.Window.From && !c.Oldest().IsZero() && !c.Oldest().After(q.After)
		to = to || c.Checkpoint.Size <= h.Window.To && !c.Oldest().Before(q.Until)
	}
	if !from || !to {
		return fmt.Errorf("no archived checkpoint shows that the entries [%d, %d) are those of that time", h.Window.From, h.Window.To)
	}
	return nil
}
