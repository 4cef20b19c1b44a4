package receipt

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// Statement says that identifiers are of one person, or takes that back: SPEC 2.10.
type Statement struct {
	Source string // to which the caller is bound
	// ID tells statements apart that say the same; at most 64 bytes. The same statement under the same id is made once.
	ID string
	// Unlink takes back what was said.
	Unlink bool
	// Identifiers are 2 to 16, none of them twice, in any order. Each is in the log, as events have named it.
	Identifiers []subject.Identifier
	// Authority is who says so, Reason why: text of 1 to 256 and of 0 to 1024 bytes.
	Authority, Reason string
}

// Stated is a statement in the log, verified. Only this package makes one; its slices are read only.
type Stated struct {
	Leaf      *leaf.Subject
	Inclusion []leaf.Hash
	Lines     []seal.Line // authority and reason
}

// CheckStatement is the check of a statement's receipt (SPEC 3.1, Statements) from what was said: cp is its checkpoint,
// accepted by the policy and by what was seen of its log, and People has the enrolments that came after the answer. The
// error is a *Mismatch without evidence.
func (c *Checker) CheckStatement(said *Statement, res *logv1.LinkSubjectsResponse, cp *policy.Verified) (*Stated, error) {
	s, err := c.statement(said, res, cp)
	if err != nil {
		return nil, &Mismatch{What: "statement", Err: err}
	}
	return s, nil
}

func (c *Checker) statement(said *Statement, res *logv1.LinkSubjectsResponse, cp *policy.Verified) (*Stated, error) {
	l, inclusion, err := included[*leaf.Subject](cp, res.GetIndex(), res.GetLeaf(), res.GetInclusion())
	if err != nil {
		return nil, err
	}
	keys, announced := c.Source.epochs[l.Keys]
	joined, other := l.Links, l.Unlinks
	if said.Unlink {
		joined, other = other, joined
	}
	switch {
	case l.Log != c.Source.log:
		return nil, fmt.Errorf("the leaf is of log %s", l.Log)
	case !announced || keys.index >= res.GetIndex():
		return nil, fmt.Errorf("the leaf is of epoch %d, which was not announced before it", l.Keys)
	case len(joined) == 0 || len(other) > 0:
		return nil, fmt.Errorf("the leaf says otherwise: it links %d enrolments and unlinks %d", len(l.Links), len(l.Unlinks))
	}
	known := res.GetIndex() < c.Before[cp.Checkpoint.Origin] // it stood in the log before it was said this time
	if err := c.dated(time.Unix(l.Received, 0), known, cp); err != nil {
		return nil, err
	}
	if err := c.joins(said.Identifiers, joined, l.Etags, res.GetIndex()); err != nil {
		return nil, err
	}
	seeds, err := seedsOf(res.GetOpening())
	if err != nil {
		return nil, err
	}
	if len(seeds) != 1 || len(seeds[0].owners) > 0 {
		return nil, fmt.Errorf("%d seeds, not one of nobody", len(seeds))
	}
	lines := []seal.Line{{Path: "authority", Value: seal.String(said.Authority)}, {Path: "reason", Value: seal.String(said.Reason)}}
	for i := range lines {
		lines[i].State, lines[i].Salt = seal.Shown, seal.Salt(seeds[0].seed, lines[i].Path)
	}
	if lines, err = seal.OpenStatement(l, lines); err != nil {
		return nil, err
	}
	return &Stated{Leaf: l, Inclusion: inclusion, Lines: lines}, nil
}

// joins verifies that a leaf names enrolments of these identifiers, of each one at least and of nobody else, all before
// its own index, and has the etags that the identifiers have.
func (c *Checker) joins(ids []subject.Identifier, joined, etags []leaf.Hash, index int64) error {
	named := 0
	var theirs []leaf.Hash
	for _, id := range ids {
		before := named
		for _, e := range c.People(id) {
			if !slices.Contains(joined, e.leaf) {
				continue
			}
			if e.index >= index {
				return fmt.Errorf("it names entry %d, which comes after it", e.index)
			}
			named++
			if !slices.Contains(theirs, e.etag) {
				theirs = append(theirs, e.etag)
			}
		}
		if named == before {
			return fmt.Errorf("it names no enrolment of %s", id)
		}
	}
	slices.SortFunc(theirs, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	switch {
	case named != len(joined):
		return fmt.Errorf("it names %d enrolments, and %d are of these identifiers", len(joined), named)
	case !slices.Equal(theirs, etags):
		return fmt.Errorf("its etags are not those of the identifiers")
	}
	return nil
}
