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
// show that one continues the other, which convinces others only if it showed
// its own history in the attempt.
type Fork struct {
	Origin   string
	Old, New []byte      // notes, both with verified signatures; the smaller tree's first
	Proof    []leaf.Hash // the consistency proof that failed; nil for equal sizes
	Proven   bool        // the evidence convinces anyone who has the log's key
	File     string      // where the evidence was written, if anywhere
	Err      error       // how the proof failed; nil for equal sizes
}

func (e *Fork) Error() string {
	s := fmt.Sprintf("the log %s has forked: two roots for one size", e.Origin)
	if e.Err != nil {
		s = fmt.Sprintf("the log %s does not continue the history known here: %v", e.Origin, e.Err)
	}
	if !e.Proven {
		s += "; what joins the two trees it did not show, so that only who asked is convinced"
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
// of the size of from, which is smaller and not 0; of from only the size need be
// known. Its error ends what asked.
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
			return s.forked(&Fork{Origin: origin, Old: a.Note, New: b.Note, Proven: true}, nil)
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
		shown := contradiction(ctx, a, b, path, prove)
		return s.forked(&Fork{Origin: origin, Old: a.Note, New: b.Note, Proof: path, Proven: shown != nil, Err: err}, shown)
	}
	return nil
}

// contradiction returns the hashes by which two trees of different sizes are two histories for anyone (SPEC 2.9), or nil
// if the log does not show them: its own proof, if that leads from another root to b. From a power of two that root is
// not in the proof; it is in the one from the next size.
func contradiction(ctx context.Context, a, b Seen, path []leaf.Hash, prove Prove) []leaf.Hash {
	if proof.Contradicts(a.Size, b.Size, a.Root, b.Root, path) {
		return path
	}
	if a.Size < 1 || a.Size&(a.Size-1) != 0 || a.Size+1 >= b.Size {
		return nil
	}
	next, err := prove(ctx, Seen{Size: a.Size + 1}, b)
	if err != nil {
		return nil // the fork is one without it
	}
	for _, root := range next {
		if root != a.Root && proof.Consistency(a.Size, b.Size, root, b.Root, path) == nil {
			return append([]leaf.Hash{root}, path...)
		}
	}
	return nil
}

// forked writes the evidence of two histories: the notes, and the hashes that join two sizes, where there are any.
func (s *State) forked(f *Fork, joined []leaf.Hash) error {
	_, file, err := s.SaveEvidence(evidence.Fork, evidence.Part{Type: evidence.Checkpoint, Data: f.Old},
		evidence.Part{Type: evidence.Checkpoint, Data: f.New}, evidence.Hashes(joined...))
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
