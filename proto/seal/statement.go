package seal

import (
	"errors"
	"fmt"
	"slices"

	"idlog/proto/leaf"
)

// OpenStatement checks that lines are exactly the fields that a statement about persons commits to (SPEC 2.10): authority
// and reason, of nobody, each shown by a text that opens its commitment, or not shown. It returns them with their
// commitments; one that is Erased comes back as Withheld, as nothing here proves an erasure. It is for callers that have
// verified that the leaf is in a log; there is no disclosure file of a statement.
func OpenStatement(s *leaf.Subject, lines []Line) ([]Line, error) {
	lines = slices.Clone(lines)
	if err := openStatement(s, lines); err != nil {
		return nil, fmt.Errorf("verifying statement: %w", err)
	}
	return lines, nil
}

func openStatement(s *leaf.Subject, lines []Line) error {
	switch {
	case s.Fields == nil:
		return errors.New("an enrolment has no fields")
	case len(lines) != 2 || lines[0].Path != "authority" || lines[1].Path != "reason":
		return errors.New("fields are not authority and reason")
	}
	for i := range lines {
		l := &lines[i]
		if len(l.Owners) > 0 {
			return fmt.Errorf("%s: it has an owner", l.Path)
		}
		switch l.State {
		case Shown:
			if err := l.Value.Check(); err != nil {
				return fmt.Errorf("%s: %w", l.Path, err)
			}
			if l.Value[0] != kindString {
				return fmt.Errorf("%s: value is of kind %c, not %c", l.Path, l.Value[0], kindString)
			}
			l.Commitment = Commitment(l.Salt, l.Path, l.Value)
		case Erased:
			l.State, l.ErasedAt = Withheld, 0
		}
	}
	digest, err := Digest(lines)
	if err != nil {
		return err
	}
	if digest != *s.Fields {
		return errors.New("lines are not the fields that the leaf commits to")
	}
	return nil
}
