package source_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"idlog/log/source"
	"idlog/log/source/auth0"
	"idlog/log/source/okta"
	"idlog/proto/event"
)

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-20T09:00:00.412Z":          "2026-11-20T09:00:00.412Z",
		"2026-11-20T10:00:00+01:00":         "2026-11-20T09:00:00Z",
		"2022-03-22 14:21:53.225":           "2022-03-22T14:21:53.225Z",
		"2020-11-25 21:27:03.496000001":     "2020-11-25T21:27:03.496000001Z",
		" 2020-11-25 21:27:03 ":             "2020-11-25T21:27:03Z",
		"2020-11-25 21:27:03.5 UTC":         "2020-11-25T21:27:03.5Z",
		"2020-11-25T21:27:03":               "2020-11-25T21:27:03Z",
		"2020-11-25 22:27:03.000000+01:00":  "2020-11-25T21:27:03Z",
		"redacted":                          "",
		"":                                  "",
		"2020-13-25T21:27:03Z":              "",
		"1763629200":                        "",
		"2026-11-20T09:00:00.412Z and more": "",
	} {
		got := ""
		if ts := source.ParseTime(in); ts != nil {
			got = ts.AsTime().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDerivedID(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", 1025), "\xff"} {
		e := source.New("m/1", []byte(`{"a":1}`), nil, id, "t")
		if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(`{"a":1}`))); e.Source.GetNativeId() != want {
			t.Errorf("id %q became %q, want %q", id, e.Source.GetNativeId(), want)
		}
	}
	e := source.New("m/1", []byte(`{}`), nil, "given", strings.Repeat("é", 200))
	if e.Source.GetNativeId() != "given" || len(e.Source.GetNativeType()) != 256 {
		t.Errorf("id %q, type of %d bytes", e.Source.GetNativeId(), len(e.Source.GetNativeType()))
	}
	if err := event.Check(e); err != nil {
		t.Error(err)
	}
	// The hash is that of the masked bytes: one of the bytes received would let a password be guessed.
	events, err := okta.Mapper.Map([]byte(`{"eventType":"x","actor":{"password":"p"}}`), source.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(events[0].Raw)); events[0].Source.GetNativeId() != want {
		t.Errorf("id %s, want %s", events[0].Source.GetNativeId(), want)
	}
}

func TestNotEvents(t *testing.T) {
	for _, c := range []struct {
		mapper source.Mapper
		raw    string
	}{
		{okta.Mapper, ``}, {okta.Mapper, `null`}, {okta.Mapper, `7`}, {okta.Mapper, `"eventType"`}, {okta.Mapper, `{}`},
		{okta.Mapper, `{"eventType":"x"}`}, {okta.Mapper, `{"uuid":"x"}`}, {okta.Mapper, `{"eventType":{},"uuid":"x"}`},
		{okta.Mapper, `{"eventType":"x","actor":"me","outcome":"SUCCESS"}`}, {okta.Mapper, `[[]]`}, {okta.Mapper, `{"eventType":"x"`},
		{auth0.Mapper, ``}, {auth0.Mapper, `null`}, {auth0.Mapper, `{}`}, {auth0.Mapper, `{"log_id":"1"}`},
		{auth0.Mapper, `{"log_id":"1","data":{}}`}, {auth0.Mapper, `{"type":"s"}`}, {auth0.Mapper, `{"type":"","date":"x"}`},
		{auth0.Mapper, `{"data":{"type":"s"}}`}, {auth0.Mapper, `{"log_id":"1","data":"s"}`}, {auth0.Mapper, `[7]`},
		{auth0.Mapper, `{"type":1,"log_id":"1"}`},
	} {
		events, err := c.mapper.Map([]byte(c.raw), source.Config{})
		var not *source.NotAnEvent
		if len(events) > 0 || !errors.As(err, &not) {
			t.Errorf("%s: %q gave %d events, %v", c.mapper.Name(), c.raw, len(events), err)
		}
	}
}

