package answer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"idlog/proto/checkpoint"
	"idlog/proto/internal/lines"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

const (
	header      = "idlog-history/v1"
	linesHeader = "idlog-disclosure/v1\n" // of package seal, which the lines of an entry go without
	proofSize   = 80                      // of a VRF proof
	maxField    = 32767                   // of tags
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func text(h [32]byte) string { return b64(h[:]) }

func (h *History) append(b []byte) ([]byte, error) {
	b = fmt.Appendf(b, "%s\nlog %s\n", header, h.Log)
	for _, a := range h.Asks {
		value, err := a.text()
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(b, "ask %s %s\n", a.Kind, value)
	}
	if h.Window != nil {
		b = fmt.Appendf(b, "window %d %d\n", h.Window.From, h.Window.To)
	}
	if h.NoLinks {
		b = append(b, "links none\n"...)
	}
	for _, s := range h.Subjects {
		id, err := s.Identifier.Bytes()
		if err != nil {
			return nil, err
		}
		b = fmt.Appendf(b, "subject %s %s %d\n", b64(id), b64(s.Proof), s.Epoch)
		for _, e := range s.Enrolments {
			if e.Erased {
				b = fmt.Appendf(b, "erased %s %d\n", text(e.Leaf), e.ErasedAt)
			} else {
				b = fmt.Appendf(b, "handle %s %s %s\n", text(e.Leaf), text(e.Handle.Opening), text(e.Handle.T))
			}
		}
	}
	for _, k := range h.Keys {
		b = fmt.Appendf(b, "key %d %d %s %s\n", k.Epoch, k.Field, k.Source, text(k.Key))
	}
	part := func(kind string, data []byte) {
		b = fmt.Appendf(b, "part %s %d\n", kind, len(data))
		b = append(append(b, data...), '\n')
	}
	if h.Index == nil {
		return nil, errors.New("there is no index proof")
	}
	index, err := h.Index.Format()
	if err != nil {
		return nil, err
	}
	part("index-proof", index)
	for _, a := range h.Anchors {
		part("checkpoint", a.Checkpoint)
		var hashes []byte
		for _, hash := range a.Hashes {
			hashes = append(append(hashes, text(hash)...), '\n')
		}
		part("consistency", hashes)
	}
	if len(h.Fields) > 0 {
		var fields []byte
		for _, f := range h.Fields {
			lines, err := seal.FormatLines(f.Lines)
			if err != nil {
				return nil, err
			}
			fields = fmt.Appendf(fields, "entry %d %d\n", f.Index, len(f.Lines))
			fields = append(fields, lines[len(linesHeader):]...)
		}
		part("fields", fields)
	}
	return b, nil
}

// text is what stands behind the kind of an ask.
func (a Ask) text() (string, error) {
	switch a.Kind {
	case OfSubject, OfActor:
		id, err := a.Identifier.Bytes()
		return b64(id), err
	case OfSource:
		return a.Source, nil
	case OfEvent, OfSession:
		return b64([]byte(a.Value)), nil
	case OfClass:
		return a.Value, nil
	case OfTarget:
		kind, id, _ := strings.Cut(a.Value, "\x00")
		return b64([]byte(kind)) + " " + b64([]byte(id)), nil
	case OfTag:
		return fmt.Sprintf("%d %s", a.Tag.Field, text(a.Tag.Value)), nil
	}
	return "", fmt.Errorf("%q is no kind of ask", a.Kind)
}

// scanner reads the lines and parts of a history. The values below are of a line that was taken; after an error they are zero.
type scanner struct{ lines.Scanner }

func (s *scanner) field(i int) uint16 {
	n := s.Num(i)
	if s.Err == nil && (n < 1 || n > maxField) {
		s.Fail("field %d is not within 1 and %d", n, maxField)
	}
	return uint16(n)
}

func (s *scanner) epoch(i int) int64 {
	n := s.Num(i)
	if s.Err == nil && n < 1 {
		s.Fail("epoch 0")
	}
	return n
}

func (s *scanner) value(i, least int) string {
	v := s.Bytes(i, least, maxValue)
	if s.Err == nil && !utf8.Valid(v) {
		s.Fail("not UTF-8")
	}
	return string(v)
}

func (s *scanner) identifier(i int) subject.Identifier {
	b := s.Bytes(i, 1, subject.MaxIdentifier)
	if s.Err != nil {
		return subject.Identifier{}
	}
	id, err := subject.ParseIdentifier(b)
	if err != nil {
		s.Fail("%w", err)
	}
	return id
}

func (s *scanner) source(i int) string {
	name := s.Word(i)
	if s.Err == nil && !leaf.ValidSource(name) {
		s.Fail("%.64q is not the name of a source", name)
	}
	return name
}

func parse(b []byte) (*History, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("more than %d bytes", MaxFile)
	}
	s := &scanner{lines.Scanner{Rest: b}}
	h := &History{}
	s.Next()
	s.Take(header, 0)
	s.Next()
	if s.Take("log", 1) {
		if h.Log = s.Words[0]; !leaf.ValidName(h.Log) {
			s.Fail("%.128q is not the name of a log", h.Log)
		}
	}
	s.Next()
	s.question(h)
	s.evidence(h)
	s.parts(h)
	if s.Err != nil {
		return nil, s.Err
	}
	return h, nil
}

