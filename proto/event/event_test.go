package event_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/seal"
)

func fieldsOf(t testing.TB, e *eventv1.Event) []seal.Field {
	t.Helper()
	fields, err := event.Fields(e)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

// TestStampFields: adding to the fields is adding to the event, with a mapper and without, and whatever was added before.
func TestStampFields(t *testing.T) {
	for _, mapper := range []*string{nil, proto.String("okta/1"), proto.String(event.DirectMapper)} {
		e := typical()
		e.Mapper = mapper
		fields := fieldsOf(t, e)
		at := time.Unix(1763629200, 7)
		event.Stamp(e, at)
		if diff := cmp.Diff(fieldsOf(t, e), event.StampFields(fields, at)); diff != "" {
			t.Errorf("mapper %v (-Stamp +StampFields):\n%s", mapper, diff)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	type E = eventv1.Event
	for _, c := range []struct {
		name   string
		change func(e *E)
		path   string
		fault  event.Fault
		// option is set when the rule is one of the schema's options, which another implementation must refuse as well.
		option bool
	}{
		{"no source", func(e *E) { e.Source = nil }, "source", event.Missing, true},
		{"no class", func(e *E) { e.Class = nil }, "class", event.Missing, true},
		{"no outcome", func(e *E) { e.Outcome = nil }, "outcome", event.Missing, true},
		{"no status", func(e *E) { e.Outcome.Status = nil }, "outcome.status", event.Missing, true},
		{"no native id", func(e *E) { e.Source.NativeId = nil }, "source.native_id", event.Missing, true},
		{"empty native id", func(e *E) { e.Source.NativeId = proto.String("") }, "source.native_id", event.Invalid, true},
		{"long native id", func(e *E) { e.Source.NativeId = proto.String(strings.Repeat("x", 1025)) }, "source.native_id", event.TooLarge, true},
		{"long mapper", func(e *E) { e.Mapper = proto.String(strings.Repeat("x", 129)) }, "mapper", event.TooLarge, true},
		{"negative class", func(e *E) { e.Class.ClassUid = proto.Int64(-1) }, "class.class_uid", event.Invalid, true},
		{"great activity", func(e *E) { e.Class.ActivityId = proto.Int64(100) }, "class.activity_id", event.Invalid, true},
		{"north of the pole", func(e *E) { e.Network.LatitudeE6 = proto.Int64(90_000_001) }, "network.latitude_e6", event.Invalid, true},
		{"undefined kind", func(e *E) { e.Actor.Kind = 99 }, "actor.kind", event.Invalid, true},
		{"negative enum", func(e *E) { e.Outcome.Status = eventv1.Outcome_Status(-1).Enum() }, "outcome.status", event.Invalid, true},
		{"long item", func(e *E) { e.Network.IpChain = []string{"::1", strings.Repeat("x", 65)} }, "network.ip_chain.1", event.TooLarge, true},
		{"many items", func(e *E) { e.Network.IpChain = make([]string, 33) }, "network.ip_chain", event.TooLarge, true},
		{"many delegates", func(e *E) { e.Act = slices.Repeat([]*eventv1.Principal{{Id: "x"}}, 17) }, "act", event.TooLarge, true},
		{"long name in a list", func(e *E) { e.Targets[0].Principal.Login = strings.Repeat("x", 513) }, "targets.0.principal.login", event.TooLarge, true},
		{"nameless extra", func(e *E) { e.Extra = []*eventv1.Attribute{{Value: "x"}} }, "extra.0.name", event.Missing, true},

		{"schema sent", func(e *E) { e.Schema = proto.String(event.Schema) }, "schema", event.Invalid, false},
		{"received sent", func(e *E) { e.Times.Received = timestamppb.Now() }, "times.received", event.Invalid, false},
		{"not UTF-8", func(e *E) { e.Actor.Display = "a\xffb" }, "actor.display", event.Invalid, false},
		{"not UTF-8 in a list", func(e *E) { e.Network.IpChain = []string{"\xc0\x80"} }, "network.ip_chain.0", event.Invalid, false},
		{"a time too late", func(e *E) { e.Times.Occurred = timestamppb.New(time.Unix(0, math.MaxInt64).Add(1)) }, "times.occurred", event.Invalid, false},
		{"a time too early", func(e *E) { e.Times.Occurred = timestamppb.New(time.Unix(0, math.MinInt64).Add(-1)) }, "times.occurred", event.Invalid, false},
		{"a time of no year", func(e *E) { e.Times.Occurred = &timestamppb.Timestamp{Seconds: math.MaxInt64} }, "times.occurred", event.Invalid, false},
		{"a time of two seconds", func(e *E) { e.Times.Occurred = &timestamppb.Timestamp{Nanos: 2e9} }, "times.occurred", event.Invalid, false},
		{"an empty element", func(e *E) { e.Targets = append([]*eventv1.Target{{}}, e.Targets...) }, "targets.0", event.Missing, false},
		{"an element of nothing", func(e *E) { e.Targets = append(e.Targets, &eventv1.Target{Principal: &eventv1.Principal{}}) }, "targets.1", event.Missing, false},
		{"a nil element", func(e *E) { e.Changes = []*eventv1.Change{nil} }, "changes.0", event.Missing, false},
		{"a field of the future", func(e *E) { e.Actor.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 1}) }, "actor", event.Invalid, false},
		{"a format of no kind", func(e *E) { e.Targets[0].Principal.Format = "E Mail" }, "targets.0.principal.format", event.Invalid, false},
		{"a format of a delegate", func(e *E) { e.Act = []*eventv1.Principal{{Id: "x"}, {Id: "y", Format: "É"}} }, "act.1.format", event.Invalid, false},
		{"a format in a hop", func(e *E) { e.Hops = []*eventv1.Hop{{Subject: &eventv1.Principal{Format: "_"}}} }, "hops.0.subject.format", event.Invalid, false},
		{"a format of the actor", func(e *E) { e.Actor.Format = "opaque " }, "actor.format", event.Invalid, false},
		{"raw without its type", func(e *E) { e.Raw = []byte("{}") }, "raw_media_type", event.Missing, false},
		{"a type without raw", func(e *E) { e.RawMediaType = "text/plain" }, "raw_media_type", event.Invalid, false},
		{"masked without raw", func(e *E) { e.RawMasked = []string{"/a"} }, "raw_masked", event.Invalid, false},
		{"no pointer", func(e *E) { raw(e, "a") }, "raw_masked.0", event.Invalid, false},
		{"half an escape", func(e *E) { raw(e, "/a~") }, "raw_masked.0", event.Invalid, false},
		{"no escape", func(e *E) { raw(e, "/a~2") }, "raw_masked.0", event.Invalid, false},
		{"pointers descend", func(e *E) { raw(e, "/b", "/a") }, "raw_masked.1", event.Invalid, false},
		{"a pointer twice", func(e *E) { raw(e, "/a", "/a") }, "raw_masked.1", event.Invalid, false},
		{"a long pointer", func(e *E) { raw(e, "/"+strings.Repeat("x", 262_144)) }, "raw_masked.0", event.TooLarge, false},
		{"long together", func(e *E) {
			for range 5 {
				e.Extra = append(e.Extra, &eventv1.Attribute{Name: "x", Value: strings.Repeat("x", 65_000)})
			}
		}, "", event.TooLarge, false},
		{"many fields", func(e *E) {
			for range 500 {
				e.Changes = append(e.Changes, &eventv1.Change{Path: "p", Op: "o", Derived: true, Before: proto.String("x"), After: proto.String("")})
			}
		}, "", event.TooLarge, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := typical()
			if err := event.Check(e); err != nil {
				t.Fatal(err)
			}
			c.change(e)
			err := event.Check(e)
			var broken *event.FieldError
			if !errors.As(err, &broken) {
				t.Fatalf("Check: %v", err)
			}
			if broken.Path != c.path || broken.Fault != c.fault {
				t.Errorf("Check: %v (fault %d), want path %q, fault %d", err, broken.Fault, c.path, c.fault)
			}
			if c.option && protovalidate.Validate(e) == nil {
				t.Error("protovalidate accepts it")
			}
		})
	}
	if err := event.Check(nil); err == nil {
		t.Error("no event passes")
	}
}

