package source_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"idlog/log/source"
	"idlog/log/source/auth0"
	"idlog/log/source/okta"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

// mapped is what the table says of one line.
type mapped struct {
	Type     string
	Actor    string
	Act      string
	Class    string
	Outcome  string
	Session  string // session root transaction
	Targets  string
	Hops     string
	Changes  string
	Masked   string
	Occurred string
}

// principal writes kind:id login <email>, and !issuer where it is not the source's.
func principal(p *eventv1.Principal, issuer string) string {
	if p == nil {
		return ""
	}
	words := []string{strings.ToLower(strings.TrimPrefix(p.Kind.String(), "KIND_")) + ":" + p.Id}
	if p.Login != "" {
		words = append(words, p.Login)
	}
	if p.Email != "" {
		words = append(words, "<"+p.Email+">")
	}
	if p.ExternalId != "" {
		words = append(words, "ext:"+p.ExternalId)
	}
	if p.Issuer != issuer {
		words = append(words, "!"+p.Issuer)
	}
	return strings.Join(words, " ")
}

func summary(e *eventv1.Event, issuer string) mapped {
	m := mapped{
		Type:    e.Source.GetNativeType(),
		Actor:   principal(e.Actor, issuer),
		Class:   fmt.Sprintf("%d/%d", e.Class.GetClassUid(), e.Class.GetActivityId()),
		Outcome: strings.ToLower(strings.TrimPrefix(e.Outcome.GetStatus().String(), "STATUS_")),
		Masked:  strings.Join(e.RawMasked, " "),
	}
	c := e.Correlation
	m.Session = strings.TrimSpace(c.GetSession() + " " + c.GetRootSession() + " " + c.GetTransaction())
	if e.Times.GetOccurred() != nil {
		m.Occurred = e.Times.Occurred.AsTime().Format("15:04:05.000")
	}
	var act, targets, hops, changes []string
	for _, p := range e.Act {
		act = append(act, principal(p, issuer))
	}
	for _, t := range e.Targets {
		what := t.Type + "=" + t.Id
		if t.Principal != nil {
			what = principal(t.Principal, issuer)
		}
		targets = append(targets, t.Role+" "+what)
	}
	for _, h := range e.Hops {
		from := h.Issuer
		if from == issuer {
			from = "here"
		}
		hops = append(hops, strings.TrimSpace(fmt.Sprintf("%s %s>%s %s", from, h.Protocol, h.Audience, principal(h.Subject, issuer))))
	}
	for _, ch := range e.Changes {
		s := ch.Op + " " + ch.Path
		if ch.Before != nil {
			s += " -" + *ch.Before
		}
		if ch.After != nil {
			s += " +" + *ch.After
		}
		changes = append(changes, s)
	}
	join := func(list []string) string { return strings.Join(list, "; ") }
	m.Act, m.Targets, m.Hops, m.Changes = join(act), join(targets), join(hops), join(changes)
	return m
}

const (
	ada    = "user:00uada0001 ada.byron@acme.example"
	bob    = "user:00ubob0002 bob.babbage@partner.example"
	carol  = "user:00ucarol003 carol.shannon@acme.example"
	system = "system:00usystem01 system@okta.example"
	admin  = "user:google-oauth2|100000000000000000001 <ada.byron@acme.example>"
)

