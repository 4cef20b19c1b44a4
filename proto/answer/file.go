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

// scanner reads lines of words, and parts. After the first error it is at its end.
type scanner struct {
	rest  []byte
	no    int      // of the line, from 1
	words []string // of the line; nil at the end
	err   error
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("line %d: %w", s.no, fmt.Errorf(format, args...))
	}
	s.words = nil
}

// next goes to the next line.
func (s *scanner) next() {
	s.words = nil
	if s.err != nil || len(s.rest) == 0 {
		return
	}
	s.no++
	line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
	if !ok {
		s.fail("no line feed at its end")
		return
	}
	s.rest, s.words = rest, strings.Split(string(line), " ")
}

// at reports whether the line begins with a word.
func (s *scanner) at(word string) bool { return len(s.words) > 0 && s.words[0] == word }

// take fails unless the line is of that word and so many others. It leaves only the others.
func (s *scanner) take(word string, others int) bool {
	if s.err != nil {
		return false
	}
	if !s.at(word) || len(s.words) != 1+others {
		s.fail("not a line %q of %d values", word, others)
		return false
	}
	s.words = s.words[1:]
	return true
}

// The values below are of a line that take has accepted. After an error they are zero.

func (s *scanner) word(i int) string {
	if s.err != nil {
		return ""
	}
	return s.words[i]
}

func (s *scanner) num(i int) int64 {
	if s.err != nil {
		return 0
	}
	n, err := checkpoint.ParseSize(s.words[i])
	if err != nil {
		s.fail("%w", err)
	}
	return n
}

func (s *scanner) field(i int) uint16 {
	n := s.num(i)
	if s.err == nil && (n < 1 || n > maxField) {
		s.fail("field %d is not within 1 and %d", n, maxField)
	}
	return uint16(n)
}

func (s *scanner) epoch(i int) int64 {
	n := s.num(i)
	if s.err == nil && n < 1 {
		s.fail("epoch 0")
	}
	return n
}

func (s *scanner) hash(i int) (h [32]byte) {
	if s.err != nil {
		return h
	}
	h, err := checkpoint.ParseHash(s.words[i])
	if err != nil {
		s.fail("%w", err)
	}
	return h
}

func (s *scanner) bytes(i, least, most int) []byte {
	if s.err != nil {
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s.words[i])
	if err != nil || b64(b) != s.words[i] || len(b) < least || len(b) > most {
		s.fail("not the base64 of %d to %d bytes", least, most)
		return nil
	}
	return b
}

func (s *scanner) value(i, least int) string {
	v := s.bytes(i, least, maxValue)
	if s.err == nil && !utf8.Valid(v) {
		s.fail("not UTF-8")
	}
	return string(v)
}

func (s *scanner) identifier(i int) subject.Identifier {
	b := s.bytes(i, 1, subject.MaxIdentifier)
	if s.err != nil {
		return subject.Identifier{}
	}
	id, err := subject.ParseIdentifier(b)
	if err != nil {
		s.fail("%w", err)
	}
	return id
}

func (s *scanner) source(i int) string {
	name := s.word(i)
	if s.err == nil && !leaf.ValidSource(name) {
		s.fail("%.64q is not the name of a source", name)
	}
	return name
}

func parse(b []byte) (*History, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("more than %d bytes", MaxFile)
	}
	s := &scanner{rest: b}
	h := &History{}
	s.next()
	s.take(header, 0)
	s.next()
	if s.take("log", 1) {
		if h.Log = s.words[0]; !leaf.ValidName(h.Log) {
			s.fail("%.128q is not the name of a log", h.Log)
		}
	}
	s.next()
	s.question(h)
	s.evidence(h)
	s.parts(h)
	if s.err != nil {
		return nil, s.err
	}
	return h, nil
}

func (s *scanner) question(h *History) {
	for len(h.Asks) == 0 || s.at("ask") {
		a := s.ask()
		if len(h.Asks) == MaxAsks {
			s.fail("more than %d asks", MaxAsks)
		}
		if slices.Contains(h.Asks, a) {
			s.fail("asks twice for the same")
		}
		if s.err != nil {
			return
		}
		h.Asks = append(h.Asks, a)
		s.next()
	}
	if s.at("window") && s.take("window", 2) {
		if h.Window = (&Window{s.num(0), s.num(1)}); h.Window.From >= h.Window.To {
			s.fail("a window of no entries")
		}
		s.next()
	}
	if s.at("links") && s.take("links", 1) {
		if s.words[0] != "none" {
			s.fail("links are none, or there is no such line")
		}
		h.NoLinks = true
		s.next()
	}
}

