package access_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/client/access"
	"idlog/proto/answer"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/tag"
)

// at is minutes after some morning.
func at(minutes int) time.Time {
	return time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func principal(name string) *eventv1.Principal {
	return &eventv1.Principal{Issuer: "https://idp.example", Id: "id-" + name, Login: name + "@acme.example", Kind: eventv1.Principal_KIND_USER}
}

func user(name string) *eventv1.Target {
	return &eventv1.Target{Role: "user", Type: "User", Principal: principal(name)}
}

func thing(kind, id string) *eventv1.Target {
	return &eventv1.Target{Role: strings.ToLower(kind), Type: kind, Id: id, Name: "the " + id}
}

var (
	group = access.Target{Type: "UserGroup", ID: "g1"}
	app   = access.Target{Type: "AppInstance", ID: "a1"}
	role  = access.Target{Type: "role", ID: "r1"}
)

// told is an event at an index, which the log had within the minute. Its source says that it occurred at minutes.
func told(t testing.TB, index int64, minutes int, class int64, targets []*eventv1.Target, change ...func(*eventv1.Event)) answer.Event {
	t.Helper()
	e := &eventv1.Event{
		Schema: proto.String("idlog.event.v1"), Mapper: proto.String("direct/1"),
		Source:  &eventv1.Source{NativeId: proto.String(fmt.Sprint(index)), NativeType: proto.String("x")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(class / 100), ActivityId: proto.Int64(class % 100)},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
		Times:   &eventv1.Times{Occurred: timestamppb.New(at(minutes)), Received: timestamppb.New(at(minutes))},
		Actor:   principal("ada"), Targets: targets,
	}
	for _, f := range change {
		f(e)
	}
	fields, err := event.Fields(e)
	check(t, err)
	roll, err := event.NewRoll(e)
	check(t, err)
	var handles [][32]byte
	for _, id := range roll.Identifiers {
		b, err := id.Bytes()
		check(t, err)
		handles = append(handles, sha256.Sum256(b))
	}
	key := tag.Key(bytes.Repeat([]byte{1}, 32))
	tagged := roll.Tag(fields, event.NeutralKeys{EventID: key, Session: key, Class: key, Target: key}, handles)
	out := answer.Event{Index: index, After: at(minutes - 1), Before: at(minutes + 1),
		Leaf: &leaf.Event{Source: "okta", Received: at(minutes).Unix(), Tags: tagged.Tags}}
	for _, f := range tagged.Fields {
		out.Fields = append(out.Fields, seal.Line{Path: f.Path, Owners: f.Owners, State: seal.Shown, Value: f.Value})
	}
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hide takes the fields whose paths begin so out of what is shown.
func hide(e answer.Event, state seal.State, prefixes ...string) answer.Event {
	for i, l := range e.Fields {
		for _, p := range prefixes {
			if strings.HasPrefix(l.Path, p) {
				e.Fields[i] = seal.Line{Path: l.Path, Owners: l.Owners, State: state, ErasedAt: 99}
			}
		}
	}
	return e
}

func ended(s eventv1.Outcome_Status) func(*eventv1.Event) {
	return func(e *eventv1.Event) { e.Outcome.Status = &s }
}

// rows writes a table, a line each.
func rows(table *access.Table) (lines []string) {
	for _, h := range table.Holdings {
		who := h.Person.Identifier.ID
		switch {
		case who != "":
		case h.Person.Erased:
			who = "erased"
		case h.Person.Tag != nil:
			who = "withheld"
		default:
			who = "somebody"
		}
		by := ""
		if h.By != nil {
			by = " by " + h.By.Identifier.ID
		}
		line := fmt.Sprintf("%s %s %s: entry %d at %s%s", who, h.State, h.Relation, h.Entry, h.Since.Format("15:04"), by)
		if h.Why != "" {
			line += ": " + h.Why
		}
		lines = append(lines, line)
	}
	for _, v := range table.Vias {
		lines = append(lines, fmt.Sprintf("%s %s %s: entry %d at %s", v.Target, v.State, v.Relation, v.Entry, v.Since.Format("15:04")))
	}
	for _, f := range table.Flags {
		lines = append(lines, fmt.Sprintf("entry %d %s", f.Entry, f.Problem))
	}
	return lines
}

func TestAt(t *testing.T) {
	const (
		add    = 3006_03
		remove = 3006_04
	)
	in := func(name string) []*eventv1.Target { return []*eventv1.Target{thing("UserGroup", "g1"), user(name)} }
	for name, test := range map[string]struct {
		target access.Target
		events []answer.Event
		want   []string
	}{
		"nothing": {group, nil, nil},
		"given, taken, given again": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 1, add, in("eve")), told(t, 3, 2, remove, in("bob")), told(t, 4, 3, remove, in("eve")), told(t, 5, 4, add, in("eve")),
		}, []string{"id-eve held member: entry 5 at 08:04 by id-ada", "id-bob not held member: entry 3 at 08:02 by id-ada"}},
		"what failed changes nothing": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 1, remove, in("bob"), ended(eventv1.Outcome_STATUS_FAILURE)),
			told(t, 3, 2, add, in("eve"), ended(eventv1.Outcome_STATUS_DENIED)),
		}, []string{"id-bob held member: entry 1 at 08:00 by id-ada"}},
		"what ended nobody knows how": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 1, remove, in("bob"), ended(eventv1.Outcome_STATUS_UNSPECIFIED)),
			told(t, 3, 2, add, in("eve"), ended(eventv1.Outcome_STATUS_PARTIAL)),
		}, []string{
			"id-bob unknown member: entry 2 at 08:01 by id-ada: entry 2 does not say how it ended",
			"id-eve unknown member: entry 3 at 08:02 by id-ada: entry 3 says that some of it was done"}},
		"in the order in which it occurred": {group, []answer.Event{
			told(t, 1, 2, remove, in("bob")), told(t, 2, 1, add, in("bob")),
			told(t, 3, 3, add, in("eve")), told(t, 4, 3, remove, in("eve")),
		}, []string{
			"id-bob not held member: entry 1 at 08:02 by id-ada",
			"id-eve not held member: entry 4 at 08:03 by id-ada"}},
		"afterwards": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 11, remove, in("bob")), told(t, 3, 12, add, in("later")),
			told(t, 4, 13, remove, in("later")), told(t, 5, 14, remove, in("eve")), told(t, 6, 15, add, in("eve")),
		}, []string{
			"id-bob held member: entry 1 at 08:00 by id-ada",
			"id-eve unknown member: entry 5 at 08:14 by id-ada: entry 5 takes it away later, and no entry before gives it"}},
		"several at once": {group, []answer.Event{
			told(t, 1, 0, add, append(in("bob"), user("eve"))), told(t, 2, 1, remove, in("eve"))},
			[]string{"id-bob held member: entry 1 at 08:00 by id-ada", "id-eve not held member: entry 2 at 08:01 by id-ada"}},
		"the account beside its user is nobody": {app, []answer.Event{
			told(t, 1, 0, 3007_14, []*eventv1.Target{{Role: "app_user", Type: "AppUser", Principal: principal("account")}, thing("AppInstance", "a1"), user("bob")})},
			[]string{"id-bob held privilege: entry 1 at 08:00 by id-ada"}},
		"the account alone is somebody": {app, []answer.Event{
			told(t, 1, 0, 3007_14, []*eventv1.Target{{Role: "app_user", Type: "AppUser", Principal: principal("account")}, thing("AppInstance", "a1")})},
			[]string{"id-account held privilege: entry 1 at 08:00 by id-ada"}},
		"by nobody": {group, []answer.Event{told(t, 1, 0, add, in("bob"), func(e *eventv1.Event) { e.Actor = nil })},
			[]string{"id-bob held member: entry 1 at 08:00"}},
		"roles and privileges of one role": {role, []answer.Event{
			told(t, 1, 0, 3007_16, []*eventv1.Target{thing("role", "r1"), user("bob")}), told(t, 2, 1, 3005_01, []*eventv1.Target{thing("role", "r1"), user("bob")}),
			told(t, 3, 2, 3007_17, []*eventv1.Target{thing("role", "r1"), user("bob")})},
			[]string{"id-bob held privilege: entry 2 at 08:01 by id-ada", "id-bob not held role: entry 3 at 08:02 by id-ada"}},
		"a group has the application": {app, []answer.Event{
			told(t, 1, 0, 3006_01, []*eventv1.Target{thing("UserGroup", "g1"), thing("AppInstance", "a1")}),
			told(t, 2, 1, 3006_01, []*eventv1.Target{thing("UserGroup", "g2"), thing("AppInstance", "a1")}),
			told(t, 3, 2, 3006_02, []*eventv1.Target{thing("UserGroup", "g2"), thing("AppInstance", "a1")})},
			[]string{"UserGroup/g1 held privilege: entry 1 at 08:00", "UserGroup/g2 not held privilege: entry 3 at 08:02"}},
		"and that gives nobody the group": {group, []answer.Event{
			told(t, 1, 0, 3006_01, []*eventv1.Target{thing("UserGroup", "g1"), thing("AppInstance", "a1")})}, nil},
		"a member of a group beside": {app, []answer.Event{
			told(t, 1, 0, add, []*eventv1.Target{thing("AppInstance", "a1"), thing("AppGroup", "g1"), user("bob")})}, nil},
		"the group is gone": {group, []answer.Event{told(t, 1, 0, add, in("bob")), told(t, 2, 1, 3006_05, []*eventv1.Target{thing("UserGroup", "g1")}), told(t, 3, 2, add, in("eve"))},
			[]string{"id-eve held member: entry 3 at 08:02 by id-ada", "id-bob not held member: entry 2 at 08:01 by id-ada"}},
		"something beside it is gone": {app, []answer.Event{told(t, 1, 0, 3007_14, []*eventv1.Target{thing("AppInstance", "a1"), user("bob")}),
			told(t, 2, 1, 3004_04, []*eventv1.Target{thing("PolicyRule", "p"), thing("AppInstance", "a1")})},
			[]string{"id-bob held privilege: entry 1 at 08:00 by id-ada"}},
		"to nobody in particular": {group, []answer.Event{told(t, 1, 0, add, []*eventv1.Target{thing("UserGroup", "g1")})},
			[]string{"somebody unknown member: entry 1 at 08:00 by id-ada: entry 1 does not name to whom"}},
		"what is no giving": {group, []answer.Event{told(t, 1, 0, 3006_09, in("bob")), told(t, 2, 0, 3003_01, in("bob")), told(t, 3, 0, 0, in("bob"))}, nil},

		// What is not shown.
		"erased, and known elsewhere": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), hide(told(t, 2, 1, remove, in("bob")), seal.Erased, "targets.", "actor.")},
			[]string{"id-bob not held member: entry 2 at 08:01 by id-ada"}},
		"erased everywhere": {group, []answer.Event{
			hide(told(t, 1, 0, add, in("bob")), seal.Erased, "targets.1"), hide(told(t, 2, 1, add, in("eve")), seal.Erased, "targets."),
			hide(told(t, 3, 2, remove, in("bob")), seal.Erased, "targets.1")},
			[]string{"erased held member: entry 2 at 08:01 by id-ada", "erased not held member: entry 3 at 08:02 by id-ada"}},
		"the group is gone, and so is who did it": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), hide(told(t, 2, 1, 3006_05, []*eventv1.Target{thing("UserGroup", "g1")}), seal.Erased, "targets.", "actor.")},
			[]string{"id-bob not held member: entry 2 at 08:01 by id-ada"}},
		"what it did is withheld": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 0, add, in("eve")), hide(told(t, 3, 1, remove, in("bob")), seal.Withheld, "class.activity_id")},
			[]string{"id-eve held member: entry 2 at 08:00 by id-ada", "id-bob unknown member: entry 3 at 08:01 by id-ada: entry 3 withholds class.activity_id"}},
		"and to whom": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), hide(told(t, 2, 1, remove, in("bob")), seal.Withheld, "outcome.status", "targets.1")},
			[]string{"id-bob unknown member: entry 2 at 08:01 by id-ada: entry 2 withholds outcome.status"}},
		"all of it is withheld": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), told(t, 2, 0, add, in("eve")), unread(told(t, 3, 1, remove, in("bob")), false), told(t, 4, 2, add, in("bob"))},
			[]string{"id-bob held member: entry 4 at 08:02 by id-ada", "id-eve held member: entry 2 at 08:00 by id-ada",
				"id-ada unknown : entry 3 at 08:01: entry 3 withholds what it did",
				"entry 3 does not show when it occurred, and is taken by when the log received it"}},
		"not even its leaf is shown": {group, []answer.Event{
			told(t, 1, 0, add, in("bob")), unread(told(t, 2, 1, remove, in("bob")), true)},
			[]string{"id-bob unknown member: entry 2 at 08:01: entry 2 withholds what it did", "somebody unknown : entry 2 at 08:01: entry 2 withholds what it did",
				"entry 2 does not show when it occurred, and is taken by when the log received it"}},
		"when is withheld": {group, []answer.Event{
			hide(told(t, 1, 3, remove, in("bob")), seal.Withheld, "times.occurred"), told(t, 2, 2, add, in("bob"))},
			[]string{"id-bob not held member: entry 1 at 08:03 by id-ada", "entry 1 does not show when it occurred, and is taken by when the log received it"}},

		// What does not fit.
		"before it occurred": {group, []answer.Event{logged(told(t, 1, 9, add, in("bob")), 2, 5)},
			[]string{"id-bob held member: entry 1 at 08:09 by id-ada", "entry 1 says that it occurred at 2026-11-23T08:09:00Z, and was in the log before 2026-11-23T08:05:00Z"}},
		"long after it occurred": {group, []answer.Event{logged(told(t, 1, 1, add, in("bob")), 60, 61)},
			[]string{"id-bob held member: entry 1 at 08:01 by id-ada", "entry 1 says that it occurred at 2026-11-23T08:01:00Z, and was not in the log at 2026-11-23T09:00:00Z"}},
		"within the skew": {group, []answer.Event{logged(told(t, 1, 6, add, in("bob")), 4, 5), logged(told(t, 2, 6, add, in("eve")), 7, 8)},
			[]string{"id-bob held member: entry 1 at 08:06 by id-ada", "id-eve held member: entry 2 at 08:06 by id-ada"}},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := access.At(test.events, test.target, at(10), time.Minute)
			check(t, err)
			if diff := cmp.Diff(test.want, rows(table)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := table.Used + table.Later + table.Others; n != len(test.events) {
				t.Errorf("%d events are accounted for, of %d", n, len(test.events))
			}
		})
	}
}

