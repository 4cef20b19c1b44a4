package okta

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/log/source"
	eventv1 "idlog/proto/idlog/event/v1"
)

// classes gives OCSF class_uid*100+activity_id of an event type (1.9.0-dev).
var classes = map[string]int64{
	"user.session.start":                            3002_01,
	"user.session.end":                              3002_02,
	"user.session.clear":                            3002_02,
	"user.session.expire":                           3002_02,
	"user.session.context.change":                   3002_99,
	"user.session.access_admin_app":                 3002_04,
	"user.session.impersonation.initiate":           3002_07,
	"user.session.impersonation.grant":              3002_07,
	"user.session.impersonation.extend":             3002_07,
	"user.session.impersonation.revoke":             3002_99,
	"user.session.impersonation.end":                3002_99,
	"user.authentication.auth":                      3002_01,
	"user.authentication.authenticate":              3002_01,
	"user.authentication.auth_via_mfa":              3002_01,
	"user.authentication.auth_via_IDP":              3002_01,
	"user.authentication.auth_via_inbound_SAML":     3002_01,
	"user.authentication.auth_via_inbound_delauth":  3002_01,
	"user.authentication.auth_via_AD_agent":         3002_01,
	"user.authentication.auth_via_LDAP_agent":       3002_01,
	"user.authentication.auth_via_iwa":              3002_01,
	"user.authentication.auth_via_radius":           3002_01,
	"user.authentication.auth_via_richclient":       3002_01,
	"user.authentication.auth_via_social":           3002_01,
	"user.authentication.sso":                       3002_04,
	"user.authentication.slo":                       3002_02,
	"user.authentication.universal_logout":          3002_02,
	"user.authentication.verify":                    3002_06,
	"user.identity_verification":                    3002_06,
	"user.identity_verification.start":              3002_06,
	"user.mfa.attempt_bypass":                       3002_01,
	"user.mfa.okta_verify":                          3002_01,
	"user.mfa.okta_verify.deny_push":                3002_01,
	"user.mfa.okta_verify.deny_push_upgrade_needed": 3002_01,
	"app.generic.unauth_app_access_attempt":         3002_04,
	"app.oauth2.signon":                             3002_01,
	"app.oauth2.authorize":                          3002_03,
	"app.oauth2.authorize.code":                     3002_03,
	"app.oauth2.as.authorize":                       3002_03,
	"app.oauth2.as.authorize.code":                  3002_03,
	"policy.evaluate_sign_on":                       3003_99,

	"user.lifecycle.create":                         3007_01,
	"user.lifecycle.activate":                       3007_04,
	"user.lifecycle.reactivate":                     3007_04,
	"user.lifecycle.unsuspend":                      3007_04,
	"user.lifecycle.deactivate":                     3007_05,
	"user.lifecycle.suspend":                        3007_05,
	"user.lifecycle.delete.initiated":               3007_03,
	"user.lifecycle.delete.completed":               3007_03,
	"user.account.lock":                             3007_06,
	"user.account.lock.limit":                       3007_06,
	"user.account.unlock":                           3007_07,
	"user.account.unlock_by_admin":                  3007_07,
	"user.account.update_password":                  3007_08,
	"user.account.reset_password":                   3007_09,
	"user.account.expire_password":                  3007_09,
	"user.account.update_profile":                   3007_02,
	"user.account.update_primary_email":             3007_02,
	"user.account.update_secondary_email":           3007_02,
	"user.account.update_user_type":                 3007_02,
	"user.account.privilege.grant":                  3007_16,
	"user.account.privilege.revoke":                 3007_17,
	"user.privileged_account.privilege.grant":       3007_16,
	"user.privileged_account.privilege.revoke":      3007_17,
	"user.mfa.factor.activate":                      3007_12,
	"user.mfa.factor.unsuspend":                     3007_12,
	"user.mfa.factor.update":                        3007_02,
	"user.mfa.factor.deactivate":                    3007_13,
	"user.mfa.factor.suspend":                       3007_13,
	"user.mfa.factor.reset_all":                     3007_13,
	"application.user_membership.add":               3007_14,
	"application.user_membership.remove":            3007_15,
	"application.user_membership.revoke":            3007_15,
	"application.user_membership.change_password":   3007_08,
	"application.user_membership.change_username":   3007_02,
	"application.user_membership.update":            3007_02,
	"application.user_membership.show_password":     3004_02,
	"application.provision.user.push":               3007_01,
	"application.provision.user.import":             3007_01,
	"application.provision.user.push_profile":       3007_02,
	"application.provision.user.import_profile":     3007_02,
	"application.provision.user.sync":               3007_02,
	"application.provision.user.activate":           3007_04,
	"application.provision.user.reactivate":         3007_04,
	"application.provision.user.deactivate":         3007_05,
	"application.provision.user.deprovision":        3007_03,
	"application.provision.user.delete":             3007_03,
	"application.provision.user.password":           3007_08,
	"application.provision.user.push_password":      3007_08,
	"application.provision.integration.call_api":    3007_99,
	"system.api_token.create":                       3007_18,
	"system.api_token.enable":                       3007_18,
	"system.api_token.update":                       3007_02,
	"system.api_token.revoke":                       3007_19,
	"workload_principal.ai_agent.register":          3007_01,
	"workload_principal.ai_agent.update":            3007_02,
	"workload_principal.ai_agent.activate":          3007_04,
	"workload_principal.ai_agent.deactivate":        3007_05,
	"workload_principal.ai_agent.delete":            3007_03,
	"workload_principal.ai_agent.credential.create": 3007_18,
	"workload_principal.ai_agent.credential.delete": 3007_19,

	"group.user_membership.add":                         3006_03,
	"group.user_membership.remove":                      3006_04,
	"group.lifecycle.create":                            3006_06,
	"group.lifecycle.delete":                            3006_05,
	"group.profile.update":                              3006_09,
	"group.privilege.grant":                             3006_12,
	"group.privilege.revoke":                            3006_13,
	"group.application_assignment.add":                  3006_01,
	"group.application_assignment.update":               3006_09,
	"group.application_assignment.remove":               3006_02,
	"application.provision.group.add":                   3006_06,
	"application.provision.group.import":                3006_06,
	"application.provision.group.update":                3006_09,
	"application.provision.group.remove":                3006_05,
	"application.provision.group_membership.add":        3006_03,
	"application.provision.group_membership.import":     3006_03,
	"application.provision.group_membership.remove":     3006_04,
	"application.provision.group_membership.update":     3006_09,
	"application.provision.group_push.mapping.created":  3006_06,
	"application.provision.group_push.pushed":           3006_06,
	"application.provision.group_push.updated":          3006_09,
	"application.provision.group_push.push_memberships": 3006_09,
	"application.provision.group_push.removed":          3006_05,
	"application.provision.group_push.delete_appgroup":  3006_05,

	"iam.role.create":                 3008_01,
	"iam.role.update":                 3008_02,
	"iam.role.delete":                 3008_03,
	"iam.role.permissions.add":        3008_04,
	"iam.role.permissions.delete":     3008_05,
	"iam.resourceset.bindings.add":    3008_06,
	"iam.resourceset.bindings.delete": 3008_07,

	"app.oauth2.token.grant":                              3003_01,
	"app.oauth2.as.token.grant":                           3003_01,
	"app.oauth2.client.read_client_secret":                3004_02,
	"system.idp.lifecycle.read_client_secret":             3004_02,
	"application.configuration.read_client_secret":        3004_02,
	"application.policy.sign_on.update":                   3004_03,
	"app.policy.sign_on.update":                           3004_03,
	"network_zone.rule.disabled":                          3004_09,
	"system.mfa.factor.activate":                          3004_10,
	"system.mfa.factor.deactivate":                        3004_11,
	"access.request.create":                               3004_01,
	"access.request.resolve":                              3004_03,
	"access.request.cancel":                               3004_04,
	"support.org.update":                                  3004_03,
	"security.protected_action.settings.update":           3004_03,
	"workload_principal.ai_agent.sign_on_provider.add":    3004_03,
	"workload_principal.ai_agent.sign_on_provider.remove": 3004_03,

	"user.account.report_suspicious_activity_by_enduser": 2004_01,
	"user.risk.detect":                       2004_01,
	"user.risk.change":                       2004_02,
	"security.threat.detected":               2004_01,
	"security.attack.start":                  2004_01,
	"security.attack.end":                    2004_03,
	"security.breached_credential.detected":  2004_01,
	"app.oauth2.token.detect_reuse":          2004_01,
	"app.oauth2.as.token.detect_reuse":       2004_01,
	"security.events.provider.receive_event": 2004_01,
}

