package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/seal"
)

const (
	// Schema is the value of the field "schema", which the server adds.
	Schema = "idlog.event.v1"
	// DirectMapper is the value of the field "mapper" that the server adds to an event that names no mapper.
	DirectMapper = "direct/1"

	// MaxFields is the greatest number of fields of an event, with those that the server adds.
	MaxFields = 2048
	// MaxValues is the greatest size in bytes of all values of an event together, raw not counted.
	MaxValues = 256 << 10

	maxValue  = 262_144
	rawLength = 1 + 8 + 32 // of a value of kind h
)

// ServerPaths are the fields that a server adds to an event, mapper only where none was sent. It adds no others.
var ServerPaths = [...]string{"mapper", "schema", "times.received"}

// Fault says what a caller of the log is told about a [FieldError].
type Fault uint8

const (
	// Invalid is a value that breaks a rule of the schema.
	Invalid Fault = iota
	// Missing is a mandatory field that is not there.
	Missing
	// TooLarge is a value, a list or an event over its bound: it may be split.
	TooLarge
)

// FieldError is the first rule that an event breaks. Mend the event; sending it again does not help.
type FieldError struct {
	// Path is the path of the field, of the list or of the message; empty for the event as a whole.
	Path   string
	Reason string
	Fault  Fault
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return "event: " + e.Reason
	}
	return "event field " + e.Path + ": " + e.Reason
}

// Check reports the first rule that an event breaks which a submitter is about to send, as a *[FieldError]. Beside
// the rules of [Fields] it refuses what only the server may add. [Persons] has one more rule.
func Check(e *eventv1.Event) error {
	added := 2
	switch {
	case e != nil && e.Schema != nil:
		return &FieldError{Path: "schema", Reason: "only the server adds it"}
	case e.GetTimes().GetReceived() != nil:
		return &FieldError{Path: "times.received", Reason: "only the server adds it"}
	case e == nil || e.Mapper == nil:
		added++
	}
	w := walker{count: added}
	return w.event(e)
}

// Fields returns the fields of an event, ascending by path, without owners. The event may be a submitter's or one
// that the server has stamped. It keeps nothing of e. An error is a *[FieldError].
func Fields(e *eventv1.Event) ([]seal.Field, error) {
	// What most events need, so that theirs are two allocations.
	b := Buffer{fields: make([]seal.Field, 0, 48), values: make([]byte, 0, 1<<10)}
	return b.Fields(e)
}

// Buffer is memory for the fields of one event at a time, for who reads many. It keeps that of ordinary events, at most
// 32 KiB. Its zero value is ready.
type Buffer struct {
	fields []seal.Field
	values []byte
}

// Fields is the function of that name. The result is in the buffer: the next call may overwrite it.
func (b *Buffer) Fields(e *eventv1.Event) ([]seal.Field, error) {
	w := walker{collect: true, fields: b.fields[:0], values: b.values[:0]}
	err := w.event(e)
	if cap(w.fields) <= 256 && cap(w.values) <= 16<<10 {
		b.fields, b.values = w.fields, w.values
	}
	if err != nil {
		return nil, err
	}
	return w.fields, nil
}

// Stamp adds to a submitted event what the server adds: see [ServerPaths]. It changes e.
func Stamp(e *eventv1.Event, received time.Time) {
	e.Schema = proto.String(Schema)
	if e.Mapper == nil {
		e.Mapper = proto.String(DirectMapper)
	}
	if e.Times == nil {
		e.Times = &eventv1.Times{}
	}
	e.Times.Received = timestamppb.New(received)
}

// StampFields is [Stamp] for the fields of a submitted event, which ascend: it inserts those that the server adds and
// returns the result, which may be in the memory of fields.
//
// SPEC 2.2: "Server-added fields are exactly schema, times.received, and mapper = direct/1 where none was sent."
func StampFields(fields []seal.Field, received time.Time) []seal.Field {
	fields = insert(fields, "mapper", seal.String(DirectMapper))
	fields = insert(fields, "schema", seal.String(Schema))
	return insert(fields, "times.received", seal.Time(received.UnixNano()))
}

// insert adds a field at its place, unless its path is taken.
func insert(fields []seal.Field, path string, v seal.Value) []seal.Field {
	i, found := slices.BinarySearchFunc(fields, path, func(f seal.Field, path string) int { return strings.Compare(f.Path, path) })
	if found {
		return fields
	}
	return slices.Insert(fields, i, seal.Field{Path: path, Value: v})
}

