package event_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

func id(issuer, format, name string) subject.Identifier {
	return subject.Identifier{Issuer: issuer, Format: format, ID: name}
}

func TestPersons(t *testing.T) {
	type P = eventv1.Principal
	for _, c := range []struct {
		name string
		e    *eventv1.Event
		want []event.Person
	}{
		{"nobody", &eventv1.Event{}, nil},
		{"nobody named", &eventv1.Event{Actor: &P{Display: "the cat", Issuer: "i", Tenant: "t"}}, nil},
		{"all names", &eventv1.Event{Actor: &P{Issuer: "i", Id: "1", Login: "Ann", Email: "Ann@B.example"}}, []event.Person{
			{id("i", "opaque", "1"), []subject.Identifier{id("i", "account", "Ann"), id("", "email", "ann@b.example")}},
		}},
		{"login alone", &eventv1.Event{Actor: &P{Login: "ann", Email: "a@b"}}, []event.Person{
			{id("", "account", "ann"), []subject.Identifier{id("", "email", "a@b")}},
		}},
		{"a format of its own", &eventv1.Event{Actor: &P{Issuer: "i", Format: "iss_sub", Id: "1"}}, []event.Person{{Primary: id("i", "iss_sub", "1")}}},
		{"an id that is an address", &eventv1.Event{Actor: &P{Issuer: "i", Format: "email", Id: "A@b", Email: "a@B"}}, []event.Person{
			{Primary: id("", "email", "a@b")},
		}},
		{"order, and names gathered", &eventv1.Event{
			Targets: []*eventv1.Target{
				{Principal: &P{Issuer: "i", Id: "2"}}, {Id: "door"}, {Principal: &P{Issuer: "i", Id: "1", Login: "x"}},
				{Principal: &P{Issuer: "j", Id: "1"}},
			},
			Hops:  []*eventv1.Hop{{Subject: &P{Issuer: "i", Id: "4"}}, {}},
			Act:   []*P{{Issuer: "i", Id: "3"}},
			Actor: &P{Issuer: "i", Id: "1", Email: "e@x"},
		}, []event.Person{
			{id("i", "opaque", "1"), []subject.Identifier{id("", "email", "e@x"), id("i", "account", "x")}},
			{Primary: id("i", "opaque", "3")},
			{Primary: id("i", "opaque", "2")},
			{Primary: id("j", "opaque", "1")},
			{Primary: id("i", "opaque", "4")},
		}},
		{"primary here, secondary there", &eventv1.Event{Actor: &P{Id: "1", Login: "ann"}, Act: []*P{{Login: "ann"}}}, []event.Person{
			{id("", "opaque", "1"), []subject.Identifier{id("", "account", "ann")}},
			{Primary: id("", "account", "ann")},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := event.NewRoll(c.e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Persons, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// crowd is an event with n targets of k names each.
func crowd(n, k int) *eventv1.Event {
	e := typical()
	e.Targets = nil
	for i := range n {
		p := &eventv1.Principal{Issuer: "https://acme.example", Id: fmt.Sprintf("u%04d", i)}
		if k > 1 {
			p.Login = fmt.Sprintf("login%04d", i)
		}
		if k > 2 {
			p.Email = fmt.Sprintf("u%04d@acme.example", i)
		}
		e.Targets = append(e.Targets, &eventv1.Target{Role: "member", Principal: p})
	}
	return e
}

func TestTooManyPersons(t *testing.T) {
	// Beside its targets typical has 3 names of the actor, which give 6 tags, and the event id, two sessions and the class.
	for n, want := range map[int]error{246: nil, 247: event.ErrTooManyPersons, 248: event.ErrTooManyPersons} {
		e := crowd(n, 1)
		if _, err := event.NewRoll(e); !errors.Is(err, want) {
			t.Errorf("%d targets: %v", n, err)
		}
		tags, err := event.Tags(e, vectorKeys(), vectorHandle)
		if !errors.Is(err, want) || len(tags) > leaf.MaxTags {
			t.Errorf("%d targets: %d tags, %v", n, len(tags), err)
		}
	}
	e := crowd(250, 1)
	e.Actor, e.Correlation = nil, nil
	if tags, err := event.Tags(e, vectorKeys(), vectorHandle); err != nil || len(tags) != 252 {
		t.Errorf("250 persons: %d tags, %v", len(tags), err)
	}
}

func TestTags(t *testing.T) {
	e := typical()
	e.Correlation.RootSession = e.Correlation.Session // one tag
	e.Targets = append(e.Targets,
		&eventv1.Target{Type: "group", Id: "g1", Name: "n"},
		&eventv1.Target{Type: "group", Id: "g1", Role: "again"},
		&eventv1.Target{Type: "group", Name: "without id"},
		&eventv1.Target{Type: "bot", Id: "b1", Principal: &eventv1.Principal{Display: "nobody"}})
	k := vectorKeys()
	var want []leaf.Tag
	add := func(field uint16, value leaf.Hash) { want = append(want, leaf.Tag{Field: field, Value: value}) }
	add(1, k.EventID.Tag([]byte(e.Source.GetNativeId())))
	add(4, k.Session.Tag([]byte("idx9")))
	add(4, k.Session.Tag([]byte("trx77")))
	add(6, k.Class.Tag([]byte("300201")))
	add(7, k.Target.Tag([]byte("group\x00g1")))
	add(7, k.Target.Tag([]byte("bot\x00b1")))
	for _, person := range []*eventv1.Principal{e.Actor, e.Targets[0].Principal} {
		for _, i := range []subject.Identifier{
			id(person.Issuer, "opaque", person.Id), id(person.Issuer, "account", person.Login), subject.Email(person.Email),
		} {
			h, _ := vectorHandle(i)
			add(2, tag.OfPerson(h, tag.Person))
			if person == e.Actor {
				add(3, tag.OfPerson(h, tag.Actor))
			}
		}
	}
	slices.SortFunc(want, leaf.CompareTags)
	got, err := event.Tags(e, k, vectorHandle)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	_, err = event.Tags(e, k, func(i subject.Identifier) ([32]byte, bool) { return [32]byte{}, i.Format != "email" })
	var unknown *event.UnknownPersonError
	if !errors.As(err, &unknown) || unknown.Identifier != id("", "email", "ada@mail.acme.example") {
		t.Errorf("a person without handle: %v", err)
	}
}

// taggedOf tags an event under the keys and handles of the vectors.
func taggedOf(t *testing.T, e *eventv1.Event) *event.Tagged {
	t.Helper()
	roll, err := event.NewRoll(e)
	if err != nil {
		t.Fatal(err)
	}
	var handles [][32]byte
	for _, id := range roll.Identifiers {
		h, _ := vectorHandle(id)
		handles = append(handles, h)
	}
	return roll.Tag(fieldsOf(t, e), vectorKeys(), handles)
}

func TestOwners(t *testing.T) {
	e := typical()
	principal := func(name string) *eventv1.Principal { return &eventv1.Principal{Issuer: "i", Id: name, Login: name} }
	e.Actor = principal("actor")
	e.Act = []*eventv1.Principal{principal("act"), {Display: "nobody"}}
	e.Targets = []*eventv1.Target{{Principal: principal("target")}, {Type: "group", Id: "g"}}
	e.Hops = []*eventv1.Hop{{Issuer: "h", Subject: principal("hop")}, {Issuer: "h", Subject: principal("actor")}}
	raw(e)
	tagged := taggedOf(t, e)
	var tags []leaf.Hash
	for _, g := range tagged.Tags {
		if g.Field == tag.Person {
			tags = append(tags, g.Value)
		}
	}
	position := func(name string) uint8 {
		h, _ := vectorHandle(id("i", "opaque", name))
		return uint8(slices.Index(tags, tag.OfPerson(h, tag.Person)))
	}
	all := []uint8{position("actor"), position("act"), position("target"), position("hop")}
	slices.Sort(all)
	for path, want := range map[string][]uint8{
		"schema": nil, "mapper": nil, "class.class_uid": nil, "class.severity_id": nil, "outcome.status": nil,
		"times.occurred": nil, "times.received": nil, "source.native_type": nil,
		"actor.id": {position("actor")}, "credential.kind": {position("actor")}, "network.ip": {position("actor")},
		"act.0.login": {position("act")}, "act.1.display": all,
		"targets.0.role": {position("target")}, "targets.0.principal.id": {position("target")},
		"targets.1.id": all, "targets.9.id": all,
		"hops.0.subject.id": {position("hop")}, "hops.0.issuer": all, "hops.1.subject.id": {position("actor")},
		"source.native_id": all, "outcome.reason": all, "correlation.session": all, "raw": all, "raw_media_type": all,
		"changes.0.after": all, "extra.0.value": all, "scim.path": all, "submitter_signature": all, "of_the_future": all,
	} {
		if diff := cmp.Diff(want, tagged.Owners(path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, f := range tagged.Fields {
		if diff := cmp.Diff(f.Owners, tagged.Owners(f.Path)); diff != "" {
			t.Errorf("%s:\n%s", f.Path, diff)
		}
	}

	e.Actor, e.Act, e.Targets, e.Hops = nil, nil, nil, nil
	nobody := taggedOf(t, e)
	for _, f := range nobody.Fields {
		if len(f.Owners) != 0 {
			t.Errorf("%s is owned in an event of nobody", f.Path)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name  string
		e     *eventv1.Event
		parts int
	}{
		{"one leaf", crowd(200, 1), 1},
		{"500 members", crowd(500, 1), 3},
		{"500 members with three names", crowd(500, 3), 7},
		{"more targets than a list", crowd(1200, 1), 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := c.e
			e.Correlation.Transaction = ""
			raw(e)
			before := proto.Clone(e)
			parts := event.Split(e)
			if diff := cmp.Diff(before, proto.Message(e), protocmp.Transform()); diff != "" {
				t.Errorf("Split changed its argument:\n%s", diff)
			}
			if len(parts) != c.parts {
				t.Fatalf("%d parts", len(parts))
			}
			if c.parts == 1 {
				if parts[0] != e {
					t.Error("an event that one leaf carries is not itself")
				}
				return
			}
			var targets []*eventv1.Target
			for i, p := range parts {
				if err := event.Check(p); err != nil {
					t.Error(err)
				}
				if _, err := event.Tags(p, vectorKeys(), vectorHandle); err != nil {
					t.Errorf("part %d: %v", i+1, err)
				}
				want := fmt.Sprintf("%s#%d/%d", e.Source.GetNativeId(), i+1, c.parts)
				if p.Source.GetNativeId() != want || p.Source.PartOf != e.Source.GetNativeId() || p.Correlation.Transaction != e.Source.GetNativeId() {
					t.Errorf("part %d: id %s of %s, transaction %s", i+1, p.Source.GetNativeId(), p.Source.PartOf, p.Correlation.Transaction)
				}
				if string(p.Raw) != "null" || !slices.Equal(p.RawMasked, []string{""}) {
					t.Errorf("part %d keeps raw", i+1)
				}
				targets = append(targets, p.Targets...)
			}
			if diff := cmp.Diff(e.Targets, targets, protocmp.Transform()); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}

	text := crowd(500, 1)
	text.Raw, text.RawMediaType = []byte("who was there"), "text/plain"
	text.Correlation.Transaction = "kept"
	if p := event.Split(text)[0]; p.Raw != nil || p.RawMediaType != "" || p.Correlation.Transaction != "kept" {
		t.Errorf("part of an event that is no JSON: %v", p)
	}
	hopeless := crowd(500, 1)
	for range 16 {
		hopeless.Extra = append(hopeless.Extra, &eventv1.Attribute{Name: "n", Value: string(make([]byte, 30_000))})
	}
	if parts := event.Split(hopeless); len(parts) != 1 {
		t.Errorf("%d parts of an event that none fits", len(parts))
	}
}
