package auth0

import (
	"net/url"
	"strings"

	"idlog/log/source"
	eventv1 "idlog/proto/idlog/event/v1"
)

// targets names what an event of no request was done to.
func (t *tenant) targets() {
	switch class := t.e.Class.GetClassUid(); {
	case t.isSCIM() || t.code == "sapi" || t.code == "fapi" || t.code == "mgmt_api_read":
		return // request knows
	case class == 3007 && t.e.Actor.GetKind() == eventv1.Principal_KIND_USER:
		t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: "user", Type: "user", Principal: t.user()})
	case class == 3002 || class == 3003:
		t.thing("application", "client", t.Get("client_id").Text(), t.Get("client_name").Text())
		audience := t.Get("audience")
		t.thing("resource", "resource_server", first(audience.Text(), t.details.Get("audience").Text()), "")
		for _, a := range audience.Elements() {
			t.thing("resource", "resource_server", a.Text(), "")
		}
	}
	t.thing("organization", "organization", t.Get("organization_id").Text(), t.Get("organization_name").Text())
	if t.code == "organization_member_added" || t.code == "organization_member_removed" {
		for _, name := range []string{"user_id", "member_id"} {
			t.person("member", t.details.Get(name).Text())
		}
		for _, m := range t.details.Get("members").Elements() {
			t.person("member", first(m.Text(), m.Get("user_id").Text()))
		}
	}
}

func (t *tenant) thing(role, kind, id, name string) {
	if id != "" || name != "" {
		t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: role, Type: kind, Id: id, Name: name})
	}
}

func (t *tenant) person(role, id string) {
	p := t.named(&eventv1.Principal{Kind: eventv1.Principal_KIND_USER, Id: id})
	if p != nil {
		t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: role, Type: "user", Principal: p})
	}
}

// user is the user of the event under its Auth0 names.
func (t *tenant) user() *eventv1.Principal {
	return t.named(&eventv1.Principal{
		Kind: eventv1.Principal_KIND_USER, Id: t.Get("user_id").Text(), Login: t.Get("user_name").Text(),
	})
}

// request maps what a request to the Management API or to Auth0's SCIM server asked for.
func (t *tenant) request() {
	switch request := t.details.Get("request"); {
	case !request.IsObject():
	case t.isSCIM():
		t.scim(request)
	case codes[t.code].request:
		t.management(request)
	}
}

// path returns the segments below the API's root, decoded.
func path(s string) []string {
	s, _, _ = strings.Cut(s, "?")
	segments := strings.Split(strings.Trim(s, "/"), "/")
	for i, part := range segments {
		if plain, err := url.PathUnescape(part); err == nil {
			segments[i] = plain
		}
	}
	for len(segments) > 0 && (segments[0] == "api" || segments[0] == "v2" || segments[0] == "scim") {
		segments = segments[1:]
	}
	return segments
}

// management names the targets by the path, /v2/users/{id}/roles, and the changes by the body.
func (t *tenant) management(request source.Value) {
	method, segments := strings.ToLower(request.Get("method").Text()), path(request.Get("path").Text())
	if len(segments) == 0 || segments[0] == "" {
		return
	}
	kind, id := segments[0], ""
	if len(segments) > 1 {
		id = segments[1]
	}
	body, answer := request.Get("body"), t.details.Get("response", "body")
	one := singular(kind)
	created := id == "" && method == "post"
	if created {
		id = answer.First(one+"_id", "id", "user_id", "client_id")
	}
	if kind == "users" && id != "" {
		p := t.named(&eventv1.Principal{Kind: eventv1.Principal_KIND_USER, Id: id})
		if created || len(segments) == 2 {
			p.Email = first(answer.Get("email").Text(), body.Get("email").Text())
			p.Display = first(answer.Get("name").Text(), body.Get("name").Text())
		}
		t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: "user", Type: "user", Principal: p})
	} else {
		t.thing(one, one, id, first(answer.Get("name").Text(), body.Get("name").Text()))
		if id == "" && answer.Get("name").Text() == "" && body.Get("name").Text() == "" {
			t.thing(one, one, strings.Join(segments, "/"), "")
		}
	}
	for _, list := range []string{"users", "members"} { // roles/{id}/users, organizations/{id}/members
		for _, u := range body.Get(list).Elements() {
			t.person("user", first(u.Text(), u.Get("user_id").Text()))
		}
	}
	for _, r := range body.Get("roles").Elements() {
		t.thing("role", "role", r.Text(), "")
	}
	source.Classify(t.e, managementClass(method, segments, body))
	t.changes(method, body)
}

