// Package auth0 maps Auth0's tenant logs: an event as the Management API returns it, a record of a log stream, which
// wraps it in {"log_id","data"}, and an array of either. See package source for what a mapper promises.
//
// Raw is the event itself, without the wrapper, so that a stream and the API deliver the same thing; where only the
// wrapper has the id, it is the whole record. The identifiers are those of the tenant, which Config.Issuer names; a
// user of an upstream identity provider is named by that provider, or apart for each connection where the provider is
// not known.
package auth0

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/log/source"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

// Mapper maps Auth0's tenant logs.
var Mapper source.Mapper = mapper{}

const name = "auth0/1"

// secrets of version 1: what requests to the Management API, SCIM requests and token requests carry.
var secrets = source.Secrets{
	Names: []string{
		"password", "old_password", "new_password", "oldpassword", "newpassword", "password_hash",
		"custom_password_hash", "client_secret", "clientsecret", "app_secret", "secret", "signing_secret", "webhook_secret",
		"private_key", "privatekey", "signingkey", "signing_key", "decryptionkey", "twilio_token", "auth_token", "api_key",
		"apikey", "api_secret", "smtp_pass", "secretaccesskey", "aws_secret_access_key", "httpauthorization", "splunktoken",
		"datadogapikey", "mixpanelserviceaccountpassword", "segmentwritekey", "azure_cs_connection_string", "fcm_key",
		"sns_aws_secret_access_key", "token", "access_token", "accesstoken", "refresh_token", "refreshtoken", "id_token",
		"idtoken", "id_token_hint", "assertion", "client_assertion", "subject_token", "actor_token", "otp", "otp_code",
		"oob_code", "binding_code", "totp_secret", "recovery_code", "recovery_codes", "passcode", "code_verifier",
		"login_ticket", "_csrf", "ticket", "authorization", "cookie", "x-api-key", "samlresponse", "qs.code", "body.code",
		"query.code",
	},
	Parameters: []string{
		"password", "client_secret", "client_assertion", "access_token", "refresh_token", "id_token", "id_token_hint",
		"assertion", "subject_token", "actor_token", "code", "code_verifier", "otp", "oob_code", "recovery_code",
		"samlresponse", "ticket", "login_ticket",
	},
}

type mapper struct{}

func (mapper) Name() string { return name }

