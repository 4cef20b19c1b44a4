package read

import (
	"fmt"
	"strings"
)

// A pattern names fields: a path, or one whose segments may be "*", and all that
// is below it. "actor", "actor.*", "targets.*.principal.id".
type pattern []string

func parsePattern(s string) (pattern, error) {
	p := strings.Split(s, ".")
	for _, segment := range p {
		if segment == "" || strings.ContainsAny(segment, " =,") || strings.Contains(segment, "*") && segment != "*" {
			return nil, fmt.Errorf("%q names no fields: a path such as actor.id or targets.*.id does", s)
		}
	}
	return p, nil
}

func parsePatterns(list []string) ([]pattern, error) {
	var out []pattern
	for _, s := range list {
		p, err := parsePattern(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (p pattern) String() string { return strings.Join(p, ".") }

// match reports whether the pattern names the field at a path.
func (p pattern) match(path string) bool {
	for _, want := range p {
		if path == "" {
			return false
		}
		have, below, _ := strings.Cut(path, ".")
		if want != "*" && want != have {
			return false
		}
		path = below
	}
	return true
}

func matchAny(list []pattern, path string) bool {
	for _, p := range list {
		if p.match(path) {
			return true
		}
	}
	return false
}

// wildcard reports whether a text is what is asked for, where * stands for any text.
func wildcard(want, have string) bool {
	parts := strings.Split(want, "*")
	if len(parts) == 1 {
		return want == have
	}
	rest, ok := strings.CutPrefix(have, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
