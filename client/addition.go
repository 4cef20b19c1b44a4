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

// addition looks in a history that does not hold for an entry that its list should not have, and writes evidence against the
// log: by the root leaf it stands there, and what the log has there does not belong there. The name is empty where there is no
// such entry, and with a state in memory. The error says why what is there could not be shown.
func (c *Client) addition(ctx context.Context, file []byte) (data []byte, name string, err error) {
	h, err := answer.Parse(file)
	if err != nil {
		return nil, "", nil // what does not parse accuses nobody
	}
	index, at := misplaced(h.Index)
	if index == nil {
		return nil, "", nil
	}
	x, err := index.Format()
	if err != nil {
		return nil, "", err
	}
	_, entry, err := c.proven(ctx, at)
	if err != nil {
		return nil, "", err
	}
	return c.accusation(evidence.Addition, []evidence.Part{{Type: evidence.IndexProof, Data: x}, {Type: evidence.Proof, Data: entry}})
}

// misplaced returns the index of an entry in a list of the proof whose key it is none of, and the proof without any entries, as
// with them it does not hold: of that list alone, unless its mode ties all of them to the log. It returns nil if there is none.
func misplaced(x *proof.Index) (*proof.Index, int64) {
	for _, a := range x.Answers {
		if a.List == nil {
			continue
		}
		for i, e := range a.List.Entries {
			p := a.List.Page.Postings[i]
			if e == nil || leaf.HashOf(e) != p.Leaf || slices.Contains(mapfn.OfEntry(e), mapfn.Key(a.Field, a.Value)) {
				continue
			}
			short := *x
			if short.Answers = []proof.Answer{a}; x.Strict {
				short.Answers = slices.Clone(x.Answers)
			}
			for i, a := range short.Answers {
				if a.List != nil {
					short.Answers[i].List = &proof.List{Head: a.List.Head, Page: a.List.Page}
				}
			}
			return &short, p.Index
		}
	}
	return nil, 0
}

// proven returns what the log has at an index, a leaf or not, and a tlog-proof of it under the newest checkpoint.
func (c *Client) proven(ctx context.Context, index int64) (entry, file []byte, err error) {
	asked := c.horizon()
	res, err := c.fetch(ctx, index, Show{})
	if err != nil {
		return nil, nil, err
	}
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, nil, err
	}
	path, err := inclusion(cp, index, res.GetLeaf(), res.GetInclusion())
	if err != nil {
		return nil, nil, err
	}
	file, err = proof.Proof{Extra: res.GetLeaf(), Index: index, Hashes: path, Checkpoint: cp.Note}.Format()
	return res.GetLeaf(), file, err
}
