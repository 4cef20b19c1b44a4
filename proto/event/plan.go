package event

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "idlog/proto/idlog/event/v1"
)

// The kinds of SPEC 2.2.
const (
	kindString = 's'
	kindInt    = 'i'
	kindBool   = 'b'
	kindBytes  = 'x'
	kindEnum   = 'e'
	kindTime   = 't'
	kindRaw    = 'h'
	kindNone   = 0 // a message that has fields of its own
)

// plan is how to walk a message: its fields in the order of their paths. It is a tree, one node per place in the
// schema, so that a node can know its path.
type plan struct {
	path   string // of the message; below a list what follows the index
	fields []*node
	byName map[string]*node
}

type node struct {
	desc protoreflect.FieldDescriptor
	name string
	// path is the whole path, or below a list what follows the index: ".principal.id".
	path    string
	kind    byte
	list    bool
	message *plan // of kindNone
	// elements are message once more for each of a list's first elements, with whole paths: most lists are no longer.
	elements []*plan
	rules    rules
	// implicit says that the zero value and an unset field are the same.
	implicit bool
	// must says that the field has to be set: a rule says so, or one that the zero value breaks.
	must bool
}

// rules are the buf.validate options of one field. A bound that is not set is -1, except for numbers.
type rules struct {
	required    bool
	definedOnly bool
	maxBytes    int
	minRunes    int
	maxItems    int
	gte, lte    *int64
	pattern     *regexp.Regexp
	items       *rules
}

// schema is compiled from the descriptors at first use. An option that it cannot obey, it must not ignore: it
// panics, whatever the input, and any test finds that.
var schema = sync.OnceValue(func() *plan {
	return compile((*eventv1.Event)(nil).ProtoReflect().Descriptor(), "")
})

const compiledElements = 4

func compile(md protoreflect.MessageDescriptor, prefix string) *plan {
	p := &plan{path: strings.TrimSuffix(prefix, "."), byName: make(map[string]*node)}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		n := &node{desc: fd, name: string(fd.Name()), list: fd.IsList(), kind: kindOf(fd)}
		n.path = prefix + n.name
		n.rules = newRules(fd)
		n.implicit = !n.list && !fd.HasPresence()
		n.must = n.rules.required || n.implicit && n.rules.broken(fd.Default(), n)
		switch {
		case n.kind == kindNone && n.list:
			n.message = compile(fd.Message(), ".")
			for i := range compiledElements {
				n.elements = append(n.elements, compile(fd.Message(), n.path+"."+strconv.Itoa(i)+"."))
			}
		case n.kind == kindNone:
			n.message = compile(fd.Message(), n.path+".")
		}
		p.fields = append(p.fields, n)
		p.byName[n.name] = n
	}
	// Path order is name order: the byte after a name is '.' or nothing, which sorts before all that a name holds.
	slices.SortFunc(p.fields, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return p
}

// get returns the value of a field and whether it is set. It asks no more of the reflection than it must, which is
// most of what an event costs.
func (n *node) get(m protoreflect.Message) (v protoreflect.Value, set bool) {
	switch {
	case n.implicit:
		v = m.Get(n.desc)
		switch n.kind {
		case kindString:
			return v, v.String() != ""
		case kindBool:
			return v, v.Bool()
		case kindInt:
			return v, v.Int() != 0
		case kindEnum:
			return v, v.Enum() != 0
		}
		return v, len(v.Bytes()) > 0
	case n.kind == kindNone && !n.list:
		v = m.Get(n.desc)
		return v, v.Message().IsValid()
	case m.Has(n.desc):
		return m.Get(n.desc), true
	}
	return v, false
}

func kindOf(fd protoreflect.FieldDescriptor) byte {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return kindString
	case protoreflect.BoolKind:
		return kindBool
	case protoreflect.EnumKind:
		return kindEnum
	case protoreflect.Int64Kind, protoreflect.Sint64Kind:
		return kindInt
	case protoreflect.BytesKind:
		if fd.FullName() == "idlog.event.v1.Event.raw" {
			return kindRaw
		}
		return kindBytes
	case protoreflect.MessageKind:
		if fd.Message().FullName() == "google.protobuf.Timestamp" {
			return kindTime
		}
		if !fd.IsMap() {
			return kindNone
		}
	}
	panic(fmt.Sprintf("event: the schema has a field that has no kind: %s", fd.FullName()))
}

func newRules(fd protoreflect.FieldDescriptor) rules {
	r := rules{maxBytes: -1, minRunes: -1, maxItems: -1}
	if proto.HasExtension(fd.Options(), validate.E_Field) {
		r.read(fd, proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules).ProtoReflect())
	}
	return r
}

func (r *rules) read(of protoreflect.FieldDescriptor, options protoreflect.Message) {
	options.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch name := string(fd.Parent().Name()) + "." + string(fd.Name()); name {
		case "FieldRules.string", "FieldRules.bytes", "FieldRules.int64", "FieldRules.sint64", "FieldRules.enum",
			"FieldRules.repeated":
			r.read(of, v.Message())
		case "FieldRules.required":
			r.required = v.Bool()
		case "StringRules.max_bytes", "BytesRules.max_len":
			r.maxBytes = int(v.Uint())
		case "StringRules.min_len":
			r.minRunes = int(v.Uint())
		case "StringRules.pattern":
			r.pattern = regexp.MustCompile(v.String())
		case "Int64Rules.gte", "SInt64Rules.gte":
			r.gte = proto.Int64(v.Int())
		case "Int64Rules.lte", "SInt64Rules.lte":
			r.lte = proto.Int64(v.Int())
		case "EnumRules.defined_only":
			r.definedOnly = v.Bool()
		case "RepeatedRules.max_items":
			r.maxItems = int(v.Uint())
		case "RepeatedRules.items":
			r.items = &rules{maxBytes: -1, minRunes: -1, maxItems: -1}
			r.items.read(of, v.Message())
		default:
			panic(fmt.Sprintf("event: the schema has an option that is not obeyed: %s of %s", name, of.FullName()))
		}
		return true
	})
}
