// Package cosign reads and writes what a log and a witness say to each other,
// c2sp.org/tlog-witness: the add-checkpoint request and its replies.
//
// It trusts nobody and verifies nothing but form: signatures, sizes and proofs
// are the caller's to judge, in the order that the specification gives. It
// keeps no state; all functions may be called concurrently.
//
// A request is
//
//	"old " size LF               decimal, no leading zero, < 2^63
//	*63(base64 of 32 bytes LF)   the consistency proof
//	LF
//	checkpoint                   a signed note, to the end
//
// The reply is, with status 200, one or more signature lines of a note, and
// with status 409 the size of the witness's latest checkpoint and a newline, of
// the media type [SizeType].
//
// Invariants: every parser accepts a byte string only if formatting what it
// returned gives the same bytes.
package cosign

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"idlog/proto/checkpoint"
)

const (
	// MaxProof is the most hashes of a request.
	MaxProof = 63
	// MaxRequest is the largest request in bytes: whoever reads one from the
	// network stops there.
	MaxRequest = 32 + MaxProof*45 + checkpoint.MaxNote
	// MaxReply is the largest reply in bytes of either kind.
	MaxReply = checkpoint.MaxNote
	// SizeType is the media type of the reply that names a size.
	SizeType = "text/x.tlog.size"
)

// A Request asks a witness to cosign a checkpoint.
type Request struct {
	// Old is the size of the witness's latest checkpoint, as the log believes.
	// Nothing says that it is not above the size of Checkpoint: the witness
	// answers that, and a proof that does not fit, itself.
	Old        int64
	Proof      [][32]byte // from Old to the size of Checkpoint
	Checkpoint []byte     // a signed note
}

// ParseRequest reads a request. The checkpoint in it is well formed; it is not
// verified. The result shares no memory with b.
func ParseRequest(b []byte) (Request, error) {
	r, err := parseRequest(b)
	if err != nil {
		return Request{}, fmt.Errorf("parsing add-checkpoint request: %w", err)
	}
	return r, nil
}

func parseRequest(b []byte) (Request, error) {
	if len(b) > MaxRequest {
		return Request{}, fmt.Errorf("more than %d bytes", MaxRequest)
	}
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return Request{}, errors.New("no empty line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	size, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return Request{}, errors.New("first line is not the old size")
	}
	var r Request
	var err error
	if r.Old, err = checkpoint.ParseSize(size); err != nil {
		return Request{}, fmt.Errorf("old size: %w", err)
	}
	if len(lines)-1 > MaxProof {
		return Request{}, fmt.Errorf("more than %d proof lines", MaxProof)
	}
	for i, l := range lines[1:] {
		h, err := checkpoint.ParseHash(l)
		if err != nil {
			return Request{}, fmt.Errorf("proof line %d: %w", i+1, err)
		}
		r.Proof = append(r.Proof, h)
	}
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return Request{}, err
	}
	if _, err := checkpoint.Parse(text); err != nil {
		return Request{}, err
	}
	r.Checkpoint = bytes.Clone(note)
	return r, nil
}

// Format writes the request. A request that ParseRequest would refuse is an
// error.
func (r Request) Format() ([]byte, error) {
	b := fmt.Appendf(nil, "old %d\n", r.Old)
	for _, h := range r.Proof {
		b = fmt.Appendf(b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b = append(b, '\n')
	b = append(b, r.Checkpoint...)
	if _, err := parseRequest(b); err != nil {
		return nil, fmt.Errorf("formatting add-checkpoint request: %w", err)
	}
	return b, nil
}

// ParseCosignatures reads the reply of status 200. The lines are not verified,
// may be of any key, and may repeat; the log verifies those of the keys it
// knows and ignores the rest.
func ParseCosignatures(b []byte) ([]checkpoint.Signature, error) {
	sigs, err := checkpoint.ParseSignatures(b)
	if err != nil {
		return nil, fmt.Errorf("parsing cosignatures: %w", err)
	}
	return sigs, nil
}

// FormatCosignatures writes the reply of status 200.
func FormatCosignatures(sigs []checkpoint.Signature) []byte {
	var b []byte
	for _, s := range sigs {
		b = append(b, s.Line()...)
	}
	return b
}

// ParseSize reads the reply of status 409: the size of the latest checkpoint
// that the witness cosigned. It is the unsigned word of one witness.
func ParseSize(b []byte) (int64, error) {
	s, ok := strings.CutSuffix(string(b), "\n")
	if !ok {
		return 0, errors.New("parsing size: does not end with a newline")
	}
	n, err := checkpoint.ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("parsing size: %w", err)
	}
	return n, nil
}

// FormatSize writes the reply of status 409.
func FormatSize(size int64) []byte {
	return append(strconv.AppendInt(nil, size, 10), '\n')
}
