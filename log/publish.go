package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/log/quorum"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

// A publisher makes checkpoints of released trees, one at a time. It belongs to
// one goroutine, which alone writes the heads file and asks the signers.
type publisher struct {
	l      *Log
	signed time.Time // last signature over a new tree
	fresh  time.Time // last quorum
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
		case <-p.l.witnesses.Answers():
		case <-p.l.verifiers.Answers():
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
	l, m, began := p.l, p.l.cfg.Metrics, time.Now()

	// 1. Recompute the tree from disk, in two ways, on top of what was signed.
	// This also is what keeps a size from being signed with two roots.
	added, err := l.guard.extend(ctx, size)
	if err != nil {
		return err
	}
	m.recompute.Since(began)
	// If we die here, nothing has happened.

	// 2. Make the head durable before anybody can have a signature over it.
	if size > l.heads.Last().Size {
		c := checkpoint.Checkpoint{Origin: l.cfg.Origin, Size: size, Root: l.guard.root}
		p.signed = time.Now()
		if err := l.heads.AppendHead(c, p.signed); err != nil {
			return err
		}
		m.head.Since(p.signed)
		l.edge.extend(size, added)
	}
	h := l.heads.Last()
	// If we die here, this head is the high-water mark: the restart signs the
	// same text, and nothing but it or a tree that continues it.

	// 3. Sign with all keys, under the one decision above. What is in the heads
	// file already is used again, unless the keys have changed since.
	if !l.signedBy(h) {
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
	cosigned, err := l.witnesses.Collect(ctx, h, p.take)
	if err != nil {
		return err
	}
	if size == 0 {
		return nil // the empty tree was signed to ask the witnesses; it is not published
	}

	// 6. Archive the cosignatures, durably. Meanwhile what we are about to serve
	// is written beside what we serve.
	note, archiving := h.Note(cosigned...), time.Now()
	prepared := make(chan error, 1)
	go func() { prepared <- atomicfile.Prepare(l.publishedFile(), note) }()
	err = l.heads.AppendQuorum(cosigned)
	if preparing := <-prepared; preparing != nil {
		err = errors.Join(err, fmt.Errorf("writing published checkpoint: %w", preparing))
	}
	if err != nil {
		return err
	}
	m.archive.Since(archiving)
	// If we die here, or a crash undoes the next step, the restart publishes what
	// is in the archive.

	// 7. Replace what we serve.
	replacing := time.Now()
	if err := atomicfile.Replace(l.publishedFile()); err != nil {
		return fmt.Errorf("writing published checkpoint: %w", err)
	}
	m.replace.Since(replacing)
	// If we die here, the restart serves it: published is published.

	// 8. Wake whoever waits for it.
	p.fresh = time.Now()
	l.publish(Published{Size: h.Size, Root: h.Root, Note: note, At: p.fresh})
	m.published.Observe(p.fresh.Sub(began).Seconds())

	// 9. Ask those who verify the index. Nobody waits for them, and their answers are
	// taken between two publications.
	l.verifiers.Offer(h, cosigned)
	return nil
}

// signedBy reports whether a head bears the lines of our keys, and no others.
func (l *Log) signedBy(h *heads.Head) bool {
	return slices.EqualFunc(h.Sigs, l.keys, func(s checkpoint.Signature, k note.Verifier) bool {
		return s.Name == k.Name() && s.ID == k.KeyHash()
	})
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
	if l.verifiers.Needed() {
		l.verified.grew(p)
	}
	l.notify()
}

// refuseToSign makes a verdict outlive the process.
func (l *Log) refuseToSign(r *refusal) error {
	l.cfg.Metrics.selfCheckFailed.Inc()
	readOnly, err := writeRefusal(l.cfg.Heads, r, time.Now())
	l.mu.Lock()
	l.readOnly = readOnly
	l.notify()
	l.mu.Unlock()
	l.cfg.Logger.Error("the log refuses to sign and is read-only", "origin", l.cfg.Origin, "reason", readOnly.Reason, "file", readOnly.File)
	return err
}

// next waits until there is something to publish and returns its size: a larger
// released tree, or, when readers want newer cosignatures, the same one.
func (p *publisher) next(ctx context.Context) (int64, error) {
	l := p.l
	for {
		// Those who verify the index are heard, however much there is to publish.
		for heard := true; heard; {
			select {
			case a := <-l.verifiers.Answers():
				if err := p.takeVerified(a); err != nil {
					return 0, err
				}
			default:
				heard = false
			}
		}
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
		case a := <-l.witnesses.Answers():
			if err := p.take(a); err != nil {
				return 0, err
			}
		case a := <-l.verifiers.Answers():
			if err := p.takeVerified(a); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// take accounts for one answer of a witness. A proof that we signed what the
// heads file does not know is a verdict; a cosignature that nobody waits for is
// archived.
func (p *publisher) take(a quorum.Answer) error {
	if a.Proof != nil {
		if err := p.judge(a); err != nil {
			return err
		}
	}
	if late := p.l.witnesses.Take(a); late != nil {
		return p.l.heads.AppendLate(a.Size, late)
	}
	return nil
}

// judge decides whether a checkpoint under our key, shown by a witness, is one
// that the heads file authorised.
func (p *publisher) judge(a quorum.Answer) error {
	hwm := p.l.heads.Last()
	verdict := &refusal{evidence: [][]byte{a.Proof, hwm.Note()}}
	if a.Shown.Size > hwm.Size {
		verdict.reason = fmt.Sprintf("witness %s has a checkpoint of size %d under our key, above the high-water mark %d: the log and its heads were put back from an old copy, or the key is used elsewhere", a.Witness, a.Shown.Size, hwm.Size)
		return verdict
	}
	root, err := p.l.rootAt(a.Shown.Size)
	if err != nil {
		return err
	}
	if root != a.Shown.Root {
		verdict.reason = fmt.Sprintf("witness %s has a checkpoint of size %d under our key with another root: the key is used elsewhere", a.Witness, a.Shown.Size)
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
