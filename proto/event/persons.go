package event

import (
	"errors"
	"slices"
	"strconv"

	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
)

// MaxPersons is the greatest number of identifiers that the leaf of one event can name.
const MaxPersons = 250

// ErrTooManyPersons says that one leaf cannot name all the persons of an event, or not carry all its tags.
// [Split] makes events that it can.
var ErrTooManyPersons = errors.New("more persons or tags than one leaf can carry")

// Person is one person, service or client of an event.
type Person struct {
	// Primary owns the fields about this person: the immutable id, else the login, else the e-mail address.
	Primary subject.Identifier
	// Secondary are the other names that the event gives together with Primary. They are found in the log, but own
	// nothing, because logins and addresses are handed on. In another place of the same event one of them may be
	// the primary identifier of a person.
	Secondary []subject.Identifier
}

// Persons returns the persons of an event, distinct by their primary identifiers: the actor, then the act chain, the
// targets and the subjects of the hops, each where first named. Principals without any identifier are nobody. The
// error is [ErrTooManyPersons].
func Persons(e *eventv1.Event) ([]Person, error) {
	r := newRoll(e)
	if len(r.identifiers) > MaxPersons || r.tags(e) > leaf.MaxTags {
		return nil, ErrTooManyPersons
	}
	return r.persons, nil
}

// identifiers returns the distinct names of a principal, primary first, at most three.
func identifiers(p *eventv1.Principal) []subject.Identifier {
	ids := make([]subject.Identifier, 0, 3)
	if p.GetId() != "" {
		switch format := p.GetFormat(); format {
		case "":
			ids = append(ids, subject.Identifier{Issuer: p.Issuer, Format: subject.FormatOpaque, ID: p.Id})
		case subject.FormatEmail:
			ids = append(ids, subject.Email(p.Id))
		default:
			ids = append(ids, subject.Identifier{Issuer: p.Issuer, Format: format, ID: p.Id})
		}
	}
	if p.GetLogin() != "" {
		ids = append(ids, subject.Identifier{Issuer: p.Issuer, Format: subject.FormatAccount, ID: p.Login})
	}
	if p.GetEmail() != "" {
		if id := subject.Email(p.Email); len(ids) == 0 || ids[0] != id {
			ids = append(ids, id)
		}
	}
	return ids
}

// principals yields every principal of an event with its path, in the order that [Persons] documents.
func principals(e *eventv1.Event, yield func(path string, p *eventv1.Principal)) {
	if p := e.GetActor(); p != nil {
		yield("actor", p)
	}
	for i, p := range e.GetAct() {
		yield("act."+strconv.Itoa(i), p)
	}
	for i, t := range e.GetTargets() {
		if p := t.GetPrincipal(); p != nil {
			yield("targets."+strconv.Itoa(i)+".principal", p)
		}
	}
	for i, h := range e.GetHops() {
		if p := h.GetSubject(); p != nil {
			yield("hops."+strconv.Itoa(i)+".subject", p)
		}
	}
}

// checkFormats refuses a format that no identifier can have. The other bounds of an identifier follow from those of
// the schema.
func checkFormats(e *eventv1.Event) (broken *FieldError) {
	principals(e, func(path string, p *eventv1.Principal) {
		if p.GetFormat() == "" || broken != nil {
			return
		}
		if _, err := (subject.Identifier{Format: p.Format, ID: "x"}).Bytes(); err != nil {
			broken = &FieldError{Path: path + ".format", Reason: "not lower-case letters, digits and _"}
		}
	})
	return broken
}

// roll is the list of the persons of one event.
type roll struct {
	persons     []Person
	identifiers []subject.Identifier // distinct, each where first named
	known       map[subject.Identifier]bool
	primaries   map[subject.Identifier]int // position in persons
}

func newRoll(e *eventv1.Event) *roll {
	r := &roll{known: make(map[subject.Identifier]bool), primaries: make(map[subject.Identifier]int)}
	principals(e, func(_ string, p *eventv1.Principal) { r.add(p) })
	return r
}

func (r *roll) add(p *eventv1.Principal) {
	ids := identifiers(p)
	for _, id := range ids {
		if !r.known[id] {
			r.known[id] = true
			r.identifiers = append(r.identifiers, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	at, ok := r.primaries[ids[0]]
	if !ok {
		at = len(r.persons)
		r.primaries[ids[0]] = at
		r.persons = append(r.persons, Person{Primary: ids[0]})
	}
	person := &r.persons[at]
	for _, id := range ids[1:] {
		if id != person.Primary && !slices.Contains(person.Secondary, id) {
			person.Secondary = append(person.Secondary, id)
		}
	}
}

// tags counts the tags that TagFn gives, without any key.
func (r *roll) tags(e *eventv1.Event) int {
	n := len(r.identifiers) + len(identifiers(e.GetActor()))
	neutral(e, func(uint16, []byte) { n++ })
	return n
}
