package serve

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	ilog "idlog/log"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// logService answers from what is published. It has no state.
type logService struct {
	logv1.UnimplementedLogServiceServer
	s *Server
}

// published returns the newest checkpoint of a log, or says that there is none yet.
func published(l *Log) (ilog.Published, error) {
	p, ok := l.Reader.Published()
	if !ok {
		return p, refusal{reason: logv1.Reason_REASON_NOT_FOUND, message: "nothing is published yet", kind: "checkpoint", name: l.Family}.status().Err()
	}
	return p, nil
}

// covers refuses an index that p does not cover.
func covers(p ilog.Published, index int64) error {
	if index < p.Size {
		return nil
	}
	return refusal{
		reason:   logv1.Reason_REASON_INDEX_OUT_OF_RANGE,
		message:  fmt.Sprintf("no entry %d: the published log has %d", index, p.Size),
		metadata: map[string]string{"size": strconv.FormatInt(p.Size, 10)},
	}.status().Err()
}

func (ls *logService) GetCheckpoint(_ context.Context, req *logv1.GetCheckpointRequest) (*logv1.GetCheckpointResponse, error) {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	p, err := published(l)
	if err != nil {
		return nil, err
	}
	return &logv1.GetCheckpointResponse{Checkpoint: p.Note}, nil
}

func (ls *logService) WatchCheckpoints(req *logv1.WatchCheckpointsRequest, stream logv1.LogService_WatchCheckpointsServer) error {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return err
	}
	ctx, cancel := ls.s.untilDrained(stream.Context())
	defer cancel()
	for after := []byte(nil); ; {
		p, err := l.Reader.Next(ctx, after)
		if err != nil {
			return ended(ctx, err)
		}
		if err := stream.Send(&logv1.WatchCheckpointsResponse{Checkpoint: p.Note}); err != nil {
			return err
		}
		after = p.Note
	}
}

func (ls *logService) GetEntry(ctx context.Context, req *logv1.GetEntryRequest) (*logv1.GetEntryResponse, error) {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	p, err := published(l)
	if err != nil {
		return nil, err
	}
	b, hashes, err := entry(ctx, l, p, req.GetIndex())
	if err != nil {
		return nil, err
	}
	res := &logv1.GetEntryResponse{Leaf: b, Inclusion: hashes, Checkpoint: p.Note}
	if req.GetDisclose() || req.GetRaw() {
		if res.Disclosure, res.Raw, err = disclosed(ctx, l, req.GetIndex()); err != nil {
			return nil, err
		}
	}
	if !req.GetDisclose() {
		res.Disclosure = nil
	}
	if !req.GetRaw() {
		res.Raw = nil
	}
	return res, nil
}

// WatchEntries pins one checkpoint at a time and sends what it covers, so that
// its proofs are made against few trees and a slow reader holds none of ours.
func (ls *logService) WatchEntries(req *logv1.WatchEntriesRequest, stream logv1.LogService_WatchEntriesServer) error {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return err
	}
	ctx, cancel := ls.s.untilDrained(stream.Context())
	defer cancel()
	index := req.GetFrom()
	for after := []byte(nil); ; {
		p, err := l.Reader.Next(ctx, after)
		if err != nil {
			return ended(ctx, err)
		}
		after = p.Note
		for note := p.Note; index < p.Size; index, note = index+1, nil {
			if ctx.Err() != nil {
				return ended(ctx, ctx.Err())
			}
			res := &logv1.WatchEntriesResponse{Index: index, Checkpoint: note}
			if res.Leaf, res.Inclusion, err = entry(ctx, l, p, index); err != nil {
				return ended(ctx, err)
			}
			if req.GetDisclose() {
				// What cannot be opened is sent closed: a watcher of the log is not stopped by a hole in the vault.
				if res.Disclosure, _, err = disclosed(ctx, l, index); err != nil && !closedForGood(err) {
					return ended(ctx, err)
				}
			}
			if err := stream.Send(res); err != nil {
				return err
			}
		}
	}
}

func (ls *logService) GetInclusionProof(ctx context.Context, req *logv1.GetInclusionProofRequest) (*logv1.GetInclusionProofResponse, error) {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	p, err := published(l)
	if err != nil {
		return nil, err
	}
	if err := covers(p, req.GetIndex()); err != nil {
		return nil, err
	}
	hashes, err := l.Reader.Inclusion(ctx, req.GetIndex(), p.Size)
	if err != nil {
		return nil, fmt.Errorf("proving inclusion of %d: %w", req.GetIndex(), err)
	}
	return &logv1.GetInclusionProofResponse{Inclusion: raw(hashes), Checkpoint: p.Note}, nil
}

func (ls *logService) GetConsistencyProof(ctx context.Context, req *logv1.GetConsistencyProofRequest) (*logv1.GetConsistencyProofResponse, error) {
	l, err := ls.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	p, err := published(l)
	if err != nil {
		return nil, err
	}
	from, to, note := req.GetFrom(), p.Size, p.Note
	if req.GetTo() > 0 {
		to, note = req.GetTo(), nil // the caller has it
	}
	if end := max(from, to); end > p.Size {
		return nil, covers(p, end)
	}
	if from > to {
		return nil, invalidRequest([]*errdetails.BadRequest_FieldViolation{violation("to", "order", "it is below from")})
	}
	hashes, err := l.Reader.Consistency(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("proving consistency from %d to %d: %w", from, to, err)
	}
	return &logv1.GetConsistencyProofResponse{Consistency: raw(hashes), Checkpoint: note}, nil
}

// entry returns the leaf at index and its inclusion proof in p.
func entry(ctx context.Context, l *Log, p ilog.Published, index int64) ([]byte, [][]byte, error) {
	if err := covers(p, index); err != nil {
		return nil, nil, err
	}
	b, err := l.Reader.Entry(ctx, index)
	if err != nil {
		return nil, nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	hashes, err := l.Reader.Inclusion(ctx, index, p.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("proving inclusion of %d: %w", index, err)
	}
	return b, raw(hashes), nil
}

// raw is hashes as the wire has them.
func raw(hashes []leaf.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// errDraining is the cause of a stream's end when the server drains.
var errDraining = errors.New("server is draining")

// untilDrained returns ctx ended early, with cause errDraining, when the server drains.
func (s *Server) untilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.draining, func() { cancel(errDraining) })
	return ctx, func() { stop(); cancel(nil) }
}

// ended is the error of a stream whose context may have ended: SHUTTING_DOWN
// if that was our doing, else err.
func ended(ctx context.Context, err error) error {
	if context.Cause(ctx) == errDraining {
		return refuse(logv1.Reason_REASON_SHUTTING_DOWN, "the server is shutting down; connect again")
	}
	return err
}
