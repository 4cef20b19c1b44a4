// Package report is what idlog says: data on standard output, as text for
// people or as one JSON object a line for programs, all else on standard error,
// and the exit code that says what kind of failure it was.
//
// It shows what its callers have verified and decides nothing. What a log or a
// submitter chose goes to a terminal with every unprintable character escaped.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Printer writes to the streams of a program. JSON chooses the form of both. It
// is for one goroutine.
type Printer struct {
	Stdout, Stderr io.Writer
	JSON           bool
}

// Object writes v to standard output as one JSON object on a line of its own.
func (p *Printer) Object(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(p.Stdout, "%s\n", b)
	return err
}

// Text writes to standard output; the caller ends its lines.
func (p *Printer) Text(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Stdout, format, args...)
	return err
}

// Note writes a line for people to standard error.
func (p *Printer) Note(format string, args ...any) {
	fmt.Fprintf(p.Stderr, "idlog: "+format+"\n", args...)
}

// Printable returns a text as it is if a terminal shows it as it is, and
// quoted otherwise.
func Printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '"' || r > 0x7e }) || s == "" {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