// Submission appends to b the bytes by which two submissions under one id are compared: every field that was sent, raw by its
// hash. What the server added does not count, so the result is the same before and after [Stamp]. Another mapping of the
// same raw bytes is another submission: the first one's receipt would be of fields that its sender never sent.
//
// fields are those of one event; owners do not matter. The result aliases nothing of them.
func Submission(b []byte, fields []seal.Field) []byte {
	for i := range fields {
		f := &fields[i]
		if f.Path == "schema" || f.Path == "times.received" || f.Path == "mapper" && string(f.Value[1:]) == DirectMapper {
			continue
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(f.Path)))
		b = append(b, f.Path...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.Value)))
		b = append(b, f.Value...)
	}
	return b
}

// Conflicting returns a copy of an event under the id that it takes when another event of its source already has its own
// (SPEC 2.10, Ids): `ID!` and 8 hex digits of a hash of the submission, source.conflict being ID, so that submitting it
// again finds it again. fields are those of e.
func Conflicting(e *eventv1.Event, fields []seal.Field) *eventv1.Event {
	sum := sha256.Sum256(Submission(nil, fields))
	c := proto.CloneOf(e)
	if c.Source == nil {
		c.Source = &eventv1.Source{}
	}
	c.Source.Conflict = e.GetSource().GetNativeId()
	c.Source.NativeId = proto.String(c.Source.Conflict + "!" + hex.EncodeToString(sum[:4]))
	return c
}

// walker visits the fields of one event in path order, holds each to its rules, and collects them if asked.
type walker struct {
	fields  []seal.Field
	values  []byte // what the fields' values stand in
	collect bool
	count   int // of fields, with those that the server will add
	size    int // of all values
}

// event returns a nil interface when nothing is wrong.
func (w *walker) event(e *eventv1.Event) error {
	if err := w.message(e.ProtoReflect(), schema(), ""); err != nil {
		return err
	}
	if err := checkRaw(e); err != nil {
		return err
	}
	if err := checkFormats(e); err != nil {
		return err
	}
	return nil
}

