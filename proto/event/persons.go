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

// Roll is who takes part in one event. It is read only, and so is the event while the roll is in use.
type Roll struct {
	// Persons are distinct by their primary identifiers: the actor, then the act chain, the targets and the subjects of
	// the hops, each where first named. Principals without any identifier are nobody.
	Persons []Person
	// Identifiers are all names of all persons, distinct, each where first named. Each has to be enrolled.
	Identifiers []subject.Identifier
	// PersonOf is, of each identifier, the position of the person whose primary it is, or -1.
	PersonOf []int

	event *eventv1.Event
	known map[subject.Identifier]int // positions of identifiers; nil while they are few
	seats []int                      // of each principal, the position of its person, or -1 if it is nobody
	actor []int                      // positions of the actor's identifiers

	// few is where these begin to be kept: most events name few, and cost one allocation.
	few struct {
		persons     [3]Person
		identifiers [8]subject.Identifier
		personOf    [8]int
		seats       [4]int
		actor       [3]int
	}
}

// NewRoll reads who takes part in an event. The error is [ErrTooManyPersons].
func NewRoll(e *eventv1.Event) (*Roll, error) {
	r := callRoll(e)
	if len(r.Identifiers) > MaxPersons || r.tags() > leaf.MaxTags {
		return nil, ErrTooManyPersons
	}
	return r, nil
}

// identifiers appends to ids, which is empty, the distinct names of a principal, primary first, at most three.
func identifiers(ids []subject.Identifier, p *eventv1.Principal) []subject.Identifier {
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

// named reports whether a principal has an identifier.
func named(p *eventv1.Principal) bool {
	return p.GetId() != "" || p.GetLogin() != "" || p.GetEmail() != ""
}

// principals yields every principal of an event with the path of what holds it, in the order of [Roll.Persons].
// Of a list that is the list's path and an index, else index is -1.
func principals(e *eventv1.Event, yield func(path string, index int, p *eventv1.Principal)) {
	if p := e.GetActor(); p != nil {
		yield("actor", -1, p)
	}
	for i, p := range e.GetAct() {
		if p != nil {
			yield("act", i, p)
		}
	}
	for i, t := range e.GetTargets() {
		if p := t.GetPrincipal(); p != nil {
			yield("targets", i, p)
		}
	}
	for i, h := range e.GetHops() {
		if p := h.GetSubject(); p != nil {
			yield("hops", i, p)
		}
	}
}

// checkFormats refuses a format that no identifier can have. The other bounds of an identifier follow from those of
// the schema.
func checkFormats(e *eventv1.Event) (broken *FieldError) {
	principals(e, func(path string, index int, p *eventv1.Principal) {
		if p.GetFormat() == "" || broken != nil {
			return
		}
		if _, err := (subject.Identifier{Format: p.Format, ID: "x"}).Bytes(); err != nil {
			if index >= 0 {
				below := map[string]string{"targets": ".principal", "hops": ".subject"}[path]
				path += "." + strconv.Itoa(index) + below
			}
			broken = &FieldError{Path: path + ".format", Reason: "not lower-case letters, digits and _"}
		}
	})
	return broken
}

// callRoll is NewRoll without its bound.
func callRoll(e *eventv1.Event) *Roll {
	r := &Roll{event: e}
	r.Persons, r.Identifiers, r.PersonOf = r.few.persons[:0], r.few.identifiers[:0], r.few.personOf[:0]
	r.seats, r.actor = r.few.seats[:0], r.few.actor[:0]
	principals(e, func(_ string, _ int, p *eventv1.Principal) { r.add(p) })
	if e.GetActor() != nil {
		var buf [3]subject.Identifier
		for _, id := range identifiers(buf[:0], e.Actor) {
			r.actor = append(r.actor, r.index(id))
		}
	}
	return r
}

// index returns the position of an identifier, or -1. A map is made only for many.
func (r *Roll) index(id subject.Identifier) int {
	const few = 16
	if len(r.Identifiers) <= few {
		return slices.Index(r.Identifiers, id)
	}
	if r.known == nil {
		r.known = make(map[subject.Identifier]int)
	}
	for i := len(r.known); i < len(r.Identifiers); i++ {
		r.known[r.Identifiers[i]] = i
	}
	if i, ok := r.known[id]; ok {
		return i
	}
	return -1
}

// add takes the next principal.
func (r *Roll) add(p *eventv1.Principal) {
	var buf [3]subject.Identifier
	ids := identifiers(buf[:0], p)
	if len(ids) == 0 {
		r.seats = append(r.seats, -1)
		return
	}
	first := len(r.Identifiers)
	for _, id := range ids {
		if r.index(id) < 0 {
			r.Identifiers = append(r.Identifiers, id)
			r.PersonOf = append(r.PersonOf, -1)
		}
	}
	at := &r.PersonOf[r.index(ids[0])]
	if *at < 0 {
		*at = len(r.Persons)
		r.Persons = append(r.Persons, Person{Primary: ids[0]})
	}
	r.seats = append(r.seats, *at)
	person := &r.Persons[*at]
	if end := len(r.Identifiers); end-first == len(ids) && end-first > 1 && person.Secondary == nil {
		person.Secondary = r.Identifiers[first+1 : end : end] // all new: they stand there together
		return
	}
	for _, id := range ids[1:] {
		if id != person.Primary && !slices.Contains(person.Secondary, id) {
			person.Secondary = append(person.Secondary, id)
		}
	}
}

// tags counts the tags that TagFn gives, without any key.
func (r *Roll) tags() int {
	n := len(r.Identifiers) + len(r.actor)
	neutral(r.event, func(uint16, string) { n++ })
	return n
}