// singular names one of what a path names: "client" of "clients", the same name that sign-ins have for it.
func singular(kind string) string {
	kind = strings.ReplaceAll(kind, "-", "_")
	if stem, ok := strings.CutSuffix(kind, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(kind, "s")
}

// managementClass classifies a call by its path and method, for the reader who looks for role changes.
func managementClass(method string, segments []string, body source.Value) int64 {
	below := ""
	if len(segments) > 2 {
		below = segments[2]
	}
	switch kind := segments[0]; {
	case kind == "users" && below == "roles" || kind == "roles" && below == "users":
		return pick(method, 3007_16, 3007_16, 3007_17)
	case kind == "users" && below == "permissions":
		return pick(method, 3007_14, 3007_14, 3007_15)
	case kind == "users" && (below == "multifactor" || below == "authenticators" || below == "authentication-methods"):
		return pick(method, 3007_12, 3007_02, 3007_13)
	case kind == "users" && body.Get("password").Raw() != nil:
		return pick(method, 3007_01, 3007_08, 3007_03)
	case kind == "users" && body.Get("blocked").Text() == "true":
		return pick(method, 3007_01, 3007_05, 3007_03)
	case kind == "users" && below == "":
		return pick(method, 3007_01, 3007_02, 3007_03)
	case kind == "users":
		return 3007_02
	case kind == "organizations" && below == "members":
		return pick(method, 3006_03, 3006_09, 3006_04)
	case kind == "roles" && below == "permissions":
		return pick(method, 3008_04, 3008_02, 3008_05)
	case kind == "roles":
		return pick(method, 3008_01, 3008_02, 3008_03)
	}
	return pick(method, 3004_01, 3004_03, 3004_04)
}

// pick chooses by method; what reads is activity 2 of entity management.
func pick(method string, create, update, remove int64) int64 {
	switch method {
	case "post":
		return create
	case "put", "patch":
		return update
	case "delete":
		return remove
	}
	return 3004_02
}

var operations = map[string]string{"post": "add", "put": "replace", "patch": "replace", "delete": "remove"}

// changes maps each member of a body. The state before is not told.
func (t *tenant) changes(method string, body source.Value) {
	op := operations[method]
	if op == "" {
		return
	}
	for _, name := range body.Names() {
		t.change(name, op, body.Get(name))
	}
	if body.IsArray() {
		t.change("", op, body)
	}
}

func (t *tenant) change(path, op string, after source.Value) {
	c := &eventv1.Change{Path: path, Op: op}
	if s := after.Any(); s != "" || after.IsText() {
		c.After = &s
	}
	if c.Path == "" && c.After == nil {
		return
	}
	t.e.Changes = append(t.e.Changes, c)
}

// scim maps a request that the customer's directory sent: /scim/v2/connections/{id}/Users/{resource}.
func (t *tenant) scim(request source.Value) {
	method, body := strings.ToUpper(request.Get("method").Text()), request.Get("body")
	answer := t.details.Get("response", "body")
	s := &eventv1.Scim{
		Method:     method,
		Path:       request.Get("path").Text(),
		ExternalId: first(body.Get("externalId").Text(), answer.Get("externalId").Text()),
		ScimType:   answer.Get("scimType").Text(),
	}
	if status, ok := t.details.Get("response", "statusCode").Int(); ok {
		s.Status = &status
	}
	segments := path(s.Path)
	for i, part := range segments {
		if part == "Users" || part == "Groups" {
			s.ResourceType = strings.TrimSuffix(part, "s")
			if i+1 < len(segments) {
				s.ResourceId = segments[i+1]
			}
		}
	}
	if s.ResourceId == "" {
		s.ResourceId = answer.Get("id").Text()
	}
	t.e.Scim = s
	t.scimTarget(body, answer)
	t.scimChanges(body)
}

func (t *tenant) scimTarget(body, answer source.Value) {
	s := t.e.Scim
	name := first(body.Get("userName").Text(), answer.Get("userName").Text())
	switch s.ResourceType {
	case "User":
		source.Classify(t.e, pick(strings.ToLower(s.Method), 3007_01, 3007_02, 3007_03))
		p := &eventv1.Principal{
			Kind: eventv1.Principal_KIND_USER, Id: s.ResourceId, Login: name, ExternalId: s.ExternalId,
			Display: first(body.Get("displayName").Text(), answer.Get("displayName").Text()),
		}
		for _, e := range body.Get("emails").Elements() {
			if p.Email == "" || e.Get("primary").Text() == "true" {
				p.Email = e.Get("value").Text()
			}
		}
		if p = t.named(p); p != nil {
			t.e.Targets = append(t.e.Targets, &eventv1.Target{Role: "user", Type: "User", Principal: p})
		}
	case "Group":
		source.Classify(t.e, pick(strings.ToLower(s.Method), 3006_06, 3006_09, 3006_05))
		t.thing("group", "Group", s.ResourceId, body.Get("displayName").Text())
		for _, m := range body.Get("members").Elements() {
			t.person("member", m.Get("value").Text())
		}
		for _, o := range body.Get("Operations").Elements() {
			for _, m := range o.Get("value").Elements() {
				t.person("member", m.Get("value").Text())
			}
		}
	}
}

// scimChanges maps the operations of a PATCH, or the attributes of another body.
func (t *tenant) scimChanges(body source.Value) {
	wrote := make(map[string]bool)
	write := func(path, op string, value source.Value) {
		if !wrote[path] && path != "" {
			wrote[path] = true
			t.e.Scim.Paths = append(t.e.Scim.Paths, path)
		}
		t.change(path, op, value)
	}
	for _, o := range body.Get("Operations").Elements() {
		op, path, value := strings.ToLower(o.Get("op").Text()), o.Get("path").Text(), o.Get("value")
		if path != "" || !value.IsObject() {
			write(path, op, value)
			continue
		}
		for _, name := range value.Names() {
			write(name, op, value.Get(name))
		}
	}
	if body.Get("Operations").IsArray() {
		return
	}
	for _, name := range body.Names() {
		if name != "schemas" {
			write(name, operations[strings.ToLower(t.e.Scim.Method)], body.Get(name))
		}
	}
}