func (w *walker) message(m protoreflect.Message, p *plan, prefix string) *FieldError {
	if len(m.GetUnknown()) > 0 {
		return &FieldError{Path: prefix + p.path, Reason: "has a field that is not in this schema"}
	}
	for _, n := range p.fields {
		v, set := n.get(m)
		if !set {
			if n.must {
				return &FieldError{Path: prefix + n.path, Reason: "missing", Fault: Missing}
			}
			continue
		}
		var err *FieldError
		switch {
		case n.list:
			err = w.list(v.List(), n, prefix)
		case n.kind == kindNone:
			err = w.message(v.Message(), n.message, prefix)
		default:
			err = w.scalar(v, n, &n.rules, prefix+n.path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) list(l protoreflect.List, n *node, prefix string) *FieldError {
	path := prefix + n.path
	if n.rules.maxItems >= 0 && l.Len() > n.rules.maxItems {
		return &FieldError{Path: path, Reason: "more than " + strconv.Itoa(n.rules.maxItems) + " elements", Fault: TooLarge}
	}
	items := n.rules.items
	if items == nil {
		items = &rules{maxBytes: -1, minRunes: -1}
	}
	for i := range byText(l.Len()) {
		if n.kind != kindNone {
			if err := w.scalar(l.Get(i), n, items, path+"."+strconv.Itoa(i)); err != nil {
				return err
			}
			continue
		}
		p, element := n.message, ""
		if prefix == "" && i < len(n.elements) {
			p = n.elements[i]
		} else {
			element = path + "." + strconv.Itoa(i)
		}
		before := w.count
		if err := w.message(l.Get(i).Message(), p, element); err != nil {
			return err
		}
		if w.count == before {
			return &FieldError{Path: element + p.path, Reason: "is empty", Fault: Missing}
		}
	}
	return nil
}

// byText yields 0..n-1 in the order of their decimal texts: 0, 1, 10, 11, 2.
func byText(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		if n > 0 && !yield(0) {
			return
		}
		var from func(i int) bool
		from = func(i int) bool {
			for end := i + 10 - i%10; i < end && i < n; i++ {
				if !yield(i) || i*10 < n && !from(i*10) {
					return false
				}
			}
			return true
		}
		if n > 10 {
			from(1)
			return
		}
		for i := 1; i < n && yield(i); i++ {
		}
	}
}

func (w *walker) scalar(v protoreflect.Value, n *node, r *rules, path string) *FieldError {
	if reason, fault := r.check(v, n); reason != "" {
		return &FieldError{Path: path, Reason: reason, Fault: fault}
	}
	size := rawLength
	if w.collect || n.kind != kindRaw && n.kind != kindString {
		start := len(w.values)
		w.values = appendValue(w.values, v, n)
		size = len(w.values) - start
		if w.collect {
			w.fields = append(w.fields, seal.Field{Path: path, Value: w.values[start:len(w.values):len(w.values)]})
		} else {
			w.values = w.values[:start]
		}
	} else if n.kind == kindString {
		size = 1 + len(v.String())
	}
	w.count++
	w.size += size
	switch {
	case size > maxValue:
		return &FieldError{Path: path, Reason: "longer than 262144 bytes", Fault: TooLarge}
	case w.count > MaxFields:
		return &FieldError{Reason: "more than 2048 fields", Fault: TooLarge}
	case w.size > MaxValues:
		return &FieldError{Reason: "all values together are longer than 256 KiB", Fault: TooLarge}
	}
	return nil
}

// appendValue appends the encoding of a value, as package seal has it: the kind, and what follows it.
func appendValue(b []byte, v protoreflect.Value, n *node) []byte {
	switch n.kind {
	case kindString:
		return append(append(b, kindString), v.String()...)
	case kindBool:
		return append(b, seal.Bool(v.Bool())...)
	case kindInt:
		return strconv.AppendInt(append(b, kindInt), v.Int(), 10)
	case kindEnum:
		return strconv.AppendInt(append(b, kindEnum), int64(v.Enum()), 10)
	case kindBytes:
		return append(append(b, kindBytes), v.Bytes()...)
	case kindTime:
		return strconv.AppendInt(append(b, kindTime), v.Message().Interface().(*timestamppb.Timestamp).AsTime().UnixNano(), 10)
	default:
		return append(b, seal.RawOf(v.Bytes())...)
	}
}

func (r *rules) broken(v protoreflect.Value, n *node) bool {
	reason, _ := r.check(v, n)
	return reason != ""
}

// check holds a value to its rules and to what its kind can say.
func (r *rules) check(v protoreflect.Value, n *node) (reason string, fault Fault) {
	switch n.kind {
	case kindString:
		s := v.String()
		switch {
		case r.maxBytes >= 0 && len(s) > r.maxBytes:
			return "longer than " + strconv.Itoa(r.maxBytes) + " bytes", TooLarge
		case !utf8.ValidString(s):
			return "not UTF-8", Invalid
		case r.minRunes > 0 && utf8.RuneCountInString(s) < r.minRunes:
			return "shorter than " + strconv.Itoa(r.minRunes), Invalid
		case r.pattern != nil && !r.pattern.MatchString(s):
			return "does not match " + r.pattern.String(), Invalid
		}
	case kindRaw, kindBytes:
		if r.maxBytes >= 0 && len(v.Bytes()) > r.maxBytes {
			return "longer than " + strconv.Itoa(r.maxBytes) + " bytes", TooLarge
		}
	case kindInt:
		i := v.Int()
		if r.gte != nil && i < *r.gte || r.lte != nil && i > *r.lte {
			return "out of range", Invalid
		}
	case kindEnum:
		number := v.Enum()
		if number < 0 || r.definedOnly && n.desc.Enum().Values().ByNumber(number) == nil {
			return "not a number of " + string(n.desc.Enum().Name()), Invalid
		}
	case kindTime:
		if !checkTime(v.Message().Interface().(*timestamppb.Timestamp)) {
			return "not a time that an int64 of nanoseconds can say", Invalid
		}
	}
	return "", Invalid
}

var (
	earliest = time.Unix(0, math.MinInt64) // in 1677
	latest   = time.Unix(0, math.MaxInt64) // in 2262
)

// checkTime reports whether a time is well formed and fits nanoseconds in an int64.
func checkTime(ts *timestamppb.Timestamp) bool {
	t := ts.AsTime()
	return ts.IsValid() && !t.Before(earliest) && !t.After(latest)
}

func checkRaw(e *eventv1.Event) *FieldError {
	switch hasRaw := e != nil && e.Raw != nil; {
	case hasRaw && e.GetRawMediaType() == "":
		return &FieldError{Path: "raw_media_type", Reason: "missing beside raw", Fault: Missing}
	case !hasRaw && e.GetRawMediaType() != "":
		return &FieldError{Path: "raw_media_type", Reason: "there is no raw"}
	case !hasRaw && len(e.GetRawMasked()) > 0:
		return &FieldError{Path: "raw_masked", Reason: "there is no raw"}
	}
	for i, pointer := range e.GetRawMasked() {
		path := "raw_masked." + strconv.Itoa(i)
		if !isPointer(pointer) {
			return &FieldError{Path: path, Reason: "not a pointer of RFC 6901"}
		}
		if i > 0 && e.GetRawMasked()[i-1] >= pointer {
			return &FieldError{Path: path, Reason: "not ascending"}
		}
	}
	return nil
}

func isPointer(s string) bool {
	if s != "" && s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return false
		}
	}
	return true
}
