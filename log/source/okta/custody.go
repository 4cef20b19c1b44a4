package okta

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/log/source"
	eventv1 "idlog/proto/idlog/event/v1"
)

// hops is the chain of custody of a sign-in: the identity provider that Okta took the user from, where there was
// one, then Okta itself, whose audience is the application.
func hops(e *eventv1.Event, v source.Value, cfg source.Config) []*eventv1.Hop {
	if class := e.Class.GetClassUid(); class != 3002 && class != 3003 {
		return nil
	}
	var chain []*eventv1.Hop
	if h := upstream(v); h != nil {
		chain = append(chain, h)
	}
	own := &eventv1.Hop{
		Issuer:   cfg.Issuer,
		Session:  e.Correlation.GetSession(),
		Protocol: protocol(v.Get("debugContext", "debugData").First("signOnMode", "signOnProtocol")),
		Basis:    eventv1.Hop_BASIS_REPORTED,
	}
	for _, t := range e.Targets {
		if t.Type == "AppInstance" && own.Audience == "" {
			own.Audience = t.Id
		}
	}
	if len(chain) == 0 && own.Session == "" && own.Audience == "" {
		return nil // an attempt that led nowhere
	}
	if e.Actor.GetKind() == eventv1.Principal_KIND_USER {
		own.Subject = proto.Clone(e.Actor).(*eventv1.Principal)
	}
	return append(chain, own)
}

// upstream is the link before Okta.
func upstream(v source.Value) *eventv1.Hop {
	auth, kind := v.Get("authenticationContext"), v.Get("eventType").Text()
	h := &eventv1.Hop{Issuer: known(auth.Get("issuer", "id")), Basis: eventv1.Hop_BASIS_REPORTED}
	for _, t := range v.Get("target").Elements() {
		if t.Get("type").Text() == "IdentityProvider" && h.Connection == "" {
			h.Connection = known(t.Get("id"))
		}
	}
	provider := auth.Get("authenticationProvider").Text()
	federated := strings.HasPrefix(kind, "user.authentication.auth_via_")
	switch {
	case h.Issuer != "" && auth.Get("issuer", "type").Text() != "":
		h.Protocol = protocol(auth.Get("issuer", "type").Text())
	case kind == "user.authentication.auth_via_inbound_SAML":
		h.Protocol = "saml"
	case provider == "LDAP" || kind == "user.authentication.auth_via_LDAP_agent":
		h.Protocol = "ldap"
	case kind == "user.authentication.auth_via_iwa":
		h.Protocol = "kerberos"
	case provider == "SOCIAL" || kind == "user.authentication.auth_via_social":
		h.Protocol = "oidc"
	case provider == "FEDERATION" || provider == "ACTIVE_DIRECTORY":
	case federated && kind != "user.authentication.auth_via_mfa" && kind != "user.authentication.auth_via_radius" &&
		kind != "user.authentication.auth_via_richclient":
	case h.Issuer == "" && h.Connection == "":
		return nil
	}
	return h
}

// protocol reads Okta's names of protocols.
func protocol(s string) string {
	switch s = strings.ToLower(s); {
	case strings.Contains(s, "saml"):
		return "saml"
	case strings.Contains(s, "oidc"), strings.Contains(s, "openid"):
		return "oidc"
	case strings.Contains(s, "oauth"):
		return "oauth2"
	}
	return ""
}

// scim says which kind of resource a provisioning event wrote. Okta logs nothing of the request itself.
func scim(kind string) *eventv1.Scim {
	switch {
	case strings.HasPrefix(kind, "application.provision.user."):
		return &eventv1.Scim{ResourceType: "User"}
	case strings.HasPrefix(kind, "application.provision.group"):
		return &eventv1.Scim{ResourceType: "Group"}
	}
	return nil
}
