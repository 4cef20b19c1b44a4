package report

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"idlog/client"
	"idlog/proto/event"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
)

// Witness is one cosignature as it is shown.
type Witness struct {
	Witness string    `json:"witness"`
	Time    time.Time `json:"time"`
}

// Witnesses lists cosignatures in their order.
func Witnesses(list []policy.Cosignature) []Witness {
	out := make([]Witness, len(list))
	for i, c := range list {
		out[i] = Witness{c.Witness, c.Time}
	}
	return out
}

// Names lists who cosigned in one word.
func Names(list []policy.Cosignature) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = Printable(c.Witness)
	}
	return strings.Join(out, ",")
}

// Checkpoint is a verified checkpoint as it is shown.
type Checkpoint struct {
	Origin    string    `json:"origin"`
	Size      int64     `json:"size"`
	Root      []byte    `json:"root"`
	Witnesses []Witness `json:"witnesses"`
	Note      string    `json:"checkpoint"`
}

// CheckpointOf describes a verified checkpoint.
func CheckpointOf(cp *client.Checkpoint) Checkpoint {
	c := cp.Checkpoint
	return Checkpoint{c.Origin, c.Size, c.Root[:], Witnesses(cp.Cosignatures), string(cp.Note)}
}

// Entry is one entry as every command shows it. Verified is set by Under alone.
type Entry struct {
	Index      int64           `json:"index"`
	Kind       string          `json:"kind"`
	Origin     string          `json:"origin,omitempty"`
	Size       int64           `json:"size,omitempty"`
	Witnesses  []Witness       `json:"witnesses,omitempty"`
	Policy     string          `json:"policy_sha256,omitempty"`
	Verified   bool            `json:"verified"`
	Log        string          `json:"log,omitempty"`
	Source     string          `json:"source,omitempty"`
	Received   *time.Time      `json:"received,omitempty"`
	Assurance  string          `json:"assurance,omitempty"`
	Event      json.RawMessage `json:"event,omitempty"`
	Statement  *Statement      `json:"statement,omitempty"`
	Raw        []byte          `json:"raw,omitempty"`
	Leaf       string          `json:"leaf"`
	Checkpoint string          `json:"checkpoint,omitempty"`
}

// EntryOf describes an entry that the client has verified under a policy file
// of this SHA-256.
func EntryOf(e *client.Entry, sum [32]byte) (*Entry, error) {
	s := &Entry{Index: e.Index}
	s.Under(e.Checkpoint.Checkpoint.Origin, e.Checkpoint.Checkpoint.Size, e.Checkpoint.Cosignatures, sum)
	return s, s.Describe(e.Leaf, e.Bytes, e.Lines)
}

// Describe fills what a parsed leaf says; l is nil where b is no leaf of ours,
// and lines are empty where no field is shown.
func (s *Entry) Describe(l leaf.Leaf, b []byte, lines []seal.Line) error {
	s.Kind, s.Leaf = leaf.KindOf(l), base64.StdEncoding.EncodeToString(b)
	if e, ok := l.(*leaf.Event); ok {
		at := time.Unix(e.Received, 0).UTC()
		s.Log, s.Source, s.Received, s.Assurance = e.Log, e.Source, &at, string(e.Assurance)
	}
	if s.Statement = StatementOf(l, lines); s.Statement != nil {
		s.Log, _ = leaf.LogOf(l)
		s.Received = &s.Statement.Received
		return nil
	}
	if len(lines) == 0 {
		return nil
	}
	fields, err := event.JSON(lines)
	if err != nil {
		return fmt.Errorf("showing the fields: %w", err)
	}
	s.Event = fields
	return nil
}

// Under says by which checkpoint and which policy file the entry is verified.
func (s *Entry) Under(origin string, size int64, cosigned []policy.Cosignature, sum [32]byte) {
	s.Origin, s.Size, s.Witnesses, s.Verified = origin, size, Witnesses(cosigned), true
	s.Policy = hex.EncodeToString(sum[:])
}

// Entry writes an entry: all that is known of it for people, or one object.
func (p *Printer) Entry(s *Entry) error {
	if p.JSON {
		return p.Object(s)
	}
	return p.Text("%s", s.text())
}

func (s *Entry) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "entry      %d\nkind       %s\n", s.Index, s.Kind)
	if s.Source != "" {
		fmt.Fprintf(&b, "log        %s\nsource     %s\nreceived   %s (the log's word)\nassurance  %s\n",
			s.Log, s.Source, s.Received.Format(time.RFC3339), s.Assurance)
	}
	if s.Statement != nil {
		b.WriteString(s.Statement.text())
	}
	if s.Verified {
		fmt.Fprintf(&b, "origin     %s\nsize       %d\n", s.Origin, s.Size)
		for _, w := range s.Witnesses {
			fmt.Fprintf(&b, "witness    %s at %s\n", Printable(w.Witness), w.Time.Format(time.RFC3339))
		}
		fmt.Fprintf(&b, "policy     sha256 %s\n", s.Policy)
	} else {
		b.WriteString("NOT VERIFIED\n")
	}
	if s.Event != nil {
		fmt.Fprintf(&b, "\n%s", s.Event)
	} else if s.Kind != "event" {
		leaf, _ := base64.StdEncoding.DecodeString(s.Leaf)
		fmt.Fprintf(&b, "\n%s", lineByLine(leaf))
	}
	return b.String()
}

// lineByLine returns a leaf, which is printable ASCII if it was parsed, safe
// for a terminal also if it was not.
func lineByLine(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || ' ' <= r && r < 0x7f {
			return r
		}
		return '?'
	}, string(b))
}
