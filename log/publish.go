package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

// A publisher makes checkpoints of released trees, one at a time. It belongs to
// one goroutine, which alone writes the heads file and asks the signers.
type publisher struct {
	l       *Log
	answers chan answer

	round    int64
	cosigned map[string]checkpoint.Signature // by witness name, in this round
	asked    map[string]asked                // by witness name, since the start
	free     bool                            // enough witnesses have answered since the start
	signed   time.Time                       // last signature over a new tree
	fresh    time.Time                       // last quorum
}

// quorumAlarm is how long a quorum may be missing before the operator hears it.
const quorumAlarm = 30 * time.Second

// asked is what a witness has said since the start.
type asked struct {
	answered bool // which tree it has seen, and that is not above ours
	claims   bool // that it has seen another, without proof
	failing  bool
}

func newPublisher(l *Log, answers chan answer) *publisher {
	return &publisher{l: l, answers: answers, asked: make(map[string]asked)}
}

// run publishes until ctx ends. It returns only errors of the disk and the
// signers. After a refusal it waits for the end.
func (p *publisher) run(ctx context.Context) error {
	err := p.l.ReadOnly()
	// First the high-water mark again: it brings every witness's word on what it
	// has seen, and what we signed and did not get to publish.
	for size := p.l.heads.Last().Size; err == nil; size, err = p.next(ctx) {
		if err = p.publish(ctx, size); err != nil {
			break
		}
	}
	var verdict *refusal
	if errors.As(err, &verdict) {
		if err := p.l.refuseToSign(verdict); err != nil {
			return err
		}
	} else if p.l.ReadOnly() == nil {
		return err
	}
	for { // witnesses may still be answering
		select {
		case <-p.answers:
		case <-ctx.Done():
			return nil
		}
	}
}

// publish brings the tree of a released size before the public. The size is
// above the high-water mark, or equal to it: then nothing new is signed, the
// same text gets new cosignatures. The steps are in this order for the sake of
// a crash between any two.
func (p *publisher) publish(ctx context.Context, size int64) error {
	l := p.l

	// 1. Recompute the tree from disk, in two ways, on top of what was signed.
	// This also is what keeps a size from being signed with two roots.
	added, err := l.guard.extend(ctx, size)
	if err != nil {
		return err
	}
	// If we die here, nothing has happened.

	// 2. Make the head durable before anybody can have a signature over it.
	if size > l.heads.Last().Size {
		c := checkpoint.Checkpoint{Origin: l.cfg.Origin, Size: size, Root: l.guard.root}
		p.signed = time.Now()
		if err := l.heads.AppendHead(c, p.signed); err != nil {
			return err
		}
		l.edge.extend(size, added)
	}
	h := l.heads.Last()
	// If we die here, this head is the high-water mark: the restart signs the
	// same text, and nothing but it or a tree that continues it.

	// 3. Sign with all keys, under the one decision above. A signature that is in
	// the heads file already is used again.
	if len(h.Sigs) != len(l.keys) {
		sigs, err := l.sign(h.Text)
		if err != nil {
			return err
		}
		// If we die here, the signatures are lost and nobody has seen them.

		// 4. Write the signatures down before they leave.
		if err := l.heads.AppendSignatures(sigs); err != nil {
			return err
		}
	}
	// If we die here, or anywhere below, witnesses may have the note: it is the
	// high-water mark's, and the restart begins with asking them to cosign it.

	// 5. Only now the note goes out: collect the quorum, and at the first time
	// the word of the witnesses on what they have seen.
	if err := p.collect(ctx, h); err != nil {
		return err
	}
	if size == 0 {
		return nil // the empty tree was signed to ask the witnesses; it is not published
	}

	// 6. Archive the cosignatures, durably.
	cosigned := p.inOrder()
	if err := l.heads.AppendQuorum(cosigned); err != nil {
		return err
	}
	// If we die here, the restart publishes what is in the archive.

	// 7. Replace what we serve.
	note := h.Note(cosigned...)
	if err := atomicfile.Write(l.publishedFile(), note); err != nil {
		return fmt.Errorf("writing published checkpoint: %w", err)
	}
	// If we die here, the restart serves it: published is published.

	// 8. Wake whoever waits for it.
	p.fresh = time.Now()
	l.publish(Published{Size: h.Size, Root: h.Root, Note: note})
	return nil
}

// sign returns the signatures of all keys over a text, each verified: a signer
// that signs something else is a fault of ours.
func (l *Log) sign(text []byte) ([]checkpoint.Signature, error) {
	var sigs []checkpoint.Signature
	for i, s := range l.cfg.Signers {
		sig, err := s.Sign(text)
		if err != nil {
			return nil, fmt.Errorf("signing with %s: %w", s.Name(), err)
		}
		if !l.keys[i].Verify(text, sig) {
			return nil, fmt.Errorf("signing with %s: the signature does not verify under %s", s.Name(), l.cfg.VKeys[i])
		}
		sigs = append(sigs, checkpoint.Signature{Name: s.Name(), ID: s.KeyHash(), Bytes: sig})
	}
	return sigs, nil
}

func (l *Log) publish(p Published) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published = p
	l.notify()
}

// refuseToSign makes a verdict outlive the process.
func (l *Log) refuseToSign(r *refusal) error {
	readOnly, err := writeRefusal(l.cfg.Heads, r, time.Now())
	l.mu.Lock()
	l.readOnly = readOnly
	l.notify()
	l.mu.Unlock()
	l.cfg.Logger.Error("the log refuses to sign and is read-only", "log", l.cfg.Origin, "reason", readOnly.Reason, "file", readOnly.File)
	return err
}

