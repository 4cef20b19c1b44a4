package client

import (
	"errors"

	"google.golang.org/grpc/codes"

	"idlog/client/call"
	"idlog/client/receipt"
	"idlog/proto/event"
	logv1 "idlog/proto/idlog/log/v1"
)

// ErrPlaintext says that a server which is not on this machine was named
// without TLS. The caller gives TLS; there is no flag to go without.
var ErrPlaintext = call.ErrPlaintext

// Refused says that the operator, or this client on its behalf, does not take
// an event or a call, and why.
type Refused = call.Refused

// What package receipt verified, and what it found that does not hold.
type (
	// Receipt is an event in the log, verified by every step of SPEC 3.1.
	Receipt = receipt.Receipt
	// Ticket is a promise to log an event: an error, for it is not success. Follow it, or submit the event again.
	Ticket = receipt.Ticket
	// Mismatch says that a receipt, a ticket or an answer does not hold.
	Mismatch = receipt.Mismatch
)

// refusedEvent is what a server would say of an event that no server takes.
func refusedEvent(err error) error {
	r := &Refused{Reason: logv1.Reason_REASON_FIELD_INVALID, Code: codes.InvalidArgument, Message: err.Error(), Index: -1}
	if errors.Is(err, event.ErrTooManyPersons) {
		r.Reason = logv1.Reason_REASON_TOO_MANY_PERSONS
	}
	if f, ok := errors.AsType[*event.FieldError](err); ok {
		r.Path, r.Message = f.Path, f.Reason
		switch f.Fault {
		case event.Missing:
			r.Reason = logv1.Reason_REASON_FIELD_MISSING
		case event.TooLarge:
			r.Reason = logv1.Reason_REASON_TOO_LARGE
		}
	}
	return r
}
