package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/internal/serve"
	"idlog/log/source"
	"idlog/proto/answer"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/policy"
)

// Classify gives an error its exit code and says what to do next, where there
// is something to do.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*serve.ExitError](err); ok {
		return err
	}
	code, remedy := ClassOf(err)
	if code == serve.CodeInterrupted {
		err = errors.New("interrupted")
	}
	return &serve.ExitError{Code: code, Err: err, Remedy: remedy}
}

// ClassOf returns the exit code of an error and what to do next, which may be nothing.
func ClassOf(err error) (code int, remedy string) {
	if _, ok := errors.AsType[*policy.QuorumError](err); ok {
		return serve.CodeQuorum, "again later, when the witnesses have signed; or ask whether this policy is the right one"
	}
	if f, ok := errors.AsType[*trust.Fork](err); ok {
		return serve.CodeVerification, sendEvidence(f.File)
	}
	if r, ok := errors.AsType[*trust.Rollback](err); ok {
		return serve.CodeVerification, "another server of this log; if all show it, " + sendEvidence(r.File)
	}
	if errors.Is(err, policy.ErrNotSigned) {
		return serve.CodeVerification, "the log's newer policy, if it has changed its key: ask whoever gave you this one, and compare with other readers"
	}
	if _, ok := errors.AsType[*answer.StaleError](err); ok {
		return serve.CodeStale, "again in a moment, or another server of this log; for an old file --at TIME"
	}
	if m, ok := errors.AsType[*client.Mismatch](err); ok {
		return serve.CodeVerification, sendEvidence(m.File)
	}
	if _, ok := errors.AsType[*answer.IncompleteError](err); ok {
		return serve.CodeVerification, ""
	}
	if b, ok := errors.AsType[*client.Broken](err); ok {
		return serve.CodeVerification, sendEvidence(b.File)
	}
	if _, ok := errors.AsType[*client.Ticket](err); ok {
		return serve.CodeQuorum, "idlog follow, or the same command again: what is logged is not logged twice"
	}
	if r, ok := errors.AsType[*client.Refused](err); ok {
		return codeOf(r.Code), remedies[r.Reason]
	}
	switch {
	case errors.Is(err, client.ErrPlaintext):
		return serve.CodeUsage, "--tls-ca FILE"
	case errors.Is(err, context.Canceled):
		return serve.CodeInterrupted, ""
	case errors.Is(err, context.DeadlineExceeded):
		return serve.CodeUnavailable, "a longer --timeout"
	}
	if s, ok := status.FromError(err); ok {
		switch s.Code() {
		case codes.Unavailable:
			if strings.Contains(s.Message(), "tls:") || strings.Contains(s.Message(), "server preface") {
				return serve.CodeUnavailable, "--tls-ca, --tls-cert and --tls-key as this server wants them"
			}
			return serve.CodeUnavailable, "whether --server is right and the log is running"
		case codes.Unimplemented:
			return serve.CodeError, "whether --server is an idlog server"
		}
		return codeOf(s.Code()), ""
	}
	return serve.CodeError, ""
}

func sendEvidence(file string) string {
	if file == "" {
		return ""
	}
	return "keep " + file + " and tell the log's operator and its auditors"
}

func codeOf(c codes.Code) int {
	switch c {
	case codes.NotFound, codes.OutOfRange:
		return serve.CodeNotFound
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return serve.CodeUnavailable
	case codes.PermissionDenied, codes.Unauthenticated:
		return serve.CodePermission
	case codes.Canceled:
		return serve.CodeInterrupted
	}
	return serve.CodeError
}

// remedies says what to do about a refusal.
var remedies = map[logv1.Reason]string{
	logv1.Reason_REASON_SOURCE_UNKNOWN:     "a --source that the server's configuration has",
	logv1.Reason_REASON_SOURCE_NOT_BOUND:   "--tls-cert of a principal that the source is bound to; for a history also of one of its readers, or --source of your own",
	logv1.Reason_REASON_UNAUTHENTICATED:    "--tls-cert and --tls-key",
	logv1.Reason_REASON_LOG_UNKNOWN:        "--log FAMILY, one that this server has",
	logv1.Reason_REASON_INDEX_OUT_OF_RANGE: "idlog checkpoint, which shows the published size",
	logv1.Reason_REASON_READ_ONLY:          "again when the log's operator has acted: it serves reads only",
	logv1.Reason_REASON_BACKLOG_FULL:       "again later: too much waits for the witnesses",
	logv1.Reason_REASON_TOO_LARGE:          "a part at a time: --page START,COUNT or --from and --to",
	logv1.Reason_REASON_OVERLOAD:           "again later, or with fewer calls at once",
}

// Fail tells standard error why the program ends, as text or as one JSON
// object, and returns the exit code. A nil err says nothing and is CodeOK.
func (p *Printer) Fail(err error) int {
	if err = Classify(err); err == nil || !p.JSON {
		return serve.Report(p.Stderr, "idlog", err)
	}
	code, remedy := serve.CodeError, ""
	if exit, ok := errors.AsType[*serve.ExitError](err); ok {
		code, remedy = exit.Code, exit.Remedy
	}
	b, _ := json.Marshal(struct {
		Type    string `json:"message_type"`
		Code    int    `json:"code"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Remedy  string `json:"remedy,omitempty"`
	}{"exit_error", code, ReasonOf(err), err.Error(), remedy})
	fmt.Fprintf(p.Stderr, "%s\n", b)
	return code
}

// ReasonOf names an error for programs: a reason of the wire, or one of ours.
func ReasonOf(err error) string {
	if r, ok := errors.AsType[*client.Refused](err); ok {
		return strings.TrimPrefix(r.Reason.String(), "REASON_")
	}
	if _, ok := errors.AsType[*policy.QuorumError](err); ok {
		return "QUORUM"
	}
	if _, ok := errors.AsType[*trust.Fork](err); ok {
		return "FORK"
	}
	if _, ok := errors.AsType[*trust.Rollback](err); ok {
		return "ROLLBACK"
	}
	if _, ok := errors.AsType[*answer.IncompleteError](err); ok {
		return "INCOMPLETE"
	}
	if _, ok := errors.AsType[*answer.StaleError](err); ok {
		return "STALE"
	}
	if m, ok := errors.AsType[*client.Mismatch](err); ok {
		if m.Step > 0 {
			return "RECEIPT_MISMATCH"
		}
		return "VERIFICATION"
	}
	if _, ok := errors.AsType[*client.Broken](err); ok {
		return "BROKEN_PROMISE"
	}
	if _, ok := errors.AsType[*client.Ticket](err); ok {
		return "TICKET"
	}
	if _, ok := errors.AsType[*source.NotAnEvent](err); ok {
		return "NOT_AN_EVENT"
	}
	if exit, ok := errors.AsType[*serve.ExitError](err); ok {
		if name, ok := kinds[exit.Code]; ok {
			return name
		}
	}
	return "ERROR"
}

// kinds names the exit codes of errors that bear no reason of their own.
var kinds = map[int]string{
	serve.CodeUsage:        "USAGE",
	serve.CodeVerification: "VERIFICATION",
	serve.CodeNotFound:     "NOT_FOUND",
	serve.CodeUnavailable:  "UNAVAILABLE",
	serve.CodePermission:   "PERMISSION",
	serve.CodeQuorum:       "QUORUM",
	serve.CodeStale:        "STALE",
	serve.CodeInit:         "EXISTS",
	serve.CodeStorage:      "STORAGE",
	serve.CodeInterrupted:  "INTERRUPTED",
}
