package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"idlog/log/heads"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
)

// Verifiers asks the cosigners that verify the index, SPEC 2.14, for their lines
// under what is published. Nobody waits for them: one that is behind is asked again,
// and one that refuses is an alarm.
//
// All of them are asked for one size until they are a quorum for it, so that those
// of different speed have sizes in common; then for the newest. A size that one of
// them has passed is given up for the newest.
//
// Run owns one goroutine a cosigner; Status may be called by any; all other methods
// belong to one goroutine, that of the publisher.
type Verifiers struct {
	cfg       Config
	metrics   *VerifierMetrics
	witnesses []*witness
	answers   chan Answer

	rounds int64
	asked  *offer // what they are asked for; nil: there is a quorum for it
	newest *offer // what was published last
	stuck  bool   // one of them has passed what is asked for

	mu     sync.Mutex // guards status
	status []VerifierStatus
}

// offer is a published checkpoint.
type offer struct {
	round    int64 // 0 until it is asked about
	head     *heads.Head
	cosigned []checkpoint.Signature // of the witnesses
	lines    map[string]checkpoint.Signature
}

// VerifierStatus is what became of the last attempt with one cosigner.
type VerifierStatus struct {
	Name    string
	Size    int64     // that it cosigned last since the start
	Last    time.Time // when; zero if it has not
	Behind  bool      // it has not read what it is asked for
	Refused bool      // it found a root of the index false, and says so for ever
	Error   string    // of the last attempt; empty if it was well or there was none
}

// NewVerifiers checks the cosigners of the policy, which may be nil: then nobody is
// ever asked. Of c, Without and Metrics are not used. A policy that asks for nobody,
// or names a key that is a witness's of others, is an error. m may be nil.
func NewVerifiers(c Config, m *VerifierMetrics, others *policy.Policy) (*Verifiers, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if m == nil {
		m = NewVerifierMetrics(nil, "")
	}
	v := &Verifiers{cfg: c, metrics: m, answers: make(chan Answer)}
	if c.Policy == nil {
		return v, nil
	}
	if c.Policy.Satisfied(nil) {
		return nil, errors.New("the policy of the index verifiers asks for none of them: its quorum must name some")
	}
	client := callClient(c.HTTP)
	for _, pw := range c.Policy.Witnesses {
		if others != nil {
			for _, o := range others.Witnesses {
				if samePublic(o.VKey, pw.VKey) {
					return nil, fmt.Errorf("index verifier %s has the key of witness %s: a cosigner that verifies the index has one of its own", pw.Name, o.Name)
				}
			}
		}
		w, err := newWitness(pw, &v.cfg, client)
		if err != nil {
			return nil, err
		}
		v.witnesses = append(v.witnesses, w)
		v.status = append(v.status, VerifierStatus{Name: w.name})
		m.begin(w.name)
	}
	return v, nil
}

func samePublic(a, b string) bool {
	x, err := checkpoint.ParseVKey(a)
	y, err2 := checkpoint.ParseVKey(b)
	return err == nil && err2 == nil && string(x.Public) == string(y.Public)
}

// Needed reports whether there are any.
func (v *Verifiers) Needed() bool { return len(v.witnesses) > 0 }

// Run calls the cosigners until ctx ends, which is no error. Somebody must receive
// from Answers all the while.
func (v *Verifiers) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range v.witnesses {
		g.Go(func() error { return w.run(ctx, v.answers) })
	}
	return g.Wait()
}

// Answers brings what they say. Each is to be given to Take.
func (v *Verifiers) Answers() <-chan Answer { return v.answers }

// Offer tells what was just published: a head with the cosignatures of its witness
// quorum.
func (v *Verifiers) Offer(h *heads.Head, cosigned []checkpoint.Signature) {
	if !v.Needed() {
		return
	}
	v.newest = &offer{head: h, cosigned: cosigned, lines: make(map[string]checkpoint.Signature)}
	if v.asked == nil || v.stuck {
		v.ask()
	}
}

