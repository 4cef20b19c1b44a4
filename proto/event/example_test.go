package event_test

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

func ExampleFields() {
	e := &eventv1.Event{
		Source:  &eventv1.Source{NativeId: proto.String("e-1"), NativeType: proto.String("door.opened")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(0), ActivityId: proto.Int64(0)},
		Actor:   &eventv1.Principal{Issuer: "https://hr.example", Id: "17"},
		Targets: []*eventv1.Target{{Type: "door", Id: "north"}},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
	}
	if err := event.Check(e); err != nil {
		fmt.Println(err)
		return
	}
	event.Stamp(e, time.Unix(1763629200, 0))
	fields, err := event.Fields(e)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range fields {
		fmt.Printf("%s %s\n", f.Path, f.Value)
	}
	// Output:
	// actor.id s17
	// actor.issuer shttps://hr.example
	// class.activity_id i0
	// class.class_uid i0
	// class.schema socsf/1.9.0-dev
	// mapper sdirect/1
	// outcome.status e1
	// schema sidlog.event.v1
	// source.native_id se-1
	// source.native_type sdoor.opened
	// targets.0.id snorth
	// targets.0.type sdoor
	// times.received t1763629200000000000
}
