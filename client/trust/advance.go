package trust

import (
	"context"
	"errors"
	"fmt"

	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// Fork says that the log's key signed two histories. With equal sizes the two
// notes are proof of it for anyone. With other sizes the operator could not
// show that one continues the other, which convinces only who asked.
type Fork struct {
	Origin   string
	Old, New []byte      // notes, both with verified signatures; the smaller tree's first
	Proof    []leaf.Hash // the consistency proof that failed; nil for equal sizes
	File     string      // where the evidence was written, if anywhere
	Err      error       // how the proof failed; nil for equal sizes
}

func (e *Fork) Error() string {
	s := fmt.Sprintf("the log %s has forked: two roots for one size", e.Origin)
	if e.Err != nil {
		s = fmt.Sprintf("the log %s does not continue the history known here: %v", e.Origin, e.Err)
	}
	return s + at(e.File)
}

// Unwrap returns how the consistency proof failed.
func (e *Fork) Unwrap() error { return e.Err }

// Rollback says that a log showed a smaller tree than this reader already
// knew when it asked. Both notes bear verified signatures. It may be a copy
// of the log that lags, so it is no proof of fault by itself.
type Rollback struct {
	Origin               string
	Known, Shown         int64  // sizes
	KnownNote, ShownNote []byte // the notes of these sizes
	File                 string // where the evidence was written, if anywhere
}

func (e *Rollback) Error() string {
	return fmt.Sprintf("the log %s went back from size %d to %d%s", e.Origin, e.Known, e.Shown, at(e.File))
}

func at(file string) string {
	if file == "" {
		return ""
	}
	return " (evidence: " + file + ")"
}

// Prove asks a log for the proof that its tree of the size of to continues that
// of the size of from, which is smaller and not 0. Its error ends what asked.
type Prove func(ctx context.Context, from, to Seen) ([]leaf.Hash, error)

// SeenIn returns a verified checkpoint as a State remembers it.
func SeenIn(v *policy.Verified) Seen {
	return Seen{Size: v.Checkpoint.Size, Root: v.Checkpoint.Root, Note: v.Note}
}

// Advance brings v, which the caller verified, and what is remembered of its
// origin together: both must be of one history, of which the larger one is
// remembered from then on. Of an origin not seen before, v is believed.
//
// The errors are *Fork, those of prove, and those of the directory.
func (s *State) Advance(ctx context.Context, v *policy.Verified, prove Prove) error {
	origin, next := v.Checkpoint.Origin, SeenIn(v)
	for {
		seen, known, err := s.Seen(origin)
		if err != nil {
			return err
		}
		if known {
			if err := s.Connect(ctx, origin, seen, next, prove); err != nil {
				return err
			}
			if next.Size <= seen.Size {
				return nil
			}
		}
		if done, err := s.swap(origin, seen, known, next); done || err != nil {
			return err
		}
		// Another process has moved the state meanwhile.
	}
}

// Connect verifies that of two checkpoints of an origin, in any order, the
// smaller is a prefix of the larger. The errors are *Fork, with the evidence
// written, and those of prove.
func (s *State) Connect(ctx context.Context, origin string, a, b Seen, prove Prove) error {
	if a.Size == b.Size {
		if a.Root != b.Root {
			return s.forked(&Fork{Origin: origin, Old: a.Note, New: b.Note})
		}
		return nil
	}
	if a.Size > b.Size {
		a, b = b, a
	}
	var path []leaf.Hash
	if a.Size > 0 {
		var err error
		if path, err = prove(ctx, a, b); err != nil {
			return err
		}
	}
	if err := proof.Consistency(a.Size, b.Size, a.Root, b.Root, path); err != nil {
		return s.forked(&Fork{Origin: origin, Old: a.Note, New: b.Note, Proof: path, Err: err})
	}
	return nil
}

// forked writes the evidence of two histories.
func (s *State) forked(f *Fork) error {
	// For two sizes the file holds the notes alone: a proof that fails shows
	// nothing to others.
	_, file, err := s.SaveEvidence(evidence.Fork,
		evidence.Part{Type: evidence.Checkpoint, Data: f.Old}, evidence.Part{Type: evidence.Checkpoint, Data: f.New})
	f.File = file
	return errors.Join(f, err)
}

// RolledBack makes the error of a smaller tree than one that is known, by its
// note or, where that is nil, by what the State remembers, and writes its
// evidence.
func (s *State) RolledBack(known Seen, shown *policy.Verified) error {
	r := &Rollback{Origin: shown.Checkpoint.Origin, Known: known.Size, Shown: shown.Checkpoint.Size, KnownNote: known.Note, ShownNote: shown.Note}
	if r.KnownNote == nil {
		seen, ok, err := s.Seen(r.Origin)
		if err != nil || !ok {
			return errors.Join(r, err)
		}
		r.KnownNote = seen.Note
	}
	var err error
	if _, r.File, err = s.SaveEvidence(evidence.Rollback,
		evidence.Part{Type: evidence.Checkpoint, Data: r.KnownNote}, evidence.Part{Type: evidence.Checkpoint, Data: r.ShownNote}); err != nil {
		return errors.Join(r, err)
	}
	return r
}
