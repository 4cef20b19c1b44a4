package audit

import (
	"context"
	"errors"
	"fmt"

	"idlog/client/rules"
	"idlog/client/trust"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// maxEvidence is how many files one audit writes: more of a kind convince nobody further.
const maxEvidence = 16

// finish compares the edge of the tree, its root, and so the heads that did not
// agree. It reports whether the entries are those of the newest checkpoint.
func (a *auditor) finish(ctx context.Context) (whole bool, err error) {
	if a.broken {
		a.findings.note("roots that were not computed, because hashes are missing", fmt.Sprintf("all above %d", a.good))
		return false, nil
	}
	for _, f := range a.tree.edge() {
		if err := a.compare(ctx, f.Coord, f.hashes); err != nil {
			return false, err
		}
	}
	if a.tree.root(a.rest) == a.newest.Checkpoint.Root {
		return true, a.forks(ctx)
	}
	problem := fmt.Sprintf("the entries do not give its root; they give that of every tree head up to size %d", a.good)
	if len(a.mistaken) > 0 {
		problem += fmt.Sprintf(", and not that of size %d", a.mistaken[0].size)
	}
	a.findings.add(Root, fmt.Sprintf("checkpoint %d", a.size()), "%s", problem)
	return false, nil
}

// forks accuses the log of every head that the newest checkpoint does not
// continue: the entries are those of the newest one.
func (a *auditor) forks(ctx context.Context) error {
	for _, h := range a.mistaken {
		where := fmt.Sprintf("checkpoint %d", h.size)
		old := evidence.Part{Type: evidence.Checkpoint, Data: h.note}
		parts := []evidence.Part{old, {Type: evidence.Checkpoint, Data: a.newest.Note}}
		of := "is signed"
		if h.known {
			of = "was known here"
		}
		if h.size == a.size() {
			a.findings.add(Fork, where, "%s with another root than the newest checkpoint, which has the same size", of)
			if err := a.accuse(evidence.WitnessFork, parts...); err != nil {
				return err
			}
		} else {
			a.findings.add(Fork, where, "%s, and the newest checkpoint, %d, does not continue it", of, a.size())
			hashes, err := a.reader().Ranges(ctx, h.size)
			if err != nil {
				return err
			}
			parts = append(parts, evidence.Hashes(hashes...))
		}
		if err := a.accuse(evidence.Fork, parts...); err != nil {
			return err
		}
	}
	if rest := a.mistakes - int64(len(a.mistaken)); rest > 0 {
		a.findings.note("tree heads that fork as well", fmt.Sprint(rest))
	}
	return nil
}

// rolledBack reports that the reader has seen more of the log than there is.
func (a *auditor) rolledBack(h *head) error {
	a.findings.add(Rollback, fmt.Sprintf("checkpoint %d", h.size), "was known here, and the newest one has size %d", a.size())
	return a.accuse(evidence.Rollback, evidence.Part{Type: evidence.Checkpoint, Data: h.note}, evidence.Part{Type: evidence.Checkpoint, Data: a.newest.Note})
}

// accuse saves evidence, if its parts show what they are to show.
func (a *auditor) accuse(claim evidence.Claim, parts ...evidence.Part) error {
	if len(a.report.Evidence) == maxEvidence {
		return nil
	}
	var v evidence.Verdict
	err := errors.New("no policy")
	for _, p := range append([]*policy.Policy{a.cfg.Policy}, a.cfg.Older...) {
		if v, err = evidence.Judge(&evidence.Evidence{Claim: claim, Parts: parts}, p); err == nil {
			break
		}
	}
	if err != nil {
		return nil // as of two trees that no witness cosigned both
	}
	data, file, err := a.cfg.State.SaveEvidence(claim, parts...)
	if err != nil {
		return err
	}
	a.report.Evidence = append(a.report.Evidence, Evidence{File: file, Data: data, Verdict: v})
	return nil
}

// reader reads what the newest checkpoint commits to.
func (a *auditor) reader() *tile.Reader { return tile.NewReader(a.newest.Checkpoint, a.resource) }

// duplicates finds events that are in the log as two leaves. Whole says that
// the entries are those of the newest checkpoint, so that it can be proven.
func (a *auditor) duplicates(ctx context.Context, whole bool) error {
	pairs, err := a.ids.Pairs(ctx)
	if err != nil {
		return err
	}
	entries := entryReader{a: a, index: -1}
	for _, p := range pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, err := entries.at(ctx, p.First)
		if err != nil {
			return err
		}
		second, err := entries.at(ctx, p.Second)
		if err != nil {
			return err
		}
		if leaf.HashOf(first) == leaf.HashOf(second) {
			a.report.Repeats++
			continue
		}
		why := sameEvent(first, second)
		if why == "" {
			continue
		}
		a.findings.entry([]rules.Finding{{Index: p.Second, Rule: rules.Duplicate,
			Problem: fmt.Sprintf("is the event of entry %d in another leaf: %s", p.First, why)}})
		if !whole || len(a.report.Evidence) == maxEvidence {
			continue
		}
		x, err := a.prove(ctx, p.First, first)
		if err != nil {
			return err
		}
		y, err := a.prove(ctx, p.Second, second)
		if err != nil {
			return err
		}
		if err := a.accuse(evidence.Duplicate, x, y); err != nil {
			return err
		}
	}
	return nil
}

func sameEvent(first, second []byte) string {
	x, err := leaf.Parse(first)
	y, err2 := leaf.Parse(second)
	if err != nil || err2 != nil {
		return ""
	}
	a, ok := x.(*leaf.Event)
	b, ok2 := y.(*leaf.Event)
	if !ok || !ok2 {
		return ""
	}
	return rules.SameEvent(a, b)
}

// prove makes the proof that an entry is in the newest tree.
func (a *auditor) prove(ctx context.Context, index int64, entry []byte) (evidence.Part, error) {
	hashes, err := a.reader().Inclusion(ctx, index)
	if err != nil {
		return evidence.Part{}, err
	}
	b, err := proof.Proof{Extra: entry, Index: index, Hashes: hashes, Checkpoint: a.newest.Note}.Format()
	return evidence.Part{Type: evidence.Proof, Data: b}, err
}

// entryReader reads entries that were judged before, and remembers one bundle.
type entryReader struct {
	a       *auditor
	index   int64
	entries [][]byte
}

func (r *entryReader) at(ctx context.Context, index int64) ([]byte, error) {
	if n := index / tile.Width; n != r.index {
		c, _ := tile.At(tile.Entries, n, r.a.size())
		b, err := r.a.resource(ctx, c.Path())
		if err != nil {
			return nil, err
		}
		if r.entries, err = tile.Bundle(b, c.Width); err != nil {
			return nil, err
		}
		r.index = n
	}
	return r.entries[index%tile.Width], nil
}

// advance remembers the newest checkpoint, which continues what was known.
func (a *auditor) advance(ctx context.Context) error {
	return a.cfg.State.Advance(ctx, a.newest, func(ctx context.Context, from, to trust.Seen) ([]leaf.Hash, error) {
		if to.Size != a.size() {
			return nil, fmt.Errorf("another process has seen size %d of this log meanwhile: try again", to.Size)
		}
		return a.reader().Consistency(ctx, from.Size)
	})
}
