package clienttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

func (op *Operator) LinkSubjects(_ context.Context, req *logv1.LinkSubjectsRequest) (*logv1.LinkSubjectsResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, err
	}
	rec := op.said[string(key)]
	if rec == nil {
		if rec, err = op.link(req); err != nil {
			return nil, err
		}
		op.said[string(key)] = rec
	}
	size := op.Size()
	res := &logv1.LinkSubjectsResponse{
		Index: rec.index, Leaf: rec.leaf, Inclusion: op.inclusion(rec.index, size), Checkpoint: op.note(size), Opening: rec.opening,
	}
	switch op.Lie {
	case "statement not included":
		res.Inclusion[0] = bytes32(1)
	case "other statement":
		res.Index, res.Leaf, res.Inclusion = 1, op.leaves[1], op.inclusion(1, size)
	case "no seed":
		res.Opening = &logv1.Opening{}
	}
	return res, nil
}

// link makes and appends the leaf of a statement, with the lie that is asked for.
func (op *Operator) link(req *logv1.LinkSubjectsRequest) (*logged, error) {
	l := &leaf.Subject{Log: Family, Received: op.now().Unix(), Keys: 1}
	var joined []leaf.Hash
	for i, b := range req.Identifiers {
		id, err := subject.ParseIdentifier(b)
		if err != nil {
			return nil, err
		}
		p := op.people[id]
		if p == nil {
			s, _ := status.New(codes.NotFound, "not enrolled").WithDetails(
				&errdetails.ErrorInfo{Domain: "idlog", Reason: "NOT_FOUND"},
				&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: fmt.Sprintf("identifiers[%d]", i)}}})
			return nil, s.Err()
		}
		enrolled, err := leaf.Parse(p.leaf)
		if err != nil {
			return nil, err
		}
		joined, l.Etags = append(joined, leaf.HashOf(p.leaf)), append(l.Etags, enrolled.(*leaf.Subject).Etags...)
	}
	authority, unlink := req.Authority, req.Unlink
	switch op.Lie {
	case "other authority":
		authority += "!"
	case "otherwise":
		unlink = !unlink
	case "somebody else":
		joined[0] = leaf.HashOf(op.enrol(subject.Email("mallory@example.com")).leaf)
	case "one more":
		joined = append(joined, leaf.HashOf(op.enrol(subject.Email("mallory@example.com")).leaf))
	case "other etags":
		l.Etags[0][0] ^= 1
	case "old statement":
		l.Received -= int64(2 * time.Minute / time.Second)
	case "foreign statement":
		l.Log = "log.example/other"
	case "unknown epoch":
		l.Keys = 2
	}
	for _, hashes := range [][]leaf.Hash{joined, l.Etags} {
		slices.SortFunc(hashes, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	}
	if unlink {
		l.Unlinks = joined
	} else {
		l.Links = joined
	}
	var secret leaf.Hash
	rand.Read(secret[:])
	seed := seal.Seed(secret, nil)
	lines := []seal.Line{{Path: "authority", Value: seal.String(authority)}, {Path: "reason", Value: seal.String(req.Reason)}}
	for i := range lines {
		f := &lines[i]
		f.State, f.Salt = seal.Shown, seal.Salt(seed, f.Path)
		f.Commitment = seal.Commitment(f.Salt, f.Path, f.Value)
	}
	digest, err := seal.Digest(lines)
	if err != nil {
		return nil, err
	}
	l.Fields = &digest
	rec := &logged{lines: lines, opening: &logv1.Opening{
		Received: timestamppb.New(time.Unix(l.Received, 0)), Seeds: []*logv1.Seed{{Seed: seed[:]}},
	}}
	if rec.leaf, err = l.Format(); err != nil {
		return nil, err
	}
	rec.index = op.Add(rec.leaf)
	op.events[rec.index] = rec
	return rec, nil
}
