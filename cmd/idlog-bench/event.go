package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "idlog/proto/idlog/event/v1"
)

// persons is the population that the two persons of an event come from, enrolled before anything is measured.
const persons = 10_000

// shape says what the events of a line of the report are like.
type shape struct {
	Name string
	// Raw adds 1 KiB of raw bytes beside the fields.
	Raw bool
	// Strangers makes both persons of each event new to the log, so that each event enrols two.
	Strangers bool
}

var shapes = []shape{
	{Name: "fields"},
	{Name: "raw", Raw: true},
	{Name: "enrolling", Strangers: true},
}

// generator makes the events of one caller. It is not safe for concurrent use.
type generator struct {
	shape  shape
	caller string
	rand   *rand.Rand
	zipf   *rand.Zipf
	next   int
	filler string
}

func newGenerator(s shape, caller string, seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))
	return &generator{
		shape:  s,
		caller: caller,
		rand:   r,
		zipf:   rand.NewZipf(r, 1.2, 1, persons-1),
		filler: strings.Repeat("0123456789abcdef", 64),
	}
}

// person names one of the population, or somebody whom nobody has met.
func (g *generator) person() string {
	if g.shape.Strangers {
		return fmt.Sprintf("%s-%d-%08x", g.caller, g.next, g.rand.Uint32())
	}
	return personName(int(g.zipf.Uint64()))
}

func personName(i int) string { return fmt.Sprintf("%05d", i) }

// event makes one event of 1 KiB and, with those that the server adds, 32 fields; two persons in it, unlike every other one.
func (g *generator) event() *eventv1.Event {
	g.next++
	unique := fmt.Sprintf("%s-%08d-%016x", g.caller, g.next, g.rand.Uint64())
	actor, target := g.person(), g.person()
	e := &eventv1.Event{
		Mapper: proto.String("bench/1"),
		Source: &eventv1.Source{NativeId: proto.String(unique), NativeType: proto.String("user.session.start")},
		Class: &eventv1.Class{
			Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1), SeverityId: proto.Int64(1),
		},
		Times:   &eventv1.Times{Occurred: timestamppb.New(time.Now())},
		Actor:   person(actor),
		Targets: []*eventv1.Target{{Role: "user", Type: "User", Principal: person(target)}},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum(), Reason: g.filler[:64]},
		Correlation: &eventv1.Correlation{
			Session: unique[len(unique)-16:], Transaction: "trx-" + unique, RequestId: g.filler[:36],
		},
		Network: &eventv1.Network{
			Ip: "203.0.113.9", UserAgent: g.filler[:120], Country: "CH",
		},
		Credential: &eventv1.Credential{Kind: "okta_verify", ClientId: "0oa" + g.filler[:17]},
	}
	if g.shape.Raw {
		e.RawMediaType = "application/json"
		e.Raw = []byte(`{"id":"` + unique + `","padding":"` + g.filler[:1024-len(unique)-21] + `"}`)
	}
	e.Extra = []*eventv1.Attribute{{Name: "padding", Value: unique}}
	if room := 1024 - proto.Size(e) + len(e.Raw); room > 0 {
		e.Extra[0].Value += g.filler[:room%len(g.filler)]
	}
	return e
}

func person(name string) *eventv1.Principal {
	return &eventv1.Principal{
		Kind:    eventv1.Principal_KIND_USER,
		Issuer:  "https://acme.example",
		Id:      "00u" + name,
		Display: "Person " + name,
	}
}