// Whoever makes a provider write long or odd things must not keep an event out of the log.
func TestHostileEvents(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for name, c := range map[string]struct {
		mapper source.Mapper
		raw    string
	}{
		"long texts":      {okta.Mapper, `{"uuid":"` + long + `","eventType":"` + long + `","actor":{"id":"` + long + `","alternateId":"` + long + `","type":"User"},"client":{"userAgent":{"rawUserAgent":"` + long + `"}},"debugContext":{"debugData":{"a":"` + long + `","` + long + `":"b"}}}`},
		"wrong kinds":     {okta.Mapper, `{"uuid":7,"eventType":"x","published":{},"actor":[],"client":"c","outcome":[1],"target":{"id":1},"request":{"ipChain":[1,null,{"ip":{}}]},"securityContext":{"asNumber":-1,"isProxy":"maybe"}}`},
		"far away":        {okta.Mapper, `{"uuid":"u","eventType":"x","published":"9999-01-01T00:00:00Z","client":{"geographicalContext":{"geolocation":{"lat":1e300,"lon":181}}},"securityContext":{"asNumber":99999999999}}`},
		"600 targets":     {okta.Mapper, `{"uuid":"u","eventType":"x","target":[` + strings.TrimSuffix(strings.Repeat(`{"id":"a","type":"User"},`, 600), ",") + `]}`},
		"700 changes":     {okta.Mapper, `{"uuid":"u","eventType":"x","target":[` + strings.TrimSuffix(strings.Repeat(`{"id":"a","type":"P","changeDetails":{"from":{"a":1},"to":{"a":2}}},`, 700), ",") + `]}`},
		"large changes":   {okta.Mapper, `{"uuid":"u","eventType":"x","target":[{"id":"p","changeDetails":{"to":{"a":"` + long[:60000] + `","b":"` + long[:60000] + `","c":"` + long[:60000] + `","d":"` + long[:60000] + `","e":"` + long[:60000] + `"}}}]}`},
		"a deep chain":    {auth0.Mapper, `{"log_id":"1","type":"success_on_behalf_of_token_exchange","details":{"actor":` + strings.Repeat(`{"sub":"s","act":`, 30) + `{}` + strings.Repeat("}", 30) + `}}`},
		"members":         {auth0.Mapper, `{"log_id":"1","type":"sapi","details":{"request":{"method":"post","path":"/api/v2/roles/r/users","body":{"users":["` + strings.Join(strings.Split(strings.Repeat("u", 600), ""), `","`) + `"]}}}}`},
		"a strange path":  {auth0.Mapper, `{"log_id":"1","type":"sapi","details":{"request":{"method":7,"path":"///%zz//","body":"text"}}}`},
		"a path of roots": {auth0.Mapper, `{"log_id":"1","type":"sapi","details":{"request":{"method":"post","path":"/api/v2/"}}}`},
		"scim of nothing": {auth0.Mapper, `{"log_id":"1","type":"sscim","details":{"request":{"body":{"Operations":[7,{"op":[],"value":{}},{}]}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := c.mapper.Map([]byte(c.raw), source.Config{Issuer: "https://issuer.example"})
			if err != nil || len(events) != 1 {
				t.Fatalf("%d events, %v", len(events), err)
			}
			for _, part := range event.Split(events[0]) {
				if err := event.Check(part); err != nil {
					t.Error(err)
				}
				if _, err := event.NewRoll(part); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func FuzzMap(f *testing.F) {
	f.Add(true, []byte(`{"uuid":"u","eventType":"user.session.start","actor":{"id":"a","type":"User"},"target":[{"type":"AppInstance","id":"b"}]}`))
	f.Add(false, []byte(`{"log_id":"1","data":{"type":"sscim","date":"x","details":{"request":{"method":"PATCH","path":"/Users/1","body":{"Operations":[{"op":"add","path":"password","value":"v"}]}}}}}`))
	f.Fuzz(func(t *testing.T, isOkta bool, raw []byte) {
		mapper := auth0.Mapper
		if isOkta {
			mapper = okta.Mapper
		}
		events, err := mapper.Map(raw, source.Config{Issuer: "i"})
		var not *source.NotAnEvent
		if len(events) == 0 && !errors.As(err, &not) {
			t.Fatalf("nothing, and error %v", err)
		}
		for _, e := range events {
			for _, part := range event.Split(e) {
				if err := event.Check(part); err != nil && len(raw) < 64<<10 {
					t.Fatal(err)
				}
			}
		}
	})
}
