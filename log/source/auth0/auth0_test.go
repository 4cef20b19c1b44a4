package auth0_test

import (
	"fmt"
	"strings"
	"testing"

	"idlog/log/source"
	"idlog/log/source/auth0"
	eventv1 "idlog/proto/idlog/event/v1"
)

func mapOne(t *testing.T, raw string) *eventv1.Event {
	t.Helper()
	events, err := auth0.Mapper.Map([]byte(raw), source.Config{Issuer: "https://acme.auth0.example/"})
	if err != nil || len(events) != 1 {
		t.Fatalf("%s: %d events, %v", raw, len(events), err)
	}
	return events[0]
}

func class(e *eventv1.Event) string {
	return fmt.Sprintf("%d/%d", e.Class.GetClassUid(), e.Class.GetActivityId())
}

// The codes to be classified before all others.
func TestCodes(t *testing.T) {
	const codes = "s f fp fu fc fcoa scoa ssa fsa w slo flo federated_logout_failed oidc_backchannel_logout_succeeded " +
		"oidc_backchannel_logout_failed ss fs si fi seacft feacft seccft feccft sertft fertft ferrt srrt sede fede secte fecte " +
		"success_on_behalf_of_token_exchange failed_on_behalf_of_token_exchange gd_start_enroll gd_enrollment_complete " +
		"gd_unenroll gd_send_pn gd_auth_succeed gd_auth_failed gd_auth_rejected gd_otp_rate_limit_exceed gd_recovery_succeed " +
		"mfar scp fcp scpr sce scu scpn sdu fdu sv limit_wc limit_mu limit_sul pwd_leak signup_pwd_leak reset_pwd_leak ublkdu " +
		"pla sapi fapi mgmt_api_read gd_tenant_update organization_member_added kms_key_management_success " +
		"kms_key_state_changed ss_sso_success ss_sso_failure sscim fscim"
	for _, code := range strings.Fields(codes) {
		if e := mapOne(t, `{"log_id":"1","type":"`+code+`"}`); e.Class.GetClassUid() == 0 {
			t.Errorf("%s has no class", code)
		}
	}
}

func TestManagement(t *testing.T) {
	for _, c := range []struct{ method, path, body, class, target string }{
		{"delete", "/api/v2/users/auth0%7C1", `{}`, "3007/3", "auth0|1"},
		{"PATCH", "/v2/users/auth0|1", `{"blocked":true}`, "3007/5", "auth0|1"},
		{"patch", "/api/v2/users/auth0|1", `{"password":"x"}`, "3007/8", "auth0|1"},
		{"patch", "/api/v2/users/auth0|1", `{"name":"x"}`, "3007/2", "auth0|1"},
		{"delete", "/api/v2/users/auth0|1/roles", `{"roles":["r"]}`, "3007/17", "auth0|1"},
		{"post", "/api/v2/users/auth0|1/permissions", `{}`, "3007/14", "auth0|1"},
		{"delete", "/api/v2/users/auth0|1/multifactor/duo", `{}`, "3007/13", "auth0|1"},
		{"post", "/api/v2/roles/rol_1/users", `{"users":["auth0|1"]}`, "3007/16", "rol_1 auth0|1"},
		{"post", "/api/v2/roles", `{"name":"r"}`, "3008/1", ""},
		{"post", "/api/v2/organizations/org_1/members", `{"members":["auth0|1","auth0|2"]}`, "3006/3", "org_1 auth0|1 auth0|2"},
		{"put", "/api/v2/guardian/policies", `["all-applications"]`, "3004/3", "policies"},
		{"get", "/api/v2/clients/c1", `{}`, "3004/2", "c1"},
		{"post", "/api/v2/resource-servers", `{"identifier":"x"}`, "3004/1", "resource-servers"},
	} {
		e := mapOne(t, fmt.Sprintf(`{"log_id":"1","type":"sapi","details":{"request":{"method":%q,"path":%q,"body":%s}}}`, c.method, c.path, c.body))
		var targets []string
		for _, g := range e.Targets {
			if g.Role != "role" || g.Id != "r" {
				targets = append(targets, g.Id+g.Principal.GetId())
			}
		}
		if got := strings.Join(targets, " "); class(e) != c.class || got != c.target {
			t.Errorf("%s %s: class %s, targets %q; want %s, %q", c.method, c.path, class(e), got, c.class, c.target)
		}
	}
	e := mapOne(t, `{"log_id":"1","type":"sapi","details":{"request":{"method":"post","path":"/api/v2/users"},"response":{"statusCode":403}}}`)
	if e.Outcome.GetStatus() != eventv1.Outcome_STATUS_FAILURE || e.Outcome.GetHttpStatus() != 403 {
		t.Errorf("a refused call: %v", e.Outcome)
	}
}

