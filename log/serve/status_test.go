package serve_test

import (
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "idlog/proto/idlog/log/v1"
)

// told is what a status says, for comparison.
type told struct {
	Code   codes.Code
	Reason string
	Fields []string // BadRequest paths
	Retry  bool
	Kind   string // ResourceInfo
}

func whatItTells(t *testing.T, s *status.Status) told {
	t.Helper()
	got := told{Code: s.Code()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() != "idlog" {
				t.Errorf("domain %q", d.GetDomain())
			}
			got.Reason = d.GetReason()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				got.Fields = append(got.Fields, v.GetField())
			}
			slices.Sort(got.Fields)
		case *errdetails.RetryInfo:
			got.Retry = d.GetRetryDelay().AsDuration() > 0
		case *errdetails.ResourceInfo:
			got.Kind = d.GetResourceType()
		}
	}
	return got
}

func ofError(t *testing.T, err error) told {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	return whatItTells(t, status.Convert(err))
}

func ofResult(t *testing.T, r *logv1.Result) told {
	t.Helper()
	return ofProto(t, r.GetError())
}

func ofProto(t *testing.T, p *rpcstatus.Status) told {
	t.Helper()
	if p == nil {
		t.Fatal("no error")
	}
	return whatItTells(t, status.FromProto(p))
}