var oktaSamples = []mapped{
	{Type: "user.session.start", Actor: ada, Class: "3002/1", Outcome: "success", Session: "idx-ada-1 idx-ada-1 trx-okta-0001",
		Hops: "here > " + ada, Occurred: "09:00:00.412"},
	{Type: "user.authentication.auth_via_mfa", Actor: ada, Class: "3002/1", Outcome: "success",
		Session: "idx-ada-1 idx-ada-1 trx-okta-0001", Targets: "user " + ada + "; authenticator AuthenticatorEnrollment=pfdada0001",
		Hops: "here > " + ada, Masked: "/debugContext/debugData/url", Occurred: "09:00:04.020"},
	{Type: "user.authentication.auth_via_inbound_SAML", Actor: bob, Class: "3002/1", Outcome: "success",
		Session: "idx-bob-1 idx-bob-0 trx-okta-0003", Targets: "identity_provider IdentityProvider=0oaidp0001; user " + bob,
		Hops: "https://idp.partner.example/saml saml>; here > " + bob, Masked: "/debugContext/debugData/url", Occurred: "09:01:10.000"},
	{Type: "user.session.impersonation.initiate", Actor: "user:00usupport1 support@okta-support.example", Class: "3002/7",
		Outcome: "success", Session: "idx-imp-1 idx-imp-1 trx-okta-0004", Targets: "user " + ada,
		Hops: "here > user:00usupport1 support@okta-support.example", Occurred: "09:02:00.500"},
	{Type: "group.user_membership.add", Actor: ada, Class: "3006/3", Outcome: "success", Session: "trsapi0005 trsapi0005 trx-okta-0005",
		Targets: "user " + carol + "; group UserGroup=00gadmins1", Occurred: "09:03:11.100"},
	{Type: "application.user_membership.add", Actor: ada, Class: "3007/14", Outcome: "success",
		Session: "idx-ada-1 idx-ada-1 trx-okta-0006",
		Targets: "app_user user:0uacarol03 cshannon; application AppInstance=0oapayroll1; user " + carol, Occurred: "09:03:40.000"},
	{Type: "user.account.privilege.grant", Actor: ada, Class: "3007/16", Outcome: "success",
		Session: "idx-ada-1 idx-ada-1 trx-okta-0007", Targets: "user " + bob, Changes: "add privileges +Organization administrator",
		Occurred: "09:04:02.731"},
	{Type: "user.lifecycle.deactivate", Actor: system, Class: "3007/5", Outcome: "success", Session: "trx-okta-0008",
		Targets: "user user:00udan0004 dan.hopper@acme.example", Occurred: "09:05:00.000"},
	{Type: "policy.lifecycle.update", Actor: ada, Class: "3004/3", Outcome: "success", Session: "idx-ada-1 idx-ada-1 trx-okta-0009",
		Targets: "policy PolicyEntity=00ppolicy01", Occurred: "09:06:30.250",
		Changes: "replace policy.requireMfa -true +false; remove policy.name -Default; add policy.idleMinutes +30"},
	{Type: "system.api_token.create", Actor: bob, Class: "3007/18", Outcome: "success", Session: "idx-bob-1 idx-bob-0 trx-okta-0010",
		Targets: "token Token=00Tnewtoken1", Occurred: "09:07:00.000"},
	{Type: "user.session.start", Actor: "user: mallory@acme.example", Class: "3002/1", Outcome: "failure", Session: "trx-okta-0011",
		Occurred: "09:08:00.999"},
	{Type: "application.provision.user.push_profile", Actor: system, Class: "3007/2", Outcome: "success", Session: "trx-okta-0012",
		Targets: "app_user user:0uacarol03 cshannon; application AppInstance=0oapayroll1; user " + carol, Occurred: "09:09:15.000"},
	{Type: "user.authentication.sso", Actor: bob, Class: "3002/4", Outcome: "success", Session: "idx-bob-1 idx-bob-0 trx-okta-0013",
		Targets: "application AppInstance=0oapayroll1; app_user user:0uabob0002 bbabbage", Occurred: "09:10:00.001",
		Hops: "https://idp.partner.example/saml saml>; here saml>0oapayroll1 " + bob},
	{Type: "acme.custom.thing_happened", Actor: "app:0oaclient1", Class: "0/0", Outcome: "unspecified", Session: "trx-okta-0014",
		Occurred: "09:11:00.000"},
}

