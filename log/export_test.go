package log

import (
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

// Heads is the heads file, which has no life of its own outside of a Log but is
// a format.
type Heads struct{ *heads }

var CreateHeads = createHeads

func OpenHeads(dir, origin string) (*Heads, error) {
	h, err := openHeads(dir, origin)
	return &Heads{h}, err
}

func (h *Heads) Start(now time.Time) error                          { return h.start(now) }
func (h *Heads) Close() error                                       { return h.close() }
func (h *Heads) LastNote() []byte                                   { return h.last.note() }
func (h *Heads) Archived(size int64) ([]byte, error)                { return h.archived(size) }
func (h *Heads) AppendLate(n int64, s []checkpoint.Signature) error { return h.appendLate(n, s) }
func (h *Heads) AppendQuorum(s []checkpoint.Signature) error        { return h.appendQuorum(s) }
func (h *Heads) AppendSignatures(s []checkpoint.Signature) error {
	return h.appendSignatures(s)
}
func (h *Heads) AppendHead(c checkpoint.Checkpoint, now time.Time) error {
	return h.appendHead(c, now)
}

// SegmentSize makes the next head begin a segment if the present one is larger
// than n.
func (h *Heads) SegmentSize(n int64) { h.rollAt = n }

func EmptyRoot() leaf.Hash { return rootOf(ranges.NewEmptyRange(0)) }