func (s *scanner) question(h *History) {
	for len(h.Asks) == 0 || s.At("ask") {
		a := s.ask()
		if len(h.Asks) == MaxAsks {
			s.Fail("more than %d asks", MaxAsks)
		}
		if slices.Contains(h.Asks, a) {
			s.Fail("asks twice for the same")
		}
		if s.Err != nil {
			return
		}
		h.Asks = append(h.Asks, a)
		s.Next()
	}
	if s.At("window") && s.Take("window", 2) {
		if h.Window = (&Window{s.Num(0), s.Num(1)}); h.Window.From >= h.Window.To {
			s.Fail("a window of no entries")
		}
		s.Next()
	}
	if s.At("links") && s.Take("links", 1) {
		if s.Words[0] != "none" {
			s.Fail("links are none, or there is no such line")
		}
		h.NoLinks = true
		s.Next()
	}
}

func (s *scanner) ask() (a Ask) {
	if s.Err == nil && (!s.At("ask") || len(s.Words) < 3) {
		s.Fail("not a line \"ask\" of a kind and a value")
	}
	if s.Err != nil {
		return a
	}
	a.Kind = Kind(s.Words[1])
	s.Words = s.Words[1:]
	others := 1
	if a.Kind == OfTarget || a.Kind == OfTag {
		others = 2
	}
	if !s.Take(string(a.Kind), others) {
		return a
	}
	switch a.Kind {
	case OfSubject, OfActor:
		a.Identifier = s.identifier(0)
	case OfSource:
		a.Source = s.source(0)
	case OfEvent, OfSession:
		a.Value = s.value(0, 1)
	case OfClass:
		a.Value = strconv.FormatInt(s.Num(0), 10)
	case OfTarget:
		kind, id := s.value(0, 0), s.value(1, 1)
		if strings.Contains(kind, "\x00") {
			s.Fail("a zero byte in the type of a target")
		}
		a.Value = kind + "\x00" + id
	case OfTag:
		a.Tag = leaf.Tag{Field: s.field(0), Value: s.Hash(1)}
	default:
		s.Fail("%.32q is no kind of ask", a.Kind)
	}
	return a
}

func (s *scanner) evidence(h *History) {
	lines := 0
	count := func() {
		if lines++; lines > MaxEvidence {
			s.Fail("more than %d lines of evidence", MaxEvidence)
		}
	}
	type name struct {
		id    subject.Identifier
		epoch int64
	}
	subjects, enrolments := make(map[name]bool), make(map[leaf.Hash]bool)
	for s.At("subject") && s.Take("subject", 3) {
		e := Subject{Identifier: s.identifier(0), Proof: s.Bytes(1, proofSize, proofSize), Epoch: s.epoch(2)}
		if of := (name{e.Identifier, e.Epoch}); subjects[of] {
			s.Fail("an identifier twice in epoch %d", e.Epoch)
		} else {
			subjects[of] = true
		}
		count()
		s.Next()
		for s.At("handle") || s.At("erased") {
			one := s.enrolled()
			if enrolments[one.Leaf] {
				s.Fail("an enrolment twice")
			}
			enrolments[one.Leaf] = true
			e.Enrolments = append(e.Enrolments, one)
			count()
			s.Next()
		}
		h.Subjects = append(h.Subjects, e)
	}
	for s.At("key") && s.Take("key", 4) {
		k := Key{Epoch: s.epoch(0), Field: s.field(1), Source: s.source(2), Key: s.Hash(3)}
		if n := len(h.Keys); n > 0 && compareKeys(h.Keys[n-1], k) >= 0 {
			s.Fail("keys do not ascend by epoch, field and source")
		}
		h.Keys = append(h.Keys, k)
		count()
		s.Next()
	}
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Source, b.Source))
}

