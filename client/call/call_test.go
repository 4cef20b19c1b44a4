package call_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"idlog/client/call"
	logv1 "idlog/proto/idlog/log/v1"
)

// refusal is what a server of idlog says.
func refusal(t *testing.T, code codes.Code, details ...protoadapt.MessageV1) *status.Status {
	t.Helper()
	s, err := status.New(code, "no").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRefusalOf(t *testing.T) {
	info := &errdetails.ErrorInfo{Domain: "idlog", Reason: "OVERLOAD", Metadata: map[string]string{"index": "7"}}
	got := call.RefusalOf(refusal(t, codes.Unavailable, info,
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "actor.id"}}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)}))
	want := &call.Refused{Reason: logv1.Reason_REASON_OVERLOAD, Code: codes.Unavailable, Message: "no", Path: "actor.id", Index: 7, RetryAfter: 3 * time.Second}
	if diff := cmp.Diff(error(want), got); diff != "" {
		t.Error(diff)
	}
	for name, other := range map[string]*errdetails.ErrorInfo{
		"another domain": {Domain: "example", Reason: "OVERLOAD"},
		"no such reason": {Domain: "idlog", Reason: "MOOD"},
	} {
		if _, ok := errors.AsType[*call.Refused](call.RefusalOf(refusal(t, codes.Unavailable, other))); ok {
			t.Errorf("%s is taken for a refusal", name)
		}
	}
}

// TestRetry tries again what passes, as often as it may, and nothing else.
func TestRetry(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	bad := &call.Refused{Reason: logv1.Reason_REASON_FIELD_INVALID, Code: codes.InvalidArgument}
	for name, tt := range map[string]struct {
		errs     []error
		attempts int
		calls    int
		want     error
	}{
		"success":             {nil, 0, 1, nil},
		"it passes":           {[]error{away, away}, 0, 3, nil},
		"a refusal":           {[]error{bad}, 0, 1, bad},
		"it passes, then bad": {[]error{away, bad}, 0, 2, bad},
		"too often":           {[]error{away, away, away}, 2, 2, call.ErrGaveUp},
		"too large for gRPC":  {[]error{status.Error(codes.ResourceExhausted, "x")}, 0, 1, status.Error(codes.ResourceExhausted, "x")},
		"the log is busy":     {[]error{&call.Refused{Code: codes.ResourceExhausted, RetryAfter: time.Millisecond}}, 0, 2, nil},
		"it never comes back": {[]error{&call.Refused{Code: codes.Unavailable, RetryAfter: time.Hour}}, 0, 1, call.ErrGaveUp},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // nearer than an hour, or than the minute that it becomes
			defer cancel()
			calls := 0
			err := call.Retry(ctx, tt.attempts, func(context.Context) error {
				calls++
				if calls > len(tt.errs) {
					return nil
				}
				return tt.errs[calls-1]
			})
			if calls != tt.calls || !errors.Is(err, tt.want) {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := call.Retry(ctx, 0, func(context.Context) error { cancel(); return away }); !errors.Is(err, away) {
		t.Errorf("canceled: %v", err)
	}
}

// TestStream connects again when a stream breaks, and lets its caller end it.
func TestStream(t *testing.T) {
	enough := errors.New("enough")
	ends := []error{io.EOF, status.Error(codes.Unavailable, "restart"), io.EOF, enough}
	err := call.Stream(t.Context(), 1, func(_ context.Context, alive func()) error {
		alive() // so that the one attempt begins anew
		end := ends[0]
		ends = ends[1:]
		return end
	})
	if !errors.Is(err, enough) || len(ends) != 0 {
		t.Errorf("%v, with %d ends left", err, len(ends))
	}
	err = call.Stream(t.Context(), 2, func(context.Context, func()) error { return io.EOF })
	if r, ok := errors.AsType[*call.Refused](err); !ok || r.Reason != logv1.Reason_REASON_SHUTTING_DOWN || !errors.Is(err, call.ErrGaveUp) {
		t.Errorf("a stream that brings nothing: %v", err)
	}
}

func TestDial(t *testing.T) {
	for target, here := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "unix:/run/idlog": true, "dns:///localhost:1": true, "passthrough:///127.0.0.1:1": true,
		"log.example:1": false, "10.0.0.1:1": false, "localhost.example:1": false, "dns:///log.example:1": false, "127.0.0.1": false,
	} {
		conn, err := call.Dial(target, nil)
		if err == nil {
			conn.Close()
		}
		if here != (err == nil) || !here && !errors.Is(err, call.ErrPlaintext) {
			t.Errorf("%s: %v", target, err)
		}
	}
}