func raw(e *eventv1.Event, pointers ...string) {
	e.Raw, e.RawMediaType, e.RawMasked = []byte("null"), "application/json", pointers
}

// What is at its bound is accepted, by us and by the schema's own validator.
func TestCheckAccepts(t *testing.T) {
	e := typical()
	raw(e, "", "/a~0b~1c", "/b")
	e.Raw = make([]byte, 4<<20)
	e.Source.NativeId = proto.String(strings.Repeat("x", 1024))
	e.Times.Occurred = timestamppb.New(time.Unix(0, math.MaxInt64))
	e.Times.Recorded = timestamppb.New(time.Unix(0, math.MinInt64))
	e.Network.IpChain = make([]string, 32)
	e.Actor.Login = "\u0000 \u202e \uFFFD é e\u0301"
	e.Credential = &eventv1.Credential{} // set and empty is nothing
	if err := event.Check(e); err != nil {
		t.Error(err)
	}
	if err := protovalidate.Validate(e); err != nil {
		t.Error(err)
	}
}

func TestFieldsAscend(t *testing.T) {
	for _, n := range []int{0, 1, 2, 9, 10, 11, 20, 21, 99, 100, 101, 256, 500} {
		e := typical()
		for i := range n {
			e.Changes = append(e.Changes, &eventv1.Change{Path: fmt.Sprint(i)})
		}
		fields := fieldsOf(t, e)
		if !slices.IsSortedFunc(fields, func(a, b seal.Field) int { return strings.Compare(a.Path, b.Path) }) {
			t.Errorf("the fields of %d changes do not ascend", n)
		}
		found := 0
		for i, f := range fields {
			if i > 0 && fields[i-1].Path == f.Path {
				t.Errorf("%s twice", f.Path)
			}
			if strings.HasPrefix(f.Path, "changes.") {
				found++
				if want := "changes." + string(f.Value[1:]) + ".path"; f.Path != want {
					t.Errorf("%s holds the value of %s", f.Path, want)
				}
			}
			if err := seal.CheckPath(f.Path); err != nil {
				t.Error(err)
			}
		}
		if found != n {
			t.Errorf("%d changes gave %d fields", n, found)
		}
	}
}

