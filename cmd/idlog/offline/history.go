package offline

import (
	"encoding/base64"
	"fmt"
	"time"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// judging is how a history is judged offline.
type judging struct {
	previous string // an earlier answer that it continues
	at       string // the time to judge by, in place of now
	attested bool   // the operator's word is accepted
}

// now is the time to judge by.
func (j *judging) now() (time.Time, error) {
	if j.at == "" {
		return time.Now(), nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, j.at); err == nil {
			return t, nil
		}
	}
	return time.Time{}, serve.Usagef("--at is a time as 2026-11-23T08:00:00Z or 2026-11-23, not %q", j.at)
}

func verifyHistory(s *session.Session, b []byte, j judging) error {
	h, err := answer.Parse(b)
	if err != nil {
		return failed(err)
	}
	t, sum, err := s.TrustedOf(h.Log)
	if err != nil {
		return err
	}
	now, err := j.now()
	if err != nil {
		return err
	}
	v, err := h.Verify(t, now)
	if err != nil {
		return failed(err)
	}
	if j.previous != "" {
		if err := continues(v, t, j.previous, now); err != nil {
			return err
		}
	}
	if err := s.History(v, sum); err != nil {
		return err
	}
	return report.Accept(v, false, j.attested)
}

// continues holds a verdict to an earlier answer of the same question.
func continues(v *answer.Verdict, t *policy.Trust, file string, now time.Time) error {
	b, err := session.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the earlier answer: %w", err)
	}
	h, err := answer.Parse(b)
	if err != nil {
		return failed(fmt.Errorf("%s: %w", file, err))
	}
	old, err := client.VerifyEarlier(h, t, now)
	if err != nil {
		return failed(fmt.Errorf("%s: %w", file, err))
	}
	if err := v.Continues(old); err != nil {
		return failed(err)
	}
	return nil
}

// indexed is an answer of an index proof as programs are told of it.
type indexed struct {
	Field   uint16  `json:"field"`
	Value   []byte  `json:"value"`
	Present bool    `json:"present"`
	Of      int64   `json:"of"`
	Start   int64   `json:"start"`
	Entries []int64 `json:"entries"`
}

// verifyIndex verifies an index proof, which proves lists and says nothing of what they are an answer to.
func verifyIndex(s *session.Session, p *policy.Policy, b []byte, j judging) error {
	x, err := proof.ParseIndex(b)
	if err != nil {
		return failed(err)
	}
	v, err := x.Verify(p)
	if err != nil {
		return failed(err)
	}
	c := v.Checkpoint
	proven := false
	if s.TrustFile != "" {
		t, _, err := s.TrustedOf("")
		if err != nil {
			return err
		}
		_, verifiers, err := t.Verify(x.Checkpoint)
		if err != nil {
			return failed(err)
		}
		proven = t.Proven(verifiers)
	}
	for _, a := range x.Answers {
		one := indexed{Field: a.Field, Value: a.Value[:], Present: a.List != nil, Entries: []int64{}}
		if a.List != nil {
			one.Of, one.Start = a.List.Head.N, a.List.Page.Start
			for _, p := range a.List.Page.Postings {
				one.Entries = append(one.Entries, p.Index)
			}
		}
		if err := show(s, one); err != nil {
			return err
		}
	}
	if s.JSON {
		err = s.Object(struct {
			Origin string `json:"origin"`
			Size   int64  `json:"size"`
			To     int64  `json:"to"`
			At     int64  `json:"root_leaf"`
			Strict bool   `json:"strict"`
			Proven bool   `json:"proven"`
		}{c.Origin, c.Size, v.Root.N, x.At, x.Strict, proven})
	} else {
		err = s.Text("verified   %d answers of the index of %s over entries [0, %d), by the root leaf at %d, under size %d\n",
			len(x.Answers), c.Origin, v.Root.N, x.At, c.Size)
	}
	if err != nil || proven || j.attested {
		return err
	}
	return &serve.ExitError{Code: serve.CodeQuorum, Err: fmt.Errorf("operator-attested: no verifiers vouch for the root leaf"),
		Remedy: "-t FILE with a trust file that names verifiers, or --accept-attested"}
}

func show(s *session.Session, one indexed) error {
	if s.JSON {
		return s.Object(one)
	}
	value := base64.StdEncoding.EncodeToString(one.Value)
	if !one.Present {
		return s.Text("absent     %d %s\n", one.Field, value)
	}
	return s.Text("present    %d %s: %d entries, from number %d on %d\n", one.Field, value, one.Of, one.Start, one.Entries)
}
