// Package person is how people write the identifiers of persons (SPEC 2.6) on the command line, and are shown them:
//
//	alice@acme.example                        an e-mail address
//	https://acme.okta.com#00u1                what an issuer calls somebody: the format opaque
//	https://acme.okta.com#account:alice       a login at an issuer, or another format by its name
//	#00u1                                     without an issuer
//
// The first # ends the issuer, which has none. An address with a # is written #email:ADDRESS, and an id that begins with
// a word and a colon, so that this would be its format, ISSUER#opaque:ID.
package person

import (
	"fmt"
	"regexp"
	"strings"

	"idlog/proto/subject"
)

// Parse reads an identifier. Nothing is folded but A-Z of an address.
func Parse(s string) (subject.Identifier, error) {
	issuer, name, named := strings.Cut(s, "#")
	if !named && strings.Contains(s, "@") {
		return check(subject.Email(s), s)
	}
	if !named {
		return subject.Identifier{}, fmt.Errorf("%q names nobody: alice@acme.example, https://acme.okta.com#00u1 or https://acme.okta.com#account:alice does", s)
	}
	format, id := split(name)
	if format == subject.FormatEmail && issuer == "" {
		return check(subject.Email(id), s)
	}
	return check(subject.Identifier{Issuer: issuer, Format: format, ID: id}, s)
}

func check(id subject.Identifier, s string) (subject.Identifier, error) {
	if _, err := id.Bytes(); err != nil {
		return subject.Identifier{}, fmt.Errorf("%q names nobody: %w", s, err)
	}
	return id, nil
}

var formatted = regexp.MustCompile(`^([a-z][a-z0-9_]{0,31}):(?s:(.*))$`)

// split takes the name at an issuer apart.
func split(name string) (format, id string) {
	if m := formatted.FindStringSubmatch(name); m != nil {
		return m[1], m[2]
	}
	return subject.FormatOpaque, name
}

// Text writes an identifier as Parse reads it. It may hold anything: a terminal is shown it by report.Printable. An issuer
// with a #, which no event should have, is not read back.
func Text(id subject.Identifier) string {
	if id.Format == subject.FormatEmail && id.Issuer == "" && strings.Contains(id.ID, "@") && !strings.Contains(id.ID, "#") {
		return id.ID
	}
	if format, _ := split(id.ID); id.Format == subject.FormatOpaque && !strings.HasPrefix(id.ID, format+":") {
		return id.Issuer + "#" + id.ID
	}
	return id.Issuer + "#" + id.Format + ":" + id.ID
}