func (mapper) Map(raw []byte, cfg source.Config) ([]*eventv1.Event, error) {
	doc, err := source.Parse(raw)
	if err != nil {
		return nil, err
	}
	list := []source.Value{doc}
	if doc.IsArray() {
		if list = doc.Elements(); len(list) == 0 {
			return nil, &source.NotAnEvent{Reason: "a delivery without events"}
		}
	}
	var events []*eventv1.Event
	var errs []error
	for i, v := range list {
		e, err := mapOne(v, cfg)
		if err != nil && len(list) > 1 {
			err = fmt.Errorf("event %d of %d: %w", i+1, len(list), err)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		events = append(events, e)
	}
	return events, errors.Join(errs...)
}

// unwrap returns the event of a record and the bytes that stand for it.
func unwrap(v source.Value) (inner, whole source.Value) {
	data := v.Get("data")
	if !data.IsObject() || v.Get("type").IsText() {
		return v, v
	}
	if id(data) == "" && id(v) != "" {
		return data, v
	}
	return data, data
}

func id(v source.Value) string { return v.First("log_id", "_id") }

// check says why a value is no event, or nothing.
func check(v source.Value) string {
	switch {
	case !v.IsObject():
		return "not a JSON object"
	case !v.Get("type").IsText() || v.Get("type").Text() == "":
		return "no type"
	case id(v) == "" && v.Get("date").Text() == "":
		return "neither log_id nor date"
	}
	return ""
}

// tenant is one event while it is mapped.
type tenant struct {
	source.Value
	details source.Value
	code    string
	cfg     source.Config
	e       *eventv1.Event
}

func mapOne(received source.Value, cfg source.Config) (*eventv1.Event, error) {
	inner, whole := unwrap(received)
	native := id(inner)
	if native == "" && inner.IsObject() {
		native = id(whole)
	}
	if reason := check(inner); reason != "" && (native == "" || reason != "neither log_id nor date") {
		return nil, &source.NotAnEvent{Reason: reason}
	}
	raw, pointers, err := secrets.Mask(whole.Raw())
	if err != nil {
		return nil, err
	}
	v, err := source.Parse(raw)
	if err != nil {
		return nil, err
	}
	v, _ = unwrap(v)
	t := &tenant{Value: v, details: v.Get("details"), code: v.Get("type").Text(), cfg: cfg}
	t.e = source.New(name, raw, pointers, native, t.code)
	t.e.Times = &eventv1.Times{Occurred: source.ParseTime(v.Get("date").Text())}
	t.e.Actor = t.actor()
	t.e.Act = t.act()
	t.e.Credential = t.credential()
	t.classify()
	t.outcome()
	t.e.Correlation = &eventv1.Correlation{
		Session:     first(t.details.Get("session_id").Text(), v.Get("session_id").Text()),
		Transaction: first(t.details.Get("transaction_id").Text(), v.First("transaction_id", "transaction_linking_id")),
		TraceId:     v.Get("references", "trace_id").Text(),
		RequestId:   v.Get("references", "correlation_id").Text(),
	}
	t.e.Network = t.network()
	t.targets()
	t.request()
	t.e.Hops = t.hops()
	t.extra()
	event.Fit(t.e)
	return t.e, nil
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// isSCIM reports whether Auth0 was the server of a SCIM request.
func (t *tenant) isSCIM() bool { return t.code == "sscim" || t.code == "fscim" }

// actor is the user, or of a Management API call whoever called, or a client that acts for itself.
func (t *tenant) actor() *eventv1.Principal {
	user := t.details.Get("request", "auth", "user")
	p := &eventv1.Principal{
		Kind:    eventv1.Principal_KIND_USER,
		Id:      first(t.Get("user_id").Text(), user.Get("user_id").Text()),
		Login:   t.Get("user_name").Text(),
		Email:   user.Get("email").Text(),
		Display: user.Get("name").Text(),
	}
	alone := codes[t.code].class/100 == 3003 || codes[t.code].request && !t.isSCIM() // a client may act for itself
	if client := t.Get("client_id").Text(); alone && client != "" && p.Id == "" && p.Login == "" && p.Email == "" {
		p = &eventv1.Principal{Kind: eventv1.Principal_KIND_APP, Id: client, Display: t.Get("client_name").Text()}
	}
	return t.named(p)
}

// named says whose identifiers a principal has, and returns nil for nobody.
func (t *tenant) named(p *eventv1.Principal) *eventv1.Principal {
	if p.Id == "" && p.Login == "" && p.Email == "" {
		return nil
	}
	if p.Id != "" || p.Login != "" {
		p.Issuer = first(p.Issuer, t.cfg.Issuer)
	}
	if p.Issuer == t.cfg.Issuer {
		p.Tenant = t.Get("tenant_name").Text()
	}
	return p
}

// act is the chain of delegates of a token exchange, first the current one. The part of a chain that is longer than
// an event's goes to the targets, so that each delegate is found.
func (t *tenant) act() []*eventv1.Principal {
	var chain []*eventv1.Principal
	agent := t.Get("agent_id").Text()
	seen := agent == ""
	for v := t.details.Get("actor"); v.IsObject(); v = v.Get("act") {
		p := &eventv1.Principal{
			Kind:       eventv1.Principal_KIND_SERVICE,
			Issuer:     v.Get("iss").Text(),
			Id:         v.First("sub", "agent_id", "client_id"),
			ExternalId: v.Get("external_agent_id").Text(),
			Display:    v.First("name", "client_name"),
		}
		switch a := v.Get("agent_id").Text(); {
		case a != "" || p.Id != "" && p.Id == agent:
			p.Kind = eventv1.Principal_KIND_AI_AGENT
			seen = seen || a == agent || p.Id == agent
		case strings.HasSuffix(p.Id, "@clients") || v.Get("sub").Text() == "":
			p.Kind = eventv1.Principal_KIND_APP
		case strings.Contains(p.Id, "|"):
			p.Kind = eventv1.Principal_KIND_USER
		}
		if p = t.named(p); p != nil {
			chain = append(chain, p)
		}
	}
	if !seen {
		p := t.named(&eventv1.Principal{
			Kind: eventv1.Principal_KIND_AI_AGENT, Id: agent, ExternalId: t.Get("external_agent_id").Text(),
		})
		chain = append([]*eventv1.Principal{p}, chain...)
	}
	const most = 16
	if len(chain) > most {
		for _, p := range chain[most:] {
			t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: "act", Type: "actor", Principal: p})
		}
		chain = chain[:most]
	}
	return chain
}

