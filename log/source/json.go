package source

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Value is a JSON value that remembers its bytes. The zero Value is one that is not there: everything read from it
// is empty, so that a mapper need not ask at every step.
type Value struct {
	doc        []byte
	start, end int
	kind       byte // first byte of the value, '0' for every number, 0 when not there
	members    []member
	elements   []Value
}

type member struct {
	name  string
	value Value
}

// Parse reads one JSON value, with nothing but white space around it. The Value refers to doc, which must not
// change. The error is a *[NotAnEvent].
func Parse(doc []byte) (Value, error) {
	if !json.Valid(doc) {
		return Value{}, &NotAnEvent{"not JSON: " + firstError(doc)}
	}
	l := lexer{doc: doc}
	return l.value(), nil
}

func firstError(doc []byte) string {
	var v json.RawMessage
	if err := json.Unmarshal(doc, &v); err != nil {
		return err.Error()
	}
	return "malformed"
}

// lexer walks bytes that json.Valid has passed.
type lexer struct {
	doc []byte
	at  int
}

func (l *lexer) space() {
	for l.at < len(l.doc) && strings.IndexByte(" \t\r\n", l.doc[l.at]) >= 0 {
		l.at++
	}
}

func (l *lexer) value() Value {
	l.space()
	v := Value{doc: l.doc, start: l.at, kind: l.doc[l.at]}
	switch v.kind {
	case '{':
		l.at++
		for l.space(); l.doc[l.at] != '}'; l.space() {
			if l.doc[l.at] == ',' {
				l.at++
				l.space()
			}
			name := l.text()
			l.space()
			l.at++ // the colon
			v.members = append(v.members, member{name, l.value()})
		}
		l.at++
	case '[':
		l.at++
		for l.space(); l.doc[l.at] != ']'; l.space() {
			if l.doc[l.at] == ',' {
				l.at++
			}
			v.elements = append(v.elements, l.value())
		}
		l.at++
	case '"':
		l.skipText()
	default:
		if v.kind == '-' || '0' <= v.kind && v.kind <= '9' {
			v.kind = '0'
		}
		for l.at < len(l.doc) && strings.IndexByte(" \t\r\n,]}", l.doc[l.at]) < 0 {
			l.at++
		}
	}
	v.end = l.at
	return v
}

func (l *lexer) text() string {
	start := l.at
	l.skipText()
	return unquote(l.doc[start:l.at])
}

func (l *lexer) skipText() {
	for l.at++; l.doc[l.at] != '"'; l.at++ {
		if l.doc[l.at] == '\\' {
			l.at++
		}
	}
	l.at++
}

func unquote(b []byte) (s string) {
	_ = json.Unmarshal(b, &s) // valid by Parse; what is not UTF-8 becomes U+FFFD
	return s
}

// Raw returns the bytes of the value as received.
func (v Value) Raw() []byte { return v.doc[v.start:v.end:v.end] }

// IsObject, IsArray and IsText report the kind of the value.
func (v Value) IsObject() bool { return v.kind == '{' }

// IsArray reports whether the value is an array.
func (v Value) IsArray() bool { return v.kind == '[' }

// IsText reports whether the value is a string.
func (v Value) IsText() bool { return v.kind == '"' }

// Get follows member names. A name matches exactly or else without regard to case, as trimmed exports write
// "authenticationcontext"; of several members of a name the last counts.
func (v Value) Get(names ...string) Value {
	for _, name := range names {
		v = v.get(name)
	}
	return v
}

func (v Value) get(name string) Value {
	var folded Value
	for i := len(v.members) - 1; i >= 0; i-- {
		m := &v.members[i]
		if m.name == name {
			return m.value
		}
		if folded.kind == 0 && strings.EqualFold(m.name, name) {
			folded = m.value
		}
	}
	return folded
}

// First returns the text of the first of several members that has any.
func (v Value) First(names ...string) string {
	for _, name := range names {
		if s := v.get(name).Text(); s != "" {
			return s
		}
	}
	return ""
}

// Names returns the names of an object's members in their order, repeated ones once.
func (v Value) Names() []string {
	names := make([]string, 0, len(v.members))
	seen := make(map[string]bool, len(v.members))
	for _, m := range v.members {
		if !seen[m.name] {
			seen[m.name] = true
			names = append(names, m.name)
		}
	}
	return names
}

// Elements returns the elements of an array.
func (v Value) Elements() []Value { return v.elements }

// Text returns a string's text, and of a number or a truth value its bytes. Everything else is empty.
func (v Value) Text() string {
	switch v.kind {
	case '"':
		return unquote(v.Raw())
	case '0', 't', 'f':
		return string(v.Raw())
	}
	return ""
}

// Any returns Text, and of an object or an array its JSON.
func (v Value) Any() string {
	if v.kind == '{' || v.kind == '[' {
		return strings.ToValidUTF8(string(v.Raw()), "\uFFFD")
	}
	return v.Text()
}

// Int returns a whole number, whether written as a number or as text.
func (v Value) Int() (int64, bool) {
	i, err := strconv.ParseInt(v.Text(), 10, 64)
	return i, err == nil
}

// Bool returns a truth value, whether written as such or as text.
func (v Value) Bool() (value, ok bool) {
	switch v.Text() {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// Micro returns a decimal number in millionths.
func (v Value) Micro() (int64, bool) {
	f, err := strconv.ParseFloat(v.Text(), 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e9 {
		return 0, false
	}
	return int64(math.Round(f * 1e6)), true
}
