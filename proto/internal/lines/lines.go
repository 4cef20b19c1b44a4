// Package lines reads files whose lines are words with one space between them: the index proof, SPEC 2.13, and the
// history, SPEC 2.15. It bounds nothing but what is asked of a value.
package lines

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"idlog/proto/checkpoint"
)

// Scanner goes through a file line by line. After the first error it is at its end, and every value is zero. With only Rest set
// it stands before the first line. It belongs to one goroutine.
type Scanner struct {
	Rest  []byte   // what follows the line; the caller's, and not changed
	Line  int      // number of the line, from 1
	Words []string // of the line, and after Take those after the first; nil at the end
	Err   error    // the first error, with the number of its line
}

// Fail is the first error, unless there is one.
func (s *Scanner) Fail(format string, args ...any) {
	if s.Err == nil {
		s.Err = fmt.Errorf("line %d: %w", s.Line, fmt.Errorf(format, args...))
	}
	s.Words = nil
}

// Next goes to the next line. A line begins with a word and has a line feed at its end.
func (s *Scanner) Next() {
	s.Words = nil
	if s.Err != nil || len(s.Rest) == 0 {
		return
	}
	s.Line++
	line, rest, ok := bytes.Cut(s.Rest, []byte("\n"))
	if !ok {
		s.Fail("no line feed at its end")
		return
	}
	s.Rest, s.Words = rest, strings.Split(string(line), " ")
	if s.Words[0] == "" {
		s.Fail("a line without a word")
	}
}

// At reports whether the line begins with a word.
func (s *Scanner) At(word string) bool { return len(s.Words) > 0 && s.Words[0] == word }

// Take fails unless the line is of that word and so many others. It leaves the others in Words.
func (s *Scanner) Take(word string, others int) bool {
	if s.Err != nil {
		return false
	}
	if !s.At(word) || len(s.Words) != 1+others {
		s.Fail("not a line %q of %d values", word, others)
		return false
	}
	s.Words = s.Words[1:]
	return true
}

// Word is word i of a line that was taken.
func (s *Scanner) Word(i int) string {
	if s.Err != nil {
		return ""
	}
	return s.Words[i]
}

// Num is word i as a decimal number of 0 or more.
func (s *Scanner) Num(i int) int64 {
	if s.Err != nil {
		return 0
	}
	n, err := checkpoint.ParseSize(s.Words[i])
	if err != nil {
		s.Fail("%w", err)
	}
	return n
}

// Hash is word i as 32 bytes of base64.
func (s *Scanner) Hash(i int) (h [32]byte) {
	if s.Err != nil {
		return h
	}
	h, err := checkpoint.ParseHash(s.Words[i])
	if err != nil {
		s.Fail("%w", err)
	}
	return h
}

// Bytes is word i as base64 of least to most bytes, in the one form that it has. They are the caller's.
func (s *Scanner) Bytes(i, least, most int) []byte {
	if s.Err != nil {
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s.Words[i])
	if err != nil || base64.StdEncoding.EncodeToString(b) != s.Words[i] || len(b) < least || len(b) > most {
		s.Fail("not the base64 of %d to %d bytes", least, most)
		return nil
	}
	return b
}