func TestSCIM(t *testing.T) {
	e := mapOne(t, `{"log_id":"1","type":"sscim","connection_id":"con_1","details":{"request":{"method":"POST","path":"/scim/v2/connections/con_1/Users",
		"body":{"schemas":["x"],"userName":"ann","externalId":"E1","password":"secret","emails":[{"value":"b@x"},{"value":"A@x","primary":true}]}},
		"response":{"statusCode":409,"body":{"id":"u1","scimType":"uniqueness"}}}}`)
	p := e.Targets[0].Principal
	if class(e) != "3007/1" || p.Id != "u1" || p.Login != "ann" || p.Email != "A@x" || p.ExternalId != "E1" || e.Actor != nil {
		t.Errorf("created: %v", e)
	}
	if s := e.Scim; s.ScimType != "uniqueness" || s.GetStatus() != 409 || strings.Join(s.Paths, " ") != "userName externalId password emails" {
		t.Errorf("scim: %v", s)
	}
	if e.Outcome.GetStatus() != eventv1.Outcome_STATUS_FAILURE || strings.Contains(e.String(), "secret") {
		t.Errorf("outcome %v", e.Outcome)
	}
	e = mapOne(t, `{"log_id":"1","type":"sscim","details":{"request":{"method":"PATCH","path":"/Groups/g1",
		"body":{"Operations":[{"op":"Add","path":"members","value":[{"value":"u1"},{"value":"u2"}]}]}}}}`)
	if class(e) != "3006/9" || len(e.Targets) != 3 || e.Targets[0].Id != "g1" || e.Targets[2].Principal.GetId() != "u2" {
		t.Errorf("group: %v", e)
	}
}

func TestCustody(t *testing.T) {
	for strategy, want := range map[string]string{
		"auth0": "https://acme.auth0.example/ ", "": "https://acme.auth0.example/ ",
		"google-oauth2": "https://accounts.google.com oidc https://accounts.google.com", "waad": " oidc https://acme.auth0.example/connections/con_1",
		"samlp": " saml https://acme.auth0.example/connections/con_1",
	} {
		e := mapOne(t, `{"log_id":"1","type":"s","user_id":"x|1","identity_user_id":"1","connection":"c","connection_id":"con_1","strategy":"`+strategy+`"}`)
		h := e.Hops[0]
		got := h.Issuer + " " + h.Protocol
		if len(e.Hops) == 2 {
			got += " " + h.Subject.GetIssuer()
		}
		if got != want || h.Connection != "con_1" {
			t.Errorf("%q: %s, want %s", strategy, got, want)
		}
	}
	e := mapOne(t, `{"log_id":"1","type":"success_on_behalf_of_token_exchange","user_id":"u","agent_id":"a","details":{"actor":{"act":{"sub":"auth0|2"}}}}`)
	if len(e.Act) != 2 || e.Act[0].Id != "a" || e.Act[0].Kind != eventv1.Principal_KIND_AI_AGENT || e.Act[1].Id != "auth0|2" {
		t.Errorf("act %v", e.Act)
	}
}
