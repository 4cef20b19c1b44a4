package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"idlog/proto/checkpoint"
	"idlog/proto/internal/lines"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/trie"
)

// ParseIndex reads an index proof. The result shares no memory with b.
func ParseIndex(b []byte) (*Index, error) {
	x, err := parseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("parsing index proof: %w", err)
	}
	return x, nil
}

// Format writes the proof. A proof that ParseIndex would refuse is an error.
func (x *Index) Format() ([]byte, error) {
	b := []byte(indexHeader + "\n")
	for _, a := range x.Answers {
		b = a.append(b)
	}
	mode := "root"
	if x.Strict {
		mode = "strict"
	}
	b = fmt.Appendf(b, "root %d %s %s\n", x.At, mode, base64.StdEncoding.EncodeToString(x.Root))
	b = appendHashes(b, "hash", x.Hashes)
	b = append(b, '\n')
	b = append(b, x.Checkpoint...)
	if _, err := parseIndex(b); err != nil {
		return nil, fmt.Errorf("formatting index proof: %w", err)
	}
	return b, nil
}

func (a Answer) append(b []byte) []byte {
	b = fmt.Appendf(b, "query %d %s\n", a.Field, text(a.Value))
	switch {
	case a.List != nil:
		b = append(b, "present\n"...)
	case a.Path.Found:
		b = fmt.Appendf(b, "absent %s %s\n", text(a.Path.Terminal), text(a.Path.Head))
	default:
		b = append(b, "empty\n"...)
	}
	for _, s := range a.Path.Steps {
		b = fmt.Appendf(b, "step %d %s\n", s.Depth, text(s.Sibling))
	}
	if a.List == nil {
		return b
	}
	page := a.List.Page
	b = fmt.Appendf(b, "list %d %s %d %d\n", a.List.Head.N, text(a.List.Head.Root), page.Start, len(page.Postings))
	b = appendHashes(b, "left", page.Left)
	for i, p := range page.Postings {
		if entry := a.List.entry(i); entry != nil {
			b = fmt.Appendf(b, "entry %d ", p.Index)
			b = base64.StdEncoding.AppendEncode(b, entry)
			b = append(b, '\n')
		} else {
			b = fmt.Appendf(b, "posting %d %s\n", p.Index, text(p.Leaf))
		}
	}
	return appendHashes(b, "right", page.Right)
}

func appendHashes(b []byte, word string, hashes [][32]byte) []byte {
	for _, h := range hashes {
		b = fmt.Appendf(b, "%s %s\n", word, text(h))
	}
	return b
}

func text(h [32]byte) string { return base64.StdEncoding.EncodeToString(h[:]) }

func parseIndex(b []byte) (*Index, error) {
	if len(b) > MaxIndex {
		return nil, fmt.Errorf("more than %d bytes", MaxIndex)
	}
	// A proof's own lines are never empty, so the first empty line ends them.
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return nil, errors.New("no empty line before the checkpoint")
	}
	s := &scanner{lines.Scanner{Rest: b[:len(head)+1]}} // with the line feed of its last line
	if s.Next(); len(s.Words) != 1 || s.Words[0] != indexHeader {
		return nil, errors.New("first line is not " + indexHeader)
	}
	x := &Index{}
	postings := 0
	s.Next()
	for s.At("query") {
		a := s.answer(&postings)
		if n := len(x.Answers); n == MaxAnswers || n > 0 && compareAnswers(x.Answers[n-1], a) >= 0 {
			s.Fail("queries do not ascend, or are more than %d", MaxAnswers)
		}
		x.Answers = append(x.Answers, a)
	}
	s.root(x)
	if s.Words != nil {
		s.Fail("unexpected line")
	}
	if s.Err != nil {
		return nil, s.Err
	}
	if len(x.Answers) == 0 {
		return nil, errors.New("no query")
	}
	noteText, _, err := checkpoint.Split(note)
	if err != nil {
		return nil, err
	}
	if _, err := checkpoint.Parse(noteText); err != nil {
		return nil, err
	}
	x.Checkpoint = bytes.Clone(note)
	return x, nil
}

