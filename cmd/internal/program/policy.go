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
		return nil, WrongFile("policy", file, 0, err)
	}
	return p, nil
}

// WrongFile makes an error of policy.Parse or policy.ParseTrust one of usage; what is the kind of file. Of what was parsed,
// so many lines stood above those of the file.
func WrongFile(what, file string, above int, err error) error {
	exit := &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("reading the %s: %s: %w", what, file, err)}
	if wrong, ok := errors.AsType[*policy.SyntaxError](err); ok {
		exit.Remedy = wrong.Remedy
		if wrong.Line > above {
			exit.Err = fmt.Errorf("reading the %s: %s:%d: %s", what, file, wrong.Line-above, wrong.Reason)
		}
	}
	return exit
}
