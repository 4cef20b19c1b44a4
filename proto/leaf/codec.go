package leaf

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// codec walks the lines of one leaf, reading them from b or, when writing, appending them to b. The first error
// sticks and makes every later call do nothing. It belongs to one call of Parse or Format.
type codec struct {
	writing bool
	b       []byte // what is left to read, or what is written so far
	line    int    // the line that was last begun
	err     *SyntaxError
}

func format(l Leaf, size int) ([]byte, error) {
	c := codec{writing: true, b: make([]byte, 0, min(size, MaxSize))}
	l.walk(&c)
	if c.err == nil && len(c.b) > MaxSize {
		c.err = &SyntaxError{Reason: "leaf is larger than 16384 bytes"}
	}
	if c.err != nil {
		return nil, fmt.Errorf("formatting leaf: %w", c.err)
	}
	return c.b, nil
}

func (c *codec) fail(reason string) {
	if c.err == nil {
		c.err = &SyntaxError{Line: c.line, Reason: reason}
	}
}

// has reports whether the next line is of the kind that prefix begins: by the input when reading, by what the
// caller has when writing.
func (c *codec) has(prefix string, have bool) bool {
	if c.writing {
		return have
	}
	return c.err == nil && bytes.HasPrefix(c.b, []byte(prefix))
}

// open begins a line. Reading, it returns what follows the key and a space; writing, it writes those and returns nil.
func (c *codec) open(key string) []byte {
	if c.err != nil {
		return nil
	}
	c.line++
	if c.writing {
		if key != "" {
			c.b = append(append(c.b, key...), ' ')
		}
		return nil
	}
	end := bytes.IndexByte(c.b, '\n')
	if end < 0 {
		c.fail("line is missing or has no line feed")
		return nil
	}
	line := c.b[:end]
	if key != "" {
		if len(line) <= len(key) || string(line[:len(key)]) != key || line[len(key)] != ' ' {
			c.fail("line does not begin with " + strconv.Quote(key))
			return nil
		}
		line = line[len(key)+1:]
	}
	c.b = c.b[end+1:]
	return line
}

// shut ends a line that is being written.
func (c *codec) shut() {
	if c.writing && c.err == nil {
		c.b = append(c.b, '\n')
	}
}

// word is a line without a value.
func (c *codec) word(w string) {
	line := c.open("")
	if c.err != nil {
		return
	}
	if c.writing {
		c.b = append(c.b, w...)
	} else if string(line) != w {
		c.fail("line is not " + strconv.Quote(w))
	}
	c.shut()
}

// text is a line whose value is a word that check accepts.
func (c *codec) text(key string, v *string, check func(string) string) {
	line := c.open(key)
	if c.err != nil {
		return
	}
	if !c.writing {
		*v = string(line)
	}
	if reason := check(*v); reason != "" {
		c.fail(reason)
		return
	}
	if c.writing {
		c.b = append(c.b, *v...)
	}
	c.shut()
}

func (c *codec) num(key string, v *int64, least int64) {
	line := c.open(key)
	if c.err != nil {
		return
	}
	if c.writing {
		c.putNum(*v, least)
	} else {
		*v = c.getNum(string(line), least)
	}
	c.shut()
}

func (c *codec) hash(key string, h *Hash) {
	line := c.open(key)
	if c.err != nil {
		return
	}
	if c.writing {
		c.b = base64.StdEncoding.AppendEncode(c.b, h[:])
	} else {
		*h = c.getHash(line)
	}
	c.shut()
}

// span is the line `range A B` of the entries [A, B).
func (c *codec) span(from, to *int64) {
	line := c.open("range")
	if c.err != nil {
		return
	}
	if c.writing {
		c.putNum(*from, 0)
		c.b = append(c.b, ' ')
		c.putNum(*to, 0)
	} else {
		a, b, _ := strings.Cut(string(line), " ")
		*from, *to = c.getNum(a, 0), c.getNum(b, 0)
	}
	if *from >= *to {
		c.fail("range is empty")
	}
	c.shut()
}

func (c *codec) previous(p *Previous) {
	line := c.open("previous")
	if c.err != nil {
		return
	}
	if !c.writing {
		parts := bytes.Split(line, []byte(" "))
		if len(parts) != 3 {
			c.fail("previous is not a name, a size and a root")
			return
		}
		p.Origin = string(parts[0])
		p.Size = c.getNum(string(parts[1]), 0)
		p.Root = c.getHash(parts[2])
	}
	if reason := checkName(p.Origin); reason != "" {
		c.fail(reason)
		return
	}
	if c.writing {
		c.b = append(append(c.b, p.Origin...), ' ')
		c.putNum(p.Size, 0)
		c.b = append(c.b, ' ')
		c.b = base64.StdEncoding.AppendEncode(c.b, p.Root[:])
	}
	c.shut()
}

func (c *codec) tags(tags *[]Tag, least int) {
	list(c, "tag", tags, least, MaxTags, CompareTags, func(t *Tag) {
		line := c.open("tag")
		if c.writing {
			c.putField(t.Field)
			c.b = base64.StdEncoding.AppendEncode(append(c.b, ' '), t.Value[:])
			return
		}
		num, hash, _ := bytes.Cut(line, []byte(" "))
		t.Field = c.getField(string(num))
		t.Value = c.getHash(hash)
	})
	if c.err == nil && countPersons(*tags) > MaxPersons {
		c.fail("more than 250 tags of persons")
	}
}

func (c *codec) hashes(key string, hashes *[]Hash, least, most int) {
	list(c, key, hashes, least, most, compareHashes, func(h *Hash) {
		line := c.open(key)
		if c.writing {
			c.b = base64.StdEncoding.AppendEncode(c.b, h[:])
			return
		}
		*h = c.getHash(line)
	})
}