// next waits until there is something to publish and returns its size: a larger
// released tree, or, when readers want newer cosignatures, the same one.
func (p *publisher) next(ctx context.Context) (int64, error) {
	l := p.l
	for {
		hwm := l.heads.Last().Size
		var timer <-chan time.Time
		if size := l.released.Load(); size > hwm {
			wait := time.Until(p.signed.Add(l.cfg.MinInterval))
			if wait <= 0 {
				return size, nil
			}
			timer = time.After(wait)
		} else if hwm > 0 && l.cfg.Republish > 0 {
			wait := time.Until(p.fresh.Add(l.cfg.Republish))
			if wait <= 0 {
				return hwm, nil
			}
			timer = time.After(wait)
		}
		select {
		case <-l.wake:
		case <-timer:
		case a := <-p.answers:
			if err := p.take(a); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// collect asks every witness to cosign a head and returns when a quorum has,
// and when enough have answered since the start.
func (p *publisher) collect(ctx context.Context, h *heads.Head) error {
	p.round++
	p.cosigned = make(map[string]checkpoint.Signature)
	r := &round{number: p.round, head: h, note: h.Note()}
	for _, w := range p.l.witnesses {
		w.ask(r)
	}
	alarm := time.NewTimer(quorumAlarm)
	defer alarm.Stop()
	for !p.released() || h.Size > 0 && !p.quorum() {
		select {
		case <-alarm.C:
			p.l.cfg.Logger.Error("no quorum: nothing is published until it is back", "log", p.l.cfg.Origin, "size", h.Size, "have", len(p.cosigned), "witnesses_answered_since_start", p.free)
		case a := <-p.answers:
			if err := p.take(a); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take accounts for one answer. A proof that we signed what the heads file does
// not know is a verdict.
func (p *publisher) take(a answer) error {
	l := p.l
	if a.proof != nil {
		if err := p.judge(a); err != nil {
			return err
		}
	}
	state := p.asked[a.from.name]
	logger := l.cfg.Logger.With("log", l.cfg.Origin, "witness", a.from.name)
	// Anybody may bring our newest checkpoint to a witness before we do.
	claims := a.claims && (a.claimed > l.heads.Last().Size || a.claimed == a.size)
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
	p.asked[a.from.name] = state
	switch {
	case a.sigs == nil:
		return nil
	case a.round == p.round:
		if _, again := p.cosigned[a.from.name]; !again && !(p.released() && p.quorum()) {
			p.cosigned[a.from.name] = a.sigs[0]
			return nil
		}
	}
	return l.heads.AppendLate(a.size, a.sigs)
}

// judge decides whether a checkpoint under our key, shown by a witness, is one
// that the heads file authorised.
func (p *publisher) judge(a answer) error {
	l := p.l
	c, err := verifyNote(a.proof, l.cfg.Origin, l.keys, false)
	if err != nil {
		return err
	}
	hwm := l.heads.Last()
	verdict := &refusal{evidence: [][]byte{a.proof, hwm.Note()}}
	if c.Size > hwm.Size {
		verdict.reason = fmt.Sprintf("witness %s has a checkpoint of size %d under our key, above the high-water mark %d: the log and its heads were put back from an old copy, or the key is used elsewhere", a.from.name, c.Size, hwm.Size)
		return verdict
	}
	root, err := l.rootAt(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		verdict.reason = fmt.Sprintf("witness %s has a checkpoint of size %d under our key with another root: the key is used elsewhere", a.from.name, c.Size)
		return verdict
	}
	return nil
}

// rootAt returns the root of an earlier tree.
func (l *Log) rootAt(size int64) (leaf.Hash, error) {
	peaks, err := (&nodes{edge: &l.edge, store: l.store, size: l.heads.Last().Size}).peaks(context.Background(), size)
	if err != nil {
		return leaf.Hash{}, err
	}
	return rootOf(rangeOf(size, peaks)), nil
}

// quorum reports whether the cosignatures of this round suffice.
func (p *publisher) quorum() bool {
	if p.l.cfg.Policy == nil {
		return true
	}
	have := make(map[string]bool, len(p.cosigned))
	for name := range p.cosigned {
		have[name] = true
	}
	return p.l.cfg.Policy.Satisfied(have)
}

// released reports whether a new tree may be signed after this start: those
// witnesses whose word is missing, or who claim what they cannot prove, contain
// no quorum, and the operator has named those who are missing. Without it, a log
// put back from a copy, heads and all, would sign a second history.
func (p *publisher) released() bool {
	if p.free {
		return true
	}
	p.free = true
	policy := p.l.cfg.Policy
	if policy == nil || policy.Satisfied(nil) {
		return true
	}
	silent := make(map[string]bool)
	for _, w := range p.l.witnesses {
		switch state := p.asked[w.name]; {
		case state.claims:
			silent[w.name] = true
		case !state.answered:
			silent[w.name] = true
			p.free = p.free && slices.Contains(p.l.cfg.WithoutWitness, w.name)
		}
	}
	p.free = p.free && !policy.Satisfied(silent)
	if p.free && len(silent) > 0 {
		p.l.cfg.Logger.Warn("signing without the word of every witness on what it has seen", "log", p.l.cfg.Origin, "silent", slices.Sorted(maps.Keys(silent)))
	}
	return p.free
}

// inOrder returns the cosignatures of this round in the order of the policy.
func (p *publisher) inOrder() []checkpoint.Signature {
	var sigs []checkpoint.Signature
	for _, w := range p.l.witnesses {
		if s, ok := p.cosigned[w.name]; ok {
			sigs = append(sigs, s)
		}
	}
	return sigs
}