func TestSubmission(t *testing.T) {
	e := typical()
	before := event.Submission(nil, fieldsOf(t, e))
	e.Mapper = nil
	direct := event.Submission(nil, fieldsOf(t, e))
	event.Stamp(e, time.Unix(1, 0))
	if got := event.Submission(nil, fieldsOf(t, e)); string(got) != string(direct) {
		t.Error("stamping changed what was submitted")
	}
	if e.GetMapper() != event.DirectMapper || e.GetSchema() != event.Schema || e.GetTimes().GetReceived().GetSeconds() != 1 {
		t.Errorf("stamped %v", e)
	}
	if string(before) == string(direct) {
		t.Error("the mapper does not count")
	}
	raw(e)
	withRaw := event.Submission(nil, fieldsOf(t, e))
	if string(withRaw) == string(direct) {
		t.Error("raw does not count")
	}
	e.Actor.Display = "another mapping of the same bytes"
	if got := event.Submission(nil, fieldsOf(t, e)); string(got) == string(withRaw) {
		t.Error("beside raw the fields do not count")
	}
}

func TestConflicting(t *testing.T) {
	e := typical()
	raw(e)
	before := proto.CloneOf(e)
	id := e.GetSource().GetNativeId()
	sum := sha256.Sum256(event.Submission(nil, fieldsOf(t, e)))
	c := event.Conflicting(e, fieldsOf(t, e))
	if want := fmt.Sprintf("%s!%x", id, sum[:4]); c.Source.GetNativeId() != want || c.Source.Conflict != id {
		t.Errorf("%s of %s, want %s", c.Source.GetNativeId(), c.Source.Conflict, want)
	}
	if !proto.Equal(before, e) {
		t.Error("Conflicting changed its argument")
	}
	if err := event.Check(c); err != nil {
		t.Error(err)
	}
	e.Outcome.Code = "other"
	if other := event.Conflicting(e, fieldsOf(t, e)); other.Source.GetNativeId() == c.Source.GetNativeId() {
		t.Error("two other mappings of the same bytes take one id")
	}
}