func (s *scanner) ask() (a Ask) {
	if s.err == nil && (!s.at("ask") || len(s.words) < 3) {
		s.fail("not a line \"ask\" of a kind and a value")
	}
	if s.err != nil {
		return a
	}
	a.Kind = Kind(s.words[1])
	s.words = s.words[1:]
	others := 1
	if a.Kind == OfTarget || a.Kind == OfTag {
		others = 2
	}
	if !s.take(string(a.Kind), others) {
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
		a.Value = strconv.FormatInt(s.num(0), 10)
	case OfTarget:
		kind, id := s.value(0, 0), s.value(1, 1)
		if strings.Contains(kind, "\x00") {
			s.fail("a zero byte in the type of a target")
		}
		a.Value = kind + "\x00" + id
	case OfTag:
		a.Tag = leaf.Tag{Field: s.field(0), Value: s.hash(1)}
	default:
		s.fail("%.32q is no kind of ask", a.Kind)
	}
	return a
}

func (s *scanner) evidence(h *History) {
	lines := 0
	count := func() {
		if lines++; lines > MaxEvidence {
			s.fail("more than %d lines of evidence", MaxEvidence)
		}
	}
	type name struct {
		id    subject.Identifier
		epoch int64
	}
	subjects, enrolments := make(map[name]bool), make(map[leaf.Hash]bool)
	for s.at("subject") && s.take("subject", 3) {
		e := Subject{Identifier: s.identifier(0), Proof: s.bytes(1, proofSize, proofSize), Epoch: s.epoch(2)}
		if of := (name{e.Identifier, e.Epoch}); subjects[of] {
			s.fail("an identifier twice in epoch %d", e.Epoch)
		} else {
			subjects[of] = true
		}
		count()
		s.advance()
		for s.at("handle") || s.at("erased") {
			one := s.enrolled()
			if enrolments[one.Leaf] {
				s.fail("an enrolment twice")
			}
			enrolments[one.Leaf] = true
			e.Enrolments = append(e.Enrolments, one)
			count()
			s.advance()
		}
		h.Subjects = append(h.Subjects, e)
	}
	for s.at("key") && s.take("key", 4) {
		k := Key{Epoch: s.epoch(0), Field: s.field(1), Source: s.source(2), Key: s.hash(3)}
		if n := len(h.Keys); n > 0 && compareKeys(h.Keys[n-1], k) >= 0 {
			s.fail("keys do not ascend by epoch, field and source")
		}
		h.Keys = append(h.Keys, k)
		count()
		s.advance()
	}
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Source, b.Source))
}

// advance is next, unless the present line was refused.
func (s *scanner) advance() {
	if s.err == nil {
		s.next()
	}
}

func (s *scanner) enrolled() (e Enrolled) {
	if s.at("erased") {
		if s.take("erased", 2) {
			e = Enrolled{Leaf: s.hash(0), Erased: true, ErasedAt: s.num(1)}
		}
		return e
	}
	if s.take("handle", 3) {
		e.Leaf = s.hash(0)
		e.Handle = subject.Handle{Opening: s.hash(1), T: s.hash(2)}
	}
	return e
}

// part reads a part whose line is the present one, up to the line behind it. It returns its bytes, which share memory with
// the file, and the number of the line before them.
func (s *scanner) part(kind string) (data []byte, line int) {
	if !s.take("part", 2) {
		return nil, 0
	}
	if s.words[0] != kind {
		s.fail("part %.32q, not %s", s.words[0], kind)
	}
	n := s.num(1)
	if s.err == nil && (n < 1 || n >= int64(len(s.rest)) || s.rest[n] != '\n') {
		s.fail("part %s does not have %d bytes and a line feed", kind, n)
	}
	if s.err != nil {
		return nil, 0
	}
	data, line = s.rest[:n:n], s.no
	s.no += 1 + bytes.Count(data, []byte("\n"))
	s.rest = s.rest[n+1:]
	s.next()
	return data, line
}

func (s *scanner) parts(h *History) {
	data, line := s.part("index-proof")
	if s.err != nil {
		return
	}
	var err error
	if h.Index, err = proof.ParseIndex(data); err != nil {
		s.err = fmt.Errorf("part after line %d: %w", line, err)
		return
	}
	size := int64(0)
	for len(s.words) > 1 && s.words[1] == "checkpoint" {
		note, line := s.part("checkpoint")
		hashes, _ := s.part("consistency")
		if s.err != nil {
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
			s.err = fmt.Errorf("part after line %d: %w", line, err)
			return
		}
		size = c
		h.Anchors = append(h.Anchors, a)
	}
	if s.words != nil {
		fields, line := s.part("fields")
		if s.err != nil {
			return
		}
		if h.Fields, err = parseFields(fields); err != nil {
			s.err = fmt.Errorf("part after line %d: %w", line, err)
			return
		}
	}
	if s.words != nil {
		s.fail("a line after the last part")
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
