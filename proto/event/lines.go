package event

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/seal"
)

// FromLines rebuilds the event of a disclosure from the lines that are shown; the others are as if they had not been
// set, but their lists keep their lengths. raw is what the field raw commits to, or nil. Lines that no event of this
// schema has are refused. With every line shown and raw given, [Fields] of the result is the lines' fields again,
// which is what an auditor needs for [Tags]; the rules of [Check] are not applied.
func FromLines(lines []seal.Line, raw []byte) (*eventv1.Event, error) {
	e := &eventv1.Event{}
	elements := make(map[string]int) // by list, how many of its elements were seen
	for i := range lines {
		if err := fromLine(e, &lines[i], raw, elements); err != nil {
			return nil, fmt.Errorf("reading field %q: %w", lines[i].Path, err)
		}
	}
	for path, n := range elements {
		// Elements that no line spoke of would vanish again in Fields.
		if strings.HasSuffix(path, "#") {
			if list := strings.TrimSuffix(path, "#"); elements[list] != n {
				return nil, fmt.Errorf("reading list %q: an element is missing", list)
			}
		}
	}
	return e, nil
}

// fromLine sets one field. elements counts under a list's path its distinct elements, and under the path and '#' its
// length.
func fromLine(e *eventv1.Event, l *seal.Line, raw []byte, elements map[string]int) error {
	m, p, rest := e.ProtoReflect(), schema(), l.Path
	for {
		name, below, more := strings.Cut(rest, ".")
		n := p.byName[name]
		if n == nil {
			return fmt.Errorf("the schema has no %q here", name)
		}
		var list protoreflect.List
		var index int
		if n.list {
			text, after, deeper := strings.Cut(below, ".")
			var err error
			if index, err = parseIndex(text, n.rules.maxItems); err != nil {
				return err
			}
			path := l.Path[:len(l.Path)-len(rest)] + name
			elements[path+"#"] = max(elements[path+"#"], index+1)
			if element := path + "." + text; elements[element] == 0 {
				elements[element] = 1
				elements[path]++
			}
			list = m.Mutable(n.desc).List()
			for list.Len() <= index {
				list.Append(list.NewElement())
			}
			below, more = after, deeper
		}
		if more != (n.kind == kindNone) {
			return fmt.Errorf("%q is not where a path ends or goes on", name)
		}
		if n.kind != kindNone {
			return setScalar(m, list, index, n, l, raw)
		}
		if n.list {
			m = list.Get(index).Message()
		} else {
			m = m.Mutable(n.desc).Message()
		}
		p, rest = n.message, below
	}
}

// parseIndex accepts what a list of at most maxItems elements can have.
func parseIndex(s string, maxItems int) (int, error) {
	i, err := strconv.Atoi(s)
	if err != nil || i < 0 || strconv.Itoa(i) != s || maxItems >= 0 && i >= maxItems || i >= MaxFields {
		return 0, fmt.Errorf("%q is no index of this list", s)
	}
	return i, nil
}

func setScalar(m protoreflect.Message, list protoreflect.List, index int, n *node, l *seal.Line, raw []byte) error {
	if l.State != seal.Shown {
		return nil
	}
	if err := checkKind(n, l.Value); err != nil {
		return err
	}
	if n.kind == kindRaw {
		if raw == nil {
			return nil
		}
		if err := l.Value.CheckRaw(raw); err != nil {
			return err
		}
	}
	v := decode(n, l.Value, raw)
	if list != nil {
		list.Set(index, v)
	} else {
		m.Set(n.desc, v)
	}
	return nil
}

func checkKind(n *node, v seal.Value) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v[0] != n.kind {
		return fmt.Errorf("value is of kind %q, the schema says %q", v[0], n.kind)
	}
	return nil
}

// decode reads a value that checkKind has passed.
func decode(n *node, v seal.Value, raw []byte) protoreflect.Value {
	data := v[1:]
	switch n.kind {
	case kindString:
		return protoreflect.ValueOfString(string(data))
	case kindBool:
		return protoreflect.ValueOfBool(data[0] == '1')
	case kindInt:
		return protoreflect.ValueOfInt64(number(data))
	case kindEnum:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(number(data)))
	case kindTime:
		return protoreflect.ValueOfMessage(timestamppb.New(time.Unix(0, number(data))).ProtoReflect())
	case kindRaw:
		return protoreflect.ValueOfBytes(slices.Clone(raw))
	default:
		return protoreflect.ValueOfBytes(slices.Clone(data))
	}
}

// number reads what Value.Check has passed.
func number(data []byte) int64 {
	i, _ := strconv.ParseInt(string(data), 10, 64)
	return i
}