// ask asks all for the newest.
func (v *Verifiers) ask() {
	v.rounds++
	v.asked, v.stuck = v.newest, false
	v.asked.round = v.rounds
	r := &round{number: v.rounds, head: v.asked.head, note: v.asked.head.Note()}
	for _, w := range v.witnesses {
		w.ask(r)
	}
}

// Take accounts for one answer. Lines are verified cosignatures of a.Size, for the
// archive. If they complete a quorum, whole is the head they are of, and note its
// checkpoint with the cosignatures of both quorums.
func (v *Verifiers) Take(a Answer) (lines []checkpoint.Signature, whole *heads.Head, note []byte) {
	v.note(a)
	if v.asked == nil || a.round != v.asked.round {
		return a.sigs, nil, nil
	}
	if a.claims && a.claimed > a.Size {
		// Somebody has brought it a larger tree before us, so it never signs this one.
		if v.stuck = true; v.newest != v.asked {
			v.ask()
		}
		return a.sigs, nil, nil
	}
	if a.sigs == nil {
		return nil, nil, nil
	}
	o := v.asked
	o.lines[a.Witness] = a.sigs[0]
	have := make(map[string]bool)
	var own []checkpoint.Signature
	for _, w := range v.witnesses { // in the order of the policy
		if s, ok := o.lines[w.name]; ok {
			have[w.name] = true
			own = append(own, s)
		}
	}
	if !v.cfg.Policy.Satisfied(have) {
		return a.sigs, nil, nil
	}
	note = o.head.Note(append(append([]checkpoint.Signature(nil), o.cosigned...), own...)...)
	if v.asked = nil; v.newest != o {
		v.ask()
	}
	return a.sigs, o.head, note
}

// note takes an answer into the status, and says what is new in it.
func (v *Verifiers) note(a Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.status {
		s := &v.status[i]
		if s.Name != a.Witness {
			continue
		}
		before := *s
		outcome := "failed"
		s.Behind, s.Error = false, ""
		refused, _ := errors.AsType[*statusError](a.err)
		switch {
		case a.err == nil:
			outcome = "cosigned"
			s.Size, s.Last, s.Refused = a.Size, time.Now(), false
		case a.claims && a.claimed > a.Size && a.Proof == nil:
			outcome = "passed"
		case refused != nil && refused.code == http.StatusServiceUnavailable:
			outcome = "behind"
			s.Behind, s.Error = true, a.err.Error()
		case refused != nil && refused.code == http.StatusUnprocessableEntity:
			outcome = "refused"
			s.Refused, s.Error = true, a.err.Error()
		default:
			s.Error = a.err.Error()
		}
		v.metrics.tell(s.Name, outcome, *s)
		logger := v.cfg.Logger.With("origin", v.cfg.Origin, "verifier", s.Name)
		switch {
		case s.Refused && !before.Refused:
			logger.Error("an index verifier refuses this log", "error", a.err)
		case outcome == "failed" && (before.Error == "" || before.Behind):
			logger.Warn("an index verifier fails", "error", a.err)
		case outcome == "cosigned" && before.Error != "" && !before.Behind:
			logger.Info("an index verifier is back")
		}
	}
}

// Status says how they stand, in the order of the policy.
func (v *Verifiers) Status() []VerifierStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]VerifierStatus(nil), v.status...)
}

// Cosigned reports whether a note bears lines of a quorum of a policy's witnesses,
// each verified. It says nothing of the log's own.
func Cosigned(p *policy.Policy, note []byte) bool {
	if p == nil {
		return true
	}
	text, sigs, err := checkpoint.Split(note)
	if err != nil {
		return false
	}
	have := make(map[string]bool)
	for _, w := range p.Witnesses {
		k, err := checkpoint.NewVerifier(w.VKey)
		if err != nil {
			return false
		}
		for _, s := range sigs {
			if _, timed := s.Time(); timed && s.By(k, text) {
				have[w.Name] = true
			}
		}
	}
	return p.Satisfied(have)
}
