package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// hostile is input that a server meets on an open port. Each is refused, leaves nothing in the log, and the service answers
// the next caller.
var hostile = []struct {
	name string
	send func(t *testing.T, s *site)
}{
	{"a call over 8 MiB", func(t *testing.T, s *site) {
		s.refusesBytes(t, make([]byte, 8<<20+1), codes.ResourceExhausted)
	}},
	{"8 MiB of zeros", func(t *testing.T, s *site) { s.refusesBytes(t, make([]byte, 8<<20), codes.Internal) }},
	{"no protobuf", func(t *testing.T, s *site) {
		s.refusesBytes(t, bytes.Repeat([]byte{0x0b}, 100_000), codes.Internal) // groups without end
		s.refusesBytes(t, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x07}, codes.Internal)
	}},
	{"malformed UTF-8", func(t *testing.T, s *site) {
		s.refusesBytes(t, []byte{0x12, 2, 0xc3, 0x28}, codes.Internal)                      // the source
		s.refusesBytes(t, []byte{0x1a, 6, 0x1a, 4, 0x0a, 2, 0xc3, 0x28}, codes.Internal)    // an event's source.native_id
		s.refusesBytes(t, []byte{0x1a, 5, 0x92, 1, 2, 0xff, 0xfe}, codes.Internal)          // an element of raw_masked
		s.refusesBytes(t, []byte{0x0a, 4, 0xf0, 0x28, 0x8c, 0x28, 0x12, 0}, codes.Internal) // the log
	}},
	{"501 events", func(t *testing.T, s *site) {
		req := &logv1.SubmitEventsRequest{Source: testSource}
		for i := range 501 {
			req.Events = append(req.Events, crashEvent(fmt.Sprint("many-", i)))
		}
		_, err := logv1.NewEventServiceClient(s.connect(t)).SubmitEvents(t.Context(), req)
		refusedAs(t, err, codes.InvalidArgument, "FIELD_INVALID")
	}},
	{"an event over 256 KiB", func(t *testing.T, s *site) {
		e := crashEvent("large")
		for range 4 {
			e.Changes = append(e.Changes, &eventv1.Change{Path: "about", After: proto.String(strings.Repeat("x", 65536))})
		}
		raw := crashEvent("large raw")
		raw.Raw, raw.RawMediaType = make([]byte, 4<<20+1), "application/octet-stream"
		res, err := logv1.NewEventServiceClient(s.connect(t)).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: testSource, Events: []*eventv1.Event{e, raw}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res.GetResults() {
			refusedAs(t, status.FromProto(r.GetError()).Err(), codes.InvalidArgument, "TOO_LARGE")
		}
	}},
	{"methods that are none", func(t *testing.T, s *site) {
		for _, method := range []string{
			"/idlog.log.v1.EventService/DeleteEverything",
			"/idlog.log.v1.AdminService/Shutdown",
			"/IDLOG.LOG.V1.EventService/SubmitEvents",
			"idlog.log.v1.EventService/SubmitEvents", // without its slash
			"//idlog.log.v1.EventService/SubmitEvents",
			"/",
		} {
			req := &logv1.SubmitEventsRequest{Source: testSource, Events: []*eventv1.Event{crashEvent("no method")}}
			if err := s.connect(t).Invoke(t.Context(), method, req, &logv1.SubmitEventsResponse{}); status.Code(err) != codes.Unimplemented {
				t.Errorf("%q: %v", method, err)
			}
		}
	}},
	{"bytes that are no HTTP/2", func(t *testing.T, s *site) {
		for _, b := range []string{
			strings.Repeat("\x00\xff", 5000),
			"GET /checkpoint HTTP/1.1\r\nHost: log\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 20000),          // a frame of 16 MiB
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x05\x04\x00\x00\x00\x00\x0012345", // SETTINGS of five bytes
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",                              // TLS, which is not spoken here
		} {
			conn := s.dial(t)
			conn.Write([]byte(b)) // an error is the server's having closed already
			if c, ok := conn.(*net.TCPConn); ok {
				c.CloseWrite()
			}
			if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
				t.Errorf("%.20q: the server keeps the connection", b)
			}
		}
		for range 100 { // who says nothing holds up nobody
			s.dial(t)
		}
	}},
	{"300 streams", func(t *testing.T, s *site) {
		// On two connections, since one has at most 256. One principal has at most 256 of both.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := make(chan error)
		for range 2 {
			c := logv1.NewLogServiceClient(s.connect(t))
			for range 150 {
				go func() {
					stream, err := c.WatchCheckpoints(ctx, &logv1.WatchCheckpointsRequest{})
					if err == nil {
						_, err = stream.Recv()
					}
					answers <- err
				}()
			}
		}
		refused := 0
		for range 300 {
			if err := <-answers; err != nil {
				refusedAs(t, err, codes.ResourceExhausted, "OVERLOAD")
				refused++
			}
		}
		if refused != 300-256 {
			t.Errorf("%d of 300 streams are refused, not all above 256", refused)
		}
		s.answers(t) // while they are open
	}},
	{"paths over HTTP", func(t *testing.T, s *site) {
		for target, want := range map[string]int{
			"/checkpoint":                                    200,
			"/" + family + "/0/checkpoint":                   200,
			"/../keys/log.key":                               404,
			"/tile/../../keys/log.key":                       400,
			"/tile/%2e%2e/%2e%2e/keys/log.key":               404,
			"/" + family + "/0/../../keys/log.key":           404,
			"/" + family + "/0/tile/../.state/treeState":     400,
			"/tile/0/000":                                    404, // not full
			"/tile/0/000.p/255":                              404,
			"/tile/0/000.p/0":                                400,
			"/tile/0/x001/000":                               404,
			"/tile/entries/..%2f..%2f..%2fkeys%2fmaster.key": 404,
			"/tile/0/000%00":                                 404,
			"/archive/99999999999999999999":                  400,
			"//etc/passwd":                                   404,
			"/" + strings.Repeat("a", 16000):                 431,
		} {
			if got := s.get(t, target); got != want {
				t.Errorf("GET %.60s answers %d, not %d", target, got, want)
			}
		}
	}},
}

