package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/proof"
)

// Request is an add-checkpoint request whose form is right. Nothing in it is
// verified.
type Request struct {
	Old        int64
	Proof      [][32]byte
	Checkpoint checkpoint.Checkpoint

	text []byte // of the checkpoint, as it was signed
	sigs []checkpoint.Signature
}

// emptyRoot is the root of a tree of size 0.
var emptyRoot = sha256.Sum256(nil)

// ParseRequest reads the body of an add-checkpoint request. An error means
// status 400. The result shares no memory with b.
func ParseRequest(b []byte) (*Request, error) {
	r, err := cosign.ParseRequest(b)
	root := emptyRoot
	if err != nil {
		// proto/cosign refuses a size 0 with another root than the empty tree's,
		// as form; the witness has to answer it as a failed proof. So the root is
		// read here and replaced by the one that parses.
		var mended []byte
		var ok bool
		if mended, root, ok = mendRoot(b); !ok {
			return nil, err
		}
		if r, err = cosign.ParseRequest(mended); err != nil {
			return nil, err
		}
	}
	text, sigs, err := checkpoint.Split(r.Checkpoint)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		return nil, err
	}
	if c.Size == 0 {
		c.Root = root
	}
	return &Request{Old: r.Old, Proof: r.Proof, Checkpoint: c, text: text, sigs: sigs}, nil
}

// mendRoot replaces the root in a request for a checkpoint of size 0 and
// returns what it was.
func mendRoot(b []byte) (mended []byte, root [32]byte, ok bool) {
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	lines := bytes.SplitN(note, []byte("\n"), 4)
	if !ok || len(lines) != 4 || string(lines[1]) != "0" {
		return nil, root, false
	}
	root, err := checkpoint.ParseHash(string(lines[2]))
	if err != nil {
		return nil, root, false
	}
	lines[2] = []byte(base64.StdEncoding.EncodeToString(emptyRoot[:]))
	return bytes.Join([][]byte{head, bytes.Join(lines, []byte("\n"))}, []byte("\n\n")), root, true
}

// Latest is the latest checkpoint a witness cosigned for one log. It does not
// change once it is in a Store. Nil stands for a log never cosigned.
type Latest struct {
	Origin string
	Size   int64
	Root   [32]byte
	Time   int64 // of its newest cosignature, in seconds since 1970
	// Note is the checkpoint with the log's signatures that were verified and
	// our cosignatures.
	Note []byte
}

// Decision is what a witness answers to a request, and why.
type Decision struct {
	Status int    // of HTTP, as tlog-witness assigns them
	Reason string // for people; empty with status 200
	Size   int64  // with status 409: the size of the latest checkpoint
	// Signed is the checkpoint with those of its signatures that keys of its log
	// made, or nil if there are none: then nothing in the request is the log's.
	Signed []byte
	// Fork says that the log signed both Signed and the latest checkpoint, and
	// that they cannot both be true: they have one size and different roots, or
	// the proof of the request leads to the new root from another old one.
	Fork bool
	// Unproven says that Signed is of a larger tree than the latest checkpoint,
	// and that the proof of the request shows neither that it continues it nor
	// that it does not. The log may have forked, or its client erred; whoever has
	// a public checkpoint of the log can ask so.
	Unproven bool
}

// Decide judges a request against what is known of its log: latest must be that
// of the request's origin. It is a pure function. With status 200 the caller
// may cosign, if latest is still the latest when the new one is stored.
func Decide(r *Request, logs *Logs, latest *Latest) Decision {
	c := r.Checkpoint
	var size int64
	root := emptyRoot
	if latest != nil {
		size, root = latest.Size, latest.Root
	}
	refuse := func(status int, format string, args ...any) Decision {
		return Decision{Status: status, Reason: fmt.Sprintf(format, args...)}
	}

	// SPEC: tlog-witness: "If the checkpoint origin is unknown, the witness MUST
	// respond with a '404 Not Found'".
	if len(logs.keys[c.Origin]) == 0 {
		return refuse(http.StatusNotFound, "the log is not known here")
	}

	// SPEC: "A checkpoint of size zero MUST have the root hash of the empty tree
	// [...]. Otherwise, the witness MUST respond with a '422'". It comes before
	// the signature because proto/checkpoint verifies none over such a text.
	if c.Size == 0 && c.Root != emptyRoot {
		return refuse(http.StatusUnprocessableEntity, "the root of size 0 is not that of the empty tree")
	}

	// SPEC: "MUST respond with a '403 Forbidden' [...] if either no signature
	// from a trusted key for the origin is present, or a signature line's key
	// name and ID match a trusted key but the signature itself fails to verify".
	sigs, err := logs.verified(c.Origin, r.text, r.sigs)
	if err != nil {
		return refuse(http.StatusForbidden, "%v", err)
	}
	d := Decision{Signed: checkpoint.Join(r.text, sigs...)}
	// From here on the log has signed what it is judged by. A fork is a fork
	// whatever else the request says, also when it is refused for its old size.
	d.Fork = latest != nil && c.Size == size && c.Root != root
	refuse = func(status int, format string, args ...any) Decision {
		d.Status, d.Reason = status, fmt.Sprintf(format, args...)
		return d
	}

	// SPEC: "The old size MUST be equal to or lower than the checkpoint size.
	// Otherwise, the witness MUST respond with a '400 Bad Request'".
	if r.Old > c.Size {
		return refuse(http.StatusBadRequest, "old size %d is above the size of the checkpoint, %d", r.Old, c.Size)
	}

	// SPEC: "check that the old size matches the size of the latest checkpoint it
	// cosigned for the checkpoint's origin (or zero if it never cosigned a
	// checkpoint for that origin). If it doesn't match, [...] '409 Conflict'".
	if r.Old != size {
		d.Size = size
		return refuse(http.StatusConflict, "old size %d is not that of the latest checkpoint, %d", r.Old, size)
	}

	// SPEC: "If the old size matches the checkpoint size, the witness MUST check
	// that the root hashes are also identical. If they don't match, [...] '422'".
	if r.Old == c.Size && c.Root != root {
		return refuse(http.StatusUnprocessableEntity, "another root of size %d was cosigned before", size)
	}

	// SPEC: "If the proof is not empty when the old size is zero, or if a Merkle
	// Consistency Proof doesn't verify, the witness MUST respond with a '422'".
	if r.Old == 0 && len(r.Proof) > 0 {
		return refuse(http.StatusUnprocessableEntity, "the proof from size 0 is not empty")
	}
	if err := proof.Consistency(r.Old, c.Size, root, c.Root, r.Proof); err != nil {
		d.Fork = proof.Contradicts(r.Old, c.Size, root, c.Root, r.Proof)
		d.Unproven = !d.Fork
		return refuse(http.StatusUnprocessableEntity, "%v", err)
	}
	d.Status = http.StatusOK
	return d
}