// entities are families of event types about the configuration, class 3004; the last word is the activity.
var entities = []string{
	"application.lifecycle.", "policy.lifecycle.", "policy.rule.", "system.idp.lifecycle.", "system.idp.key.", "zone.",
	"system.log_stream.lifecycle.", "event_hook.", "app.ai_agent_provider.", "app.oauth2.client.lifecycle.",
	"application.policy.sign_on.rule.", "security.authenticator.lifecycle.", "security.trusted_origin.",
	"security.events.provider.", "iam.resourceset.", "device.lifecycle.",
}

var activities = map[string]int64{
	"create": 1, "created": 1, "add": 1, "register": 1, "update": 3, "updated": 3, "overwrite": 3, "delete": 4, "deleted": 4,
	"remove": 4, "enable": 8, "disable": 9, "disabled": 9, "activate": 10, "activated": 10, "deactivate": 11,
	"deactivated": 11, "suspend": 12, "unsuspend": 13,
}

// tampering are families whose events may blind those who watch: their severity is high.
var tampering = []string{"system.log_stream.lifecycle.", "event_hook.deactivated", "event_hook.deleted", "event_hook.updated"}

var severities = map[string]int64{
	"DEBUG": 1, "INFO": 1, "LOW": 2, "WARN": 3, "MEDIUM": 3, "ERROR": 4, "HIGH": 4, "CRITICAL": 5,
}

func classify(e *eventv1.Event, v source.Value) {
	kind := v.Get("eventType").Text()
	source.Classify(e, class(kind))
	if s, ok := severities[strings.ToUpper(v.Get("severity").Text())]; ok {
		e.Class.SeverityId = &s
	}
	if under(kind, tampering) {
		e.Class.SeverityId = proto.Int64(4)
	}
}

// class returns 0 for a type of which the tables know nothing.
func class(kind string) int64 {
	if c, ok := classes[kind]; ok {
		return c
	}
	switch {
	case strings.HasPrefix(kind, "app.oauth2.token.grant."), strings.HasPrefix(kind, "app.oauth2.as.token.grant."):
		return 3003_01
	case under(kind, entities):
		if a, ok := activities[kind[strings.LastIndexByte(kind, '.')+1:]]; ok {
			return 3004_00 + a
		}
		return 3004_99
	}
	return 0
}

func under(kind string, families []string) bool {
	for _, f := range families {
		if strings.HasPrefix(kind, f) {
			return true
		}
	}
	return false
}
