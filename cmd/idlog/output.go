package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"idlog/proto/event"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
)

// printJSON writes one object on a line of its own.
func (g *globals) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(g.env.Stdout, "%s\n", b)
	return err
}

// printText writes lines to standard output.
func (g *globals) printText(format string, args ...any) error {
	_, err := fmt.Fprintf(g.env.Stdout, format, args...)
	return err
}

// witnessJSON is one cosignature as it is shown.
type witnessJSON struct {
	Witness string    `json:"witness"`
	Time    time.Time `json:"time"`
}

func cosigners(list []policy.Cosignature) []witnessJSON {
	out := make([]witnessJSON, len(list))
	for i, c := range list {
		out[i] = witnessJSON{c.Witness, c.Time}
	}
	return out
}

func names(list []policy.Cosignature) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = printable(c.Witness)
	}
	return strings.Join(out, ",")
}

// shown is one entry as get, watch and verify print it.
type shown struct {
	Index      int64           `json:"index"`
	Kind       string          `json:"kind"`
	Origin     string          `json:"origin,omitempty"`
	Size       int64           `json:"size,omitempty"`
	Witnesses  []witnessJSON   `json:"witnesses,omitempty"`
	Policy     string          `json:"policy_sha256,omitempty"`
	Verified   bool            `json:"verified"`
	Log        string          `json:"log,omitempty"`
	Source     string          `json:"source,omitempty"`
	Received   *time.Time      `json:"received,omitempty"`
	Assurance  string          `json:"assurance,omitempty"`
	Event      json.RawMessage `json:"event,omitempty"`
	Raw        []byte          `json:"raw,omitempty"`
	Leaf       string          `json:"leaf"`
	Checkpoint string          `json:"checkpoint,omitempty"`
}

// describe fills what a parsed leaf says.
func (s *shown) describe(l leaf.Leaf, b []byte, lines []seal.Line) error {
	s.Kind, s.Leaf = kindOf(l), base64.StdEncoding.EncodeToString(b)
	if e, ok := l.(*leaf.Event); ok {
		at := time.Unix(e.Received, 0).UTC()
		s.Log, s.Source, s.Received, s.Assurance = e.Log, e.Source, &at, string(e.Assurance)
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

// under fills what the checkpoint says.
func (s *shown) under(origin string, size int64, cosigned []policy.Cosignature, sum [32]byte) {
	s.Origin, s.Size, s.Witnesses, s.Verified = origin, size, cosigners(cosigned), true
	s.Policy = hex.EncodeToString(sum[:])
}

// text writes the entry for people.
func (g *globals) text(s *shown) error {
	var b strings.Builder
	fmt.Fprintf(&b, "entry      %d\nkind       %s\n", s.Index, s.Kind)
	if s.Source != "" {
		fmt.Fprintf(&b, "log        %s\nsource     %s\nreceived   %s (the log's word)\nassurance  %s\n",
			s.Log, s.Source, s.Received.Format(time.RFC3339), s.Assurance)
	}
	if s.Verified {
		fmt.Fprintf(&b, "origin     %s\nsize       %d\n", s.Origin, s.Size)
		for _, w := range s.Witnesses {
			fmt.Fprintf(&b, "witness    %s at %s\n", printable(w.Witness), w.Time.Format(time.RFC3339))
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
	return g.printText("%s", b.String())
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

func kindOf(l leaf.Leaf) string {
	switch l.(type) {
	case *leaf.Event:
		return "event"
	case *leaf.Subject:
		return "subject"
	case *leaf.Keys:
		return "keys"
	case *leaf.Erasure:
		return "erasure"
	case *leaf.Loss:
		return "loss"
	case *leaf.Shard:
		return "shard"
	case *leaf.Root:
		return "root"
	}
	return "unknown"
}
