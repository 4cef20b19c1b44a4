package client

import (
	"context"
	"slices"

	"idlog/proto/answer"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
)

// addition looks in an answer that does not hold for an entry that its list should not have, and writes evidence against the
// log: by the root leaf it stands there, and it does not belong there. It returns no name where there is no such entry, or none
// that the index proof without its entries, and the log's own answer, would show.
func (c *Client) addition(ctx context.Context, file []byte) (data []byte, name string, err error) {
	h, err := answer.Parse(file)
	if err != nil {
		return nil, "", nil // what does not parse accuses nobody
	}
	index, at := stranger(h.Index)
	if index == nil {
		return nil, "", nil
	}
	x, err := index.Format()
	if err != nil {
		return nil, "", err
	}
	e, err := c.Entry(ctx, at, Show{})
	if err != nil {
		return nil, "", err
	}
	p := e.Proof()
	inclusion, err := p.Format()
	if err != nil {
		return nil, "", err
	}
	return c.accusation(evidence.Addition, []evidence.Part{{Type: evidence.IndexProof, Data: x}, {Type: evidence.Proof, Data: inclusion}})
}

// stranger returns an index proof of leaf hashes alone whose list has an entry that its key is none of, and the entry's index; nil
// if there is none. It is as short as its mode lets it be.
func stranger(x *proof.Index) (*proof.Index, int64) {
	for _, a := range x.Answers {
		if a.List == nil {
			continue
		}
		for i, p := range a.List.Page.Postings {
			if i >= len(a.List.Entries) || a.List.Entries[i] == nil {
				break
			}
			e := a.List.Entries[i]
			if leaf.HashOf(e) != p.Leaf || slices.Contains(mapfn.OfEntry(e), mapfn.Key(a.Field, a.Value)) {
				continue
			}
			short := *x
			if !x.Strict {
				short.Answers = []proof.Answer{a}
			}
			return hashesOnly(&short), p.Index
		}
	}
	return nil, 0
}

// hashesOnly returns the proof without its entries.
func hashesOnly(x *proof.Index) *proof.Index {
	out := *x
	out.Answers = slices.Clone(x.Answers)
	for i, a := range out.Answers {
		if a.List != nil {
			out.Answers[i].List = &proof.List{Head: a.List.Head, Page: a.List.Page}
		}
	}
	return &out
}