func (s *scanner) enrolled() (e Enrolled) {
	if s.At("erased") {
		if s.Take("erased", 2) {
			e = Enrolled{Leaf: s.Hash(0), Erased: true, ErasedAt: s.Num(1)}
		}
		return e
	}
	if s.Take("handle", 3) {
		e.Leaf = s.Hash(0)
		e.Handle = subject.Handle{Opening: s.Hash(1), T: s.Hash(2)}
	}
	return e
}

// part reads a part whose line is the present one, up to the line behind it. It returns its bytes, which share memory with
// the file, and the number of the line before them.
func (s *scanner) part(kind string) (data []byte, line int) {
	if !s.Take("part", 2) {
		return nil, 0
	}
	if s.Words[0] != kind {
		s.Fail("part %.32q, not %s", s.Words[0], kind)
	}
	n := s.Num(1)
	if s.Err == nil && (n < 1 || n >= int64(len(s.Rest)) || s.Rest[n] != '\n') {
		s.Fail("part %s does not have %d bytes and a line feed", kind, n)
	}
	if s.Err != nil {
		return nil, 0
	}
	data, line = s.Rest[:n:n], s.Line
	s.Line += 1 + bytes.Count(data, []byte("\n"))
	s.Rest = s.Rest[n+1:]
	s.Next()
	return data, line
}

func (s *scanner) parts(h *History) {
	data, line := s.part("index-proof")
	if s.Err != nil {
		return
	}
	var err error
	if h.Index, err = proof.ParseIndex(data); err != nil {
		s.Err = fmt.Errorf("part after line %d: %w", line, err)
		return
	}
	size := int64(0)
	for len(s.Words) > 1 && s.Words[1] == "checkpoint" {
		note, line := s.part("checkpoint")
		hashes, _ := s.part("consistency")
		if s.Err != nil {
			return
		}
		a := Anchor{Checkpoint: bytes.Clone(note)}
		c, err := sizeOf(note)
		if err == nil {
			a.Hashes, err = parseHashes(hashes)
		}
		if err == nil && (c <= size || len(h.Anchors) == MaxAnchors) {
			err = fmt.Errorf("archived checkpoints do not ascend from a size above 0, or are more than %d", MaxAnchors)
		}
		if err != nil {
			s.Err = fmt.Errorf("part after line %d: %w", line, err)
			return
		}
		size = c
		h.Anchors = append(h.Anchors, a)
	}
	if s.Words != nil {
		fields, line := s.part("fields")
		if s.Err != nil {
			return
		}
		if h.Fields, err = parseFields(fields); err != nil {
			s.Err = fmt.Errorf("part after line %d: %w", line, err)
			return
		}
	}
	if s.Words != nil {
		s.Fail("a line after the last part")
	}
}

func sizeOf(note []byte) (int64, error) {
	t, _, err := checkpoint.Split(note)
	if err != nil {
		return 0, err
	}
	c, err := checkpoint.Parse(t)
	return c.Size, err
}

func parseHashes(b []byte) (hashes [][32]byte, err error) {
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok || len(hashes) == proof.MaxHashes {
			return nil, fmt.Errorf("no line feed at its end, or more than %d hashes", proof.MaxHashes)
		}
		h, err := checkpoint.ParseHash(string(line))
		if err != nil {
			return nil, err
		}
		hashes, b = append(hashes, h), rest
	}
	return hashes, nil
}

func parseFields(b []byte) (all []Fields, err error) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		words := strings.Split(string(line), " ")
		if len(words) != 3 || words[0] != "entry" {
			return nil, errors.New("fields do not begin with entry, an index and a number of lines")
		}
		index, err := checkpoint.ParseSize(words[1])
		if err != nil {
			return nil, err
		}
		count, err := checkpoint.ParseSize(words[2])
		if err != nil {
			return nil, err
		}
		if n := len(all); count < 1 || count > seal.MaxFields || n > 0 && all[n-1].Index >= index {
			return nil, fmt.Errorf("entry %d has no fields, too many, or does not ascend", index)
		}
		end := 0
		for range count {
			i := bytes.IndexByte(rest[end:], '\n')
			if i < 0 {
				return nil, fmt.Errorf("entry %d does not have its lines", index)
			}
			end += i + 1
		}
		lines, more, err := seal.ParseLines(append([]byte(linesHeader), rest[:end]...))
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		if more != nil || int64(len(lines)) != count {
			return nil, fmt.Errorf("entry %d does not have its lines", index)
		}
		all = append(all, Fields{Index: index, Lines: lines})
		b = rest[end:]
	}
	return all, nil
}
