package event

import (
	"bytes"
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
	// Fields are those given to [Tag], owners set. The owners of several fields share memory: they are read only.
	Fields []seal.Field
	// Tags are those of the event's leaf, in its order. No other set of tags is right.
	Tags []leaf.Tag
	// Persons are those of [Persons].
	Persons []Person

	all, actor         []uint8
	act, targets, hops [][]uint8 // by index; the subject of a hop
}

// Tags is TagFn of SPEC 2.4: the tags of an event, in the order of its leaf. handle returns the T of an enrolled
// identifier. Errors are [ErrTooManyPersons] and *[UnknownPersonError].
func Tags(e *eventv1.Event, keys NeutralKeys, handle func(subject.Identifier) (t [32]byte, ok bool)) ([]leaf.Tag, error) {
	t, err := Tag(e, nil, keys, handle)
	if err != nil {
		return nil, err
	}
	return t.Tags, nil
}

// Tag is [Tags] together with the owners of the fields (SPEC 2.3), which it sets in fields. Those are the fields of
// e; an auditor who has the event from the lines of a disclosure (see [FromLines]) gives what it has, or asks
// [Tagged.Owners] path by path.
func Tag(e *eventv1.Event, fields []seal.Field, keys NeutralKeys, handle func(subject.Identifier) (t [32]byte, ok bool)) (*Tagged, error) {
	r := newRoll(e)
	if len(r.identifiers) > MaxPersons || r.tags(e) > leaf.MaxTags {
		return nil, ErrTooManyPersons
	}
	t := &Tagged{Fields: fields, Persons: r.persons, Tags: make([]leaf.Tag, 0, len(r.identifiers)+8)}
	neutral(e, func(field uint16, value []byte) {
		t.Tags = append(t.Tags, leaf.Tag{Field: field, Value: keys.of(field).Tag(value)})
	})
	handles := make([][32]byte, len(r.identifiers))
	for i, id := range r.identifiers {
		h, ok := handle(id)
		if !ok {
			return nil, &UnknownPersonError{id}
		}
		handles[i] = h
		t.Tags = append(t.Tags, leaf.Tag{Field: tag.Person, Value: tag.OfPerson(h, tag.Person)})
	}
	for _, id := range identifiers(nil, e.GetActor()) {
		t.Tags = append(t.Tags, leaf.Tag{Field: tag.Actor, Value: tag.OfPerson(handles[r.index(id)], tag.Actor)})
	}
	slices.SortFunc(t.Tags, leaf.CompareTags)
	t.Tags = slices.Compact(t.Tags)
	t.own(e, r, handles)
	for i := range fields {
		fields[i].Owners = t.Owners(fields[i].Path)
	}
	return t, nil
}

// neutral yields the value of each tag that names no person, without repeating one. The bytes are valid until
// yield returns.
func neutral(e *eventv1.Event, yield func(field uint16, value []byte)) {
	yield(tag.EventID, []byte(e.GetSource().GetNativeId()))
	c := e.GetCorrelation()
	sessions := [...]string{c.GetSession(), c.GetRootSession(), c.GetTransaction()}
	for i, s := range sessions {
		if s != "" && !slices.Contains(sessions[:i], s) {
			yield(tag.Session, []byte(s))
		}
	}
	class := e.GetClass().GetClassUid()*100 + e.GetClass().GetActivityId()
	yield(tag.Class, strconv.AppendInt(nil, class, 10))
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
			yield(tag.Target, []byte(v))
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

// own works out who owns what: positions among the leaf's tags of field 2.
func (t *Tagged) own(e *eventv1.Event, r *roll, handles [][32]byte) {
	var tags []leaf.Hash
	for _, g := range t.Tags {
		if g.Field == tag.Person {
			tags = append(tags, g.Value)
		}
	}
	at := make([]uint8, len(r.persons), len(r.persons)+1)
	for i, p := range r.persons {
		pos, _ := slices.BinarySearchFunc(tags, tag.OfPerson(handles[r.index(p.Primary)], tag.Person), compareHashes)
		at[i] = uint8(pos)
	}
	t.all = slices.Compact(slices.Sorted(slices.Values(at)))
	one := func(p *eventv1.Principal) []uint8 {
		var buf [3]subject.Identifier
		ids := identifiers(buf[:0], p)
		if len(ids) == 0 {
			return t.all
		}
		i := r.personOf[r.index(ids[0])]
		return at[i : i+1 : i+1]
	}
	t.actor = one(e.GetActor())
	for _, p := range e.GetAct() {
		t.act = append(t.act, one(p))
	}
	for _, g := range e.GetTargets() {
		t.targets = append(t.targets, one(g.GetPrincipal()))
	}
	for _, h := range e.GetHops() {
		t.hops = append(t.hops, one(h.GetSubject()))
	}
}

func compareHashes(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) }

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
