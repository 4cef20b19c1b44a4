package clienttest

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"idlog/proto/checkpoint"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

func (op *Operator) SubmitEvents(_ context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if len(req.Events) > 500 || proto.Size(req) > 8<<20 {
		return nil, status.Error(codes.InvalidArgument, "the call is too large")
	}
	res := &logv1.SubmitEventsResponse{}
	var recs []*logged
	op.Sizes = append(op.Sizes, len(req.Events))
	for _, e := range req.Events {
		id := e.GetSource().GetNativeId()
		rec := op.byID[id]
		if op.Busy > 0 {
			op.Busy--
			res.Results = append(res.Results, &logv1.Result{Outcome: &logv1.Result_Error{Error: later().Proto()}})
			recs = append(recs, nil)
			continue
		}
		if rec != nil && !proto.Equal(rec.event, e) {
			s, _ := status.New(codes.AlreadyExists, "another event has this id").WithDetails(&errdetails.ErrorInfo{
				Domain: "idlog", Reason: "ID_CONFLICT", Metadata: map[string]string{"index": fmt.Sprint(rec.index)}})
			res.Results = append(res.Results, &logv1.Result{Outcome: &logv1.Result_Error{Error: s.Proto()}})
			recs = append(recs, nil)
			continue
		}
		if rec == nil {
			var err error
			if rec, err = op.log(e); err != nil {
				return nil, err
			}
		}
		recs = append(recs, rec)
		res.Results = append(res.Results, nil)
	}
	size := op.Size()
	for i, rec := range recs {
		switch {
		case rec == nil:
		case op.Tickets || rec.index < 0 || req.Wait == logv1.Wait_WAIT_SEQUENCED:
			res.Results[i] = &logv1.Result{Outcome: &logv1.Result_Ticket{Ticket: op.promise(rec)}}
		default:
			r := &logv1.Receipt{Index: rec.index, Leaf: rec.leaf, Inclusion: op.inclusion(rec.index, size), Opening: rec.opening}
			res.Results[i] = &logv1.Result{Outcome: &logv1.Result_Receipt{Receipt: r}}
			op.misprove(r)
		}
	}
	res.Checkpoints = [][]byte{op.note(size)}
	op.missign(res)
	return res, nil
}

func (op *Operator) misprove(r *logv1.Receipt) {
	switch op.Lie {
	case "bad proof":
		r.Inclusion[0] = bytes32(1)
	case "short proof":
		r.Inclusion = r.Inclusion[1:]
	case "other index":
		r.Index++
	case "another event":
		for _, rec := range op.events {
			if rec.index != r.Index {
				r.Index, r.Leaf, r.Opening = rec.index, rec.leaf, rec.opening
				r.Inclusion = op.inclusion(rec.index, op.Size())
				break
			}
		}
	case "other kind":
		r.Leaf = op.leaves[1]
	case "no leaf":
		r.Leaf = []byte("idlog-event/v2\n")
	case "no checkpoint":
		r.Checkpoint = 1
	}
}

func (op *Operator) missign(res *logv1.SubmitEventsResponse) {
	text, sigs, _ := checkpoint.Split(res.Checkpoints[0])
	switch op.Lie {
	case "no quorum":
		res.Checkpoints[0] = checkpoint.Join(text, sigs[:2]...)
	case "no log key":
		res.Checkpoints[0] = checkpoint.Join(text, sigs[1:]...)
	case "false signature":
		sigs[0].Bytes[3] ^= 1
		res.Checkpoints[0] = checkpoint.Join(text, sigs...)
	}
}

func (op *Operator) promise(rec *logged) *logv1.Ticket {
	parsed, _ := leaf.Parse(rec.leaf)
	ev := parsed.(*leaf.Event)
	h := leaf.HashOf(rec.leaf)
	deadline := ev.Received + int64(cmp.Or(op.Promise, 24*time.Hour)/time.Second)
	signer, log := op.ticket, Family
	switch op.Lie {
	case "late deadline":
		deadline++
	case "other promise":
		h[0] ^= 1
	case "other log's promise":
		log = "log.example/other"
	case "promise of the log key":
		signer = op.signer
	}
	// By hand: the honest package does not let anyone promise this.
	text := fmt.Sprintf("idlog-ticket/v1\n%s\n%s\n%d\n%d\n", log, base64.StdEncoding.EncodeToString(h[:]), ev.Received, deadline)
	n, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		panic(err)
	}
	return &logv1.Ticket{Note: n, Leaf: rec.leaf, Opening: rec.opening}
}

func (op *Operator) GetSourceKeys(_ context.Context, req *logv1.GetSourceKeysRequest) (*logv1.GetSourceKeysResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.Size()
	k := &logv1.SourceKeys{Epoch: 1, Leaf: op.leaves[1], Index: 1, Inclusion: op.inclusion(1, size)}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		key := tag.Derive(op.epoch, f, req.Source)
		if op.Lie == "uncommitted key" && f == tag.Session {
			key[0] ^= 1
		}
		k.TagKeys = append(k.TagKeys, &logv1.TagKey{Field: uint32(f), Key: key[:]})
	}
	res := &logv1.GetSourceKeysResponse{
		Keys: []*logv1.SourceKeys{k}, Checkpoint: op.note(size), Genesis: op.leaves[0], GenesisInclusion: op.inclusion(0, size),
	}
	switch op.Lie {
	case "foreign keys leaf":
		k.Leaf = slices.Replace(slices.Clone(k.Leaf), len(k.Leaf)-2, len(k.Leaf)-1, 'A')
	case "no keys":
		res.Keys = nil
	case "key is missing":
		k.TagKeys = k.TagKeys[1:]
	}
	return res, nil
}

