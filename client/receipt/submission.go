package receipt

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// Submission is one event as it is sent, and all that its answer is judged by. Nothing of it comes from the server. It
// belongs to one goroutine: each check writes in it.
type Submission struct {
	Event *eventv1.Event
	// Persons are the identifiers of all its persons, each once.
	Persons []subject.Identifier

	sent     []seal.Field // ascending, without owners
	fields   []seal.Field // those, and what a server adds; a check sets their owners
	received int          // where a check sets the value of times.received in fields; -1 if that was sent
}

// Read reads an event that is to be sent. The event is the caller's and must not change while the submission is used.
// Errors are those of package event: what no server takes.
func Read(e *eventv1.Event) (*Submission, error) {
	if err := event.Check(e); err != nil {
		return nil, err
	}
	s := &Submission{Event: e}
	var err error
	if s.sent, err = event.Fields(e); err != nil {
		return nil, err
	}
	persons, err := event.Persons(e)
	if err != nil {
		return nil, err
	}
	for _, p := range persons {
		s.name(p.Primary)
		for _, id := range p.Secondary {
			s.name(id)
		}
	}
	// SPEC 2.2: "Server-added fields are exactly schema, times.received, and mapper = direct/1 where none was sent."
	s.fields = append(make([]seal.Field, 0, len(s.sent)+3), s.sent...)
	s.add("mapper", seal.String(event.DirectMapper))
	s.add("schema", seal.String(event.Schema))
	s.received = s.add("times.received", nil) // the last to be added: nothing moves it any more
	return s, nil
}

func (s *Submission) name(id subject.Identifier) {
	if !slices.Contains(s.Persons, id) {
		s.Persons = append(s.Persons, id)
	}
}

// add puts a field that a server adds at its place, which it returns, or does nothing and returns -1 if it was sent.
func (s *Submission) add(path string, v seal.Value) int {
	i, sent := slices.BinarySearchFunc(s.fields, path, func(f seal.Field, path string) int { return strings.Compare(f.Path, path) })
	if sent {
		return -1
	}
	s.fields = slices.Insert(s.fields, i, seal.Field{Path: path, Value: v})
	return i
}

// Size is that of the event in a call, in bytes.
func (s *Submission) Size() int { return proto.Size(s.Event) }

// Conflicting returns the event under its name of a conflict (SPEC 2.10, Ids), or nil if it bears it already.
func (s *Submission) Conflicting() *eventv1.Event { return event.Conflicting(s.Event, s.sent) }

// Bytes returns the submission as a part of evidence holds it: a SubmitEventsRequest of this event alone.
func (s *Submission) Bytes(log, source string) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.SubmitEventsRequest{
		Log: log, Source: source, Events: []*eventv1.Event{s.Event},
	})
}
