package serve_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"idlog/log/ingest"
	"idlog/log/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// A method that is in no table is turned away before anything looks at it.
func TestUnknownMethodIsDenied(t *testing.T) {
	s, _ := scripted(t, nil)
	for _, method := range []string{
		"/idlog.log.v1.EventService/DeleteEverything",
		"/idlog.log.v1.AdminService/Shutdown",
		"/IDLOG.LOG.V1.EventService/SubmitEvents",
		"//idlog.log.v1.EventService/SubmitEvents",
		"/idlog.log.v1.EventService/SubmitEvents/",
		"idlog.log.v1.LogService/GetCheckpoint",
		"/",
	} {
		err := s.conn.Invoke(t.Context(), method, &logv1.GetCheckpointRequest{}, &logv1.GetCheckpointResponse{})
		if got := status.Code(err); got != codes.Unimplemented {
			t.Errorf("%q: %v, want Unimplemented", method, err)
		}
	}
}

// The rules of the envelope are written by hand for speed; this holds them to
// the schema.
func TestEnvelopeIsTheSchemas(t *testing.T) {
	s, _ := scripted(t, func(_ context.Context, r ingest.Request) ([]ingest.Answer, error) {
		return nil, errors.New("passed")
	})
	success := eventv1.Outcome_STATUS_SUCCESS
	event := &eventv1.Event{
		Source:  &eventv1.Source{NativeId: proto.String("1"), NativeType: proto.String("t")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Outcome: &eventv1.Outcome{Status: &success},
	}
	for _, tt := range []struct {
		name string
		req  *logv1.SubmitEventsRequest
	}{
		{"good", &logv1.SubmitEventsRequest{Source: "okta", Events: []*eventv1.Event{event}}},
		{"500 events", &logv1.SubmitEventsRequest{Source: "okta", Events: slices.Repeat([]*eventv1.Event{event}, 500)}},
		{"501 events", &logv1.SubmitEventsRequest{Source: "okta", Events: slices.Repeat([]*eventv1.Event{event}, 501)}},
		{"no event", &logv1.SubmitEventsRequest{Source: "okta"}},
		{"no source", &logv1.SubmitEventsRequest{Events: []*eventv1.Event{event}}},
		{"source in capitals", &logv1.SubmitEventsRequest{Source: "Okta", Events: []*eventv1.Event{event}}},
		{"source with a line", &logv1.SubmitEventsRequest{Source: "okta\n", Events: []*eventv1.Event{event}}},
		{"source of 64", &logv1.SubmitEventsRequest{Source: strings.Repeat("a", 64), Events: []*eventv1.Event{event}}},
		{"source of 65", &logv1.SubmitEventsRequest{Source: strings.Repeat("a", 65), Events: []*eventv1.Event{event}}},
		{"wait", &logv1.SubmitEventsRequest{Source: "okta", Wait: 99, Events: []*eventv1.Event{event}}},
		{"log of 129", &logv1.SubmitEventsRequest{Log: strings.Repeat("l", 129), Source: "okta", Events: []*eventv1.Event{event}}},
		{"everything", &logv1.SubmitEventsRequest{Log: strings.Repeat("é", 65), Source: "-", Wait: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			if err := protovalidate.Validate(tt.req); err != nil {
				var invalid *protovalidate.ValidationError
				if !errors.As(err, &invalid) {
					t.Fatal(err)
				}
				for _, v := range invalid.Violations {
					want = append(want, protovalidate.FieldPathString(v.Proto.GetField()))
				}
				slices.Sort(want)
			}
			_, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), tt.req)
			got := ofError(t, err)
			if diff := cmp.Diff(want, got.Fields); diff != "" {
				t.Errorf("fields differ from the schema's (-schema +ours):\n%s", diff)
			}
			wantReason := "INTERNAL" // the script's own error: it got there
			if want != nil {
				wantReason = "FIELD_INVALID"
			}
			if got.Reason != wantReason {
				t.Errorf("reason %s, want %s", got.Reason, wantReason)
			}
		})
	}
}

