package witness

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"idlog/proto/evidence"
)

// What is kept against one log is bounded, at most about 130 KiB a piece: one
// is enough, and who has the log's key could make them for ever. What anyone can
// make has a bound of its own, so that it takes no room from a proof.
const (
	maxProven   = 16
	maxUnproven = 4
)

const (
	provenMark   = ".idlog-evidence" // Decision.Fork: idlog verify judges it
	unprovenMark = ".idlog-suspect"  // Decision.Unproven, in the same format
	// announcedMark, after the name of a kept file, is an empty file: whoever is to
	// know of the other one does.
	announcedMark = ".announced"
)

// A Contradiction is a file of what one log has signed and what cannot be true, or
// seems so: two checkpoints, or a leaf of its log that is false.
type Contradiction struct {
	Name string // of the file
	// Proven says that the file convinces whoever knows the log's key. If it is
	// false, the log has to say whether the second checkpoint continues the first,
	// or whoever doubts has to replay it.
	Proven bool
	Time   time.Time // when it was kept
	Bytes  int64
	// Announced says that SetAnnounced was called for it.
	Announced bool
}

// keep writes the checkpoint we cosigned and the one that the log signed too,
// with the proof that came with it, as evidence of a fork, SPEC 2.9. It returns
// the path, or "" if it is there already or there is enough.
func (s *Store) keep(latest *Latest, r *Request, d Decision) (string, error) {
	c := r.Checkpoint
	name := fmt.Sprintf("%d-%d-%x", latest.Size, c.Size, c.Root[:8])
	return s.Keep(c.Origin, name, d.Fork, evidenceOf(latest, r, d.Signed))
}

// Keep writes evidence against a log, under a name that is its own among what is
// kept against this one: SPEC 2.9. Proven says that the file convinces whoever
// knows the log's key. It returns the path, or "" if the name is there already
// or there is enough. If we die before it returns, the evidence may be missing.
func (s *Store) Keep(origin, what string, proven bool, e *evidence.Evidence) (string, error) {
	s.evidence.Lock()
	defer s.evidence.Unlock()
	dir, err := os.Open(s.path(evidenceName))
	if err != nil {
		return "", fmt.Errorf("keeping evidence: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return "", fmt.Errorf("keeping evidence: %w", err)
	}
	mark, most := provenMark, maxProven
	if !proven {
		mark, most = unprovenMark, maxUnproven
	}
	prefix := stateName(origin) + "-"
	name := prefix + what + mark
	kept := 0
	for _, n := range names {
		if n == name {
			return "", nil
		}
		// Temporary files that a crash left count too.
		if strings.HasPrefix(n, prefix) && strings.Contains(n, mark) && !strings.HasSuffix(n, announcedMark) {
			kept++
		}
	}
	if kept >= most {
		return "", nil
	}
	b, err := e.Format()
	if err != nil {
		return "", fmt.Errorf("keeping evidence: %w", err)
	}
	// If we die before this returns, the log's next attempt brings it again, or
	// not: evidence is a service, and no promise rests on it.
	if err := replace(dir, name, b, s.fault); err != nil {
		return "", fmt.Errorf("keeping evidence: %w", err)
	}
	return filepath.Join(dir.Name(), name), nil
}

func evidenceOf(latest *Latest, r *Request, signed []byte) *evidence.Evidence {
	e := &evidence.Evidence{Claim: evidence.Fork, Parts: []evidence.Part{
		{Type: evidence.Checkpoint, Data: latest.Note},
		{Type: evidence.Checkpoint, Data: signed},
	}}
	if latest.Size == r.Checkpoint.Size {
		return e // nothing else is needed, whatever the request said
	}
	if len(r.Proof) > 0 {
		e.Parts = append(e.Parts, evidence.Hashes(r.Proof...))
	}
	return e
}

// Contradictions returns what is kept, oldest first. Files that the operator has
// taken out are gone from it, and make room.
func (s *Store) Contradictions() ([]Contradiction, error) {
	entries, err := os.ReadDir(s.path(evidenceName))
	if err != nil {
		return nil, fmt.Errorf("listing evidence: %w", err)
	}
	announced := make(map[string]bool)
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), announcedMark); ok {
			announced[name] = true
		}
	}
	var out []Contradiction
	for _, e := range entries {
		proven := strings.HasSuffix(e.Name(), provenMark)
		if !proven && !strings.HasSuffix(e.Name(), unprovenMark) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was taken out just now
		}
		if err != nil {
			return nil, fmt.Errorf("listing evidence: %w", err)
		}
		out = append(out, Contradiction{Name: e.Name(), Proven: proven, Time: info.ModTime(), Bytes: info.Size(), Announced: announced[e.Name()]})
	}
	slices.SortFunc(out, func(a, b Contradiction) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// Against reports whether the file was kept against an origin.
func (c Contradiction) Against(origin string) bool {
	return strings.HasPrefix(c.Name, stateName(origin)+"-")
}

// SetAnnounced remembers that the file of this name was handed to whoever is to
// know of it. When it returns nil that survives a loss of power; before, a
// restart finds it unannounced and it is handed over once more.
func (s *Store) SetAnnounced(name string) error {
	s.evidence.Lock()
	defer s.evidence.Unlock()
	dir, err := os.Open(s.path(evidenceName))
	if err != nil {
		return fmt.Errorf("noting an announcement: %w", err)
	}
	defer dir.Close()
	if err := replace(dir, name+announcedMark, nil, s.fault); err != nil {
		return fmt.Errorf("noting an announcement: %w", err)
	}
	return nil
}

// Evidence returns the bytes of a contradiction by its name, or an error that is
// fs.ErrNotExist. Any other name is that too, whatever lies there.
func (s *Store) Evidence(name string) ([]byte, error) {
	if filepath.Base(name) != name || !strings.HasSuffix(name, provenMark) && !strings.HasSuffix(name, unprovenMark) {
		return nil, fmt.Errorf("reading evidence: %w", fs.ErrNotExist)
	}
	b, err := os.ReadFile(filepath.Join(s.path(evidenceName), name))
	if err != nil {
		return nil, fmt.Errorf("reading evidence: %w", err)
	}
	return b, nil
}

// accuse keeps the proof that a log has forked, or may have. It does not stop
// the refusal.
func (w *Witness) accuse(latest *Latest, r *Request, d Decision) {
	path, err := w.store.keep(latest, r, d)
	logger := w.logger.With("log", r.Checkpoint.Origin, "cosigned", latest.Size, "size", r.Checkpoint.Size)
	switch {
	case err != nil:
		logger.Error("a log contradicts itself, and the evidence is lost", "proven", d.Fork, "err", err)
	case path == "": // said before
	case d.Fork:
		logger.Error("a log has forked", "evidence", path)
	default:
		logger.Warn("a log's checkpoint came without proof that it continues the last", "evidence", path)
	}
	if path != "" && w.found != nil {
		w.found()
	}
}
