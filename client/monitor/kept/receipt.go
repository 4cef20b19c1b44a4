package kept

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/proto/checkpoint"
	"idlog/proto/event"
	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
)

// Receipt is a receipt as its submitter keeps it: a disclosure, verified by the
// policy, and what was sent for it.
type Receipt struct {
	Index      int64
	Checkpoint checkpoint.Checkpoint // that it was verified under
	Note       []byte                // the same, signed
	Leaf       leaf.Hash
	// Differs says in what the entry is not of what was sent; empty if it is, or if
	// nobody kept what was sent.
	Differs string

	parts []evidence.Part
}

// Parts are those of the evidence of a receipt that Differs (SPEC 2.9). They convince
// nobody who does not believe the submitter.
func (r *Receipt) Parts() []evidence.Part { return r.parts }

// parseReceipt returns nil for a receipt of another log. sent may be nil.
func parseReceipt(b, sent []byte, p *policy.Policy, origin string) (*Receipt, error) {
	d, err := seal.Parse(b)
	if err != nil {
		return nil, err
	}
	text, _, err := checkpoint.Split(d.Proof.Checkpoint)
	if err != nil {
		return nil, err
	}
	head, err := checkpoint.Parse(text)
	if err != nil {
		return nil, err
	}
	if head.Origin != origin {
		return nil, nil
	}
	opened, err := d.Verify(p)
	if err != nil {
		return nil, err
	}
	r := &Receipt{Index: opened.Index, Checkpoint: opened.Checkpoint, Note: d.Proof.Checkpoint, Leaf: leaf.HashOf(d.Proof.Extra)}
	if sent == nil {
		return r, nil
	}
	var req logv1.SubmitEventsRequest
	if err := proto.Unmarshal(sent, &req); err != nil || len(req.GetEvents()) != 1 {
		return nil, errors.Join(errors.New("what was sent is not one event"), err)
	}
	fields, err := event.Fields(req.GetEvents()[0])
	if err != nil {
		return nil, fmt.Errorf("what was sent: %w", err)
	}
	if r.Differs = differs(opened, req.GetLog(), req.GetSource(), fields); r.Differs != "" {
		r.parts = []evidence.Part{{Type: evidence.Disclosure, Data: b}, {Type: evidence.Submission, Data: sent}}
	}
	return r, nil
}

// differs holds an entry to what was sent for it, as far as who has no keys can; the
// fields are ascending. It names no value, as it is told to others.
//
// SPEC 3.1 step 4: each field that was sent, none missing, none extra but those that a
// server adds.
func differs(o *seal.Opened, log, source string, sent []seal.Field) string {
	switch {
	case o.Leaf.Log != log:
		return "it was sent to another log"
	case o.Leaf.Source != source:
		return "it was sent as of another source"
	}
	for _, f := range sent {
		switch l := o.Field(f.Path); {
		case l == nil:
			return "it lacks the field " + f.Path
		case l.State == seal.Shown && !bytes.Equal(l.Value, f.Value):
			return "it has another value of the field " + f.Path
		}
	}
	for _, l := range o.Lines {
		_, was := slices.BinarySearchFunc(sent, l.Path, func(f seal.Field, path string) int { return strings.Compare(f.Path, path) })
		if !was && !slices.Contains(event.ServerPaths[:], l.Path) {
			return "it has the field " + l.Path + ", which was not sent"
		}
	}
	return ""
}
