// Package policy reads trust policies, c2sp.org/tlog-policy, and judges
// checkpoints by them: whose log keys, whose witnesses, and which of these must
// have signed before a checkpoint is believed.
//
// It trusts the policy file, which the user chose, and nothing else. It keeps
// no state; a Policy is not changed after Parse and may be used concurrently.
//
// A policy is a sequence of lines; fields are separated by spaces and tabs, and
// empty lines and lines that begin with # are ignored.
//
//	log <vkey> [<url>]
//	witness <name> <vkey> [<url>]
//	group <name> all|any|<k> <name>...
//	quorum <name>|none
//
// Invariants, beyond the specification's own rules (SPEC F39):
//   - A log key has type 1 (Ed25519) or 6 (ML-DSA-44), a witness key type 4
//     (Ed25519 cosignature) or 6. A witness key is never the key of a log, not
//     under another name or type either, and bears no log's name.
//   - Witness keys of equal name are one operator. They sit together in one
//     group of threshold one, so that the operator counts once.
//   - No two keys share both name and key ID, and no public key appears twice.
package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
)

// ErrNotSigned says that a checkpoint bears no signature of a log of the
// policy: its origin is unknown, or the lines of that log's keys are missing.
var ErrNotSigned = errors.New("not signed by a log of the policy")

// A Policy is a parsed policy. It is made by Parse and must not be changed.
type Policy struct {
	Logs      []LogKey
	Witnesses []Witness
	Groups    []Group
	Quorum    string // name of a witness or group, or "none"

	text     string // what was parsed, which a trust file repeats
	keys     map[keyID]*key
	groups   map[string]Group
	operator map[string]string // policy name of a witness -> its key name
}

// A LogKey is one log line. Several lines may have one origin; each of their
// keys then suffices alone.
type LogKey struct {
	VKey   string
	Origin string // the key's name
	URL    string // as written, not interpreted; empty if there is none
}

// A Witness is one witness line.
type Witness struct {
	Name string // the name in the policy, which groups use
	VKey string
	URL  string // as written, not interpreted; empty if there is none
}

// A Group is one group line: satisfied when Threshold members are.
type Group struct {
	Name      string
	Threshold int
	Members   []string
}

type keyID struct {
	name string
	id   uint32
}

// key is a key of the policy: of a log, or of the named witness.
type key struct {
	vkey     string
	witness  string // empty for a log
	verifier note.Verifier
}

// A Cosignature is a verified cosignature by a witness of the policy.
type Cosignature struct {
	Witness  string    // name in the policy
	Operator string    // name of the key
	Time     time.Time // when the witness says that it signed, in UTC
}

// Verified is a checkpoint that a policy accepted.
type Verified struct {
	Checkpoint checkpoint.Checkpoint
	Note       []byte // the note that was verified, the caller's memory
	// Cosignatures holds one per witness key, in the order of the policy. Time
	// is that of the key's first line.
	Cosignatures []Cosignature
	// LogKeys holds the vkeys of the origin that have signed, in the order of
	// the policy. There is at least one; whoever requires several looks here.
	LogKeys []string

	oldest time.Time
}

// Oldest returns the time from which on a quorum vouches for the checkpoint:
// the oldest cosignature among the newest that satisfy the policy. It is zero
// if the policy asks for no witness. No witness outside of that quorum, lying
// or late, moves it.
func (v *Verified) Oldest() time.Time { return v.oldest }

// A QuorumError says that a checkpoint is signed by its log and lacks
// cosignatures. The caller may come back with a note that has more.
type QuorumError struct {
	Origin string
	Size   int64
	Have   []string // the policy's names of the witnesses that cosigned
	Want   string   // the policy's name of the quorum
}

func (e *QuorumError) Error() string {
	have := "nobody"
	if len(e.Have) > 0 {
		have = strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("checkpoint %s %d lacks quorum %s: it is cosigned by %s", e.Origin, e.Size, e.Want, have)
}

// Verify judges a note: it must be a checkpoint, signed by a log key of the
// policy whose name is the checkpoint's origin, and cosigned by the quorum.
//
// Lines of keys that are not in the policy are ignored, as are those of other
// logs' keys. Every line of the origin's keys and of the witnesses must verify
// under the whole key, or the note is refused; several lines of one key count
// once. A cosignature without a time is ignored: it does not say that this was
// the largest tree its witness had seen.
//
// The errors are [ErrNotSigned], [*QuorumError] and errors for bytes that are
// no checkpoint or bear a false signature.
func (p *Policy) Verify(note []byte) (*Verified, error) {
	text, sigs, err := checkpoint.Split(note)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		return nil, err
	}
	signed := make(map[string]bool)
	cosigned := make(map[string]Cosignature)
	for _, s := range sigs {
		k := p.keys[keyID{s.Name, s.ID}]
		if k == nil || k.witness == "" && s.Name != c.Origin {
			continue
		}
		if !k.verifier.Verify(text, s.Bytes) {
			return nil, fmt.Errorf("verifying checkpoint %s %d: false signature by %s", c.Origin, c.Size, s.Name)
		}
		if k.witness == "" {
			signed[k.vkey] = true
			continue
		}
		t, ok := s.Time()
		if _, again := cosigned[k.witness]; ok && !again {
			cosigned[k.witness] = Cosignature{Witness: k.witness, Operator: s.Name, Time: t}
		}
	}
	v := &Verified{Checkpoint: c, Note: note}
	for _, l := range p.Logs {
		if signed[l.VKey] {
			v.LogKeys = append(v.LogKeys, l.VKey)
		}
	}
	if len(v.LogKeys) == 0 {
		return nil, fmt.Errorf("verifying checkpoint %s %d: %w", c.Origin, c.Size, ErrNotSigned)
	}
	for _, w := range p.Witnesses {
		if cs, ok := cosigned[w.Name]; ok {
			v.Cosignatures = append(v.Cosignatures, cs)
		}
	}
	if err := p.quorum(v); err != nil {
		return nil, err
	}
	return v, nil
}

// quorum adds cosignatures, the newest first, until the policy is satisfied.
func (p *Policy) quorum(v *Verified) error {
	newest := slices.SortedStableFunc(slices.Values(v.Cosignatures), func(a, b Cosignature) int {
		return cmp.Compare(b.Time.Unix(), a.Time.Unix())
	})
	have := make(map[string]bool)
	if p.Satisfied(have) {
		return nil
	}
	for _, cs := range newest {
		have[cs.Witness] = true
		if p.Satisfied(have) {
			v.oldest = cs.Time
			return nil
		}
	}
	return &QuorumError{Origin: v.Checkpoint.Origin, Size: v.Checkpoint.Size,
		Have: slices.Sorted(maps.Keys(have)), Want: p.Quorum}
}

// Satisfied reports whether these witnesses, by their names in the policy, are
// a quorum. It says nothing about signatures. Names that are not in the policy
// count for nothing.
func (p *Policy) Satisfied(witnesses map[string]bool) bool {
	return p.Quorum == "none" || p.satisfied(p.Quorum, witnesses)
}

// satisfied ends because a group's members were all defined before it.
func (p *Policy) satisfied(name string, witnesses map[string]bool) bool {
	g, ok := p.groups[name]
	if !ok {
		return witnesses[name] && p.operator[name] != ""
	}
	n := 0
	for _, m := range g.Members {
		if p.satisfied(m, witnesses) {
			n++
		}
	}
	return n >= g.Threshold
}
