package proof

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/trie"
)

const (
	// MaxIndex is the largest index proof in bytes.
	MaxIndex = 64 << 20
	// MaxAnswers and MaxPostings are the most answers of an index proof, and the most postings of all of them.
	MaxAnswers  = 4096
	MaxPostings = 131072

	indexHeader = "tlog-index-proof/v1"
	// maxEntry is the largest entry of a log in bytes.
	maxEntry = 1<<16 - 1
)

// An Index proves what stands in a log under some keys: SPEC 2.13. Nothing of it is verified before Verify returns without
// an error.
type Index struct {
	// Answers ascend by field, then value. There is at least one.
	Answers []Answer
	// At is where in the log the root leaf stands, and Root its bytes.
	At   int64
	Root []byte
	// Strict says that Hashes prove each posting to be in the log, and not only the root leaf.
	Strict     bool
	Hashes     [][32]byte // see IndexHashes
	Checkpoint []byte     // a signed note
}

// An Answer is what stands under the key of a field and value.
type Answer struct {
	Field uint16
	Value [32]byte
	Path  trie.Path
	List  *List // nil: the key is absent
}

// A List is a page of a postings list, with the entries where they are given.
type List struct {
	Head    trie.Head
	Page    trie.Page
	Entries [][]byte // one for each posting; nil, or too few, where only leaf hashes are given
}

func (l *List) entry(i int) []byte {
	if i >= len(l.Entries) {
		return nil
	}
	return l.Entries[i]
}

// Answer returns the answer for a field and value, or nil.
func (x *Index) Answer(field uint16, value [32]byte) *Answer {
	i, ok := slices.BinarySearchFunc(x.Answers, Answer{Field: field, Value: value}, compareAnswers)
	if !ok {
		return nil
	}
	return &x.Answers[i]
}

func compareAnswers(a, b Answer) int {
	return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Value[:], b.Value[:]))
}

// IndexVerified is what an index proof shows once it holds.
type IndexVerified struct {
	*policy.Verified            // the checkpoint
	Root             *leaf.Root // the root leaf, which says for itself that it is true
}

// Verify judges the proof by the four rules of SPEC 2.13: all it says then follows from the root leaf, whose truth only its
// log has said, or those of the checkpoint's cosigners who verify it. How old the root leaf may be is for the caller to
// judge. If only cosignatures lack, the error is a [*policy.QuorumError].
func (x *Index) Verify(pol *policy.Policy) (*IndexVerified, error) {
	v, err := pol.Verify(x.Checkpoint)
	if err != nil {
		return nil, err
	}
	root, err := x.Under(v.Checkpoint)
	if err != nil {
		return nil, err
	}
	return &IndexVerified{Verified: v, Root: root}, nil
}

// Under is Verify for a caller that has verified x.Checkpoint for itself, and which c is; it returns the root leaf.
func (x *Index) Under(c checkpoint.Checkpoint) (*leaf.Root, error) {
	l, err := leaf.Parse(x.Root)
	if err != nil {
		return nil, fmt.Errorf("reading the root leaf at %d: %w", x.At, err)
	}
	root, ok := l.(*leaf.Root)
	if !ok {
		return nil, fmt.Errorf("entry %d is a leaf of kind %s and no root of the index", x.At, leaf.KindOf(l))
	}
	if root.Origin != c.Origin {
		return nil, fmt.Errorf("the root leaf is of %q, the checkpoint of %q", root.Origin, c.Origin)
	}
	if err := x.included(root, c); err != nil {
		return nil, err
	}
	for _, a := range x.Answers {
		if err := a.verify(root); err != nil {
			return nil, fmt.Errorf("query %d %s: %w", a.Field, text(a.Value), err)
		}
	}
	return root, nil
}