func (t *tenant) credential() *eventv1.Credential {
	auth := t.details.Get("request", "auth")
	c := &eventv1.Credential{
		Kind:       first(auth.Get("strategy").Text(), codes[t.code].credential),
		Ref:        first(auth.Get("credentials", "jti").Text(), t.details.Get("access_token_jti").Text()),
		ClientId:   t.Get("client_id").Text(),
		ClientName: t.Get("client_name").Text(),
	}
	if print := first(t.Get("mtls_thumbprint_sha256").Text(), t.details.Get("mtls_thumbprint_sha256").Text()); print != "" {
		c.Kind, c.Ref = "mtls", print
	}
	if c.Kind == "password" && t.Get("strategy").Text() != "" && t.Get("strategy").Text() != "auth0" {
		c.Kind = "" // another provider authenticated the user: how, it does not say here
	}
	if proto.Size(c) == 0 {
		return nil
	}
	return c
}

func (t *tenant) outcome() {
	o := t.e.Outcome
	o.Status = codes[t.code].status.Enum()
	o.Code = first(t.details.Get("error", "oauthError").Text(), t.details.Get("error", "type").Text(),
		t.details.Get("error", "code").Text(), t.details.Get("code").Text())
	if status, ok := t.details.Get("response", "statusCode").Int(); ok {
		o.HttpStatus = &status
		if status >= 400 && codes[t.code].request {
			o.Status = eventv1.Outcome_STATUS_FAILURE.Enum()
		}
	}
	if s := o.GetStatus(); s != eventv1.Outcome_STATUS_SUCCESS {
		o.Reason = first(t.details.Get("error", "message").Text(), t.details.Get("error").Text(), t.Get("description").Text())
	}
}

func (t *tenant) network() *eventv1.Network {
	place, request := t.Get("location_info"), t.details.Get("request")
	n := &eventv1.Network{
		Ip:        first(t.Get("ip").Text(), t.Get("client_ip").Text(), request.Get("ip").Text()),
		UserAgent: first(t.Get("user_agent").Text(), request.Get("userAgent").Text()),
		Country:   place.First("country_name", "country_code"),
		City:      place.Get("city_name").Text(),
	}
	for _, ip := range []string{n.Ip, t.Get("client_ip").Text(), request.Get("ip").Text()} {
		if ip != "" && (len(n.IpChain) == 0 || n.IpChain[len(n.IpChain)-1] != ip) {
			n.IpChain = append(n.IpChain, ip)
		}
	}
	if len(n.IpChain) == 1 {
		n.IpChain = nil
	}
	if lat, ok := place.Get("latitude").Micro(); ok {
		n.LatitudeE6 = &lat
	}
	if lon, ok := place.Get("longitude").Micro(); ok {
		n.LongitudeE6 = &lon
	}
	return n
}

// extra keeps what has no field and helps an investigator.
func (t *tenant) extra() {
	for _, name := range []string{
		"description", "connection", "connection_id", "strategy", "strategy_type", "identity_user_id", "scope", "hostname",
		"environment_name", "organization_id", "organization_name", "audience", "is_mobile", "external_agent_id",
	} {
		source.AddExtra(t.e, name, t.Get(name).Any())
	}
	security := t.Get("security_context")
	for _, name := range security.Names() {
		source.AddExtra(t.e, "security_context."+name, security.Get(name).Any())
	}
	for _, name := range []string{"prompts", "stats", "authenticator", "riskAssessment", "action", "subject_token_type"} {
		source.AddExtra(t.e, "details."+name, t.details.Get(name).Any())
	}
	source.AddExtra(t.e, "details.request.channel", t.details.Get("request", "channel").Text())
	source.AddExtra(t.e, "accessedSecrets", first(t.Get("accessedSecrets").Any(), t.details.Get("accessedSecrets").Any()))
}
