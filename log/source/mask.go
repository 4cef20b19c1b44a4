package source

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Secrets is the list of what a mapper masks. It belongs to the mapper's version.
type Secrets struct {
	// Names are members of objects, at any depth, in lower case: "password", or with the member that holds
	// them, "qs.code". Their values are secret unless null, true or false. A SCIM PATCH operation whose path ends in
	// such a name has a secret value.
	Names []string
	// Parameters are names of a query or a form, in lower case. A string in which one has a value is secret.
	Parameters []string
}

const (
	maxPointers     = 256
	maxPointerBytes = 32 << 10
)

// Mask replaces each secret value of a JSON document by null and leaves every other byte as it is (SPEC 2.10). It
// returns the RFC 6901 pointers of what it replaced, ascending. A string that holds JSON with a secret in it is
// secret as a whole. More pointers than an event can carry become those of the values that hold them. The error is
// that of [Parse]. Nothing aliases raw.
func (s *Secrets) Mask(raw []byte) (masked []byte, pointers []string, err error) {
	v, err := Parse(raw)
	if err != nil {
		return nil, nil, err
	}
	m := masker{secrets: s, limit: -1}
	m.walk(v, "", "", 0)
	for depth := min(m.depth, 8); m.tooMany(); {
		depth-- // at 0 the whole document is one value
		m.limit = depth
		m.spans, m.pointers = nil, nil
		m.walk(v, "", "", 0)
	}
	at := 0
	for _, span := range m.spans {
		masked = append(append(masked, raw[at:span[0]]...), "null"...)
		at = span[1]
	}
	masked = append(masked, raw[at:]...)
	slices.Sort(m.pointers)
	return masked, slices.Compact(m.pointers), nil
}

// masker collects what is secret, in the order of the document.
type masker struct {
	secrets  *Secrets
	spans    [][2]int
	pointers []string
	depth    int // greatest depth of a secret
	limit    int // depth at which whatever holds a secret is secret; -1 for none
}

func (m *masker) tooMany() bool {
	size := 0
	for _, p := range m.pointers {
		size += len(p)
	}
	return len(m.pointers) > maxPointers || size > maxPointerBytes
}

// walk visits v. holder is the name of the member that holds it.
func (m *masker) walk(v Value, pointer, holder string, depth int) {
	if depth == m.limit {
		inner := masker{secrets: m.secrets, limit: -1}
		inner.walk(v, pointer, holder, depth)
		if len(inner.spans) > 0 {
			m.hide(v, pointer, depth)
		}
		return
	}
	switch v.kind {
	case '{':
		patched := m.secretName(holder, lastName(v.Get("path").Text()))
		for _, c := range v.members {
			below := pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(c.name)
			secret := m.secretName(holder, c.name) || patched && strings.EqualFold(c.name, "value")
			if secret && !c.value.plain() {
				m.hide(c.value, below, depth+1)
			} else {
				m.walk(c.value, below, c.name, depth+1)
			}
		}
	case '[':
		for i, c := range v.elements {
			m.walk(c, pointer+"/"+strconv.Itoa(i), holder, depth+1)
		}
	case '"':
		if m.secretText(v.Text()) {
			m.hide(v, pointer, depth)
		}
	}
}

func (m *masker) hide(v Value, pointer string, depth int) {
	m.spans = append(m.spans, [2]int{v.start, v.end})
	m.pointers = append(m.pointers, pointer)
	m.depth = max(m.depth, depth)
}

// plain is what says nothing secret under any name.
func (v Value) plain() bool { return v.kind == 'n' || v.kind == 't' || v.kind == 'f' }

// lastName is the attribute that a SCIM path ends in: of "urn:...:User:password" and of "a[b eq 1].password".
func lastName(path string) string {
	return path[strings.LastIndexAny(path, ":.")+1:]
}

func (m *masker) secretName(holder, name string) bool {
	name = strings.ToLower(name)
	return name != "" && (slices.Contains(m.secrets.Names, name) ||
		slices.Contains(m.secrets.Names, strings.ToLower(holder)+"."+name))
}

func (m *masker) secretText(s string) bool {
	for at := 0; at < len(s); {
		part := s[at:]
		if end := strings.IndexAny(part, "?&#; "); end >= 0 {
			part, at = part[:end], at+end+1
		} else {
			at = len(s)
		}
		name, value, ok := strings.Cut(part, "=")
		if ok && value != "" && slices.Contains(m.secrets.Parameters, strings.ToLower(name)) {
			return true
		}
	}
	if t := strings.TrimSpace(s); t != "" && (t[0] == '{' || t[0] == '[') && json.Valid([]byte(t)) {
		if v, err := Parse([]byte(t)); err == nil {
			inner := masker{secrets: m.secrets, limit: -1}
			inner.walk(v, "", "", 0)
			return len(inner.spans) > 0
		}
	}
	return false
}
