// Package ticket reads and writes the promise that an operator makes before it has a receipt to give (SPEC 2.10): a signed
// note that says by when a leaf will be in the log.
//
// It trusts the ticket key, which the genesis leaf of the log announces, and nothing else. It keeps no state; all functions
// may be called concurrently. The text of the note is
//
//	idlog-ticket/v1 LF
//	family LF
//	leaf hash, padded base64 LF
//	received, seconds since 1970 LF
//	deadline, seconds since 1970 LF
//
// and the name of the key is the family and "/ticket".
//
// Invariants: Parse accepts a text only if formatting the result gives the same text; a deadline is not before received
// and at most 24 hours after it.
package ticket

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

const (
	magic = "idlog-ticket/v1"

	// Longest is how long after it was received an event may still be promised.
	Longest = 24 * time.Hour
	// maxNote bounds a note before it is looked at: a ticket has one signature.
	maxNote = 8 << 10
)

// A Ticket promises that a leaf will be in the log by its deadline.
type Ticket struct {
	Log      string // family
	Leaf     leaf.Hash
	Received int64 // the second of the leaf's header
	Deadline int64 // seconds since 1970
}

// KeyName returns the name that the ticket key of a family bears.
func KeyName(family string) string { return family + "/ticket" }

// Format returns the text of the note. It checks what Parse checks.
func (t *Ticket) Format() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("formatting ticket: %w", err)
	}
	return fmt.Sprintf("%s\n%s\n%s\n%d\n%d\n", magic, t.Log, base64.StdEncoding.EncodeToString(t.Leaf[:]), t.Received, t.Deadline), nil
}

// Parse reads the text of a note whose signature somebody else checks.
func Parse(text string) (*Ticket, error) {
	t, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing ticket: %w", err)
	}
	return t, nil
}

func parse(text string) (*Ticket, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 6 || lines[5] != "" {
		return nil, errors.New("not five lines")
	}
	if lines[0] != magic {
		return nil, fmt.Errorf("not an %s", magic)
	}
	t := &Ticket{Log: lines[1]}
	var err error
	if t.Leaf, err = checkpoint.ParseHash(lines[2]); err != nil {
		return nil, fmt.Errorf("leaf hash: %w", err)
	}
	if t.Received, err = checkpoint.ParseSize(lines[3]); err != nil {
		return nil, fmt.Errorf("received: %w", err)
	}
	if t.Deadline, err = checkpoint.ParseSize(lines[4]); err != nil {
		return nil, fmt.Errorf("deadline: %w", err)
	}
	return t, t.check()
}

func (t *Ticket) check() error {
	switch {
	case !leaf.ValidName(t.Log):
		return errors.New("the name of the log is not one")
	case t.Received < 0:
		return errors.New("received is negative")
	case t.Deadline < t.Received || t.Deadline-t.Received > int64(Longest/time.Second):
		return errors.New("the deadline is not within 24 hours")
	}
	return nil
}

// Sign returns the signed note of a ticket. The signer's name must be that of the log's ticket key.
func Sign(t *Ticket, signer note.Signer) ([]byte, error) {
	text, err := t.Format()
	if err != nil {
		return nil, err
	}
	if signer.Name() != KeyName(t.Log) {
		return nil, fmt.Errorf("signing ticket: the key of %s is not the ticket key of %s", signer.Name(), t.Log)
	}
	b, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing ticket: %w", err)
	}
	return b, nil
}

// Open verifies the signature of a note by a ticket key and returns its ticket. That the key is the log's own, as its
// genesis leaf announces it, is the caller's to know; that the ticket is of the log by whose name the key goes is checked.
func Open(b []byte, key note.Verifier) (*Ticket, error) {
	if len(b) > maxNote {
		return nil, errors.New("opening ticket: too large")
	}
	n, err := note.Open(b, note.VerifierList(key))
	if err != nil {
		return nil, fmt.Errorf("opening ticket: %w", err)
	}
	t, err := Parse(n.Text)
	if err != nil {
		return nil, err
	}
	if key.Name() != KeyName(t.Log) {
		return nil, fmt.Errorf("opening ticket: it is of %s and signed by %s", t.Log, key.Name())
	}
	return t, nil
}