// Requests of other methods are held to their schema by protovalidate itself,
// on streams too.
func TestRequestsAreValidated(t *testing.T) {
	s, _ := scripted(t, nil)
	reads, events := logv1.NewLogServiceClient(s.conn), logv1.NewEventServiceClient(s.conn)
	first := func(stream interface{ RecvMsg(any) error }, err error) error {
		if err != nil {
			return err
		}
		return stream.RecvMsg(&logv1.WatchEntriesResponse{})
	}
	long := strings.Repeat("l", 129)
	for _, tt := range []struct {
		name string
		call func(context.Context) error
		want []string
	}{
		{"GetEntry", func(ctx context.Context) error {
			_, err := reads.GetEntry(ctx, &logv1.GetEntryRequest{Index: -1})
			return err
		}, []string{"index"}},
		{"GetCheckpoint", func(ctx context.Context) error {
			_, err := reads.GetCheckpoint(ctx, &logv1.GetCheckpointRequest{Log: long})
			return err
		}, []string{"log"}},
		{"GetInclusionProof", func(ctx context.Context) error {
			_, err := reads.GetInclusionProof(ctx, &logv1.GetInclusionProofRequest{Index: -1, Log: long})
			return err
		}, []string{"index", "log"}},
		{"GetConsistencyProof", func(ctx context.Context) error {
			_, err := reads.GetConsistencyProof(ctx, &logv1.GetConsistencyProofRequest{From: -1})
			return err
		}, []string{"from"}},
		{"WatchEntries", func(ctx context.Context) error {
			return first(reads.WatchEntries(ctx, &logv1.WatchEntriesRequest{From: -1}))
		}, []string{"from"}},
		{"WatchCheckpoints", func(ctx context.Context) error {
			return first(reads.WatchCheckpoints(ctx, &logv1.WatchCheckpointsRequest{Log: long}))
		}, []string{"log"}},
		{"GetSourceKeys", func(ctx context.Context) error {
			_, err := events.GetSourceKeys(ctx, &logv1.GetSourceKeysRequest{Source: "A"})
			return err
		}, []string{"source"}},
		{"GetEnrolments", func(ctx context.Context) error {
			_, err := events.GetEnrolments(ctx, &logv1.GetEnrolmentsRequest{Source: "a", Identifiers: [][]byte{{1}}})
			return err
		}, []string{"identifiers[0]"}},
		{"LinkSubjects", func(ctx context.Context) error {
			_, err := events.LinkSubjects(ctx, &logv1.LinkSubjectsRequest{Source: "A", Identifiers: [][]byte{{1, 2, 3, 4}, {1, 2, 3, 4}}, Reason: strings.Repeat("x", 1025), Id: long})
			return err
		}, []string{"authority", "id", "identifiers", "reason", "source"}},
		{"LinkSubjects of one", func(ctx context.Context) error {
			_, err := events.LinkSubjects(ctx, &logv1.LinkSubjectsRequest{Source: "a", Identifiers: [][]byte{{1, 2, 3, 4}}, Authority: "a"})
			return err
		}, []string{"identifiers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := told{Code: codes.InvalidArgument, Reason: "FIELD_INVALID", Fields: tt.want}
			if diff := cmp.Diff(want, ofError(t, tt.call(t.Context()))); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownLog(t *testing.T) {
	s, _ := scripted(t, nil)
	req := request()
	req.Log = "other.example/id"
	_, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), req)
	if diff := cmp.Diff(told{Code: codes.NotFound, Reason: "LOG_UNKNOWN", Kind: "idlog/log"}, ofError(t, err)); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}

func TestNothingPublished(t *testing.T) {
	s, _ := scripted(t, nil)
	reads := logv1.NewLogServiceClient(s.conn)
	_, err := reads.GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{Log: "acme.example/id"})
	if got := ofError(t, err); got.Reason != "NOT_FOUND" {
		t.Errorf("reason %s", got.Reason)
	}
	_, err = reads.GetEntry(t.Context(), &logv1.GetEntryRequest{})
	if got := ofError(t, err); got.Reason != "NOT_FOUND" {
		t.Errorf("reason %s", got.Reason)
	}
}

// A message over the bound is refused before it is decoded.
func TestOversizedCall(t *testing.T) {
	s, _ := scripted(t, func(context.Context, ingest.Request) ([]ingest.Answer, error) {
		t.Error("an oversized call came through")
		return nil, nil
	})
	req := request()
	for range 3 {
		req.Events = append(req.Events, &eventv1.Event{Raw: make([]byte, 3<<20)})
	}
	_, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), req)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error %v", err)
	}
}

// What is no protobuf is an error of the call, and the service goes on.
func TestMalformedBytes(t *testing.T) {
	s, _ := scripted(t, nil)
	for _, b := range [][]byte{{0xff}, {0x0a, 0x05, 'a'}, {0x12, 0x02, 0xc3, 0x28}, bytes.Repeat([]byte{0x0b}, 10000)} {
		err := s.conn.Invoke(t.Context(), logv1.EventService_SubmitEvents_FullMethodName, b, new([]byte), grpc.ForceCodec(rawCodec{}))
		if c := status.Code(err); c != codes.Internal && c != codes.InvalidArgument {
			t.Errorf("%x: %v", b[:1], err)
		}
	}
	if n := s.Panics(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = slices.Clone(b)
	return nil
}

// A panic ends its call, is counted, and no payload of it is logged.
func TestPanicIsRecovered(t *testing.T) {
	var logged bytes.Buffer
	s := start(t, serve.Config{
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{submit: func(context.Context, ingest.Request) ([]ingest.Answer, error) {
			panic("alice@acme.example")
		}}}},
	})
	events := logv1.NewEventServiceClient(s.conn)
	_, err := events.SubmitEvents(t.Context(), request())
	if diff := cmp.Diff(told{Code: codes.Internal, Reason: "INTERNAL"}, ofError(t, err)); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
	stream, err := events.SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the stream outlives it
		if err := stream.Send(&logv1.SubmitStreamRequest{Request: request()}); err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got := ofProto(t, res.GetError()); got.Reason != "INTERNAL" {
			t.Errorf("reason %s", got.Reason)
		}
	}
	if n := s.Panics(); n != 3 {
		t.Errorf("%d panics counted, want 3", n)
	}
	if text := logged.String(); strings.Contains(text, "alice") || !strings.Contains(text, "guard_test.go") {
		t.Errorf("log: %s", text)
	}
}

