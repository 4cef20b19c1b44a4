package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// Events is how events get into a log, and what of them may be shown, as
// *ingest.Ingest is. Its errors are an *ingest.Refusal, the context's, or a
// failure of storage.
type Events interface {
	Submit(ctx context.Context, req ingest.Request) ([]ingest.Answer, error)
	// Bound refuses a principal that may not write to a source.
	Bound(source, principal string) error
	// SourceKeys and Enrolments are asked only for callers that Bound lets in.
	SourceKeys(ctx context.Context, source string) (*ingest.SourceKeys, error)
	Enrolments(ctx context.Context, ids []subject.Identifier) ([]ingest.Enrolment, []byte, error)
	// Link logs who is one person, or is not.
	Link(ctx context.Context, s ingest.Statement) (*ingest.Receipt, error)
	// Disclose is asked only for published entries.
	Disclose(ctx context.Context, index int64) ([]seal.Line, []byte, error)
}

// eventService hands events to ingest and its answers back. It has no state.
type eventService struct {
	logv1.UnimplementedEventServiceServer
	s *Server
}

func (es *eventService) SubmitEvents(ctx context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	return es.submit(ctx, req)
}

// SubmitStream answers each request before it reads the next, so that a
// stream's events stand in the log in the order they were sent. A caller who
// wants more at once opens more streams.
func (es *eventService) SubmitStream(stream logv1.EventService_SubmitStreamServer) error {
	ctx, cancel := es.s.untilDrained(stream.Context())
	defer cancel()
	requests := make(chan *logv1.SubmitStreamRequest)
	left := make(chan error, 1)
	go func() { // ends when the handler returns, because that ends the stream's context
		for {
			req, err := stream.Recv()
			if err != nil {
				left <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ended(ctx, ctx.Err())
		case err := <-left:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case req := <-requests:
			// The stream's own context and not ctx: what has been read is answered, draining or not.
			if err := stream.Send(es.answer(stream.Context(), req.GetRequest())); err != nil {
				return err
			}
		}
	}
}

// answer is SubmitEvents for one request of a stream: under the same bounds,
// its error in the answer instead of in the call.
func (es *eventService) answer(ctx context.Context, req *logv1.SubmitEventsRequest) *logv1.SubmitStreamResponse {
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	res, err := func() (res *logv1.SubmitEventsResponse, err error) {
		defer es.s.recovered(ctx, logv1.EventService_SubmitStream_FullMethodName, &err)
		give, err := es.s.bytes.take(callOf(ctx).principal, int64(proto.Size(req)))
		if err != nil {
			return nil, err
		}
		defer give()
		if err := es.s.check(req); err != nil {
			return nil, err
		}
		return es.submit(ctx, req)
	}()
	if err != nil {
		err = es.s.told(ctx, logv1.EventService_SubmitStream_FullMethodName, err)
		return &logv1.SubmitStreamResponse{Answer: &logv1.SubmitStreamResponse_Error{Error: statusOf(err).Proto()}}
	}
	return &logv1.SubmitStreamResponse{Answer: &logv1.SubmitStreamResponse_Response{Response: res}}
}

// submit is the one handler of events. Its error is the call's; each event's
// own stands among the results.
func (es *eventService) submit(ctx context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	l, err := es.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	if err := es.s.pace.take(c.principal, len(req.GetEvents())); err != nil {
		return nil, err
	}
	answers, err := l.Events.Submit(ctx, ingest.Request{
		Source:    req.GetSource(),
		Principal: c.principal,
		Assurance: c.assurance,
		Events:    req.GetEvents(),
		Wait:      req.GetWait(),
	})
	if err != nil {
		return nil, refused(err, l, req.GetSource())
	}
	res := &logv1.SubmitEventsResponse{Results: make([]*logv1.Result, len(answers))}
	for i, a := range answers {
		res.Results[i] = es.result(ctx, res, l, req.GetSource(), a)
	}
	return res, nil
}

// result is one answer as the wire has it; a checkpoint that is new to res is
// added to those that its receipts share.
func (es *eventService) result(ctx context.Context, res *logv1.SubmitEventsResponse, l *Log, source string, a ingest.Answer) *logv1.Result {
	switch {
	case a.Receipt != nil:
		r := a.Receipt
		return &logv1.Result{Outcome: &logv1.Result_Receipt{Receipt: &logv1.Receipt{
			Index: r.Index, Leaf: r.Leaf, Inclusion: raw(r.Inclusion), Checkpoint: shared(res, r.Checkpoint), Opening: opening(r.Opening),
		}}}
	case a.Ticket != nil:
		t := a.Ticket
		return &logv1.Result{Outcome: &logv1.Result_Ticket{Ticket: &logv1.Ticket{Note: t.Note, Leaf: t.Leaf, Opening: opening(t.Opening)}}}
	}
	err := es.s.told(ctx, logv1.EventService_SubmitEvents_FullMethodName, refused(a.Err, l, source))
	return &logv1.Result{Outcome: &logv1.Result_Error{Error: status.Convert(err).Proto()}}
}

// shared returns the place of a checkpoint among those of the answer. Almost
// always there is one.
func shared(res *logv1.SubmitEventsResponse, note []byte) uint32 {
	for i, c := range res.Checkpoints {
		if bytes.Equal(c, note) {
			return uint32(i)
		}
	}
	res.Checkpoints = append(res.Checkpoints, note)
	return uint32(len(res.Checkpoints) - 1)
}

func opening(o ingest.Opening) *logv1.Opening {
	seeds := make([]*logv1.Seed, len(o.Seeds))
	for i := range o.Seeds {
		seeds[i] = &logv1.Seed{Owners: o.Seeds[i].Owners, Seed: o.Seeds[i].Seed[:]}
	}
	return &logv1.Opening{Received: timestamppb.New(o.Received), Seeds: seeds}
}

func (es *eventService) GetSourceKeys(ctx context.Context, req *logv1.GetSourceKeysRequest) (*logv1.GetSourceKeysResponse, error) {
	l, err := es.bound(ctx, req.GetLog(), req.GetSource())
	if err != nil {
		return nil, err
	}
	k, err := l.Events.SourceKeys(ctx, req.GetSource())
	if err != nil {
		return nil, refused(err, l, req.GetSource())
	}
	res := &logv1.GetSourceKeysResponse{Checkpoint: k.Checkpoint, Genesis: k.Genesis.Leaf, GenesisInclusion: raw(k.Genesis.Inclusion)}
	for _, epoch := range k.Keys {
		keys := &logv1.SourceKeys{Epoch: epoch.Epoch, Leaf: epoch.Entry.Leaf, Index: epoch.Entry.Index, Inclusion: raw(epoch.Entry.Inclusion)}
		for _, field := range slices.Sorted(maps.Keys(epoch.Keys)) {
			key := epoch.Keys[field]
			keys.TagKeys = append(keys.TagKeys, &logv1.TagKey{Field: uint32(field), Key: key[:]})
		}
		res.Keys = append(res.Keys, keys)
	}
	return res, nil
}

func (es *eventService) GetEnrolments(ctx context.Context, req *logv1.GetEnrolmentsRequest) (*logv1.GetEnrolmentsResponse, error) {
	l, err := es.bound(ctx, req.GetLog(), req.GetSource())
	if err != nil {
		return nil, err
	}
	ids, err := identifiers(req.GetIdentifiers())
	if err != nil {
		return nil, err
	}
	enrolments, note, err := l.Events.Enrolments(ctx, ids)
	if err != nil {
		return nil, refused(err, l, req.GetSource())
	}
	res := &logv1.GetEnrolmentsResponse{Enrolments: make([]*logv1.Enrolment, len(enrolments)), Checkpoint: note}
	for i, e := range enrolments {
		out := &logv1.Enrolment{Epoch: e.Epoch, VrfProof: e.Proof, Handles: make([]*logv1.Handle, len(e.Handles))}
		for j := range e.Handles {
			h := &e.Handles[j]
			out.Handles[j] = &logv1.Handle{
				Index: h.Entry.Index, Leaf: h.Entry.Leaf, Inclusion: raw(h.Entry.Inclusion), Opening: h.Handle.Opening[:], Handle: h.Handle.T[:],
			}
		}
		res.Enrolments[i] = out
	}
	return res, nil
}

// identifiers reads those of a request.
func identifiers(wire [][]byte) ([]subject.Identifier, error) {
	ids := make([]subject.Identifier, len(wire))
	for i, b := range wire {
		var err error
		if ids[i], err = subject.ParseIdentifier(b); err != nil {
			return nil, invalidRequest([]*errdetails.BadRequest_FieldViolation{
				violation(fmt.Sprintf("identifiers[%d]", i), "identifier", "is not an identifier as SPEC 2.6 encodes it"),
			})
		}
	}
	return ids, nil
}

func (es *eventService) LinkSubjects(ctx context.Context, req *logv1.LinkSubjectsRequest) (*logv1.LinkSubjectsResponse, error) {
	l, err := es.s.log(req.GetLog())
	if err != nil {
		return nil, err
	}
	ids, err := identifiers(req.GetIdentifiers())
	if err != nil {
		return nil, err
	}
	principal := callOf(ctx).principal
	if err := es.s.pace.take(principal, 1); err != nil {
		return nil, err
	}
	r, err := l.Events.Link(ctx, ingest.Statement{
		Source: req.GetSource(), Principal: principal, ID: req.GetId(), Unlink: req.GetUnlink(),
		Identifiers: ids, Authority: req.GetAuthority(), Reason: req.GetReason(),
	})
	if err != nil {
		return nil, refused(err, l, req.GetSource())
	}
	return &logv1.LinkSubjectsResponse{
		Index: r.Index, Leaf: r.Leaf, Inclusion: raw(r.Inclusion), Checkpoint: r.Checkpoint, Opening: opening(r.Opening),
	}, nil
}

// bound finds a log for a caller who may write to one of its sources. Nobody
// else is given keys or handles: they link and name.
func (es *eventService) bound(ctx context.Context, family, source string) (*Log, error) {
	l, err := es.s.log(family)
	if err != nil {
		return nil, err
	}
	if err := l.Events.Bound(source, callOf(ctx).principal); err != nil {
		return nil, refused(err, l, source)
	}
	return l, nil
}

// disclosed returns the lines of the entry at index as a disclosure file has
// them, and its raw bytes; nothing for an entry that has no fields.
func disclosed(ctx context.Context, l *Log, index int64) (lines, raw []byte, err error) {
	fields, raw, err := l.Events.Disclose(ctx, index)
	var r *ingest.Refusal
	if errors.As(err, &r) && r.Reason == logv1.Reason_REASON_NOT_FOUND {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, refused(err, l, "")
	}
	if lines, err = seal.FormatLines(fields); err != nil {
		return nil, nil, fmt.Errorf("disclosing %d: %w", index, err)
	}
	return lines, raw, nil
}

// refused makes the error of a refusal by ingest. A failure of storage ends the
// process, so who was in flight then is told to come back.
func refused(err error, l *Log, source string) error {
	var r *ingest.Refusal
	switch {
	case errors.As(err, &r):
	case errors.Is(err, ilog.ErrFatal), errors.Is(err, journal.ErrFatal):
		return refuse(logv1.Reason_REASON_SHUTTING_DOWN, "the server is restarting; try again")
	default:
		return err
	}
	out := refusal{reason: r.Reason, message: r.Message, kind: "entry", name: l.Family}
	if r.Path != "" {
		out.message = r.Path + ": " + r.Message
		out.fields = []*errdetails.BadRequest_FieldViolation{violation(r.Path, strings.TrimPrefix(r.Reason.String(), "REASON_"), r.Message)}
	}
	if r.Index >= 0 {
		out.name = l.Family + "/" + strconv.FormatInt(r.Index, 10)
		out.metadata = map[string]string{"index": strconv.FormatInt(r.Index, 10)}
	}
	if r.Reason == logv1.Reason_REASON_SOURCE_UNKNOWN {
		out.kind, out.name = "source", source
	}
	return out.status().Err()
}

// closedForGood reports whether nobody can open an entry any more.
func closedForGood(err error) bool { return status.Code(err) == codes.NotFound }
