// Package quorum asks the witnesses of a policy to cosign the checkpoints of one
// log, and says when enough of them have.
//
// It trusts no witness: a cosignature counts once it verifies with the key of
// the policy, a claim without a checkpoint under our own key is an alarm and no
// verdict, and a witness that is slow, silent or hostile costs its cosignature
// and nothing else. It decides nothing about the log: what a witness can prove
// is handed to the caller.
//
// Nothing here is durable. After a start every witness is asked anew what it has
// seen, and no round is complete before enough of them have said so (SPEC F32):
// a log put back from a copy, heads and all, would sign a second history.
//
// Run owns one goroutine a witness. All other methods of a Caller belong to one
// goroutine, that of the publisher.
//
// Specifications: c2sp.org/tlog-witness as a client; SPEC F32.
package quorum

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"idlog/log/heads"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// alarm is how long a quorum may be missing before the operator hears it.
const alarm = 30 * time.Second

// Config is all that a Caller is told.
type Config struct {
	Origin string
	Keys   []note.Verifier // of the log
	// Policy names the witnesses and their quorum. Nil, and a quorum of none,
	// wait for nobody.
	Policy *policy.Policy
	// Without names witnesses that need not say what they have seen.
	Without []string
	// Prove returns the proof that the tree of size to continues that of size
	// from. The goroutines of Run call it.
	Prove func(ctx context.Context, from, to int64) ([]leaf.Hash, error)
	// HTTP calls the witnesses; nil is a client of our own. Redirects are
	// refused whatever it says.
	HTTP *http.Client
	// Logger gets alarms: a witness that lies or fails, a quorum that is missing.
	Logger *slog.Logger
	// Metrics are told what the witnesses do; nil tells nobody.
	Metrics *Metrics
}

// An Answer is what one witness had to say in one round.
type Answer struct {
	Witness string // by its name in the policy
	Size    int64  // of the tree that it was asked to cosign
	// Proof is a checkpoint that one of our keys signed and that is not under
	// the tree of the round; Shown is what it says. Nil if the witness showed
	// none: then all it said is its unsigned word.
	Proof []byte
	Shown checkpoint.Checkpoint

	round int64
	// sigs are cosignatures of that size, verified with the witness's key.
	sigs []checkpoint.Signature
	// answered: the witness said which size it has seen, and it is not above ours.
	answered bool
	// claims: it said that it has cosigned a tree of size claimed that is not
	// under this one.
	claims  bool
	claimed int64
	err     error
	took    time.Duration
}

// heard is what a witness has said since the start.
type heard struct {
	answered bool // which tree it has seen, and that is not above ours
	claims   bool // that it has seen another, without proof
	failing  bool
}

// A Caller asks the witnesses of one log.
type Caller struct {
	cfg       Config
	witnesses []*witness // in the order of the policy
	answers   chan Answer

	round    int64
	head     *heads.Head                     // asked about in this round
	cosigned map[string]checkpoint.Signature // by witness name, in this round
	heard    map[string]heard                // by witness name, since the start
	standing standing
	free     bool // enough witnesses have answered since the start
}

// New checks the witnesses of the policy: an error names one whose key or URL
// cannot be used. Nobody is called before Run.
func New(c Config) (*Caller, error) {
	q := &Caller{cfg: c, answers: make(chan Answer), heard: make(map[string]heard)}
	if c.Metrics == nil {
		q.cfg.Metrics = NewMetrics(nil, "")
	}
	if c.Policy == nil {
		return q, nil
	}
	client := callClient(c.HTTP)
	for _, pw := range c.Policy.Witnesses {
		w, err := newWitness(pw, &q.cfg, client)
		if err != nil {
			return nil, err
		}
		w.observed = q.cfg.Metrics.of(w.name)
		q.witnesses = append(q.witnesses, w)
	}
	q.stand()
	return q, nil
}

// Run calls the witnesses until ctx ends, which is no error. Somebody must
// receive from Answers all the while.
func (q *Caller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range q.witnesses {
		g.Go(func() error { return w.run(ctx, q.answers) })
	}
	return g.Wait()
}

