// Package evidence reads, writes and judges files that accuse a log or a
// witness: SPEC 2.9. A file carries all that its claim rests on, so that anyone
// with the keys of the accused comes to the same verdict, without a network and
// without the accuser.
//
// It trusts the keys of the policy that it is given, to know whose signatures
// are whose, and no quorum: what a log signed accuses it, whoever else did not.
// It keeps no state; all functions may be called concurrently.
//
// A file is
//
//	idlog-evidence/v1 LF
//	"claim " claim LF
//	1*16("part " type " " length LF *length(byte) LF)
//
// Invariants: Parse accepts a byte string only if Format gives it back; claims
// and types are closed lists; a length is decimal without leading zeros.
package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"idlog/proto/checkpoint"
)

// Claim is what a file accuses somebody of.
type Claim string

// The claims. Which of them this version judges, Judge says.
const (
	// Fork: a log signed two trees of which neither continues the other.
	Fork Claim = "fork"
	// Rollback: a log showed a smaller tree after a larger one.
	Rollback Claim = "rollback"
	// BadRoot: a root leaf of the index is false.
	BadRoot Claim = "bad-root"
	// Omission: an answer of the index leaves an entry out.
	Omission Claim = "omission"
	// Addition: an answer of the index has an entry that does not belong there.
	Addition Claim = "addition"
	// BadTag: a leaf bears other tags than its event gives.
	BadTag Claim = "bad-tag"
	// Duplicate: one event is in a log in two different leaves.
	Duplicate Claim = "duplicate"
	// BrokenPromise: a ticket's deadline passed and its leaf is not in the log.
	BrokenPromise Claim = "broken-promise"
	// WitnessFork: a witness cosigned two trees of one size.
	WitnessFork Claim = "witness-fork"
	// ReceiptMismatch: a receipt is not of what its submitter says it submitted.
	ReceiptMismatch Claim = "receipt-mismatch"
)

// Type is what a part holds.
type Type string

// The types of parts.
const (
	Checkpoint Type = "checkpoint" // a signed note
	Proof      Type = "proof"      // a tlog-proof, with its leaf as extra data
	Disclosure Type = "disclosure" // a disclosure file, SPEC 2.7
	Leaf       Type = "leaf"       // the bytes of a leaf
	Ticket     Type = "ticket"     // a signed promise
	IndexProof Type = "index-proof"
	// Consistency is hashes, one line of base64 each: the roots of the perfect
	// subtrees that make up the first n entries of a tree, from left to right,
	// and then of those that make up the rest of it. Or they are a consistency
	// proof, as RFC 6962 has it.
	Consistency Type = "consistency"
	Submission  Type = "submission" // what a submitter says it sent
)

var (
	claims = []Claim{Fork, Rollback, BadRoot, Omission, Addition, BadTag, Duplicate, BrokenPromise, WitnessFork, ReceiptMismatch}
	types  = []Type{Checkpoint, Proof, Disclosure, Leaf, Ticket, IndexProof, Consistency, Submission}
)

const (
	// MaxFile is the largest file in bytes that Parse reads.
	MaxFile  = 32 << 20
	maxParts = 16
	header   = "idlog-evidence/v1"
)

// Evidence is a file, taken apart. Nothing in it is verified before Judge.
type Evidence struct {
	Claim Claim
	Parts []Part // in the order that the claim asks for
}

// A Part is one thing that the claim rests on.
type Part struct {
	Type Type
	Data []byte // not empty
}

// LineSize is how many bytes each hash takes in a Consistency part.
const LineSize = 45

// Hashes makes a Consistency part. Format refuses one of no hashes.
func Hashes(hashes ...[32]byte) Part {
	b := make([]byte, 0, LineSize*len(hashes))
	for i := range hashes {
		b = append(base64.StdEncoding.AppendEncode(b, hashes[i][:]), '\n')
	}
	return Part{Type: Consistency, Data: b}
}

// Parse reads a file. The parts share memory with b, and their contents are not
// looked at.
func Parse(b []byte) (*Evidence, error) {
	e, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("parsing evidence: %w", err)
	}
	return e, nil
}

func parse(b []byte) (*Evidence, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("more than %d bytes", MaxFile)
	}
	rest, ok := bytes.CutPrefix(b, []byte(header+"\nclaim "))
	if !ok {
		return nil, errors.New("does not begin with " + header + " and a claim")
	}
	claim, rest, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || !slices.Contains(claims, Claim(claim)) {
		return nil, fmt.Errorf("claim %.32q is unknown", claim)
	}
	e := &Evidence{Claim: Claim(claim)}
	for len(rest) > 0 {
		if len(e.Parts) == maxParts {
			return nil, fmt.Errorf("more than %d parts", maxParts)
		}
		p, tail, err := parsePart(rest)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", len(e.Parts)+1, err)
		}
		e.Parts = append(e.Parts, p)
		rest = tail
	}
	if len(e.Parts) == 0 {
		return nil, errors.New("no parts")
	}
	return e, nil
}

func parsePart(b []byte) (p Part, rest []byte, err error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	line, isPart := bytes.CutPrefix(line, []byte("part "))
	if !ok || !isPart {
		return Part{}, nil, errors.New("does not begin with part")
	}
	kind, length, _ := bytes.Cut(line, []byte(" "))
	if !slices.Contains(types, Type(kind)) {
		return Part{}, nil, fmt.Errorf("type %.32q is unknown", kind)
	}
	n, err := checkpoint.ParseSize(string(length))
	if err != nil {
		return Part{}, nil, fmt.Errorf("length: %w", err)
	}
	if n == 0 || n >= int64(len(rest)) || rest[n] != '\n' {
		return Part{}, nil, fmt.Errorf("does not have %d bytes and a newline", n)
	}
	return Part{Type: Type(kind), Data: rest[:n:n]}, rest[n+1:], nil
}

// Format writes the file. What Parse would refuse is an error.
func (e *Evidence) Format() ([]byte, error) {
	b := fmt.Appendf(nil, "%s\nclaim %s\n", header, e.Claim)
	for _, p := range e.Parts {
		if !slices.Contains(types, p.Type) { // it might hold lines of its own
			return nil, fmt.Errorf("formatting evidence: type %.32q is unknown", p.Type)
		}
		b = fmt.Appendf(b, "part %s %d\n", p.Type, len(p.Data))
		b = append(append(b, p.Data...), '\n')
	}
	if _, err := parse(b); err != nil {
		return nil, fmt.Errorf("formatting evidence: %w", err)
	}
	return b, nil
}
