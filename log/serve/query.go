package serve

import (
	"context"

	logv1 "idlog/proto/idlog/log/v1"
)

// chunk is how much of an answer one message carries, in bytes.
const chunk = 256 << 10

// Histories answers questions about a log, as *query.Query is.
type Histories interface {
	// History returns an idlog-history/v1 file, for a principal who may have what the answer has to show. Its errors are an
	// *ingest.Refusal, the context's, or a failure of storage.
	History(ctx context.Context, principal string, req *logv1.HistoryRequest) ([]byte, error)
}

// queryService hands questions on and cuts the answers in pieces. It has no state.
type queryService struct {
	logv1.UnimplementedQueryServiceServer
	s *Server
}

func (qs *queryService) History(req *logv1.HistoryRequest, stream logv1.QueryService_HistoryServer) error {
	l, err := qs.s.log(req.GetLog())
	if err != nil {
		return err
	}
	if l.Histories == nil {
		return refusal{reason: logv1.Reason_REASON_NOT_FOUND, message: "this log keeps no index", kind: "index", name: l.Family}.status().Err()
	}
	ctx, cancel := qs.s.untilDrained(stream.Context())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, maxCallTime)
	defer stop()
	file, err := l.Histories.History(ctx, callOf(ctx).principal, req)
	if err != nil {
		return ended(ctx, refused(err, l, ""))
	}
	for len(file) > 0 {
		n := min(len(file), chunk)
		if err := stream.Send(&logv1.HistoryResponse{Chunk: file[:n]}); err != nil {
			return err
		}
		file = file[n:]
	}
	return nil
}