var auth0Samples = []mapped{
	{Type: "s", Actor: "user:samlp|acme-saml|bob bob.babbage@partner.example", Class: "3002/1", Outcome: "success",
		Session: "sess-bob-1  tx-auth0-0001",
		Targets: "application client=clPortal0001; resource resource_server=https://api.acme.example", Occurred: "09:00:00.100",
		Hops: "saml> user:bob !https://issuer.example/connections/con_acmesaml01; " +
			"here >https://api.acme.example user:samlp|acme-saml|bob bob.babbage@partner.example"},
	{Type: "fp", Actor: "user:auth0|carol0003 carol.shannon@acme.example", Class: "3002/1", Outcome: "failure",
		Session: "tx-auth0-0002", Targets: "application client=clPortal0001", Occurred: "09:01:00.200"},
	{Type: "sapi", Actor: admin, Class: "3007/1", Outcome: "success", Targets: "user user:auth0|dan0004 <dan.hopper@acme.example>",
		Changes:  "add connection +Username-Password-Authentication; add email +dan.hopper@acme.example; add name +Dan Hopper; add password",
		Masked:   "/details/request/body/password",
		Occurred: "09:02:00.300"},
	{Type: "sapi", Actor: admin, Class: "3007/16", Outcome: "success", Targets: "user user:auth0|dan0004; role role=rol_payrolladmin",
		Changes: `add roles +["rol_payrolladmin"]`, Occurred: "09:03:00.400"},
	{Type: "sapi", Actor: "app:clM2M00001", Class: "3004/3", Outcome: "success", Targets: "client client=clPortal0001",
		Changes:  `replace name +Portal; replace client_secret; replace callbacks +["https://portal.acme.example/cb"]`,
		Masked:   "/details/request/body/client_secret /details/response/body/client_secret",
		Occurred: "09:04:00.500"},
	{Type: "sscim", Class: "3007/2", Outcome: "success", Targets: "user user:samlp|acme-saml|erin erin.turing@acme.example ext:E-0005",
		Hops: "scim>https://issuer.example", Occurred: "09:05:00.600",
		Changes: "replace active +false; replace urn:ietf:params:scim:schemas:core:2.0:User:password; replace title +Engineer; replace password",
		Masked:  "/details/request/body/Operations/1/value /details/request/body/Operations/2/value/password"},
	{Type: "success_on_behalf_of_token_exchange", Actor: "user:auth0|carol0003 carol.shannon@acme.example",
		Act:   "app:clAgentHub01@clients; ai_agent:agt_travel01; service:scheduler-7 !https://idp.partner.example",
		Class: "3003/1", Outcome: "success", Session: "tx-auth0-0007",
		Targets:  "application client=clAgentHub01; resource resource_server=https://payroll.acme.example",
		Hops:     "here >https://payroll.acme.example user:auth0|carol0003 carol.shannon@acme.example",
		Occurred: "09:06:00.700"},
	{Type: "seccft", Actor: "app:clM2M00001", Class: "3003/1", Outcome: "success",
		Targets: "application client=clM2M00001; resource resource_server=https://acme.auth0.example/api/v2/",
		Hops:    "here >https://acme.auth0.example/api/v2/ app:clM2M00001", Occurred: "09:07:00.800"},
	{Type: "gd_auth_rejected", Actor: "user:auth0|carol0003 carol.shannon@acme.example", Class: "3002/1", Outcome: "denied",
		Session: "sess-carol-1  tx-auth0-0009", Targets: "application client=clPortal0001",
		Hops: "here >clPortal0001 user:auth0|carol0003 carol.shannon@acme.example", Occurred: "09:08:00.900"},
	{Type: "fcoa", Class: "3002/1", Outcome: "failure", Targets: "application client=clPortal0001",
		Masked: "/details/qs/code /details/qs/login_ticket", Occurred: "09:09:01.000"},
	{Type: "pwd_leak", Actor: "user: dan.hopper@acme.example", Class: "2004/1", Outcome: "denied", Occurred: "09:10:01.100"},
	{Type: "a_code_of_the_future", Actor: "user:auth0|erin0005", Class: "0/0", Outcome: "unspecified", Occurred: "09:11:01.200"},
}

