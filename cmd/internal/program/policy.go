package program

import (
	"errors"
	"fmt"

	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
)

// ParsePolicy reads the policy that stands in a file. Its errors have
// serve.CodeUsage and say file, line and what to write in its place.
func ParsePolicy(file string, b []byte) (*policy.Policy, error) {
	p, err := policy.Parse(b)
	if err != nil {
		return nil, WrongPolicy(file, 0, err)
	}
	return p, nil
}

// WrongPolicy makes an error of policy.Parse one of usage. Of what was parsed,
// so many lines stood above those of the file.
func WrongPolicy(file string, above int, err error) error {
	exit := &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("reading the policy: %s: %w", file, err)}
	if wrong, ok := errors.AsType[*policy.SyntaxError](err); ok {
		exit.Remedy = wrong.Remedy
		if wrong.Line > above {
			exit.Err = fmt.Errorf("reading the policy: %s:%d: %s", file, wrong.Line-above, wrong.Reason)
		}
	}
	return exit
}