func (op *Operator) GetEnrolments(_ context.Context, req *logv1.GetEnrolmentsRequest) (*logv1.GetEnrolmentsResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.Size()
	res := &logv1.GetEnrolmentsResponse{Checkpoint: op.note(size)}
	for _, b := range req.Identifiers {
		id, err := subject.ParseIdentifier(b)
		if err != nil {
			return nil, err
		}
		p := op.people[id]
		if p == nil {
			res.Enrolments = append(res.Enrolments, &logv1.Enrolment{})
			continue
		}
		e := &logv1.Enrolment{Epoch: 1, VrfProof: p.pi}
		h := &logv1.Handle{Index: p.index, Leaf: p.leaf, Inclusion: op.inclusion(p.index, size), Opening: p.handle.Opening[:], Handle: p.handle.T[:]}
		switch op.Lie {
		case "other handle":
			h.Handle = bytes32(3)
		case "somebody's etag":
			_, e.VrfProof, _ = op.vrf.Prove(subject.Email("mallory@example.com"))
		case "other VRF key":
			_, e.VrfProof, _ = subject.NewVRFKey().Prove(id)
		case "enrolment not included":
			h.Index++
		case "somebody's enrolment":
			for other, q := range op.people {
				if other != id {
					_, pi, _ := op.vrf.Prove(id)
					e.VrfProof = pi
					h = &logv1.Handle{Index: q.index, Leaf: q.leaf, Inclusion: op.inclusion(q.index, size), Opening: q.handle.Opening[:], Handle: q.handle.T[:]}
				}
			}
		}
		e.Handles = []*logv1.Handle{h}
		res.Enrolments = append(res.Enrolments, e)
	}
	return res, nil
}

func (op *Operator) GetCheckpoint(context.Context, *logv1.GetCheckpointRequest) (*logv1.GetCheckpointResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return &logv1.GetCheckpointResponse{Checkpoint: op.note(op.Size())}, nil
}

func (op *Operator) GetConsistencyProof(_ context.Context, req *logv1.GetConsistencyProofRequest) (*logv1.GetConsistencyProofResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.Size()
	if req.From > size || req.To > size {
		return nil, beyond()
	}
	res := &logv1.GetConsistencyProofResponse{}
	if req.To > 0 {
		size = req.To
	} else {
		res.Checkpoint = op.note(size)
	}
	if 0 < req.From && req.From < size {
		p, err := tlog.ProveTree(size, req.From, tlog.HashReaderFunc(op.read))
		if err != nil {
			return nil, err
		}
		res.Consistency = wire([]tlog.Hash(p))
	}
	return res, nil
}

func beyond() error {
	s, _ := status.New(codes.OutOfRange, "beyond the published size").WithDetails(&errdetails.ErrorInfo{Domain: "idlog", Reason: "INDEX_OUT_OF_RANGE"})
	return s.Err()
}

func (op *Operator) GetEntry(_ context.Context, req *logv1.GetEntryRequest) (*logv1.GetEntryResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.Size()
	if req.Index >= size {
		return nil, beyond()
	}
	res := &logv1.GetEntryResponse{Leaf: op.leaves[req.Index], Inclusion: op.inclusion(req.Index, size), Checkpoint: op.note(size)}
	if op.events[req.Index] != nil && req.Disclose && op.Lie == "opening lost" {
		s, _ := status.New(codes.NotFound, "the opening is lost").WithDetails(&errdetails.ErrorInfo{Domain: "idlog", Reason: "OPENING_LOST"})
		return nil, s.Err()
	}
	if rec := op.events[req.Index]; rec != nil && req.Disclose {
		lines := slices.Clone(rec.lines)
		if op.Lie == "hidden line" {
			lines = lines[1:]
		}
		res.Disclosure, _ = seal.FormatLines(lines)
		if req.Raw {
			res.Raw = slices.Clone(rec.raw)
			if op.Lie == "other raw bytes" {
				res.Raw[0] ^= 1
			}
		}
	}
	if op.Lie == "other entry" {
		res.Leaf = op.leaves[(req.Index+1)%size]
	}
	return res, nil
}

// WatchEntries breaks off after every third entry.
func (op *Operator) WatchEntries(req *logv1.WatchEntriesRequest, stream grpc.ServerStreamingServer[logv1.WatchEntriesResponse]) error {
	next := req.From
	for sent := 0; ; {
		op.mu.Lock()
		size, grown := op.Size(), op.grown
		var res *logv1.WatchEntriesResponse
		if next < size {
			res = &logv1.WatchEntriesResponse{Index: next, Leaf: op.leaves[next], Inclusion: op.inclusion(next, size), Checkpoint: op.note(size)}
			if rec := op.events[next]; rec != nil && req.Disclose && op.Lie != "opening lost" {
				res.Disclosure, _ = seal.FormatLines(rec.lines)
			}
			if op.Lie == "other entry" {
				res.Leaf = op.leaves[(next+1)%size]
			}
			if op.Lie == "skipped entry" && next == 3 {
				res.Index, res.Leaf, res.Inclusion = 4, op.leaves[4], op.inclusion(4, size)
			}
		}
		op.mu.Unlock()
		if res != nil {
			if err := stream.Send(res); err != nil {
				return err
			}
			next++
			if sent++; sent == 3 {
				return status.Error(codes.Unavailable, "moved")
			}
			continue
		}
		select {
		case <-grown:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (op *Operator) WatchCheckpoints(_ *logv1.WatchCheckpointsRequest, stream grpc.ServerStreamingServer[logv1.WatchCheckpointsResponse]) error {
	for {
		op.mu.Lock()
		n, grown := op.note(op.Size()), op.grown
		op.mu.Unlock()
		if err := stream.Send(&logv1.WatchCheckpointsResponse{Checkpoint: n}); err != nil {
			return err
		}
		select {
		case <-grown:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
