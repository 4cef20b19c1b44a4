package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"runtime/debug"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	logv1 "idlog/proto/idlog/log/v1"
)

const (
	maxCallTime = 30 * time.Second // a unary call's deadline is never later than this
	maxEvents   = 500              // events of one request
	maxLogName  = 128              // bytes of a log family's name
	maxID       = 64               // bytes of a caller's x-request-id
)

// rule says how a method is guarded. A registered method without a rule is a
// mistake that New refuses.
type rule struct {
	open bool // may be called by somebody who is nobody
}

var rules = map[string]rule{
	logv1.EventService_SubmitEvents_FullMethodName:      {},
	logv1.EventService_SubmitStream_FullMethodName:      {},
	logv1.EventService_GetSourceKeys_FullMethodName:     {},
	logv1.EventService_GetEnrolments_FullMethodName:     {},
	logv1.EventService_LinkSubjects_FullMethodName:      {},
	logv1.LogService_GetCheckpoint_FullMethodName:       {},
	logv1.LogService_WatchCheckpoints_FullMethodName:    {},
	logv1.LogService_GetEntry_FullMethodName:            {},
	logv1.LogService_WatchEntries_FullMethodName:        {},
	logv1.LogService_GetInclusionProof_FullMethodName:   {},
	logv1.LogService_GetConsistencyProof_FullMethodName: {},

	healthv1.Health_Check_FullMethodName: {open: true},
	healthv1.Health_List_FullMethodName:  {open: true},
	healthv1.Health_Watch_FullMethodName: {open: true},

	reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName: {},
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo":  {}, // what older tools ask
}

// methodTable returns the rule of every method that g has registered, or names
// a method that has none.
func methodTable(g *grpc.Server) (map[string]rule, error) {
	table := make(map[string]rule)
	for service, info := range g.GetServiceInfo() {
		for _, m := range info.Methods {
			full := "/" + service + "/" + m.Name
			r, ok := rules[full]
			if !ok {
				return nil, fmt.Errorf("method %s has no rule of access", full)
			}
			table[full] = r
		}
	}
	return table, nil
}

// tap turns away what is in no table before anything else sees it: an unknown
// method, and a path without its leading slash (which gRPC once let past
// interceptors that compared names).
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, ok := s.methods[info.FullMethodName]; !ok {
		return ctx, status.Error(codes.Unimplemented, "unknown method")
	}
	return ctx, nil
}

// call is what the guards know of a call, in its context.
type call struct {
	caller
	id string // request id, ours or the caller's
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// admit authenticates a call and gives it a request id.
func (s *Server) admit(ctx context.Context, method string) (context.Context, call, error) {
	c := call{id: requestID(ctx)}
	var err error
	if c.caller, err = callerOf(ctx); err != nil && !s.methods[method].open {
		return ctx, c, err
	}
	return context.WithValue(ctx, callKey{}, c), c, nil
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// requestID is the caller's x-request-id where it has a plain one, else a
// random one.
func requestID(ctx context.Context) string {
	if ids := metadata.ValueFromIncomingContext(ctx, "x-request-id"); len(ids) == 1 && len(ids[0]) <= maxID && goodID.MatchString(ids[0]) {
		return ids[0]
	}
	return rand.Text()
}

// unary guards every call that is one request and one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	defer s.recovered(ctx, info.FullMethod, &err)
	ctx, c, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	// An error here means that the call has ended already, which the handler will see.
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-request-id", c.id))
	giveCall, err := s.calls.take(c.principal, 1)
	if err != nil {
		return nil, err
	}
	defer giveCall()
	giveBytes, err := s.bytes.take(c.principal, int64(proto.Size(req.(proto.Message))))
	if err != nil {
		return nil, err
	}
	defer giveBytes()
	if err := s.check(req.(proto.Message)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxCallTime)
	defer cancel()
	res, err = handler(ctx, req)
	return res, s.told(ctx, info.FullMethod, err)
}

// stream guards every other call. It lives until the caller leaves, the
// connection is too old, or the server drains.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer s.recovered(ss.Context(), info.FullMethod, &err)
	ctx, c, err := s.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	// Sent at once: a watcher of a quiet log sees that it is being answered. An error means that the caller has left.
	_ = ss.SendHeader(metadata.Pairs("x-request-id", c.id))
	give, err := s.streams.take(c.principal, 1)
	if err != nil {
		return err
	}
	defer give()
	if s.methods[info.FullMethod].open { // health, which does not know of our drain
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.parting, cancel)()
	}
	return s.told(ctx, info.FullMethod, handler(srv, &guardedStream{ss, ctx, s}))
}

