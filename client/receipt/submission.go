package receipt

import (
	"time"

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

	roll   *event.Roll
	sent   []seal.Field // ascending, without owners
	fields []seal.Field // those, and what a server adds, with owners; each check makes them anew
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
	if s.roll, err = event.NewRoll(e); err != nil {
		return nil, err
	}
	s.Persons = s.roll.Identifiers
	return s, nil
}

// stamp makes the fields that a server which received the event at a time has committed to.
func (s *Submission) stamp(at time.Time) []seal.Field {
	if s.fields == nil {
		s.fields = make([]seal.Field, 0, len(s.sent)+len(event.ServerPaths))
	}
	s.fields = event.StampFields(append(s.fields[:0], s.sent...), at)
	return s.fields
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
