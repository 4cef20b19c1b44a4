package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"idlog/proto/checkpoint"
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
	s := &scanner{rest: string(head) + "\n"} // one copy, which all that is read shares
	if s.line(); s.word != indexHeader || s.args != nil {
		return nil, errors.New("first line is not " + indexHeader)
	}
	x := &Index{}
	postings := 0
	s.line()
	for s.word == "query" {
		a := s.answer(&postings)
		if s.err != nil {
			break
		}
		if n := len(x.Answers); n == MaxAnswers || n > 0 && compareAnswers(x.Answers[n-1], a) >= 0 {
			return nil, s.fail("queries do not ascend, or are more than %d", MaxAnswers)
		}
		x.Answers = append(x.Answers, a)
	}
	s.root(x)
	switch {
	case s.err != nil:
		return nil, s.err
	case s.word != "":
		return nil, s.fail("unexpected line")
	case len(x.Answers) == 0:
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

// A scanner reads lines of words. After the first error it returns nothing more.
type scanner struct {
	rest string
	no   int      // of the line, from 1
	word string   // its first word; empty after the last line
	args []string // its others
	err  error
}

func (s *scanner) fail(format string, args ...any) error {
	if s.err == nil {
		s.err = fmt.Errorf("line %d: %w", s.no, fmt.Errorf(format, args...))
	}
	s.word, s.args = "", nil
	return s.err
}

// line goes to the next line.
func (s *scanner) line() {
	s.word, s.args = "", nil
	if s.rest == "" || s.err != nil {
		return
	}
	var l string
	l, s.rest, _ = strings.Cut(s.rest, "\n")
	s.no++
	words := strings.Split(l, " ")
	if s.word = words[0]; s.word == "" {
		s.fail("a line without a word")
		return
	}
	if len(words) > 1 {
		s.args = words[1:]
	}
}

// want fails unless the line has that word and as many others.
func (s *scanner) want(word string, args int) bool {
	if s.err != nil {
		return false
	}
	if s.word != word || len(s.args) != args {
		s.fail("not a line %q of %d values", word, args)
		return false
	}
	return true
}

// arg is one of the values of a line that want has seen, and empty after an error.
func (s *scanner) arg(i int) string {
	if s.err != nil {
		return ""
	}
	return s.args[i]
}

func (s *scanner) num(arg int) int64 {
	n, err := checkpoint.ParseSize(s.arg(arg))
	if err != nil {
		s.fail("%w", err)
		return 0
	}
	return n
}

// small is num for what a greatest value bounds.
func (s *scanner) small(arg, most int) int {
	n, err := checkpoint.ParseSize(s.arg(arg))
	if err != nil || n > int64(most) {
		s.fail("%q is no number up to %d", s.arg(arg), most)
		return 0
	}
	return int(n)
}

func (s *scanner) hash(arg int) [32]byte {
	h, err := checkpoint.ParseHash(s.arg(arg))
	if err != nil {
		s.fail("%w", err)
	}
	return h
}

func (s *scanner) bytes(arg, most int) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s.arg(arg))
	if err != nil || base64.StdEncoding.EncodeToString(b) != s.arg(arg) || len(b) == 0 || len(b) > most {
		s.fail("not the base64 of 1 to %d bytes", most)
		return nil
	}
	return b
}

// hashes reads the lines of a word and one hash each.
func (s *scanner) hashes(word string) (hashes [][32]byte) {
	for s.word == word && s.want(word, 1) {
		hashes = append(hashes, s.hash(0))
		s.advance()
	}
	return hashes
}

// advance is line, unless the present one was refused.
func (s *scanner) advance() {
	if s.err == nil {
		s.line()
	}
}

// answer reads from a line "query" up to what follows the answer.
func (s *scanner) answer(postings *int) (a Answer) {
	if !s.want("query", 2) {
		return a
	}
	if a.Field = uint16(s.small(0, 1<<16-1)); a.Field == 0 {
		s.fail("a query of field 0")
		return a
	}
	a.Value = s.hash(1)
	s.advance()
	switch s.word {
	case "empty":
		s.want("empty", 0)
		s.advance()
		return a
	case "absent":
		if !s.want("absent", 2) {
			return a
		}
		a.Path.Terminal, a.Path.Head = s.hash(0), s.hash(1)
		if a.Path.Terminal == mapfn.Key(a.Field, a.Value) {
			s.fail("an absent key as its own terminal")
		}
	case "present":
		s.want("present", 0)
		a.Path.Terminal = mapfn.Key(a.Field, a.Value)
	default:
		s.fail("neither empty, absent nor present")
	}
	if s.err != nil {
		return a
	}
	present := s.word == "present"
	a.Path.Found = true
	s.advance()
	above := trie.MaxDepth + 1
	for s.word == "step" && s.want("step", 2) {
		st := trie.Step{Depth: s.small(0, trie.MaxDepth), Sibling: s.hash(1)}
		if st.Depth >= above {
			s.fail("depth %d after %d", st.Depth, above)
		}
		above = st.Depth
		a.Path.Steps = append(a.Path.Steps, st)
		s.advance()
	}
	if present && s.want("list", 4) {
		a.List = s.list(postings)
		a.Path.Head = a.List.Head.Hash()
	}
	return a
}

func (s *scanner) list(postings *int) *List {
	l := &List{Head: trie.Head{N: s.num(0), Root: s.hash(1)}}
	l.Page.Start = s.num(2)
	count := s.small(3, MaxPostings)
	if *postings += count; *postings > MaxPostings {
		s.fail("more than %d postings", MaxPostings)
	}
	s.advance()
	l.Page.Left = s.hashes("left")
	for s.err == nil && len(l.Page.Postings) < count {
		var p trie.Posting
		var entry []byte
		switch {
		case s.word == "entry" && s.want("entry", 2):
			p.Index = s.num(0)
			if entry = s.bytes(1, maxEntry); entry != nil {
				p.Leaf = leaf.HashOf(entry)
			}
		case s.want("posting", 2):
			p.Index, p.Leaf = s.num(0), s.hash(1)
		}
		l.Page.Postings = append(l.Page.Postings, p)
		l.Entries = append(l.Entries, entry)
		s.advance()
	}
	l.Page.Right = s.hashes("right")
	return l
}

func (s *scanner) root(x *Index) {
	if !s.want("root", 3) {
		return
	}
	x.At = s.num(0)
	switch s.arg(1) {
	case "root":
	case "strict":
		x.Strict = true
	default:
		s.fail("mode %s is neither root nor strict", strconv.Quote(s.arg(1)))
		return
	}
	x.Root = s.bytes(2, MaxExtra)
	s.advance()
	x.Hashes = s.hashes("hash")
}