func TestSamples(t *testing.T) {
	const issuer = "https://issuer.example"
	for _, c := range []struct {
		file   string
		mapper source.Mapper
		want   []mapped
	}{
		{"okta.ndjson", okta.Mapper, oktaSamples},
		{"auth0.ndjson", auth0.Mapper, auth0Samples},
	} {
		lines := samples(t, c.file)
		if len(lines) != len(c.want) {
			t.Fatalf("%s has %d lines, the table %d", c.file, len(lines), len(c.want))
		}
		ids := make(map[string]bool)
		for i, line := range lines {
			t.Run(fmt.Sprintf("%s line %d", c.file, i+1), func(t *testing.T) {
				events, err := c.mapper.Map(line, source.Config{Issuer: issuer})
				if err != nil || len(events) != 1 {
					t.Fatalf("%d events, %v", len(events), err)
				}
				e := events[0]
				if err := event.Check(e); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(c.want[i], summary(e, issuer)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				if e.GetMapper() != c.mapper.Name() || e.RawMediaType != source.JSON || !json.Valid(e.Raw) {
					t.Errorf("mapper %s, raw %s", e.GetMapper(), e.Raw)
				}
				if len(e.RawMasked) == 0 && !bytes.Contains(line, e.Raw) {
					t.Error("raw is not what came")
				}
				for _, secret := range []string{
					"correct horse", "tr0ub4dor", "hunter2", "fictitious", "fictitiousStateToken", "SAMLResponse",
				} {
					if text := e.String(); bytes.Contains(e.Raw, []byte(secret)) || strings.Contains(text, secret) {
						t.Errorf("%q came through", secret)
					}
				}
				id := e.Source.GetNativeId()
				if ids[id] || strings.HasPrefix(id, "sha256:") {
					t.Errorf("id %s", id)
				}
				ids[id] = true
			})
		}
	}
}

func samples(t *testing.T, name string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

// A delivery wraps events; each has its own bytes, and one that is none does not cost the others.
func TestDeliveries(t *testing.T) {
	oktaLines, auth0Lines := samples(t, "okta.ndjson"), samples(t, "auth0.ndjson")
	hook := func(events string) string {
		return `{"eventType":"com.okta.event_hook","eventId":"h1","data":{"events":[` + events + `]}}`
	}
	for _, c := range []struct {
		name   string
		mapper source.Mapper
		raw    string
		want   []string // raw of each event
		err    string
	}{
		{"hook", okta.Mapper, hook(string(oktaLines[0]) + " , " + string(oktaLines[4])), []string{string(oktaLines[0]), string(oktaLines[4])}, ""},
		{"hook with a stranger", okta.Mapper, hook(`{"a":1},` + string(oktaLines[0])), []string{string(oktaLines[0])}, "event 1 of 2: not an event: no eventType"},
		{"empty hook", okta.Mapper, hook(""), nil, "not an event: a delivery without events"},
		{"page", okta.Mapper, "[" + string(oktaLines[0]) + "]", []string{string(oktaLines[0])}, ""},
		{"empty page", okta.Mapper, "[]", nil, "not an event: a delivery without events"},
		{"array of records", auth0.Mapper, "[" + string(auth0Lines[1]) + "," + string(auth0Lines[10]) + "]",
			[]string{inner(auth0Lines[1]), string(auth0Lines[10])}, ""},
		{"id in the wrapper alone", auth0.Mapper, string(auth0Lines[11]), []string{string(auth0Lines[11])}, ""},
		{"white space", auth0.Mapper, "\n " + string(auth0Lines[10]) + "\r\n", []string{string(auth0Lines[10])}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := c.mapper.Map([]byte(c.raw), source.Config{})
			if fmt.Sprint(err) != first(c.err, "<nil>") {
				t.Errorf("error %v", err)
			}
			var got []string
			for _, e := range events {
				got = append(got, string(e.Raw))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
		})
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// inner returns the member "data" of a record, which stands last in the samples.
func inner(record []byte) string {
	_, data, _ := strings.Cut(string(record), `"data":`)
	return strings.TrimSuffix(data, "}")
}

// The events of a service of one's own come in idlog's own form: nothing is mapped, and what the table says of a line is
// what its submitter wrote.
func TestOwnSamples(t *testing.T) {
	const issuer = "https://idp.acme.example"
	lines := samples(t, "event.ndjson")
	if len(lines) != len(ownSamples) {
		t.Fatalf("event.ndjson has %d lines, the table %d", len(lines), len(ownSamples))
	}
	for i, line := range lines {
		e := new(eventv1.Event)
		if err := protojson.Unmarshal(line, e); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if err := event.Check(e); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if diff := cmp.Diff(ownSamples[i], summary(e, issuer)); diff != "" {
			t.Errorf("line %d: -want +got:\n%s", i+1, diff)
		}
	}
}

var ownSamples = []mapped{
	{Type: "employee.hired", Actor: "service:svc-onboarding !https://hr.acme.example", Class: "3007/1", Outcome: "success",
		Targets: "user user:E-0006 <Fay.Lovelace@acme.example> !https://hr.acme.example", Occurred: "09:00:00.000"},
	{Type: "vpn.login", Actor: "user:u-0001 ada.byron", Class: "3002/1", Outcome: "success",
		Session: "vpn-sess-0001 sid-0001 vpn-7f3a", Targets: "gateway vpn_gateway=gw-north",
		Hops: "here oidc>gw-north user:u-0001", Occurred: "09:01:00.000"},
	{Type: "badge.denied", Actor: "user:E-0004 !https://hr.acme.example", Class: "0/0", Outcome: "denied",
		Targets: "door door=D-17", Occurred: "09:02:00.000"},
	{Type: "workflow.approved", Actor: "user:u-0003 carol.shannon",
		Act:   "ai_agent:agt-7 !https://agents.acme.example; app:hub-1 !https://agents.acme.example",
		Class: "3007/16", Outcome: "success", Session: "wf-31337", Targets: "user user:u-0004 dan.hopper; role role=payroll-admin",
		Changes: "add roles - +payroll-admin", Occurred: "09:03:00.000"},
	{Type: "scim.delete", Actor: "service:scim-client-1", Class: "3007/3", Outcome: "failure",
		Targets: "user user:2819c223 erin.turing ext:E-0005 !https://app.acme.example", Occurred: "09:04:00.000"},
	{Type: "kms.key.rotated", Class: "3004/3", Outcome: "success", Targets: "key signing_key=kid-2026-11", Occurred: "09:05:00.000"},
}