// unread is an event of which the fields are not shown, and perhaps not even the leaf.
func unread(e answer.Event, leaf bool) answer.Event {
	e.Fields = nil
	if leaf {
		e.Leaf, e.Before = nil, at(1)
	}
	return e
}

// logged changes when an event was logged.
func logged(e answer.Event, after, before int) answer.Event {
	e.After, e.Before = at(after), at(before)
	return e
}

// TestCoverage: what was seen of each source, by when it occurred.
func TestCoverage(t *testing.T) {
	in := []*eventv1.Target{thing("UserGroup", "g1"), user("bob")}
	other := told(t, 4, 30, 3006_09, in)
	other.Leaf.Source = "scim"
	table, err := access.At([]answer.Event{told(t, 1, 5, 3006_03, in), told(t, 2, 2, 3006_04, in), told(t, 3, 20, 3006_04, in), other}, group, at(10), time.Minute)
	check(t, err)
	want := []access.Coverage{
		{Source: "okta", First: access.Seen{Entry: 2, Time: at(2)}, Last: access.Seen{Entry: 3, Time: at(20)}, Events: 3},
		{Source: "scim", First: access.Seen{Entry: 4, Time: at(30)}, Last: access.Seen{Entry: 4, Time: at(30)}, Events: 1},
	}
	if diff := cmp.Diff(want, table.Coverage); diff != "" || table.Used != 2 || table.Later != 1 || table.Others != 1 {
		t.Errorf("%d used, %d later, %d others (-want +got):\n%s", table.Used, table.Later, table.Others, diff)
	}
}