// A scanner reads the lines of an index proof.
type scanner struct{ lines.Scanner }

// small is Num for what a greatest value bounds.
func (s *scanner) small(i, most int) int {
	n := s.Num(i)
	if n > int64(most) {
		s.Fail("%d is more than %d", n, most)
		return 0
	}
	return int(n)
}

// hashes reads the lines of a word and one hash each.
func (s *scanner) hashes(word string) (hashes [][32]byte) {
	for s.At(word) && s.Take(word, 1) {
		hashes = append(hashes, s.Hash(0))
		s.Next()
	}
	return hashes
}

// answer reads from a line "query" up to what follows the answer.
func (s *scanner) answer(postings *int) (a Answer) {
	if !s.Take("query", 2) {
		return a
	}
	if a.Field = uint16(s.small(0, 1<<16-1)); a.Field == 0 {
		s.Fail("a query of field 0")
		return a
	}
	a.Value = s.Hash(1)
	s.Next()
	present := s.At("present")
	switch {
	case s.At("empty"):
		s.Take("empty", 0)
		s.Next()
		return a
	case s.At("absent"):
		if !s.Take("absent", 2) {
			return a
		}
		a.Path.Terminal, a.Path.Head = s.Hash(0), s.Hash(1)
		if a.Path.Terminal == mapfn.Key(a.Field, a.Value) {
			s.Fail("an absent key as its own terminal")
		}
	case present:
		s.Take("present", 0)
		a.Path.Terminal = mapfn.Key(a.Field, a.Value)
	default:
		s.Fail("neither empty, absent nor present")
	}
	if s.Err != nil {
		return a
	}
	a.Path.Found = true
	s.Next()
	above := trie.MaxDepth + 1
	for s.At("step") && s.Take("step", 2) {
		st := trie.Step{Depth: s.small(0, trie.MaxDepth), Sibling: s.Hash(1)}
		if st.Depth >= above {
			s.Fail("depth %d after %d", st.Depth, above)
		}
		above = st.Depth
		a.Path.Steps = append(a.Path.Steps, st)
		s.Next()
	}
	if present && s.Take("list", 4) {
		a.List = s.list(postings)
		a.Path.Head = a.List.Head.Hash()
	}
	return a
}

func (s *scanner) list(postings *int) *List {
	l := &List{Head: trie.Head{N: s.Num(0), Root: s.Hash(1)}}
	l.Page.Start = s.Num(2)
	count := s.small(3, MaxPostings)
	if *postings += count; *postings > MaxPostings {
		s.Fail("more than %d postings", MaxPostings)
	}
	s.Next()
	l.Page.Left = s.hashes("left")
	for s.Err == nil && len(l.Page.Postings) < count {
		var p trie.Posting
		var entry []byte
		switch {
		case s.At("entry") && s.Take("entry", 2):
			p.Index = s.Num(0)
			if entry = s.Bytes(1, 1, maxEntry); entry != nil {
				p.Leaf = leaf.HashOf(entry)
			}
		case s.Take("posting", 2):
			p.Index, p.Leaf = s.Num(0), s.Hash(1)
		}
		l.Page.Postings = append(l.Page.Postings, p)
		l.Entries = append(l.Entries, entry)
		s.Next()
	}
	l.Page.Right = s.hashes("right")
	return l
}

func (s *scanner) root(x *Index) {
	if !s.Take("root", 3) {
		return
	}
	x.At = s.Num(0)
	switch s.Word(1) {
	case "root":
	case "strict":
		x.Strict = true
	default:
		s.Fail("mode %s is neither root nor strict", strconv.Quote(s.Word(1)))
		return
	}
	x.Root = s.Bytes(2, 1, MaxExtra)
	s.Next()
	x.Hashes = s.hashes("hash")
}