func (c *codec) commits(commits *[]Commit) {
	list(c, "commit", commits, 0, 64, compareCommits, func(m *Commit) {
		line := c.open("commit")
		if c.writing {
			c.putField(m.Field)
			c.b = append(append(append(c.b, ' '), m.Source...), ' ')
			c.b = base64.StdEncoding.AppendEncode(c.b, m.Commit[:])
		} else {
			parts := bytes.Split(line, []byte(" "))
			if len(parts) != 3 {
				c.fail("commit is not a field, a source and a hash")
				return
			}
			m.Field = c.getField(string(parts[0]))
			m.Source = string(parts[1])
			m.Commit = c.getHash(parts[2])
		}
		if reason := checkSource(m.Source); reason != "" {
			c.fail(reason)
		}
	})
}

func (c *codec) keys(keys *[]string) {
	list(c, "key", keys, 1, 8, strings.Compare, func(k *string) {
		line := c.open("key")
		if c.writing {
			c.b = append(c.b, *k...)
		} else {
			*k = string(line)
		}
		if reason := checkVKey(*k); reason != "" {
			c.fail(reason)
		}
	})
}

// list walks least..most lines that begin with key and ascend strictly. The function given walks one of them but
// for its line feed.
func list[T any](c *codec, key string, items *[]T, least, most int, compare func(a, b T) int, one func(*T)) {
	prefix := key + " "
	for i := 0; c.err == nil && c.has(prefix, i < len(*items)); i++ {
		if !c.writing {
			if i == 0 {
				*items = make([]T, 0, min(most, 8)) // most leaves have no more
			}
			var zero T
			*items = append(*items, zero)
		}
		item := &(*items)[i]
		one(item)
		if i > 0 && c.err == nil && compare((*items)[i-1], *item) >= 0 {
			c.fail(key + " lines do not ascend")
		}
		if i >= most {
			c.fail("too many " + key + " lines")
		}
		c.shut()
	}
	if c.err == nil && len(*items) < least {
		c.line++
		c.fail("too few " + key + " lines")
	}
}

func (c *codec) putNum(v, least int64) {
	if v < least {
		c.fail("number is out of range")
		return
	}
	c.b = strconv.AppendInt(c.b, v, 10)
}

func (c *codec) getNum(s string, least int64) int64 {
	// 19 digits are less than 2^64, so a number from 2^63 on is negative.
	number := s != "" && len(s) <= 19 && (s[0] != '0' || len(s) == 1)
	v := int64(0)
	for i := range len(s) {
		d := s[i] - '0'
		number = number && d <= 9
		v = 10*v + int64(d)
	}
	if !number || v < least {
		c.fail("number is malformed or out of range")
		return 0
	}
	return v
}

func (c *codec) putField(f uint16) {
	if f < 1 || f > maxField {
		c.fail("field is not in 1..32767")
		return
	}
	c.b = strconv.AppendUint(c.b, uint64(f), 10)
}

func (c *codec) getField(s string) uint16 {
	v := c.getNum(s, 1)
	if v > maxField {
		c.fail("field is not in 1..32767")
		return 0
	}
	return uint16(v)
}

var strict = base64.StdEncoding.Strict()

func (c *codec) getHash(b []byte) (h Hash) {
	if c.err != nil {
		return h
	}
	// The decoder passes over CR and LF, but 44 characters make 32 bytes only if none is there.
	var buf [33]byte
	if len(b) == 44 {
		if n, err := strict.Decode(buf[:], b); err == nil && n == len(h) {
			return Hash(buf[:32])
		}
	}
	c.fail("hash is not 32 bytes of canonical base64")
	return h
}

// ValidName reports whether s may name a log family: the rule `name` of SPEC 2.1.
func ValidName(s string) bool { return checkName(s) == "" }

func checkName(s string) string {
	if len(s) < 1 || len(s) > 128 {
		return "name is not 1 to 128 characters"
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && !strings.ContainsRune("-._/:", rune(s[i])) {
			return "name has a character outside A-Z a-z 0-9 - . _ / :"
		}
	}
	return ""
}

func checkSource(s string) string {
	if len(s) < 1 || len(s) > 64 {
		return "source is not 1 to 64 characters"
	}
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' || !isAlnum(s[i]) && (i == 0 || !strings.ContainsRune("-._", rune(s[i]))) {
			return "source has a character outside a-z 0-9 - . _ or begins with a mark"
		}
	}
	return ""
}

func isAlnum(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

func checkAssurance(s string) string {
	switch Assurance(s) {
	case AssuranceSigned, AssurancePulled, AssurancePushed, AssuranceUnauthenticated:
		return ""
	}
	return "unknown assurance"
}

func checkMapFn(s string) string {
	if s != MapFn {
		return "map function is not " + MapFn
	}
	return ""
}

// checkVKey holds s to the verifier keys of c2sp.org/signed-note, with a name of printable ASCII, so that every
// language agrees on what a space is: name "+" 8 lower-case hex digits of the key id "+" base64.
func checkVKey(s string) string {
	const malformed = "verifier key is malformed"
	name, rest, _ := strings.Cut(s, "+")
	id, key64, _ := strings.Cut(rest, "+")
	if name == "" || len(id) != 8 {
		return malformed
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return malformed
		}
	}
	key, err := strict.DecodeString(key64)
	if err != nil || len(key) < 2 || len(key) > math.MaxInt16 || strings.ContainsAny(key64, "\r\n") {
		return malformed
	}
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n'})
	h.Write(key)
	want := binary.BigEndian.Uint32(h.Sum(nil))
	if id != hex.EncodeToString(binary.BigEndian.AppendUint32(nil, want)) {
		return "verifier key does not match its id"
	}
	return ""
}
