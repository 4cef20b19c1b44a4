package serve_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	logv1 "idlog/proto/idlog/log/v1"
)

// The table of conventions: every reason has its code and details, for a call
// as a whole and for one event alike. A reason that is new must be added here.
func TestEveryReasonIsMapped(t *testing.T) {
	want := map[logv1.Reason]told{
		logv1.Reason_REASON_FIELD_INVALID:      {Code: codes.InvalidArgument, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_TOO_LARGE:          {Code: codes.InvalidArgument, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_TOO_MANY_PERSONS:   {Code: codes.InvalidArgument, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_ID_CONFLICT:        {Code: codes.AlreadyExists, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_SUBJECT_ERASED:     {Code: codes.NotFound, Fields: []string{"actor.id"}, Kind: "idlog/entry"},
		logv1.Reason_REASON_LOG_UNKNOWN:        {Code: codes.NotFound, Fields: []string{"actor.id"}, Kind: "idlog/entry"},
		logv1.Reason_REASON_SOURCE_UNKNOWN:     {Code: codes.NotFound, Fields: []string{"actor.id"}, Kind: "idlog/source"},
		logv1.Reason_REASON_SOURCE_NOT_BOUND:   {Code: codes.PermissionDenied, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_UNAUTHENTICATED:    {Code: codes.Unauthenticated, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_BACKLOG_FULL:       {Code: codes.Unavailable, Fields: []string{"actor.id"}, Retry: true},
		logv1.Reason_REASON_READ_ONLY:          {Code: codes.FailedPrecondition, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_SHUTTING_DOWN:      {Code: codes.Unavailable, Fields: []string{"actor.id"}, Retry: true},
		logv1.Reason_REASON_INDEX_OUT_OF_RANGE: {Code: codes.OutOfRange, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_NOT_FOUND:          {Code: codes.NotFound, Fields: []string{"actor.id"}, Kind: "idlog/entry"},
		logv1.Reason_REASON_OPENING_LOST:       {Code: codes.NotFound, Fields: []string{"actor.id"}, Kind: "idlog/entry"},
		logv1.Reason_REASON_DATA_LOSS:          {Code: codes.DataLoss, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_OVERLOAD:           {Code: codes.ResourceExhausted, Fields: []string{"actor.id"}, Retry: true},
		logv1.Reason_REASON_INTERNAL:           {Code: codes.Internal, Fields: []string{"actor.id"}},
		logv1.Reason_REASON_FIELD_MISSING:      {Code: codes.InvalidArgument, Fields: []string{"actor.id"}},
	}
	var refusal *ingest.Refusal
	whole := false
	s, _ := scripted(t, func(context.Context, ingest.Request) ([]ingest.Answer, error) {
		if whole {
			return nil, fmt.Errorf("taking events: %w", refusal)
		}
		return []ingest.Answer{{Err: refusal}}, nil
	})
	events := logv1.NewEventServiceClient(s.conn)
	for number, name := range logv1.Reason_name {
		reason := logv1.Reason(number)
		if reason == logv1.Reason_REASON_UNSPECIFIED {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want, ok := want[reason]
			if !ok {
				t.Fatal("the table has no line for this reason")
			}
			want.Reason = strings.TrimPrefix(name, "REASON_")
			refusal = &ingest.Refusal{Reason: reason, Path: "actor.id", Index: 7, Message: "for this reason"}

			whole = true
			_, err := events.SubmitEvents(t.Context(), request())
			if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
				t.Errorf("call: error differs (-want +got):\n%s", diff)
			}
			if got := indexOf(status.Convert(err)); got != "7" {
				t.Errorf("metadata index is %q", got)
			}

			whole = false
			res, err := events.SubmitEvents(t.Context(), request())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, ofResult(t, res.GetResults()[0])); diff != "" {
				t.Errorf("event: error differs (-want +got):\n%s", diff)
			}
		})
	}
}

// Who was in flight when storage failed is told to come back, and nothing of
// what failed.
func TestFailureOfStorage(t *testing.T) {
	var failure error
	s, _ := scripted(t, func(context.Context, ingest.Request) ([]ingest.Answer, error) { return nil, failure })
	for _, tt := range []struct {
		err  error
		want told
	}{
		{fmt.Errorf("appending /srv/log: %w", ilog.ErrFatal), told{Code: codes.Unavailable, Reason: "SHUTTING_DOWN", Retry: true}},
		{fmt.Errorf("storing in /srv/journal: %w", journal.ErrFatal), told{Code: codes.Unavailable, Reason: "SHUTTING_DOWN", Retry: true}},
		{fmt.Errorf("opening /srv/vault"), told{Code: codes.Internal, Reason: "INTERNAL"}},
		{context.DeadlineExceeded, told{Code: codes.DeadlineExceeded}},
	} {
		failure = tt.err
		_, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), request())
		if diff := cmp.Diff(tt.want, ofError(t, err)); diff != "" {
			t.Errorf("%v: error differs (-want +got):\n%s", tt.err, diff)
		}
		if strings.Contains(err.Error(), "/srv") {
			t.Errorf("it tells where things lie: %v", err)
		}
	}
}

func indexOf(s *status.Status) string {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetMetadata()["index"]
		}
	}
	return ""
}
