package serve_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// scriptedReader is a log of which nothing is published. Its methods fail the
// contract's way: they are never asked for what is not published.
type scriptedReader struct {
	t  *testing.T
	mu sync.Mutex // guards ro
	ro error
}

func (r *scriptedReader) Published() (ilog.Published, bool) { return ilog.Published{}, false }
func (r *scriptedReader) Next(ctx context.Context, _ []byte) (ilog.Published, error) {
	<-ctx.Done()
	return ilog.Published{}, ctx.Err()
}
func (r *scriptedReader) Entry(context.Context, int64) ([]byte, error) {
	r.t.Error("an entry was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) Inclusion(context.Context, int64, int64) ([]leaf.Hash, error) {
	r.t.Error("a proof was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) Consistency(context.Context, int64, int64) ([]leaf.Hash, error) {
	r.t.Error("a proof was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) ReadOnly() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ro
}
func (r *scriptedReader) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ro = err
}

// scriptedEvents answers a submission as the test says, and nothing else.
type scriptedEvents struct {
	serve.Events
	submit func(context.Context, ingest.Request) ([]ingest.Answer, error)
}

func (e scriptedEvents) Bound(string, string) error { return nil }
func (e scriptedEvents) Submit(ctx context.Context, r ingest.Request) ([]ingest.Answer, error) {
	return e.submit(ctx, r)
}

// served is a server on a socket of its own.
type served struct {
	*serve.Server
	addr string
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, c serve.Config) *served {
	t.Helper()
	s, err := serve.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &served{Server: s, addr: l.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { v.done <- s.Serve(ctx, l); close(v.done) }()
	v.conn, err = grpc.NewClient(v.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-v.done; err != nil {
			t.Error(err)
		}
	})
	return v
}

// scripted is a server whose submissions the test answers.
func scripted(t *testing.T, submit func(context.Context, ingest.Request) ([]ingest.Answer, error)) (*served, *scriptedReader) {
	t.Helper()
	r := &scriptedReader{t: t}
	return start(t, serve.Config{Logs: []serve.Log{{Family: "acme.example/id", Reader: r, Events: scriptedEvents{submit: submit}}}, Reflection: true}), r
}

func request() *logv1.SubmitEventsRequest {
	return &logv1.SubmitEventsRequest{Source: "okta", Events: []*eventv1.Event{{}}}
}

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

func TestHealth(t *testing.T) {
	s, r := scripted(t, nil)
	health := healthv1.NewHealthClient(s.conn)
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "idlog.log.v1.EventService"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if res.GetStatus() != want {
			t.Fatalf("EventService is %v, want %v", res.GetStatus(), want)
		}
	}
	next(healthv1.HealthCheckResponse_SERVING)
	r.refuse(errors.New("the log refused to sign"))
	next(healthv1.HealthCheckResponse_NOT_SERVING)
	for _, service := range []string{"", "idlog.log.v1.LogService"} { // reading goes on
		res, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, res.GetStatus(), err)
		}
	}
	r.refuse(nil)
	next(healthv1.HealthCheckResponse_SERVING)
	s.stop()
	next(healthv1.HealthCheckResponse_NOT_SERVING)
	// Who watches health does not hold up the drain.
	if _, err := watch.Recv(); err == nil {
		t.Error("a watcher of health outlives the drain")
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// At a drain an open stream is told to come back.
func TestDrainEndsStreams(t *testing.T) {
	s, _ := scripted(t, nil)
	watch, err := logv1.NewLogServiceClient(s.conn).WatchCheckpoints(t.Context(), &logv1.WatchCheckpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	submit, err := logv1.NewEventServiceClient(s.conn).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []grpc.ClientStream{watch, submit} {
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	want := told{Code: codes.Unavailable, Reason: "SHUTTING_DOWN", Retry: true}
	_, err = watch.Recv()
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("watch: error differs (-want +got):\n%s", diff)
	}
	_, err = submit.Recv()
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("submit: error differs (-want +got):\n%s", diff)
	}
}

// A call that is in flight when the drain begins is answered, and a new one is not.
func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, _ := scripted(t, func(context.Context, ingest.Request) ([]ingest.Answer, error) {
		close(entered)
		<-leave
		return []ingest.Answer{{Ticket: &ingest.Ticket{Note: []byte("promised")}}}, nil
	})
	watch, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		res *logv1.SubmitEventsResponse
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		res, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), request())
		answered <- answer{res, err}
	}()
	<-entered
	s.stop()
	for { // until health says that the drain has begun
		res, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if res.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING {
			break
		}
	}
	select {
	case err := <-s.done:
		t.Fatalf("the server ended with a call in flight: %v", err)
	case a := <-answered:
		t.Fatalf("answered too early: %v", a)
	default:
	}
	close(leave)
	a := <-answered
	if a.err != nil || string(a.res.GetResults()[0].GetTicket().GetNote()) != "promised" {
		t.Errorf("the call in flight: %v, %v", a.res, a.err)
	}
}

func TestReflection(t *testing.T) {
	s, _ := scripted(t, nil)
	want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"idlog.log.v1.EventService", "idlog.log.v1.LogService"}
	t.Run("v1", func(t *testing.T) {
		stream, err := reflectionv1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, service := range res.GetListServicesResponse().GetService() {
			got = append(got, service.GetName())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("services differ (-want +got):\n%s", diff)
		}
	})
	t.Run("v1alpha", func(t *testing.T) { // the same messages under an older name
		stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: "idlog.log.v1.EventService"}}); err != nil {
			t.Fatal(err)
		}
		res := new(reflectionv1.ServerReflectionResponse)
		if err := stream.RecvMsg(res); err != nil || len(res.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%v, %v", res, err)
		}
	})
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

func TestReflectionIsOff(t *testing.T) {
	s := start(t, serve.Config{Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{}}}})
	stream, err := reflectionv1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("error %v", err)
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
