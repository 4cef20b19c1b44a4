package person_test

import (
	"strings"
	"testing"

	"idlog/cmd/idlog/person"
	"idlog/proto/subject"
)

func TestParse(t *testing.T) {
	const okta = "https://acme.okta.com"
	for text, want := range map[string]subject.Identifier{
		"alice@acme.example":        subject.Email("alice@acme.example"),
		okta + "#00u1":              {Issuer: okta, Format: "opaque", ID: "00u1"},
		okta + "#account:alice":     {Issuer: okta, Format: "account", ID: "alice"},
		okta + "#account:a@b#EXT#":  {Issuer: okta, Format: "account", ID: "a@b#EXT#"},
		okta + "#opaque:urn:x":      {Issuer: okta, Format: "opaque", ID: "urn:x"},
		okta + "#Urn:x":             {Issuer: okta, Format: "opaque", ID: "Urn:x"},
		okta + "#auth0|1:2":         {Issuer: okta, Format: "opaque", ID: "auth0|1:2"},
		okta + "#uri:https://x/#me": {Issuer: okta, Format: "uri", ID: "https://x/#me"},
		"#00u1":                     {Format: "opaque", ID: "00u1"},
		"#opaque:opaque:":           {Format: "opaque", ID: "opaque:"},
		"#email:a#b@acme.example":   subject.Email("a#b@acme.example"),
		"#email:nobody":             subject.Email("nobody"),
	} {
		got, err := person.Parse(text)
		if err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
		if back := person.Text(want); back != text {
			t.Errorf("%v is written %s, not %s", want, back, text)
		}
	}
	if id, err := person.Parse("Alice@ACME.example"); err != nil || id != subject.Email("alice@acme.example") {
		t.Errorf("got %v, %v", id, err)
	}
	for _, text := range []string{"", "alice", okta, okta + "#", okta + "#account:", okta + "#email:a@b", "#", strings.Repeat("x", 1024) + "@b"} {
		if id, err := person.Parse(text); err == nil {
			t.Errorf("%q is %v", text, id)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("https://acme.okta.com", "opaque", "00u1")
	f.Add("", "email", "a@b")
	f.Add("i", "opaque", "opaque:x\n")
	f.Fuzz(func(t *testing.T, issuer, format, id string) {
		want := subject.Identifier{Issuer: strings.ReplaceAll(issuer, "#", ""), Format: format, ID: id}
		if _, err := want.Bytes(); err != nil {
			return
		}
		if got, err := person.Parse(person.Text(want)); err != nil || got != want {
			t.Errorf("%v is written %q, which is %v, %v", want, person.Text(want), got, err)
		}
	})
}