// TestAnyOrder: the order in which events are given is nothing to go by, and no part of an event that is hidden makes it fail.
func TestAnyOrder(t *testing.T) {
	var events []answer.Event
	for i := range 12 {
		in := []*eventv1.Target{thing("UserGroup", "g1"), user(fmt.Sprint(i % 3))}
		e := told(t, int64(i), i*7%12, int64(3006_03+i%2), in)
		if i%5 == 0 {
			e = hide(e, seal.Erased, "targets.1")
		}
		events = append(events, e)
	}
	first, err := access.At(events, group, at(9), time.Minute)
	check(t, err)
	for i := range events {
		moved := append(append([]answer.Event{}, events[i:]...), events[:i]...)
		again, err := access.At(moved, group, at(9), time.Minute)
		check(t, err)
		if diff := cmp.Diff(rows(first), rows(again)); diff != "" {
			t.Errorf("from %d on:\n%s", i, diff)
		}
	}
	for i := range events[0].Fields {
		e := told(t, 0, 0, 3006_03, []*eventv1.Target{thing("UserGroup", "g1"), user("bob")})
		table, err := access.At([]answer.Event{hide(e, seal.Withheld, e.Fields[i].Path)}, group, at(9), time.Minute)
		if err != nil || len(table.Holdings) != 1 {
			t.Errorf("without %s: %v, %v", e.Fields[i].Path, rows(table), err)
		}
	}
}
