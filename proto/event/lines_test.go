package event_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/seal"
)

func TestFromLines(t *testing.T) {
	e := crowd(12, 3)
	raw(e, "/secret")
	event.Stamp(e, time.Unix(1763629200, 7))
	got, err := event.FromLines(shown(fieldsOf(t, e)), e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	lines := shown(fieldsOf(t, e))
	for i := range lines {
		lines[i].State, lines[i].Value = seal.Withheld, nil
	}
	if got, err = event.FromLines(lines, nil); err != nil {
		t.Fatal(err)
	}
	if len(got.Targets) != 12 || got.Actor.GetId() != "" || got.Source.NativeId != nil {
		t.Errorf("from withheld lines: %v", got)
	}
}

func TestFromLinesRefuses(t *testing.T) {
	str := func(path string) seal.Line { return seal.Line{Path: path, State: seal.Shown, Value: seal.String("x")} }
	for name, lines := range map[string][]seal.Line{
		"unknown path":           {str("nothing")},
		"unknown below":          {str("actor.nothing")},
		"path of a message":      {str("actor")},
		"path below a scalar":    {str("mapper.x")},
		"path of a list":         {str("targets")},
		"path of an element":     {str("targets.0")},
		"path below an item":     {str("raw_masked.0.x")},
		"no index":               {str("targets.x.id")},
		"index with a zero":      {str("targets.00.id")},
		"index with a sign":      {str("targets.+0.id")},
		"index beyond the list":  {str("targets.500.id")},
		"element missing":        {str("targets.1.id")},
		"item missing":           {str("raw_masked.0"), str("raw_masked.2")},
		"empty path":             {str("")},
		"another kind":           {{Path: "class.class_uid", State: seal.Shown, Value: seal.String("1")}},
		"enum for int":           {{Path: "class.class_uid", State: seal.Shown, Value: seal.Enum(1)}},
		"malformed value":        {{Path: "class.class_uid", State: seal.Shown, Value: seal.Value("i01")}},
		"no value":               {{Path: "class.class_uid", State: seal.Shown}},
		"other raw":              {{Path: "raw", State: seal.Shown, Value: seal.RawOf([]byte("other"))}},
		"raw as bytes":           {{Path: "raw", State: seal.Shown, Value: seal.Bytes([]byte("x"))}},
		"path through timestamp": {{Path: "times.occurred.seconds", State: seal.Shown, Value: seal.Int(1)}},
	} {
		if e, err := event.FromLines(lines, []byte("raw")); err == nil {
			t.Errorf("%s: accepted as %v", name, e)
		}
	}
}

func TestJSON(t *testing.T) {
	e := &eventv1.Event{
		Source:       &eventv1.Source{NativeId: proto.String("1"), NativeType: proto.String("")},
		Class:        &eventv1.Class{Schema: proto.String("s"), ClassUid: proto.Int64(0), ActivityId: proto.Int64(9007199254740993)},
		Outcome:      &eventv1.Outcome{Status: eventv1.Outcome_STATUS_DENIED.Enum()},
		Actor:        &eventv1.Principal{Id: "a", Login: "\x1b[31m\"red\\\u202e\U000e0001\n", Kind: eventv1.Principal_KIND_AI_AGENT},
		Network:      &eventv1.Network{Proxy: proto.Bool(false), IpChain: []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}},
		RawMediaType: "t", Raw: []byte("raw"),
	}
	e.Class.ActivityId = proto.Int64(9)
	event.Stamp(e, time.Unix(1763629200, 5))
	lines := shown(fieldsOf(t, e))
	for i := range lines {
		switch lines[i].Path {
		case "actor.id":
			lines[i].State = seal.Withheld
		case "class.schema":
			lines[i].State, lines[i].ErasedAt = seal.Erased, 77
		}
	}
	got, err := event.JSON(lines)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "actor": {
    "id": {"$withheld":true},
    "kind": "KIND_AI_AGENT",
    "login": "\u001b[31m\"red\\\u202e\udb40\udc01\n"
  },
  "class": {
    "activity_id": 9,
    "class_uid": 0,
    "schema": {"$erased":77}
  },
  "mapper": "direct/1",
  "network": {
    "ip_chain": [
      "0",
      "1",
      "2",
      "3",
      "4",
      "5",
      "6",
      "7",
      "8",
      "9",
      "10"
    ],
    "proxy": false
  },
  "outcome": {
    "status": "STATUS_DENIED"
  },
  "raw": {"bytes":3,"sha256":"d7439bee24773bcbfa2d0a97947ee36227b10d1022b1a55847e928965bb6bfde"},
  "raw_media_type": "t",
  "schema": "idlog.event.v1",
  "source": {
    "native_id": "1",
    "native_type": ""
  },
  "times": {
    "received": "2025-11-20T09:00:00.000000005Z"
  }
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestText shows one value as JSON does, but for its escapes.
func TestText(t *testing.T) {
	for _, tc := range []struct {
		path  string
		value seal.Value
		want  string
	}{
		{"actor.id", seal.String("a\"\n"), "a\"\n"},
		{"targets.3.principal.email", seal.String("a@b"), "a@b"},
		{"network.ip_chain.0", seal.String("192.0.2.1"), "192.0.2.1"},
		{"class.class_uid", seal.Int(3002), "3002"},
		{"outcome.status", seal.Enum(2), "STATUS_FAILURE"},
		{"outcome.status", seal.Enum(99), "99"},
		{"times.occurred", seal.Time(1e9), "1970-01-01T00:00:01Z"},
		{"actor.id", seal.Int(1), ""},           // not of the schema's kind
		{"actor", seal.String("x"), ""},         // no scalar
		{"nobody.id", seal.String("x"), ""},     // no such field
		{"actor.id.more", seal.String("x"), ""}, // goes on below a scalar
	} {
		if got := event.Text(&seal.Line{Path: tc.path, State: seal.Shown, Value: tc.value}); got != tc.want {
			t.Errorf("Text(%s %s) = %q, want %q", tc.path, tc.value.Text(), got, tc.want)
		}
	}
	if got := event.Text(&seal.Line{Path: "actor.id", Value: seal.String("x")}); got != "" {
		t.Errorf("a withheld line shows %q", got)
	}
}