// Answers brings what the witnesses say. Each is to be given to Take.
func (q *Caller) Answers() <-chan Answer { return q.answers }

// Collect asks every witness to cosign a head, the newest that was signed, and
// returns the cosignatures in the order of the policy once they are a quorum,
// and enough witnesses have said since the start what they have seen. For the
// empty tree, which is asked about for their word alone, it waits for no quorum.
// Each answer meanwhile goes to take, which gives it to Take and whose error
// ends the round.
func (q *Caller) Collect(ctx context.Context, h *heads.Head, take func(Answer) error) ([]checkpoint.Signature, error) {
	q.round++
	q.head, q.cosigned = h, make(map[string]checkpoint.Signature)
	r := &round{number: q.round, head: h, note: h.Note()}
	for _, w := range q.witnesses {
		w.ask(r)
	}
	late := time.NewTimer(alarm)
	defer late.Stop()
	for !q.released() || h.Size > 0 && !q.quorum() {
		select {
		case <-late.C:
			q.cfg.Logger.Error("no quorum: nothing is published until it is back", "origin", q.cfg.Origin, "size", h.Size, "have", len(q.cosigned), "witnesses_answered_since_start", q.free)
		case a := <-q.answers:
			if err := take(a); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var sigs []checkpoint.Signature
	for _, w := range q.witnesses {
		if s, ok := q.cosigned[w.name]; ok {
			sigs = append(sigs, s)
		}
	}
	return sigs, nil
}

// Take accounts for one answer. What it returns are verified cosignatures of
// a.Size that no Collect returns: they came late, or the quorum was there.
func (q *Caller) Take(a Answer) (late []checkpoint.Signature) {
	state := q.heard[a.Witness]
	logger := q.cfg.Logger.With("origin", q.cfg.Origin, "witness", a.Witness)
	// Anybody may bring our newest checkpoint to a witness before we do.
	claims := a.claims && (a.claimed > q.head.Size || a.claimed == a.Size)
	switch {
	case claims && !state.claims:
		logger.Error("a witness claims without proof that it has cosigned a tree which this log did not sign; it is set aside", "size", a.claimed, "error", a.err)
	case a.err != nil && !state.failing:
		logger.Warn("a witness fails", "error", a.err)
	case a.err == nil && state.failing:
		logger.Info("a witness is back")
	}
	state.answered = state.answered || a.answered
	state.claims, state.failing = claims, a.err != nil
	q.heard[a.Witness] = state
	q.note(a, claims)
	if a.sigs != nil && a.round == q.round {
		if _, again := q.cosigned[a.Witness]; !again && !(q.released() && q.quorum()) {
			q.cosigned[a.Witness] = a.sigs[0]
			return nil
		}
	}
	return a.sigs
}

// quorum reports whether the cosignatures of this round suffice.
func (q *Caller) quorum() bool {
	if q.cfg.Policy == nil {
		return true
	}
	have := make(map[string]bool, len(q.cosigned))
	for name := range q.cosigned {
		have[name] = true
	}
	return q.cfg.Policy.Satisfied(have)
}

// released reports whether a new tree may be signed after this start: those
// witnesses whose word is missing, or who claim what they cannot prove, contain
// no quorum, and the operator has named those who are missing.
func (q *Caller) released() bool {
	if q.free {
		return true
	}
	q.free = true
	policy := q.cfg.Policy
	if policy == nil || policy.Satisfied(nil) {
		return true
	}
	silent := make(map[string]bool)
	for _, w := range q.witnesses {
		switch state := q.heard[w.name]; {
		case state.claims:
			silent[w.name] = true
		case !state.answered:
			silent[w.name] = true
			q.free = q.free && slices.Contains(q.cfg.Without, w.name)
		}
	}
	q.free = q.free && !policy.Satisfied(silent)
	if q.free && len(silent) > 0 {
		q.cfg.Logger.Warn("signing without the word of every witness on what it has seen", "origin", q.cfg.Origin, "silent", slices.Sorted(maps.Keys(silent)))
	}
	return q.free
}