func TestFit(t *testing.T) {
	e := typical()
	e.Network.UserAgent = strings.Repeat("x", 2049)
	e.Network.LatitudeE6 = proto.Int64(math.MaxInt64)
	e.Network.IpChain = append(make([]string, 40), strings.Repeat("x", 65))
	e.Actor.Display = "\xff"
	e.Actor.Kind = 77
	e.Times.Recorded = &timestamppb.Timestamp{Nanos: -1}
	e.Targets = append(e.Targets, &eventv1.Target{}, &eventv1.Target{Name: "kept"})
	e.Changes = []*eventv1.Change{{Path: "p"}}
	e.Extra = slices.Repeat([]*eventv1.Attribute{{Name: "n", Value: strings.Repeat("x", 60_000)}}, 300)
	event.Fit(e)
	if err := event.Check(e); err != nil {
		t.Fatal(err)
	}
	want := typical()
	want.Actor.Display, want.Actor.Kind = "", 0
	want.Network.UserAgent = ""
	want.Network.IpChain = make([]string, 32)
	want.Changes = []*eventv1.Change{{Path: "p"}}
	want.Targets = append(want.Targets, &eventv1.Target{Name: "kept"})
	if diff := cmp.Diff(want, e, protocmp.Transform()); diff != "" {
		t.Errorf("Fit (-want +got):\n%s", diff)
	}

	e = typical()
	e.Extra = []*eventv1.Attribute{{Name: strings.Repeat("x", 257), Value: "v"}, {Name: "n"}}
	event.Fit(e)
	if len(e.Extra) != 1 || event.Check(e) != nil {
		t.Errorf("Fit left %v", e.Extra)
	}

	e = typical()
	e.Targets = slices.Repeat(e.Targets, 600)
	e.Act = slices.Repeat([]*eventv1.Principal{{Id: "x"}}, 20)
	event.Fit(e)
	if len(e.Targets) != 600 || len(e.Act) != 20 {
		t.Errorf("Fit lost persons: %d targets, %d delegates", len(e.Targets), len(e.Act))
	}
}

func FuzzFields(f *testing.F) {
	seed := func(e *eventv1.Event) {
		b, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(typical())
	e := typical()
	raw(e, "/a")
	event.Stamp(e, time.Unix(1763629200, 1))
	e.Network.Asn, e.Network.Proxy = proto.Int64(0), proto.Bool(false)
	e.Changes = []*eventv1.Change{{Path: "p", Before: proto.String(""), Derived: true}}
	e.Hops = []*eventv1.Hop{{Issuer: "i", Subject: &eventv1.Principal{Email: "A@b.example"}}}
	seed(e)
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &eventv1.Event{}
		if proto.Unmarshal(b, e) != nil {
			return
		}
		if checked := event.Check(e); checked == nil {
			if _, err := event.Fields(e); err != nil {
				t.Fatalf("Check passed it, Fields: %v", err)
			}
		}
		parts := event.Split(proto.Clone(e).(*eventv1.Event))
		fitted := proto.Clone(e).(*eventv1.Event)
		event.Fit(fitted)
		fields, err := event.Fields(e)
		if err != nil {
			return
		}
		if fit, err := event.Fields(fitted); err != nil || !cmp.Equal(fit, fields) {
			t.Fatalf("Fit changed a valid event: %v", err)
		}
		if _, err := event.NewRoll(e); err == nil && len(parts) != 1 {
			t.Fatal("Split split an event that one leaf carries")
		}
		for i, fl := range fields {
			if i > 0 && fields[i-1].Path >= fl.Path {
				t.Fatalf("%s does not ascend", fl.Path)
			}
			if err := fl.Value.Check(); err != nil {
				t.Fatal(err)
			}
			if err := seal.CheckPath(fl.Path); err != nil {
				t.Fatal(err)
			}
		}
		again, err := event.FromLines(shown(fields), e.Raw)
		if err != nil {
			t.Fatal(err)
		}
		refields, err := event.Fields(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fields, refields); diff != "" {
			t.Fatalf("Fields(FromLines(fields)) differs:\n%s", diff)
		}
		if _, err := event.JSON(shown(fields)); err != nil {
			t.Fatal(err)
		}
		first, err := event.Tags(e, vectorKeys(), vectorHandle)
		if err != nil {
			return
		}
		second, err := event.Tags(again, vectorKeys(), vectorHandle)
		if diff := cmp.Diff(first, second); err != nil || diff != "" {
			t.Fatalf("an auditor computes other tags: %v\n%s", err, diff)
		}
	})
}

// A buffer gives what Fields gives, of large events and of small ones, whatever it held before.
func TestBuffer(t *testing.T) {
	var b event.Buffer
	for _, n := range []int{1, 100, 0, 400, 3} {
		e := crowd(n, 3)
		got, err := b.Fields(e)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fieldsOf(t, e), got); diff != "" {
			t.Errorf("%d targets (-Fields +Buffer.Fields):\n%s", n, diff)
		}
		if _, err := b.Fields(&eventv1.Event{}); err == nil {
			t.Error("an event of nothing has fields")
		}
	}
}
