package event_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

// typical is an event of 32 fields, once the server has stamped it, with two persons and three identifiers each.
func typical() *eventv1.Event {
	person := func(n string) *eventv1.Principal {
		return &eventv1.Principal{
			Kind: eventv1.Principal_KIND_USER, Issuer: "https://acme.okta.example", Id: "00u" + n,
			Login: n + "@acme.example", Email: n + "@mail.acme.example", Display: "Person " + n,
		}
	}
	return &eventv1.Event{
		Mapper: proto.String("okta/1"),
		Source: &eventv1.Source{NativeId: proto.String("8c5e0bd5-7b3e-4f63-a3d2-5a0d1b1c0a01"), NativeType: proto.String("user.session.start")},
		Class: &eventv1.Class{
			Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1), SeverityId: proto.Int64(1),
		},
		Times:      &eventv1.Times{Occurred: timestamppb.New(time.Unix(1763629200, 412000000))},
		Actor:      person("ada"),
		Credential: &eventv1.Credential{Kind: "password"},
		Targets:    []*eventv1.Target{{Role: "user", Principal: person("bob")}},
		Outcome:    &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Correlation: &eventv1.Correlation{
			Session: "idx9", Transaction: "trx77",
		},
		Network: &eventv1.Network{Ip: "203.0.113.9", UserAgent: "Mozilla/5.0", Country: "Freedonia", City: "Fredville"},
	}
}

func BenchmarkCheck(b *testing.B) {
	e := typical()
	for b.Loop() {
		if err := event.Check(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFields(b *testing.B) {
	e := typical()
	event.Stamp(e, time.Unix(1763629201, 0))
	n := 0
	for b.Loop() {
		fields, err := event.Fields(e)
		if err != nil {
			b.Fatal(err)
		}
		n = len(fields)
	}
	b.ReportMetric(float64(n), "fields")
}

func BenchmarkRoll(b *testing.B) {
	e := typical()
	for b.Loop() {
		if _, err := event.NewRoll(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTag(b *testing.B) {
	e := typical()
	event.Stamp(e, time.Unix(1763629201, 0))
	fields, err := event.Fields(e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		roll, err := event.NewRoll(e)
		if err != nil {
			b.Fatal(err)
		}
		roll.Tag(fields, event.NeutralKeys{}, make([][32]byte, len(roll.Identifiers)))
	}
}
