package auth0

import (
	"strings"

	"google.golang.org/protobuf/proto"

	eventv1 "idlog/proto/idlog/event/v1"
)

// protocols of the connection strategies that lead to another identity provider. "auth0", "email" and "sms" do not.
var protocols = map[string]string{
	"samlp": "saml", "pingfederate": "saml", "adfs": "", "ad": "ldap", "auth0-adldap": "ldap", "oidc": "oidc", "okta": "oidc",
	"waad": "oidc", "google-oauth2": "oidc", "google-apps": "oidc", "apple": "oidc", "windowslive": "oidc", "linkedin": "oidc",
	"oauth2": "oauth2", "oauth1": "", "github": "oauth2", "facebook": "oauth2", "twitter": "", "salesforce": "oauth2", "custom": "",
}

// issuers of the strategies that have a single one.
var issuers = map[string]string{
	"google-oauth2": "https://accounts.google.com", "google-apps": "https://accounts.google.com",
	"apple": "https://appleid.apple.com",
}

// hops is the chain of custody: the identity provider that Auth0 took the user from, then Auth0, whose audience is
// the API, or the application where no API was asked for. Of a SCIM request it is the directory that sent it.
func (t *tenant) hops() []*eventv1.Hop {
	connection := first(t.Get("connection_id").Text(), t.details.Get("connection_id").Text(), t.Get("connection").Text())
	if t.isSCIM() {
		return []*eventv1.Hop{
			{Protocol: "scim", Connection: connection, Basis: eventv1.Hop_BASIS_REPORTED, Audience: t.cfg.Issuer},
		}
	}
	if class := t.e.Class.GetClassUid(); class != 3002 && class != 3003 || codes[t.code].request {
		return nil
	}
	var chain []*eventv1.Hop
	strategy := t.Get("strategy").Text()
	if protocol, federated := protocols[strategy]; federated {
		h := &eventv1.Hop{
			Issuer: issuers[strategy], Protocol: protocol, Connection: connection, Basis: eventv1.Hop_BASIS_REPORTED,
		}
		if upstream := t.Get("identity_user_id").Text(); upstream != "" {
			h.Subject = &eventv1.Principal{
				Kind: eventv1.Principal_KIND_USER, Id: upstream,
				Issuer: first(issuers[strategy], strings.TrimSuffix(t.cfg.Issuer, "/")+"/connections/"+connection),
			}
		}
		chain = append(chain, h)
	}
	if len(chain) == 0 && t.e.Outcome.GetStatus() != success && t.e.Correlation.GetSession() == "" {
		return nil // an attempt that led nowhere
	}
	own := &eventv1.Hop{
		Issuer:    t.cfg.Issuer,
		Session:   t.e.Correlation.GetSession(),
		Assertion: t.details.Get("access_token_jti").Text(),
		Audience:  first(t.Get("audience").Text(), t.details.Get("audience").Text(), t.Get("client_id").Text()),
		Basis:     eventv1.Hop_BASIS_REPORTED,
	}
	if t.e.Actor.GetId() != "" {
		own.Subject = proto.Clone(t.e.Actor).(*eventv1.Principal)
	}
	if len(chain) == 0 {
		own.Connection = connection
	}
	return append(chain, own)
}
