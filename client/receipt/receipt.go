package receipt

import (
	"slices"
	"strings"
	"time"

	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

// Receipt is an event in the log: every step of SPEC 3.1 held, from the bytes that were sent. Only this package makes
// one; its slices are read only.
type Receipt struct {
	Index      int64
	Event      *leaf.Event // the parsed leaf
	Leaf       []byte
	Checkpoint *policy.Verified
	// NativeID is the source's id under which the event stands: the one sent, or ID!xxxxxxxx where another event has
	// that (SPEC 2.10, Ids).
	NativeID string
	// Received is when the operator says that it took the event.
	Received time.Time
	// Repeat says that the event was in the log before this client sent it: its index is below a checkpoint that was
	// verified before. Its time is then not bounded by the time of sending.
	Repeat bool
	// Sent is the event that was sent, to which all of it was held.
	Sent *Submission

	inclusion []leaf.Hash
	lines     []seal.Line
}

// Disclosure returns a disclosure of the event (SPEC 2.7), which anyone with the policy verifies offline. Every field
// is shown but those withheld: a path, or a path that ends with a dot for all fields below it.
func (r *Receipt) Disclosure(withhold ...string) *seal.Disclosure {
	lines := slices.Clone(r.lines)
	for i := range lines {
		l := &lines[i]
		if slices.ContainsFunc(withhold, func(w string) bool {
			return w == l.Path || strings.HasSuffix(w, ".") && strings.HasPrefix(l.Path, w)
		}) {
			l.State, l.Salt, l.Value = seal.Withheld, leaf.Hash{}, nil
		}
	}
	return &seal.Disclosure{Lines: lines, Proof: r.Proof()}
}

// Proof returns the inclusion part alone, a tlog-proof whose extra is the leaf.
func (r *Receipt) Proof() proof.Proof {
	return proof.Proof{Extra: r.Leaf, Index: r.Index, Hashes: r.inclusion, Checkpoint: r.Checkpoint.Note}
}