// Who holds too much is refused at once; others are not.
func TestOverload(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, serve.Config{
		Limits: serve.Limits{Calls: serve.Bound{Total: 1}, Streams: serve.Bound{Total: 1}},
		Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{submit: func(context.Context, ingest.Request) ([]ingest.Answer, error) {
			entered <- struct{}{}
			<-leave
			return nil, errors.New("left")
		}}}},
	})
	events := logv1.NewEventServiceClient(s.conn)
	first := make(chan error, 1)
	go func() {
		_, err := events.SubmitEvents(t.Context(), request())
		first <- err
	}()
	<-entered
	want := told{Code: codes.ResourceExhausted, Reason: "OVERLOAD", Retry: true}
	_, err := events.SubmitEvents(t.Context(), request())
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("calls: error differs (-want +got):\n%s", diff)
	}
	close(leave)
	<-first
	reads := logv1.NewLogServiceClient(s.conn)
	one, err := reads.WatchCheckpoints(t.Context(), &logv1.WatchCheckpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Header(); err != nil { // it is being answered
		t.Fatal(err)
	}
	two, err := reads.WatchCheckpoints(t.Context(), &logv1.WatchCheckpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = two.Recv()
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("streams: error differs (-want +got):\n%s", diff)
	}
}

func TestBytesInFlight(t *testing.T) {
	s := start(t, serve.Config{
		Limits: serve.Limits{Bytes: serve.Bound{Total: 100}},
		Logs:   []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{}}},
	})
	req := request()
	req.Events[0].Raw = make([]byte, 101)
	_, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), req)
	if diff := cmp.Diff(told{Code: codes.ResourceExhausted, Reason: "OVERLOAD", Retry: true}, ofError(t, err)); diff != "" {
		t.Errorf("error differs (-want +got):\n%s", diff)
	}
}

// A plain request id comes back; another is replaced.
func TestRequestID(t *testing.T) {
	s, _ := scripted(t, nil)
	for sent, kept := range map[string]bool{"abc-123": true, "": false, "two words": false, strings.Repeat("x", 65): false} {
		var header metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", sent)
		_, err := logv1.NewLogServiceClient(s.conn).GetCheckpoint(ctx, &logv1.GetCheckpointRequest{}, grpc.Header(&header))
		if err == nil {
			t.Fatal("nothing is published, and it was answered")
		}
		got := header.Get("x-request-id")
		if len(got) != 1 || got[0] == "" || (got[0] == sent) != kept {
			t.Errorf("sent %q, got %q", sent, got)
		}
	}
}

// A call without a deadline has one when it gets to ingest.
func TestDeadlineIsCapped(t *testing.T) {
	s, _ := scripted(t, func(ctx context.Context, _ ingest.Request) ([]ingest.Answer, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a call without a deadline got to ingest")
		}
		return nil, errors.New("passed")
	})
	if _, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(context.Background(), request()); err == nil {
		t.Fatal("no error")
	}
}

// A header list over the bound ends its call and no other.
func TestOversizedHeaders(t *testing.T) {
	s, _ := scripted(t, nil)
	reads := logv1.NewLogServiceClient(s.conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("x", 17<<10))
	_, err := reads.GetCheckpoint(ctx, &logv1.GetCheckpointRequest{})
	if err == nil || status.Code(err) == codes.NotFound {
		t.Errorf("17 KiB of headers: %v", err)
	}
	_, err = reads.GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{})
	if got := ofError(t, err); got.Reason != "NOT_FOUND" {
		t.Errorf("the call after it: %v", err)
	}
}

func TestConfigIsJudged(t *testing.T) {
	if _, err := serve.New(serve.Config{}); err == nil {
		t.Error("a server without a log")
	}
	l := serve.Log{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{}}
	if _, err := serve.New(serve.Config{Logs: []serve.Log{l, l}}); err == nil {
		t.Error("a server with one family twice")
	}
}
