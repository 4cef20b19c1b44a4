package witness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
)

// maxEvidence bounds the evidence kept against one log. One piece is enough;
// only the log's key can make them, and it could make them for ever.
const maxEvidence = 16

// keep writes evidence of a fork, SPEC 2.9: the checkpoint we cosigned and the
// one of its size and another root that the log signed too. It returns the
// path, or "" if it is there already or there is enough.
func (s *Store) keep(latest *Latest, c checkpoint.Checkpoint, signed []byte) (string, error) {
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
	prefix := stateName(c.Origin) + "-"
	name := fmt.Sprintf("%s%d-%x.idlog-evidence", prefix, c.Size, c.Root[:8])
	kept := 0
	for _, n := range names {
		if n == name {
			return "", nil
		}
		if strings.HasPrefix(n, prefix) { // temporary files that a crash left count too
			kept++
		}
	}
	if kept >= maxEvidence {
		return "", nil
	}
	e := evidence.Evidence{Claim: evidence.Fork, Parts: []evidence.Part{
		{Type: evidence.Checkpoint, Data: latest.Note},
		{Type: evidence.Checkpoint, Data: signed},
	}}
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
