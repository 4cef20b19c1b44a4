package client

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/ticket"
)

// Receipt is an event in the log: every step of SPEC 3.1 held, from the bytes
// that were sent. Only this package makes one; its slices are read only.
type Receipt struct {
	Index      int64
	Event      *leaf.Event // the parsed leaf
	Leaf       []byte
	Checkpoint *Checkpoint
	// NativeID is the source's id under which the event stands: the one sent,
	// or ID!xxxxxxxx where another event has that (SPEC 2.10, Ids).
	NativeID string
	// Received is when the operator says that it took the event.
	Received time.Time
	// Repeat says that the event was in the log before this client sent it:
	// its index is below a checkpoint that was verified before. Its time is
	// then not bounded by the time of sending.
	Repeat bool

	inclusion []leaf.Hash
	lines     []seal.Line
}

// Disclosure returns a disclosure of the event (SPEC 2.7), which anyone with
// the policy verifies offline. Every field is shown but those withheld: a path,
// or a path that ends with a dot for all fields below it.
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

// Ticket is the operator's signed promise to log an event before a deadline.
// It is no receipt, and so it is an error: submit the event again later, or
// keep Note as the start of evidence that the promise was broken (SPEC 2.10).
//
// Verified are the signature, the leaf's header, and its tags that name no
// person; fields and persons are verified when the receipt comes.
type Ticket struct {
	Event    *leaf.Event
	Leaf     []byte
	Note     []byte
	Deadline time.Time
}

func (t *Ticket) Error() string {
	return "the log promised the event until " + t.Deadline.UTC().Format(time.RFC3339) + ", but no witness quorum vouches for it yet"
}

// promised returns the deadline of a ticket, if it promises this leaf.
func (c *Client) promised(src *source, b []byte, leafHash leaf.Hash, received int64) (time.Time, error) {
	t, err := ticket.Open(b, src.ticket)
	if err != nil {
		return time.Time{}, err
	}
	if want := (ticket.Ticket{Log: c.log, Leaf: leafHash, Received: received, Deadline: t.Deadline}); *t != want {
		return time.Time{}, errors.New("it promises something else")
	}
	return time.Unix(t.Deadline, 0).UTC(), nil
}

// withField returns the fields with one more at its place, unless its path is taken.
func withField(fields []seal.Field, f seal.Field) []seal.Field {
	i, found := slices.BinarySearchFunc(fields, f.Path, func(g seal.Field, path string) int { return strings.Compare(g.Path, path) })
	if found {
		return fields
	}
	return slices.Insert(fields, i, f)
}

// seedOf returns the seed of a set of owners, or nil.
func seedOf(seeds []seed, owners []uint8) *seed {
	for i := range seeds {
		if bytes.Equal(seeds[i].owners, owners) {
			return &seeds[i]
		}
	}
	return nil
}

type seed struct {
	owners []uint8
	seed   leaf.Hash
	used   bool
}
