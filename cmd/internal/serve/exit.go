package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// The exit codes of every program of idlog. They are a closed list: a script
// may switch on them, and what is not here is a failure.
const (
	CodeOK           = 0   // done
	CodeError        = 1   // any other failure, and a second signal
	CodeUsage        = 2   // flags, arguments or configuration are wrong
	CodeVerification = 3   // a proof or a signature does not hold
	CodeNotFound     = 4   // what was asked for is not there
	CodeUnavailable  = 5   // unreachable or timed out; trying again is right
	CodePermission   = 6   // not allowed, or a key file others can read
	CodeQuorum       = 7   // the policy or its quorum is not satisfied
	CodeStale        = 8   // verified, but older than was asked for
	CodeInit         = 9   // not initialised, or already initialised
	CodeStorage      = 75  // storage failed; what is on disk is safe, look at the machine
	CodeInterrupted  = 130 // stopped by a signal before the work was done
)

// ExitError is a failure that chooses its exit code. Remedy, when not empty,
// is the command to run or the thing to do, printed on a line of its own.
type ExitError struct {
	Code   int
	Err    error
	Remedy string
}

// Error is the text of Err alone; the remedy is for people and is printed by Main.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Usagef is an ExitError with CodeUsage.
func Usagef(format string, args ...any) error {
	return &ExitError{Code: CodeUsage, Err: fmt.Errorf(format, args...)}
}

// Report prints err to w as a program named name does before it exits, and
// returns the exit code. A nil err prints nothing and is CodeOK.
func Report(w io.Writer, name string, err error) int {
	if err == nil {
		return CodeOK
	}
	code, remedy := CodeError, ""
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		code, remedy = exit.Code, exit.Remedy
	case errors.Is(err, context.Canceled):
		code = CodeInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		code = CodeUnavailable
	}
	fmt.Fprintf(w, "%s: %v\n", name, err)
	if remedy != "" {
		fmt.Fprintf(w, "%s: try: %s\n", name, remedy)
	}
	return code
}