func (x *Index) included(root *leaf.Root, c checkpoint.Checkpoint) error {
	if root.N > x.At || x.At >= c.Size {
		return fmt.Errorf("a root over %d entries at index %d of a tree of %d", root.N, x.At, c.Size)
	}
	known, err := x.known(root.N)
	if err != nil {
		return err
	}
	ranges := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	tree := ranges.NewEmptyRange(0)
	rest := x.Hashes
	// fill appends the subtrees that make up what lies before an entry.
	fill := func(to int64) error {
		n := compact.RangeSize(tree.End(), uint64(to))
		if n > len(rest) {
			return fmt.Errorf("hashes end before entry %d", to)
		}
		gap, err := ranges.NewRange(tree.End(), uint64(to), siblings(rest[:n]))
		if err != nil {
			return err
		}
		rest = rest[n:]
		return tree.AppendRange(gap, nil)
	}
	is := func(want [32]byte, of string) error {
		got := rfc6962.DefaultHasher.EmptyRoot()
		if tree.End() > 0 {
			if got, err = tree.GetRootHash(nil); err != nil {
				return err
			}
		}
		if [32]byte(got) != want {
			return fmt.Errorf("the hashes do not give the root of %s", of)
		}
		return nil
	}
	for _, p := range known {
		if err := fill(p.Index); err != nil {
			return err
		}
		if err := tree.Append(p.Leaf[:], nil); err != nil {
			return err
		}
	}
	if err := fill(root.N); err != nil {
		return err
	}
	if err := is(root.LogRoot, fmt.Sprintf("the entries 0 to %d, which the root leaf names", root.N-1)); err != nil {
		return err
	}
	if err := fill(x.At); err != nil {
		return err
	}
	hash := leaf.HashOf(x.Root)
	if err := tree.Append(hash[:], nil); err != nil {
		return err
	}
	if err := fill(c.Size); err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d hashes too many", len(rest))
	}
	return is(c.Root, "the checkpoint")
}

// known returns the postings that the hashes leave out: in strict mode each one of the lists, ascending, once.
func (x *Index) known(n int64) ([]trie.Posting, error) {
	if !x.Strict {
		return nil, nil
	}
	var all []trie.Posting
	for _, a := range x.Answers {
		if a.List != nil {
			all = append(all, a.List.Page.Postings...)
		}
	}
	slices.SortFunc(all, func(a, b trie.Posting) int { return cmp.Compare(a.Index, b.Index) })
	all = slices.Compact(all)
	for i, p := range all {
		if i > 0 && p.Index == all[i-1].Index {
			return nil, fmt.Errorf("two leaf hashes for entry %d", p.Index)
		}
		if p.Index >= n {
			return nil, fmt.Errorf("entry %d is not below the %d of the root leaf", p.Index, n)
		}
	}
	return all, nil
}

func (a Answer) verify(root *leaf.Root) error {
	key := mapfn.Key(a.Field, a.Value)
	present, err := a.Path.Verify(key, root.MapRoot)
	switch {
	case err != nil:
		return err
	case present != (a.List != nil):
		return fmt.Errorf("the way to the key says present %v, the answer %v", present, a.List != nil)
	case !present:
		return nil
	}
	if a.List.Head.Hash() != a.Path.Head {
		return errors.New("the list is not the one that the map has")
	}
	if err := a.List.Page.Verify(a.List.Head, root.N); err != nil {
		return err
	}
	for i, p := range a.List.Page.Postings {
		entry := a.List.entry(i)
		if entry == nil {
			continue
		}
		if leaf.HashOf(entry) != p.Leaf {
			return fmt.Errorf("entry %d is not the one that stands in the list", p.Index)
		}
		if !slices.Contains(mapfn.OfEntry(entry), key) {
			return fmt.Errorf("entry %d does not belong under the key", p.Index)
		}
	}
	return nil
}

// IndexHashes returns the hashes of an index proof over a log of a size, whose root leaf at index at speaks of the first n
// entries, in strict mode with the indexes of all its postings, else with none. Subtrees returns the roots of the perfect
// subtrees that make up the entries from one index up to another, from left to right, as [idlog/proto/tile.Reader] does.
func IndexHashes(size, n, at int64, entries []int64, subtrees func(from, to int64) ([][32]byte, error)) ([][32]byte, error) {
	entries = slices.Compact(slices.Sorted(slices.Values(entries)))
	var hashes [][32]byte
	var end int64
	fill := func(to int64) error {
		if to < end {
			return fmt.Errorf("making an index proof: entry %d after %d", to, end)
		}
		gap, err := subtrees(end, to)
		hashes, end = append(hashes, gap...), to
		return err
	}
	for _, i := range entries {
		if err := fill(i); err != nil {
			return nil, err
		}
		end++
	}
	if err := fill(n); err != nil {
		return nil, err
	}
	if err := fill(at); err != nil {
		return nil, err
	}
	end++
	if err := fill(size); err != nil {
		return nil, err
	}
	return hashes, nil
}

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
