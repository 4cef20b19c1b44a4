package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// Statement is what an entry says of who is one person.
type Statement struct {
	Says       string    `json:"says"` // link or unlink
	Enrolments int       `json:"enrolments"`
	Persons    int       `json:"identifiers"`
	Authority  Shown     `json:"authority"`
	Reason     Shown     `json:"reason"`
	Received   time.Time `json:"-"`

	asked bool // there are lines
}

// Shown is the text of a field. The zero value is one that is not shown.
type Shown struct {
	Text string
	OK   bool
}

// MarshalJSON implements json.Marshaler: what is not shown is written as in an event.
func (s Shown) MarshalJSON() ([]byte, error) {
	if !s.OK {
		return []byte(`{"$withheld":true}`), nil
	}
	return json.Marshal(s.Text)
}

func (s Shown) String() string {
	if !s.OK {
		return "withheld"
	}
	return Printable(s.Text)
}

// StatementOf describes a statement by its leaf and its lines, of which there may be none; nil for any other leaf.
func StatementOf(l leaf.Leaf, lines []seal.Line) *Statement {
	about, ok := l.(*leaf.Subject)
	if !ok || about.Fields == nil {
		return nil
	}
	s := &Statement{Says: "link", Enrolments: len(about.Links), Persons: len(about.Etags), Received: time.Unix(about.Received, 0).UTC()}
	if len(about.Unlinks) > 0 {
		s.Says, s.Enrolments = "unlink", len(about.Unlinks)
	}
	s.asked = len(lines) > 0
	for i := range lines {
		text := Shown{Text: StatementText(&lines[i]), OK: lines[i].State == seal.Shown}
		switch lines[i].Path {
		case "authority":
			s.Authority = text
		case "reason":
			s.Reason = text
		}
	}
	return s
}

// StatementText returns the text of a shown line of a statement, "" for any other.
func StatementText(l *seal.Line) string {
	if l.State != seal.Shown || len(l.Value) == 0 {
		return ""
	}
	return string(l.Value[1:]) // of kind s, as whoever opened the lines has seen
}

// String says it in a few words; authority and reason if the entry was read with its fields.
func (s *Statement) String() string {
	if !s.asked {
		return fmt.Sprintf("%s %d identifiers", s.Says, s.Persons)
	}
	return fmt.Sprintf("%s %d identifiers  %s  %s", s.Says, s.Persons, s.Authority, s.Reason)
}

func (s *Statement) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "received   %s (the log's word)\nsays       %s %d identifiers\nauthority  %s\nreason     %s\n",
		s.Received.Format(time.RFC3339), s.Says, s.Persons, s.Authority, s.Reason)
	return b.String()
}
