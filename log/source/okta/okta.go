// Package okta maps Okta's System Log: a LogEvent as the polling API and the exports write it, an array of them, and
// the body of an event hook, which wraps them. See package source for what a mapper promises.
//
// The identifiers in Okta's events are those of the organisation, which the events do not name: Config.Issuer does.
// "unknown" is Okta's word for nothing, and is read so.
package okta

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"idlog/log/source"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
)

// Mapper maps Okta's System Log.
var Mapper source.Mapper = mapper{}

const name = "okta/1"

// secrets of version 1. Okta strips most itself; one-time tokens stay in the addresses of debugData.
var secrets = source.Secrets{
	Names: []string{
		"password", "newpassword", "oldpassword", "clientsecret", "client_secret", "privatekey", "private_key",
		"statetoken", "sessiontoken", "recoverytoken", "activationtoken", "accesstoken", "access_token",
		"refreshtoken", "refresh_token", "idtoken", "id_token", "passcode", "authorization", "cookie",
	},
	Parameters: []string{
		"password", "statetoken", "sessiontoken", "recoverytoken", "activationtoken", "token", "access_token",
		"refresh_token", "id_token", "id_token_hint", "client_secret", "client_assertion", "samlresponse", "code",
		"code_verifier", "passcode",
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
	switch {
	case doc.IsArray():
		list = doc.Elements()
	case doc.Get("eventType").Text() == "com.okta.event_hook":
		list = doc.Get("data", "events").Elements()
	}
	if len(list) == 0 {
		return nil, &source.NotAnEvent{Reason: "a delivery without events"}
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

// check says why a value is no LogEvent, or nothing.
func check(v source.Value) string {
	switch {
	case !v.IsObject():
		return "not a JSON object"
	case v.Get("eventType").Text() == "":
		return "no eventType"
	case v.Get("uuid").Text() == "" && !v.Get("actor").IsObject() && !v.Get("outcome").IsObject():
		return "neither uuid nor actor nor outcome"
	}
	return ""
}

func mapOne(received source.Value, cfg source.Config) (*eventv1.Event, error) {
	if reason := check(received); reason != "" {
		return nil, &source.NotAnEvent{Reason: reason}
	}
	raw, pointers, err := secrets.Mask(received.Raw())
	if err != nil {
		return nil, err
	}
	v, err := source.Parse(raw)
	if err != nil {
		return nil, err
	}
	e := source.New(name, raw, pointers, v.Get("uuid").Text(), v.Get("eventType").Text())
	classify(e, v)
	e.Times = &eventv1.Times{
		Occurred: source.ParseTime(v.Get("published").Text()),
		Recorded: source.ParseTime(v.Get("insertionTimestamp").Text()),
	}
	e.Actor = principal(v.Get("actor"), cfg)
	e.Credential = credential(v)
	for _, t := range v.Get("target").Elements() {
		if target := targetOf(t, cfg); target != nil {
			e.Targets = append(e.Targets, target)
		}
	}
	outcome(e, v)
	changes(e, v)
	e.Correlation = &eventv1.Correlation{
		Session:     known(v.Get("authenticationContext", "externalSessionId")),
		RootSession: known(v.Get("authenticationContext", "rootSessionId")),
		Transaction: known(v.Get("transaction", "id")),
		RequestId:   known(v.Get("debugContext", "debugData", "requestId")),
	}
	e.Network = network(v)
	e.Hops = hops(e, v, cfg)
	e.Scim = scim(e.Source.GetNativeType())
	extra(e, v)
	event.Fit(e)
	return e, nil
}

// known is a text that says something.
func known(v source.Value) string {
	if s := v.Text(); !strings.EqualFold(s, "unknown") && s != "null" {
		return s
	}
	return ""
}

// principal maps an actor or a target that is one. It returns nil when nothing of it is known.
func principal(v source.Value, cfg source.Config) *eventv1.Principal {
	p := &eventv1.Principal{Id: known(v.Get("id")), Display: known(v.Get("displayName"))}
	switch t := v.Get("type").Text(); {
	case t == "User" || t == "AppUser":
		p.Kind = eventv1.Principal_KIND_USER
	case t == "SystemPrincipal":
		p.Kind = eventv1.Principal_KIND_SYSTEM
	case t == "PublicClientApp" || t == "AppInstance" || t == "PrivateClientApp":
		p.Kind = eventv1.Principal_KIND_APP
	case strings.Contains(strings.ToLower(t), "agent") && isAgent(t):
		p.Kind = eventv1.Principal_KIND_AI_AGENT
	case t == "IP address":
		p.Id = "" // where nobody is named, the address stands for the actor; it is no identifier
	case t == "WorkloadPrincipal" || t == "ServiceAccount":
		p.Kind = eventv1.Principal_KIND_SERVICE
	}
	alternate := known(v.Get("alternateId"))
	switch p.Kind {
	case eventv1.Principal_KIND_USER, eventv1.Principal_KIND_SYSTEM:
		p.Login = alternate
	default:
		if p.Display == "" {
			p.Display = alternate
		}
	}
	if p.Id == "" && p.Login == "" && p.Display == "" {
		return nil
	}
	if p.Id != "" || p.Login != "" {
		p.Issuer = cfg.Issuer
	}
	return p
}

func isAgent(t string) bool {
	switch strings.ToLower(strings.NewReplacer("_", "", " ", "", "-", "").Replace(t)) {
	case "aiagent", "workloadprincipalaiagent":
		return true
	}
	return false
}

// targetOf maps users and agents to principals; an application or a group is a thing.
func targetOf(v source.Value, cfg source.Config) *eventv1.Target {
	kind := v.Get("type").Text()
	t := &eventv1.Target{Role: role(kind), Type: kind}
	switch p := principal(v, cfg); {
	case p != nil && (p.Kind == eventv1.Principal_KIND_USER || p.Kind == eventv1.Principal_KIND_AI_AGENT ||
		p.Kind == eventv1.Principal_KIND_SERVICE || p.Kind == eventv1.Principal_KIND_SYSTEM):
		t.Principal = p
	default:
		t.Id = known(v.Get("id"))
		t.Name = v.First("displayName", "alternateId")
	}
	if t.Type == "" && t.Principal == nil && t.Id == "" && t.Name == "" {
		return nil
	}
	return t
}

var roles = map[string]string{
	"User": "user", "AppUser": "app_user", "UserGroup": "group", "AppGroup": "app_group", "AppInstance": "application",
	"PublicClientApp": "client", "Token": "token", "PolicyEntity": "policy", "Policy": "policy",
	"PolicyRule": "policy_rule", "Rule": "policy_rule", "IdentityProvider": "identity_provider",
	"AuthenticatorEnrollment": "authenticator", "ROLE": "role", "CUSTOM_ROLE": "role",
}

// role names a target's part: one of the table, or its type in snake case.
func role(kind string) string {
	if r, ok := roles[kind]; ok {
		return r
	}
	var b strings.Builder
	lower := false
	for _, r := range kind {
		switch {
		case r == ' ' || r == '-' || r == '.':
			r, lower = '_', false
		case 'A' <= r && r <= 'Z':
			if lower {
				b.WriteByte('_')
			}
			r, lower = r+'a'-'A', false
		default:
			lower = true
		}
		b.WriteRune(r)
	}
	return b.String()
}

func credential(v source.Value) *eventv1.Credential {
	c := &eventv1.Credential{
		Kind:     known(v.Get("authenticationContext", "credentialType")),
		Ref:      known(v.Get("transaction", "detail", "requestApiTokenId")),
		ClientId: known(v.Get("client", "id")),
	}
	if c.Kind == "" {
		c.Kind = known(v.Get("debugContext", "debugData", "factor"))
	}
	if c.Kind == "" && c.Ref != "" {
		c.Kind = "api_token"
	}
	if a := v.Get("actor"); c.ClientId != "" && a.Get("id").Text() == c.ClientId {
		c.ClientName = known(a.Get("displayName"))
	}
	if proto.Size(c) == 0 {
		return nil
	}
	return c
}

var statuses = map[string]eventv1.Outcome_Status{
	"SUCCESS": eventv1.Outcome_STATUS_SUCCESS, "ALLOW": eventv1.Outcome_STATUS_SUCCESS,
	"FAILURE": eventv1.Outcome_STATUS_FAILURE, "UNANSWERED": eventv1.Outcome_STATUS_FAILURE,
	"ABANDONED": eventv1.Outcome_STATUS_FAILURE, "DENY": eventv1.Outcome_STATUS_DENIED,
	"CHALLENGE": eventv1.Outcome_STATUS_CHALLENGED,
}

func outcome(e *eventv1.Event, v source.Value) {
	result := v.Get("outcome", "result").Text()
	e.Outcome.Status = statuses[strings.ToUpper(result)].Enum()
	e.Outcome.Code = result
	e.Outcome.Reason = v.Get("outcome", "reason").Text()
}

// changes maps the changeDetails of targets, and the privileges that only debugData tells.
func changes(e *eventv1.Event, v source.Value) {
	for _, t := range v.Get("target").Elements() {
		from, to := t.Get("changeDetails", "from"), t.Get("changeDetails", "to")
		prefix := role(t.Get("type").Text()) + "."
		for _, name := range from.Names() {
			change(e, prefix+name, from.Get(name), to.Get(name))
		}
		for _, name := range to.Names() {
			if before := from.Get(name); before.Any() == "" {
				change(e, prefix+name, before, to.Get(name))
			}
		}
	}
	data := v.Get("debugContext", "debugData")
	if s := data.Get("privilegeGranted").Text(); s != "" {
		e.Changes = append(e.Changes, &eventv1.Change{Path: "privileges", Op: "add", After: &s})
	}
	if s := data.Get("privilegeRevoked").Text(); s != "" {
		e.Changes = append(e.Changes, &eventv1.Change{Path: "privileges", Op: "remove", Before: &s})
	}
}

func change(e *eventv1.Event, path string, before, after source.Value) {
	b, a := before.Any(), after.Any()
	c := &eventv1.Change{Path: path, Op: "replace", Before: &b, After: &a}
	switch {
	case b == a:
		return
	case b == "":
		c.Op, c.Before = "add", nil
	case a == "":
		c.Op, c.After = "remove", nil
	}
	e.Changes = append(e.Changes, c)
}

func network(v source.Value) *eventv1.Network {
	client, security := v.Get("client"), v.Get("securityContext")
	place := client.Get("geographicalContext")
	n := &eventv1.Network{
		Ip:        known(client.Get("ipAddress")),
		UserAgent: known(client.Get("userAgent", "rawUserAgent")),
		Country:   known(place.Get("country")),
		Region:    known(place.Get("state")),
		City:      known(place.Get("city")),
		DeviceId:  known(v.Get("device", "id")),
	}
	for _, hop := range v.Get("request", "ipChain").Elements() {
		if ip := known(hop.Get("ip")); ip != "" {
			n.IpChain = append(n.IpChain, ip)
		}
	}
	if asn, ok := security.Get("asNumber").Int(); ok {
		n.Asn = &asn
	}
	if lat, ok := place.Get("geolocation", "lat").Micro(); ok {
		n.LatitudeE6 = &lat
	}
	if lon, ok := place.Get("geolocation", "lon").Micro(); ok {
		n.LongitudeE6 = &lon
	}
	if proxy, ok := security.Get("isProxy").Bool(); ok {
		n.Proxy = &proxy
	}
	return n
}

// extra keeps what has no field and helps an investigator. debugData is no contract of Okta's, so all of its texts
// stay under their own names.
func extra(e *eventv1.Event, v source.Value) {
	source.AddExtra(e, "displayMessage", v.Get("displayMessage").Text())
	source.AddExtra(e, "legacyEventType", v.Get("legacyEventType").Text())
	auth := v.Get("authenticationContext")
	for _, name := range []string{"authenticationProvider", "credentialProvider", "interface"} {
		source.AddExtra(e, "authenticationContext."+name, known(auth.Get(name)))
	}
	source.AddExtra(e, "device.name", known(v.Get("device", "name")))
	source.AddExtra(e, "transaction.type", known(v.Get("transaction", "type")))
	source.AddExtra(e, "transaction.rootApiTokenId", known(v.Get("transaction", "detail", "rootApiTokenId")))
	for _, name := range []string{"asOrg", "isp", "domain"} {
		source.AddExtra(e, "securityContext."+name, known(v.Get("securityContext", name)))
	}
	data := v.Get("debugContext", "debugData")
	for _, name := range data.Names() {
		switch name {
		case "requestId", "privilegeGranted", "privilegeRevoked":
			continue // has a field
		}
		source.AddExtra(e, "debugData."+name, data.Get(name).Any())
	}
}
