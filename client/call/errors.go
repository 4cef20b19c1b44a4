package call

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv1 "idlog/proto/idlog/log/v1"
)

// ErrPlaintext says that a server which is not on this machine was named
// without TLS. The caller gives TLS; there is no flag to go without.
var ErrPlaintext = errors.New("a server that is not on this machine needs TLS")

// domain is the ErrorInfo domain of every refusal of an idlog server.
const domain = "idlog"

// Refused says that the operator, or this client on its behalf, does not take
// an event or a call. Sending the same again will not help, except after
// RetryAfter where that is set. Message is the server's text, not verified and
// not escaped for terminals.
type Refused struct {
	Reason     logv1.Reason  // of the closed list
	Code       codes.Code    // gRPC's kind of the refusal
	Message    string        // for people
	Path       string        // field of the event or the request; empty if none is at fault
	Index      int64         // entry that it is about, as the server says; -1 if none
	RetryAfter time.Duration // what the server asks for; 0 if it does not
}

func (e *Refused) Error() string {
	name := strings.TrimPrefix(e.Reason.String(), "REASON_")
	if e.Path != "" {
		return fmt.Sprintf("%s: %s: %q", name, e.Path, e.Message)
	}
	return fmt.Sprintf("%s: %q", name, e.Message)
}

// RefusalOf turns the status of a call, or of one event, into a *Refused where
// it carries an idlog reason, and returns the status' error otherwise.
func RefusalOf(s *status.Status) error {
	r := &Refused{Code: s.Code(), Message: s.Message(), Index: -1}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == domain {
				r.Reason = logv1.Reason(logv1.Reason_value["REASON_"+d.GetReason()])
			}
			if i, err := strconv.ParseInt(d.GetMetadata()["index"], 10, 64); err == nil && i >= 0 {
				r.Index = i
			}
		case *errdetails.BadRequest:
			if v := d.GetFieldViolations(); len(v) > 0 {
				r.Path = v[0].GetField()
			}
		case *errdetails.RetryInfo:
			r.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if r.Reason == logv1.Reason_REASON_UNSPECIFIED {
		return s.Err()
	}
	return r
}

// ErrorOf turns the error of a call into ours.
func ErrorOf(err error) error {
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return RefusalOf(s)
	}
	return err
}

// ErrGaveUp says that a call was tried as often as it may be.
var ErrGaveUp = errors.New("giving up")

// Passes reports whether the same call may succeed later, and how long the
// server asks to wait. RESOURCE_EXHAUSTED without a reason is gRPC's own
// "message too large", which stays so. CANCELLED and DEADLINE_EXCEEDED are here
// only if they are not the caller's doing, so a connection or a server gave up.
func Passes(err error) (time.Duration, bool) {
	if errors.Is(err, ErrGaveUp) {
		return 0, false
	}
	if r, ok := errors.AsType[*Refused](err); ok {
		return r.RetryAfter, r.Code == codes.Unavailable || r.Code == codes.ResourceExhausted
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
		return 0, true
	}
	return 0, false
}