// JSON returns the lines of a disclosure as one nested JSON object for people and tools to read: members have the
// names of the proto fields, enums and times are texts, raw is its length and hash. A field that is not shown reads
// {"$withheld":true} or {"$erased":N}, N being the index of the erasure. What could move a terminal's cursor is
// escaped. The same lines are refused as in [FromLines]. It is no encoding.
func JSON(lines []seal.Line) ([]byte, error) {
	if _, err := FromLines(lines, nil); err != nil {
		return nil, err
	}
	b := newBranch()
	for i := range lines {
		b.insert(schema(), lines[i].Path, &lines[i])
	}
	return append(b.append(nil, 0), '\n'), nil
}

// Text returns the value of a shown line as JSON shows it, and a string as it is, with nothing escaped: enums by name,
// times in RFC 3339. It is "" for a line that is not shown, and that no event of this schema has.
func Text(l *seal.Line) string {
	if l.State != seal.Shown {
		return ""
	}
	p, rest := schema(), l.Path
	for p != nil {
		name, below, _ := strings.Cut(rest, ".")
		n := p.byName[name]
		if n == nil {
			return ""
		}
		if n.list {
			_, below, _ = strings.Cut(below, ".")
		}
		switch {
		case n.kind == kindNone:
			p, rest = n.message, below
		case below != "" || checkKind(n, l.Value) != nil:
			return ""
		case n.kind == kindString:
			return string(l.Value[1:])
		default:
			return strings.Trim(literal(n, l), `"`)
		}
	}
	return ""
}

// branch is one object or list of a display. Paths ascend, so that the lines of one branch come together.
type branch struct {
	names    []string
	branches map[string]*branch // nil for a leaf
	leaves   map[string]string  // JSON
	list     bool
}

func newBranch() *branch {
	return &branch{branches: make(map[string]*branch), leaves: make(map[string]string)}
}

func (b *branch) child(name string) *branch {
	c := b.branches[name]
	if c == nil {
		c = newBranch()
		b.branches[name] = c
		b.names = append(b.names, name)
	}
	return c
}

// insert places a line whose path FromLines has accepted.
func (b *branch) insert(p *plan, rest string, l *seal.Line) {
	name, below, _ := strings.Cut(rest, ".")
	n := p.byName[name]
	if n.list {
		b = b.child(name)
		b.list = true
		name, below, _ = strings.Cut(below, ".")
	}
	if n.kind == kindNone {
		b.child(name).insert(n.message, below, l)
		return
	}
	b.names = append(b.names, name)
	b.leaves[name] = literal(n, l)
}

func (b *branch) append(out []byte, depth int) []byte {
	open, shut := byte('{'), byte('}')
	if b.list {
		open, shut = '[', ']'
		slices.SortFunc(b.names, func(x, y string) int {
			i, _ := strconv.Atoi(x)
			j, _ := strconv.Atoi(y)
			return i - j
		})
	}
	indent := func(depth int) { out = append(append(out, '\n'), strings.Repeat("  ", depth)...) }
	out = append(out, open)
	for i, name := range b.names {
		if i > 0 {
			out = append(out, ',')
		}
		indent(depth + 1)
		if !b.list {
			out = append(quote(out, name), ": "...)
		}
		if c := b.branches[name]; c != nil {
			out = c.append(out, depth+1)
		} else {
			out = append(out, b.leaves[name]...)
		}
	}
	indent(depth)
	return append(out, shut)
}

func literal(n *node, l *seal.Line) string {
	switch l.State {
	case seal.Withheld:
		return `{"$withheld":true}`
	case seal.Erased:
		return `{"$erased":` + strconv.FormatInt(l.ErasedAt, 10) + `}`
	}
	data := l.Value[1:]
	switch n.kind {
	case kindString:
		return string(quote(nil, string(data)))
	case kindBool:
		return strconv.FormatBool(data[0] == '1')
	case kindEnum:
		if v := n.desc.Enum().Values().ByNumber(protoreflect.EnumNumber(number(data))); v != nil {
			return `"` + string(v.Name()) + `"`
		}
	case kindTime:
		return `"` + time.Unix(0, number(data)).UTC().Format(time.RFC3339Nano) + `"`
	case kindRaw:
		return fmt.Sprintf(`{"bytes":%d,"sha256":"%s"}`, binary.BigEndian.Uint64(data), hex.EncodeToString(data[8:]))
	case kindBytes:
		return `"` + base64.StdEncoding.EncodeToString(data) + `"`
	}
	return string(data)
}

// quote appends a JSON string in which everything that is not printable is escaped.
func quote(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case strconv.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return append(out, '"')
}