// guardedStream checks each request that arrives on a stream.
type guardedStream struct {
	grpc.ServerStream
	ctx context.Context
	s   *Server
}

func (g *guardedStream) Context() context.Context { return g.ctx }

func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if _, ok := m.(*logv1.SubmitStreamRequest); ok {
		return nil // each is answered for itself, so the handler checks it
	}
	return g.s.check(m.(proto.Message))
}

// told turns a handler's error into its status, and logs the ones that are our
// fault: here is the edge, and the caller is told no more than the reason.
func (s *Server) told(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	st := statusOf(err)
	if st.Code() == codes.Internal || st.Code() == codes.DataLoss {
		s.logger.LogAttrs(ctx, slog.LevelError, "call failed",
			slog.String("method", method), slog.String("request_id", callOf(ctx).id), slog.String("error", err.Error()))
	}
	return st.Err()
}

// recovered turns a panic into INTERNAL, counts it and logs where it was. The
// panic's own text is logged only if the runtime wrote it, because another
// may hold a payload.
func (s *Server) recovered(ctx context.Context, method string, err *error) {
	v := recover()
	if v == nil {
		return
	}
	s.panics.Add(1)
	what := fmt.Sprintf("%T", v)
	var fault runtime.Error
	if e, ok := v.(error); ok && errors.As(e, &fault) {
		what = fault.Error()
	}
	s.logger.LogAttrs(ctx, slog.LevelError, "handler panicked",
		slog.String("method", method), slog.String("panic", what), slog.String("stack", string(debug.Stack())))
	*err = refuse(logv1.Reason_REASON_INTERNAL, "internal error")
}

// check validates a request by the rules in its schema. Of a submission only
// the envelope is checked here: the events are ingest's, which reads the same
// rules once instead of per call.
func (s *Server) check(m proto.Message) error {
	if req, ok := m.(*logv1.SubmitEventsRequest); ok {
		return checkEnvelope(req)
	}
	err := s.validator.Validate(m)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("validating a request: %w", err)
	}
	var fields []*errdetails.BadRequest_FieldViolation
	for _, v := range invalid.Violations {
		fields = append(fields, violation(protovalidate.FieldPathString(v.Proto.GetField()), v.Proto.GetRuleId(), v.Proto.GetMessage()))
	}
	return invalidRequest(fields)
}

func invalidRequest(fields []*errdetails.BadRequest_FieldViolation) error {
	return refusal{
		reason:  logv1.Reason_REASON_FIELD_INVALID,
		message: fmt.Sprintf("%s: %s", fields[0].GetField(), fields[0].GetDescription()),
		fields:  fields,
	}.status().Err()
}

var goodSource = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// checkEnvelope is the rules of SubmitEventsRequest in its schema, but for
// those within the events. A test holds it to the schema.
func checkEnvelope(req *logv1.SubmitEventsRequest) error {
	var fields []*errdetails.BadRequest_FieldViolation
	if len(req.GetLog()) > maxLogName {
		fields = append(fields, violation("log", "string.max_bytes", "must be at most 128 bytes"))
	}
	if !goodSource.MatchString(req.GetSource()) {
		fields = append(fields, violation("source", "string.pattern", "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"))
	}
	if n := len(req.GetEvents()); n < 1 {
		fields = append(fields, violation("events", "repeated.min_items", "must hold at least 1 event"))
	} else if n > maxEvents {
		fields = append(fields, violation("events", "repeated.max_items", "must hold at most 500 events; split the call"))
	}
	if _, ok := logv1.Wait_name[int32(req.GetWait())]; !ok {
		fields = append(fields, violation("wait", "enum.defined_only", "must be one of the defined values"))
	}
	if len(fields) > 0 {
		return invalidRequest(fields)
	}
	return nil
}