func TestHostileInput(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin := build(t)
	s := newSite(t, bin, bin)
	s.serve("--set", "logs.0.index.enabled=false") // every entry is then an event's
	// The persons of crashEvent("known") are enrolled from here on, so that one more event is one more entry.
	const known = "known-1"
	s.logs(t, known)
	size := s.answers(t)
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			h.send(t, s)
			if now := s.answers(t); now != size {
				t.Errorf("the log has grown from %d to %d", size, now)
			}
		})
	}
	// What had been taken and not yet published would stand before this one.
	if index := s.logs(t, known+" again"); index != size {
		t.Errorf("the next event is at %d, not %d", index, size)
	}
	if out := s.server.said(); strings.Contains(out, "panic") {
		t.Errorf("a handler panicked: %s", out)
	}
}

// logs submits one event whose persons are always the same, and returns its index.
func (s *site) logs(t *testing.T, id string) int64 {
	t.Helper()
	e := crashEvent("known-1")
	e.Source.NativeId = proto.String(id)
	res, err := logv1.NewEventServiceClient(s.connect(t)).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: testSource, Events: []*eventv1.Event{e}})
	if err != nil {
		t.Fatal(err)
	}
	r := res.GetResults()[0].GetReceipt()
	if r == nil {
		t.Fatalf("no receipt: %v", res)
	}
	return r.GetIndex()
}

// answers asks a new connection for the log's health and its checkpoint, and returns the size.
func (s *site) answers(t *testing.T) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := s.connect(t)
	health, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: "idlog.log.v1.EventService"})
	if err != nil || health.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", health.GetStatus(), err)
	}
	res, err := logv1.NewLogServiceClient(conn).GetCheckpoint(ctx, &logv1.GetCheckpointRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return s.accepted(t, res.GetCheckpoint()).Checkpoint.Size
}

// refusesBytes sends bytes as the request of SubmitEvents.
func (s *site) refusesBytes(t *testing.T, b []byte, code codes.Code) {
	t.Helper()
	err := s.connect(t).Invoke(t.Context(), logv1.EventService_SubmitEvents_FullMethodName, b, new([]byte), grpc.ForceCodec(asBytes{}))
	if status.Code(err) != code {
		t.Errorf("%d bytes %.10x: %v, not %v", len(b), b[:min(len(b), 10)], err, code)
	}
}

// asBytes sends bytes as they are.
type asBytes struct{}

func (asBytes) Name() string                  { return "proto" }
func (asBytes) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (asBytes) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = slices.Clone(b)
	return nil
}

// refusedAs holds an error to its code and reason.
func refusedAs(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	st := status.Convert(err)
	got := ""
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			got = info.GetReason()
		}
	}
	if st.Code() != code || got != reason {
		t.Errorf("%v %q, not %v %q: %s", st.Code(), got, code, reason, st.Message())
	}
}

// dial opens a socket to the gRPC listener that no longer than patience is waited on.
func (s *site) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.server.addresses["grpc"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// get asks the HTTP listener for exactly this target, which net/http would clean.
func (s *site) get(t *testing.T, target string) int {
	t.Helper()
	conn, err := net.Dial("tcp", s.server.addresses["http"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n", target); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
