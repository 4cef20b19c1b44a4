package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"idlog/proto/leaf"
)

const (
	// MaxFile is the greatest length of a disclosure file in bytes.
	MaxFile = 8 << 20

	magic = "idlog-disclosure/v1\n"
)

// State is what a disclosure tells of a field.
type State uint8

// The states of a field.
const (
	// Withheld: the reader is not shown the value.
	Withheld State = iota
	// Erased: the discloser says that the value no longer exists. Only [Disclosure.Verify] says whether a log
	// entry bears that out.
	Erased
	// Shown: salt and value are there.
	Shown
)

func (s State) String() string {
	switch s {
	case Withheld:
		return "withheld"
	case Erased:
		return "erased"
	case Shown:
		return "shown"
	}
	return "state " + strconv.Itoa(int(s))
}

// Line is one field of a disclosure. A disclosure has a line for every field of its event.
type Line struct {
	Path       string
	Owners     []uint8   // as in [Field]
	Commitment leaf.Hash // of a shown field, that of its salt and value
	State      State
	ErasedAt   int64     // when Erased: index of the erasure leaf
	Salt       leaf.Hash // when Shown
	Value      Value     // when Shown
}

var (
	errLine     = errors.New("line is malformed")
	errErasedAt = errors.New("index of the erasure is malformed")
	errBase64   = errors.New("base64 is not canonical")
	errSize     = errors.New("disclosure is larger than 8 MiB")
)

// FormatLines returns the first part of a disclosure file, up to the empty line and the proof. It checks every rule
// that ParseLines checks. What a line's state has no place for is left out: setting State to Withheld withholds, and
// the Commitment of a shown line is not written because its reader computes it.
func FormatLines(lines []Line) ([]byte, error) {
	b, err := appendLines(nil, lines)
	if err != nil {
		return nil, fmt.Errorf("formatting disclosure: %w", err)
	}
	return b, nil
}

func appendLines(b []byte, lines []Line) ([]byte, error) {
	if err := checkLines(lines); err != nil {
		return nil, err
	}
	size := len(magic)
	for i := range lines {
		size += len(lines[i].Path) + 4*len(lines[i].Owners) + 80 + base64.StdEncoding.EncodedLen(len(lines[i].Value))
	}
	if b == nil {
		b = make([]byte, 0, size)
	}
	b = append(b, magic...)
	for i := range lines {
		l := &lines[i]
		b = append(b, l.Path...)
		b = appendOwners(append(b, ' '), l.Owners)
		switch l.State {
		case Withheld:
			b = append(b, " withheld "...)
			b = base64.StdEncoding.AppendEncode(b, l.Commitment[:])
		case Erased:
			if l.ErasedAt < 0 {
				return nil, fmt.Errorf("%s: %w", l.Path, errErasedAt)
			}
			b = append(b, " erased "...)
			b = base64.StdEncoding.AppendEncode(b, l.Commitment[:])
			b = strconv.AppendInt(append(b, ' '), l.ErasedAt, 10)
		case Shown:
			if err := l.Value.Check(); err != nil {
				return nil, fmt.Errorf("%s: %w", l.Path, err)
			}
			b = append(b, " shown "...)
			b = base64.StdEncoding.AppendEncode(b, l.Salt[:])
			b = base64.StdEncoding.AppendEncode(append(b, ' '), l.Value)
		default:
			return nil, fmt.Errorf("%s: unknown %v", l.Path, l.State)
		}
		b = append(b, '\n')
	}
	if len(b) > MaxFile {
		return nil, errSize
	}
	return b, nil
}

func appendOwners(b []byte, owners []uint8) []byte {
	if len(owners) == 0 {
		return append(b, '-')
	}
	for i, o := range owners {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(o), 10)
	}
	return b
}

// ParseLines reads the first part of a disclosure. rest is what follows the empty line after it, the proof, and nil
// when b ends with the last line. Nothing in lines aliases b; rest does.
func ParseLines(b []byte) (lines []Line, rest []byte, err error) {
	if len(b) > MaxFile {
		return nil, nil, fmt.Errorf("parsing disclosure: %w", errSize)
	}
	body, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, nil, errors.New("parsing disclosure: first line is not idlog-disclosure/v1")
	}
	for len(body) > 0 {
		text, tail, ok := bytes.Cut(body, []byte("\n"))
		if !ok {
			return nil, nil, errors.New("parsing disclosure: last line has no line feed")
		}
		body = tail
		if len(text) == 0 {
			if rest = tail; len(rest) == 0 {
				return nil, nil, errors.New("parsing disclosure: nothing follows the empty line")
			}
			break
		}
		if len(lines) == MaxFields {
			return nil, nil, errors.New("parsing disclosure: more than 2048 fields")
		}
		l, err := parseLine(text)
		if err != nil {
			return nil, nil, fmt.Errorf("parsing disclosure: line %d: %w", len(lines)+2, err)
		}
		lines = append(lines, l)
	}
	if err := checkLines(lines); err != nil {
		return nil, nil, fmt.Errorf("parsing disclosure: %w", err)
	}
	return lines, rest, nil
}

func parseLine(text []byte) (Line, error) {
	path, text, _ := bytes.Cut(text, []byte(" "))
	owners, text, _ := bytes.Cut(text, []byte(" "))
	state, text, _ := bytes.Cut(text, []byte(" "))
	hash, last, more := bytes.Cut(text, []byte(" "))
	l := Line{Path: string(path)}
	var err error
	if l.Owners, err = parseOwners(owners); err != nil {
		return l, err
	}
	h, err := parseHash(hash)
	if err != nil {
		return l, err
	}
	switch {
	case string(state) == "withheld" && !more:
		l.State, l.Commitment = Withheld, h
	case string(state) == "erased" && more:
		l.State, l.Commitment = Erased, h
		var ok bool
		if l.ErasedAt, ok = parseInt(last); !ok || l.ErasedAt < 0 {
			return l, errErasedAt
		}
	case string(state) == "shown" && more:
		l.State, l.Salt = Shown, h
		if l.Value, err = decode(last); err != nil {
			return l, err
		}
		if err := l.Value.Check(); err != nil {
			return l, err
		}
		l.Commitment = Commitment(l.Salt, l.Path, l.Value)
	default:
		return l, errLine
	}
	return l, nil
}

func parseOwners(b []byte) ([]uint8, error) {
	if string(b) == "-" {
		return nil, nil
	}
	var owners []uint8
	for more := true; more; {
		var num []byte
		num, b, more = bytes.Cut(b, []byte(","))
		o, ok := parseInt(num)
		if !ok || o < 0 || o >= leaf.MaxPersons {
			return nil, errOwners
		}
		owners = append(owners, uint8(o))
	}
	return owners, nil
}

func decode(b []byte) ([]byte, error) {
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, b)
	// The decoder passes over CR and LF; the length betrays them.
	if err != nil || base64.StdEncoding.EncodedLen(len(out)) != len(b) {
		return nil, errBase64
	}
	return out, nil
}

func parseHash(b []byte) (leaf.Hash, error) {
	var buf [33]byte
	if len(b) == 44 {
		if n, err := base64.StdEncoding.Strict().Decode(buf[:], b); err == nil && n == 32 {
			return leaf.Hash(buf[:32]), nil
		}
	}
	return leaf.Hash{}, errors.New("hash is not 32 bytes of canonical base64")
}
