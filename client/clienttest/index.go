package clienttest

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/proto/answer"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/trie"
)

// Lists are the postings of each key of an index, ascending.
type Lists = map[leaf.Hash][]trie.Posting

// rooted is the index that a root leaf speaks of.
type rooted struct {
	index *prototest.Index
	n, at int64
	// invented says that a list has a posting of another leaf than the log has, so that no proof in strict mode holds.
	invented bool
}

// Root logs a root leaf of the index of all entries, which change may falsify first, and from then on questions are answered
// by it; called within Set.
func (op *Operator) Root(change func(Lists)) error {
	x := prototest.IndexOf(op.leaves)
	root := x.Root(Origin, op.now().UnixMilli())
	r := rooted{index: x, n: root.N}
	if change != nil {
		change(x.Lists)
		r.index = prototest.NewIndex(x.Lists)
		lie := r.index.Root(Origin, 0)
		root.Keys, root.MapRoot = lie.Keys, lie.MapRoot
	}
	for _, list := range x.Lists {
		for _, p := range list {
			r.invented = r.invented || leaf.HashOf(op.leaves[p.Index]) != p.Leaf
		}
	}
	b, err := root.Format()
	if err != nil {
		return err
	}
	r.at = op.Add(b)
	op.root = &r
	return nil
}

// History answers questions for one tag, as a log whose index no verifier cosigns: with the whole list, or what is
// in the window and a posting on each side.
func (op *Operator) History(req *logv1.HistoryRequest, stream logv1.QueryService_HistoryServer) error {
	b, err := op.history(req)
	if err != nil {
		return err
	}
	half := len(b) / 2
	if err := stream.Send(&logv1.HistoryResponse{Chunk: b[:half]}); err != nil {
		return err
	}
	return stream.Send(&logv1.HistoryResponse{Chunk: b[half:]})
}

func (op *Operator) history(req *logv1.HistoryRequest) ([]byte, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.Calls["History"]++
	ask := req.GetAsks()[0].GetTag()
	switch {
	case op.root == nil:
		s, _ := status.New(codes.NotFound, "no index").WithDetails(&errdetails.ErrorInfo{Domain: "idlog", Reason: "NOT_FOUND"})
		return nil, s.Err()
	case len(req.Asks) != 1 || ask == nil:
		return nil, status.Error(codes.InvalidArgument, "this operator answers for one tag")
	}
	of := leaf.Tag{Field: uint16(ask.Field), Value: leaf.Hash(ask.Value)}
	if op.Lie == "another list" {
		of.Value[0] ^= 1
	}
	h := &answer.History{Log: Family, Asks: []answer.Ask{{Kind: answer.OfTag, Tag: of}}}
	if w := req.Window; w != nil {
		h.Window = &answer.Window{From: w.From, To: w.To}
	}
	size := op.Size()
	h.Index = &proof.Index{At: op.root.at, Root: op.leaves[op.root.at], Strict: !op.root.invented, Checkpoint: op.note(size)}
	a, shown := op.listed(of, h.Window)
	h.Index.Answers = []proof.Answer{a}
	if !h.Index.Strict {
		shown = nil
	}
	log := prototest.NewLog(Origin)
	log.Append(op.leaves...)
	var err error
	h.Index.Hashes, err = proof.IndexHashes(size, op.root.n, op.root.at, shown, func(from, to int64) ([][32]byte, error) {
		return log.Subtrees(from, to), nil
	})
	if err != nil {
		return nil, err
	}
	if op.Lie == "false page" && a.List != nil {
		a.List.Page.Postings[0].Index--
	}
	return h.Format()
}

// listed answers for a tag; shown is which entries the page has. Entries are given where the log has what the posting says.
func (op *Operator) listed(of leaf.Tag, window *answer.Window) (a proof.Answer, shown []int64) {
	key := mapfn.Key(of.Field, of.Value)
	a = proof.Answer{Field: of.Field, Value: of.Value}
	var head trie.Head
	if a.Path, head = op.root.index.Path(key); head.N == 0 {
		return a, nil
	}
	start, end := int64(0), head.N
	if window != nil {
		list := op.root.index.Lists[key]
		for start+1 < head.N && list[start+1].Index <= window.From {
			start++
		}
		for end-1 > start && list[end-2].Index >= window.To {
			end--
		}
	}
	if op.Lie == "elsewhere" {
		end = start // a page of nothing
	}
	a.List = &proof.List{Head: head, Page: op.root.index.Page(key, start, end-start)}
	for _, p := range a.List.Page.Postings {
		var entry []byte
		if b := op.leaves[p.Index]; leaf.HashOf(b) == p.Leaf && op.Lie != "unshown" {
			entry = b
		}
		a.List.Entries, shown = append(a.List.Entries, entry), append(shown, p.Index)
	}
	return a, shown
}

// Again logs an entry once more, byte for byte; called within Set.
func (op *Operator) Again(index int64) int64 { return op.Add(op.leaves[index]) }

// Erase logs a leaf that erases an enrolment, of which some tags are left; called within Set.
func (op *Operator) Erase(enrolment int64, tags ...leaf.Tag) error {
	b, err := (&leaf.Erasure{
		Log: Family, Received: op.now().Truncate(time.Second).Unix(), Fields: leaf.Hash{1},
		Enrolments: []leaf.Hash{leaf.HashOf(op.leaves[enrolment])}, Tags: tags,
	}).Format()
	if err == nil {
		op.Add(b)
	}
	return err
}
