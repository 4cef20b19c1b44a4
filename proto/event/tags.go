package event

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// NeutralKeys are the keys of one source and epoch for the tags that name no person: K_1,s K_4,s K_6,s K_7,s of
// SPEC 2.4. EventID is always that of epoch 1.
type NeutralKeys struct{ EventID, Session, Class, Target tag.Key }

// UnknownPersonError says that a person of an event has no handle. Enrol it, or ask for its enrolment.
type UnknownPersonError struct{ Identifier subject.Identifier }

func (e *UnknownPersonError) Error() string { return "no handle of " + e.Identifier.String() }

// Tagged is an event with its tags, and with the owners of its fields.
type Tagged struct {
	// Fields are those given to [Roll.Tag], owners set. The owners of several fields share memory: they are read only.
	Fields []seal.Field
	// Tags are those of the event's leaf, in its order. No other set of tags is right.
	Tags []leaf.Tag
	// Persons are those of the roll.
	Persons []Person
	// Positions are where the persons stand among the tags of field 2. Two persons have one only if a handle is two
	// persons'.
	Positions []uint8

	all, actor         []uint8
	act, targets, hops [][]uint8 // by index; the subject of a hop
}

// Tags is TagFn of SPEC 2.4: the tags of an event, in the order of its leaf. handle returns the T of an enrolled
// identifier. Errors are [ErrTooManyPersons] and *[UnknownPersonError].
func Tags(e *eventv1.Event, keys NeutralKeys, handle func(subject.Identifier) (t [32]byte, ok bool)) ([]leaf.Tag, error) {
	r, err := NewRoll(e)
	if err != nil {
		return nil, err
	}
	handles := make([][32]byte, len(r.Identifiers))
	for i, id := range r.Identifiers {
		var ok bool
		if handles[i], ok = handle(id); !ok {
			return nil, &UnknownPersonError{id}
		}
	}
	return r.Tag(nil, keys, handles).Tags, nil
}

// Tag is [Tags] together with the owners of the fields (SPEC 2.3), which it sets in fields. Those are the fields of
// the roll's event; an auditor who has the event from the lines of a disclosure (see [FromLines]) gives what it has, or
// asks [Tagged.Owners] path by path. handles are the T of the roll's identifiers, one for each.
func (r *Roll) Tag(fields []seal.Field, keys NeutralKeys, handles [][32]byte) *Tagged {
	t := &Tagged{Fields: fields, Persons: r.Persons, Tags: make([]leaf.Tag, 0, len(r.Identifiers)+len(r.actor)+4)}
	neutral(r.event, func(field uint16, value string) {
		t.Tags = append(t.Tags, leaf.Tag{Field: field, Value: keys.of(field).Tag([]byte(value))})
	})
	first := len(t.Tags)
	for i := range r.Identifiers {
		t.Tags = append(t.Tags, leaf.Tag{Field: tag.Person, Value: tag.OfPerson(handles[i], tag.Person)})
	}
	marks := make([]leaf.Hash, len(r.Persons)) // the tags of the persons' primary identifiers
	for i, person := range r.PersonOf {
		if person >= 0 {
			marks[person] = t.Tags[first+i].Value
		}
	}
	for _, i := range r.actor {
		t.Tags = append(t.Tags, leaf.Tag{Field: tag.Actor, Value: tag.OfPerson(handles[i], tag.Actor)})
	}
	slices.SortFunc(t.Tags, leaf.CompareTags)
	t.Tags = slices.Compact(t.Tags)
	t.own(r, marks)
	for i := range fields {
		fields[i].Owners = t.Owners(fields[i].Path)
	}
	return t
}

