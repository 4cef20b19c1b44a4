package okta_test

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"idlog/log/source"
	"idlog/log/source/okta"
)

// first are the types to be classified before all others: a prefix, then what follows it.
var first = []string{
	"user.session. start end clear context.change impersonation.initiate impersonation.grant access_admin_app",
	"user.authentication. auth_via_mfa auth_via_IDP auth_via_inbound_SAML sso verify",
	"user. identity_verification",
	"user.lifecycle. create activate reactivate deactivate suspend unsuspend delete.initiated delete.completed",
	"user.account. lock unlock reset_password update_password update_profile privilege.grant privilege.revoke report_suspicious_activity_by_enduser",
	"user.mfa.factor. activate deactivate update reset_all",
	"user.mfa. attempt_bypass okta_verify.deny_push",
	"user.risk. detect change",
	"group.user_membership. add remove",
	"group.lifecycle. create delete",
	"group.privilege. grant revoke",
	"group.application_assignment. add",
	"application.user_membership. add remove",
	"application.lifecycle. create update delete",
	"application.policy.sign_on. update",
	"policy.lifecycle. create update deactivate delete",
	"policy.rule. add update deactivate delete",
	"policy. evaluate_sign_on",
	"system.idp.lifecycle. create update activate deactivate delete read_client_secret",
	"system.idp.key. create update delete",
	"system.api_token. create revoke update enable",
	"iam.role. create update delete",
	"iam.resourceset.bindings. add",
	"zone. create update delete deactivate",
	"network_zone.rule. disabled",
	"system.log_stream.lifecycle. create update activate deactivate delete",
	"event_hook. created updated deactivated deleted",
	"application.provision.user. push push_profile sync deactivate deprovision",
	"application.provision.group_push. pushed",
	"application.provision.integration. call_api",
	"access.request. create resolve cancel",
	"security.threat. detected",
	"security.attack. start",
	"app.oauth2.token. grant",
	"app.oauth2.as.token. grant detect_reuse",
	"app.oauth2.client. read_client_secret",
	"support.org. update",
	"security.protected_action.settings. update",
	"app.ai_agent_provider. create activate",
	"security.events.provider. receive_event",
	"workload_principal.ai_agent. register activate deactivate delete credential.create credential.delete sign_on_provider.add sign_on_provider.remove",
}

func class(t *testing.T, kind string) int64 {
	t.Helper()
	events, err := okta.Mapper.Map([]byte(`{"uuid":"u","eventType":"`+kind+`"}`), source.Config{})
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return events[0].Class.GetClassUid()*100 + events[0].Class.GetActivityId()
}

func TestClasses(t *testing.T) {
	for _, family := range first {
		words := strings.Fields(family)
		for _, word := range words[1:] {
			if kind := words[0] + word; class(t, kind) == 0 {
				t.Errorf("%s has no class", kind)
			}
		}
	}
	for kind, want := range map[string]int64{
		"user.session.start": 300201, "user.account.privilege.grant": 300716, "policy.rule.add": 300401,
		"zone.deactivate": 300411, "event_hook.delivery": 300499, "app.oauth2.as.token.grant.id_token": 300301, "no.such": 0,
	} {
		if got := class(t, kind); got != want {
			t.Errorf("%s: class %d, want %d", kind, got, want)
		}
	}
}

// Every type of Okta's catalogue is taken, whether classified or not.
func TestCatalogue(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "corpus", "okta-event-types.tsv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: the catalogue is not beside the repository: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, classified := 0, 0
	for s := bufio.NewScanner(f); s.Scan(); {
		kind, _, ok := strings.Cut(s.Text(), "\t")
		if !ok || strings.HasPrefix(kind, "#") {
			continue
		}
		all++
		if class(t, kind) != 0 {
			classified++
		}
	}
	if all != 1274 || classified < 250 {
		t.Errorf("%d types, %d of them classified", all, classified)
	}
	t.Logf("%d of %d types have a class", classified, all)
}
