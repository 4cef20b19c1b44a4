package serve

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	logv1 "idlog/proto/idlog/log/v1"
)

// domain is the ErrorInfo domain of every refusal.
const domain = "idlog"

// codeOf maps every reason to its gRPC code. The list is closed and numbered
// for ever, as logv1.Reason is.
var codeOf = map[logv1.Reason]codes.Code{
	logv1.Reason_REASON_FIELD_INVALID:      codes.InvalidArgument,
	logv1.Reason_REASON_TOO_LARGE:          codes.InvalidArgument,
	logv1.Reason_REASON_TOO_MANY_PERSONS:   codes.InvalidArgument,
	logv1.Reason_REASON_ID_CONFLICT:        codes.AlreadyExists,
	logv1.Reason_REASON_SUBJECT_ERASED:     codes.NotFound,
	logv1.Reason_REASON_LOG_UNKNOWN:        codes.NotFound,
	logv1.Reason_REASON_SOURCE_UNKNOWN:     codes.NotFound,
	logv1.Reason_REASON_SOURCE_NOT_BOUND:   codes.PermissionDenied,
	logv1.Reason_REASON_UNAUTHENTICATED:    codes.Unauthenticated,
	logv1.Reason_REASON_BACKLOG_FULL:       codes.Unavailable,
	logv1.Reason_REASON_READ_ONLY:          codes.FailedPrecondition,
	logv1.Reason_REASON_SHUTTING_DOWN:      codes.Unavailable,
	logv1.Reason_REASON_INDEX_OUT_OF_RANGE: codes.OutOfRange,
	logv1.Reason_REASON_NOT_FOUND:          codes.NotFound,
	logv1.Reason_REASON_OPENING_LOST:       codes.NotFound,
	logv1.Reason_REASON_DATA_LOSS:          codes.DataLoss,
	logv1.Reason_REASON_OVERLOAD:           codes.ResourceExhausted,
	logv1.Reason_REASON_INTERNAL:           codes.Internal,
	logv1.Reason_REASON_FIELD_MISSING:      codes.InvalidArgument,
}

// refusal is one refusal on its way to the wire. Everything but reason and
// message may be empty.
type refusal struct {
	reason   logv1.Reason
	message  string
	metadata map[string]string // ErrorInfo.metadata
	fields   []*errdetails.BadRequest_FieldViolation
	kind     string // ResourceInfo: what was not found ("log", "source", "entry")
	name     string // ResourceInfo: its name
}

// refuse makes the error of a reason that needs no details beyond it.
func refuse(reason logv1.Reason, message string) error {
	return refusal{reason: reason, message: message}.status().Err()
}

// status is the one place where a reason becomes a google.rpc.Status: its
// code, ErrorInfo always, and the details that the code asks for.
func (r refusal) status() *status.Status {
	code, known := codeOf[r.reason]
	if !known {
		r.reason, code = logv1.Reason_REASON_INTERNAL, codes.Internal
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason:   strings.TrimPrefix(r.reason.String(), "REASON_"),
		Domain:   domain,
		Metadata: r.metadata,
	}}
	if len(r.fields) > 0 {
		details = append(details, &errdetails.BadRequest{FieldViolations: r.fields})
	}
	switch code {
	case codes.Unavailable, codes.ResourceExhausted:
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay())})
	case codes.NotFound:
		details = append(details, &errdetails.ResourceInfo{ResourceType: domain + "/" + r.kind, ResourceName: r.name, Description: r.message})
	case codes.FailedPrecondition:
		details = append(details, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{
			Type: strings.TrimPrefix(r.reason.String(), "REASON_"), Subject: r.name, Description: r.message,
		}}})
	}
	s := status.New(code, r.message)
	detailed, err := s.WithDetails(details...)
	if err != nil { // only for an OK code or a detail that cannot be marshalled, and these can
		return s
	}
	return detailed
}

// retryDelay spreads retries over a second and a half, so that those who were
// refused together do not come back together.
func retryDelay() time.Duration {
	return 500*time.Millisecond + rand.N(time.Second)
}

// violation is one entry of BadRequest: the path from the request's top, the
// rule, and what to do.
func violation(path, rule, description string) *errdetails.BadRequest_FieldViolation {
	return &errdetails.BadRequest_FieldViolation{Field: path, Reason: rule, Description: description}
}

// statusOf makes the status of any error that a handler met. What it does not
// know is INTERNAL with a fixed text: the text of an unknown error may tell a
// caller what is none of its business. Such an error is the caller's to log.
func statusOf(err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the call's deadline has passed")
	case errors.Is(err, fs.ErrNotExist):
		return refusal{reason: logv1.Reason_REASON_NOT_FOUND, message: "not found"}.status()
	}
	return refusal{reason: logv1.Reason_REASON_INTERNAL, message: "internal error"}.status()
}