// neutral yields the value of each tag that names no person, without repeating one.
func neutral(e *eventv1.Event, yield func(field uint16, value string)) {
	yield(tag.EventID, e.GetSource().GetNativeId())
	c := e.GetCorrelation()
	sessions := [...]string{c.GetSession(), c.GetRootSession(), c.GetTransaction()}
	for i, s := range sessions {
		if s != "" && !slices.Contains(sessions[:i], s) {
			yield(tag.Session, s)
		}
	}
	class := e.GetClass().GetClassUid()*100 + e.GetClass().GetActivityId()
	yield(tag.Class, strconv.FormatInt(class, 10))
	var seen map[string]bool
	for _, t := range e.GetTargets() {
		if t.GetId() == "" || named(t.GetPrincipal()) {
			continue
		}
		if v := t.GetType() + "\x00" + t.GetId(); !seen[v] {
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[v] = true
			yield(tag.Target, v)
		}
	}
}

func (k *NeutralKeys) of(field uint16) tag.Key {
	switch field {
	case tag.EventID:
		return k.EventID
	case tag.Session:
		return k.Session
	case tag.Class:
		return k.Class
	case tag.Target:
		return k.Target
	}
	panic(fmt.Sprintf("event: field %d has no neutral key", field))
}

// own works out who owns what. marks are the tags of field 2 of the persons.
func (t *Tagged) own(r *Roll, marks []leaf.Hash) {
	from, _ := slices.BinarySearchFunc(t.Tags, tag.Person, compareField)
	to, _ := slices.BinarySearchFunc(t.Tags, tag.Person+1, compareField)
	tags := t.Tags[from:to]
	both := make([]uint8, len(marks), 2*len(marks))
	for i := range marks {
		at, _ := slices.BinarySearchFunc(tags, leaf.Tag{Field: tag.Person, Value: marks[i]}, leaf.CompareTags)
		both[i] = uint8(at)
	}
	t.Positions = both[:len(marks):len(marks)]
	all := append(both[len(marks):], t.Positions...)
	slices.Sort(all)
	t.all = slices.Compact(all)

	e, seats := r.event, r.seats
	next := func(p *eventv1.Principal) []uint8 { // the principals come in the order of the roll
		if p == nil {
			return t.all
		}
		seat := seats[0]
		seats = seats[1:]
		if seat < 0 {
			return t.all
		}
		return t.Positions[seat : seat+1 : seat+1]
	}
	t.actor = next(e.GetActor())
	lists := make([][]uint8, 0, len(e.GetAct())+len(e.GetTargets())+len(e.GetHops()))
	for _, p := range e.GetAct() {
		lists = append(lists, next(p))
	}
	for _, g := range e.GetTargets() {
		lists = append(lists, next(g.GetPrincipal()))
	}
	for _, h := range e.GetHops() {
		lists = append(lists, next(h.GetSubject()))
	}
	t.act, lists = lists[:len(e.GetAct())], lists[len(e.GetAct()):]
	t.targets, t.hops = lists[:len(e.GetTargets())], lists[len(e.GetTargets()):]
}

func compareField(t leaf.Tag, field uint16) int { return cmp.Compare(t.Field, field) }

// Owners returns who owns the field of a path: ascending positions among the leaf's tags of field 2, none for a
// neutral field. What is about one person is that person's; neutral is only what this list names; everything else,
// raw as well, belongs to all persons of the event. The slice is shared and read only.
func (t *Tagged) Owners(path string) []uint8 {
	head, rest, _ := strings.Cut(path, ".")
	switch head {
	case "schema", "mapper", "class", "times":
		return nil
	case "source":
		if rest == "native_type" {
			return nil
		}
	case "outcome":
		if rest == "status" {
			return nil
		}
	case "actor", "credential", "network":
		return t.actor
	case "act":
		return t.nth(t.act, rest)
	case "targets":
		return t.nth(t.targets, rest)
	case "hops":
		if _, member, _ := strings.Cut(rest, "."); strings.HasPrefix(member, "subject.") {
			return t.nth(t.hops, rest)
		}
	}
	return t.all
}

func (t *Tagged) nth(owners [][]uint8, rest string) []uint8 {
	index, _, _ := strings.Cut(rest, ".")
	if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(owners) {
		return owners[i]
	}
	return t.all
}
