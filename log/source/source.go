// Package source is the contract of the mappers: pure functions that read what an identity provider wrote and
// return events of idlog.event.v1. A connector and the command line map in the same way, because a server never
// rewrites an event (SPEC 2.2).
//
// A mapper trusts nothing that it reads. It keeps no state, makes no promise after a crash, and may be called
// concurrently.
//
// Invariants:
//   - what can be mapped is mapped, and what cannot stays in raw: no event of a provider is ever dropped;
//   - raw is the received bytes of the one event, secrets masked by [Secrets.Mask], and fields are read after masking;
//   - a mapped event passes proto/event.Check, unless its raw bytes are over 4 MiB or it needs event.Split first;
//   - the same bytes give the same events for ever under one [Mapper.Name]. A change of a table, of the secrets or
//     of a rule is a new version.
package source

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "idlog/proto/idlog/event/v1"
)

// ClassSchema is the vocabulary of the classes that mappers give.
const ClassSchema = "ocsf/1.9.0-dev"

// JSON is the media type of raw that mappers of JSON set.
const JSON = "application/json"

// Mapper reads the format of one provider.
type Mapper interface {
	// Name is the mapper and its version, such as "okta/1". It becomes the field `mapper`.
	Name() string
	// Map returns the events in raw: one event, or a delivery that wraps several. The error joins a [*NotAnEvent]
	// for each part that is none; the events beside it are good all the same. The events share no memory with raw.
	Map(raw []byte, cfg Config) ([]*eventv1.Event, error)
}

// Config is what a mapper is told about a source, because the provider's events do not say it.
type Config struct {
	// Issuer of the identifiers in the events, such as "https://acme.okta.com". Empty is allowed: the
	// identifiers are then those of an unnamed issuer, apart from all named ones.
	Issuer string
}

// NotAnEvent says that something is no event of this provider. Nothing will make it one.
type NotAnEvent struct{ Reason string }

func (e *NotAnEvent) Error() string { return "not an event: " + e.Reason }

// New returns an event of a mapper with its source, raw bytes and an unknown class and outcome. raw is already
// masked, pointers say where. A provider that gives no id, or none that the schema has room for, gets one that
// is derived from raw.
func New(mapper string, raw []byte, pointers []string, id, kind string) *eventv1.Event {
	if id == "" || len(id) > 1024 || !utf8.ValidString(id) {
		sum := sha256.Sum256(raw)
		id = "sha256:" + hex.EncodeToString(sum[:])
	}
	return &eventv1.Event{
		Mapper:       proto.String(mapper),
		Source:       &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String(clip(kind, 256))},
		Class:        &eventv1.Class{Schema: proto.String(ClassSchema), ClassUid: proto.Int64(0), ActivityId: proto.Int64(0)},
		Outcome:      &eventv1.Outcome{Status: eventv1.Outcome_STATUS_UNSPECIFIED.Enum()},
		RawMediaType: JSON,
		RawMasked:    pointers,
		Raw:          raw,
	}
}

// Classify sets class and activity from a table's number, class_uid*100+activity_id.
func Classify(e *eventv1.Event, typeUID int64) {
	e.Class.ClassUid = proto.Int64(typeUID / 100)
	e.Class.ActivityId = proto.Int64(typeUID % 100)
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// AddExtra adds what the schema has no place for; an empty value is left out.
func AddExtra(e *eventv1.Event, name, value string) {
	if value != "" {
		e.Extra = append(e.Extra, &eventv1.Attribute{Name: name, Value: value})
	}
}

// layouts are how providers and their exports write times. A time without a zone is UTC.
var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999 MST"}

// ParseTime reads a provider's time, or returns nil: an event is logged without a time that cannot be read.
func ParseTime(s string) *timestamppb.Timestamp {
	s = strings.TrimSpace(s)
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return timestamppb.New(t)
		}
	}
	return nil
}
