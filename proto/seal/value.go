package seal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxValue is the greatest length of a value in bytes, its kind included.
const MaxValue = 262144

// Kinds of values, the first byte of each.
const (
	kindString = 's'
	kindInt    = 'i'
	kindBool   = 'b'
	kindBytes  = 'x'
	kindEnum   = 'e'
	kindTime   = 't'
	kindRaw    = 'h'
)

// Value is a typed value in its only encoding: one byte of kind and the data of SPEC 2.2. Because the kind is
// committed, a shown `1` says whether it was text, a number or an enum.
type Value []byte

// String returns a text value. Text that is not well-formed UTF-8 fails [Value.Check].
func String(s string) Value {
	return append(append(make(Value, 0, 1+len(s)), kindString), s...)
}

// Int returns a whole number.
func Int(i int64) Value { return number(kindInt, i) }

// Enum returns the number of an enum value. A negative one fails [Value.Check].
func Enum(i int64) Value { return number(kindEnum, i) }

// Time returns a time in nanoseconds since 1970.
func Time(ns int64) Value { return number(kindTime, ns) }

func number(kind byte, i int64) Value {
	return strconv.AppendInt(append(make(Value, 0, 24), kind), i, 10)
}

// Bool returns a truth value.
func Bool(b bool) Value {
	if b {
		return Value{kindBool, '1'}
	}
	return Value{kindBool, '0'}
}

// Bytes returns a value that holds a copy of b.
func Bytes(b []byte) Value {
	return append(append(make(Value, 0, 1+len(b)), kindBytes), b...)
}

// RawOf returns the value of the field `raw`: the length and hash of the bytes, which travel beside the fields.
func RawOf(raw []byte) Value {
	v := append(make(Value, 0, 1+8+32), kindRaw)
	v = binary.BigEndian.AppendUint64(v, uint64(len(raw)))
	sum := sha256.Sum256(raw)
	return append(v, sum[:]...)
}

// CheckRaw reports whether raw is what the value commits to, or an error that says why not.
func (v Value) CheckRaw(raw []byte) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v[0] != kindRaw {
		return errors.New("checking raw bytes: value is not of kind h")
	}
	if string(v) != string(RawOf(raw)) {
		return fmt.Errorf("checking raw bytes: these %d bytes are not the %d committed to", len(raw), binary.BigEndian.Uint64(v[1:]))
	}
	return nil
}

// Check holds a value to its kind and its length. A value that passes is the only encoding of what it says.
func (v Value) Check() error {
	if reason := v.check(); reason != "" {
		return errors.New("checking value: " + reason)
	}
	return nil
}

func (v Value) check() string {
	if len(v) < 1 || len(v) > MaxValue {
		return "not 1 to 262144 bytes"
	}
	switch data := v[1:]; v[0] {
	case kindString:
		if !utf8.Valid(data) {
			return "text is not UTF-8"
		}
	case kindInt, kindTime:
		if _, ok := parseInt(data); !ok {
			return "number is not a canonical int64"
		}
	case kindEnum:
		if i, ok := parseInt(data); !ok || i < 0 {
			return "enum is not a canonical number from 0"
		}
	case kindBool:
		if len(data) != 1 || data[0] != '0' && data[0] != '1' {
			return "truth value is neither 0 nor 1"
		}
	case kindRaw:
		if len(data) != 8+32 || binary.BigEndian.Uint64(data) > math.MaxInt64 {
			return "raw is not a length and a hash"
		}
	case kindBytes:
	default:
		return "unknown kind"
	}
	return ""
}

// parseInt accepts exactly what strconv.AppendInt writes.
func parseInt(data []byte) (int64, bool) {
	digits := data
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) < 1 || len(digits) > 19 || digits[0] == '0' && len(data) > 1 || digits[0] == '+' {
		return 0, false
	}
	i, err := strconv.ParseInt(string(data), 10, 64)
	return i, err == nil
}

// Text returns the value for a person at a terminal: nothing in it moves a cursor, changes a colour or turns the
// direction of writing. A backslash begins every escape, and is escaped itself. It is no encoding.
func (v Value) Text() string {
	if reason := v.check(); reason != "" {
		return "(malformed value: " + reason + ")"
	}
	switch data := v[1:]; v[0] {
	case kindString:
		return escape(string(data))
	case kindTime:
		ns, _ := parseInt(data)
		return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
	case kindBool:
		return strconv.FormatBool(data[0] == '1')
	case kindBytes:
		return hex.EncodeToString(data)
	case kindRaw:
		return fmt.Sprintf("%d bytes, SHA-256 %x", binary.BigEndian.Uint64(data), data[8:])
	default:
		return string(data)
	}
}

func escape(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r == '\\' || !strconv.IsPrint(r) {
			quoted := strconv.QuoteRune(r)
			b = append(b, quoted[1:len(quoted)-1]...)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}
