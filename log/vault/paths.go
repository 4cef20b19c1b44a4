package vault

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// pathSize is what a path of the schema takes, with the index of a list.
const pathSize = 2

// known are the paths of the schema in the order in which they came into it, for
// ever: payloads have their numbers, from 1. # is an index. A path that is not
// here is spelled out, so that an old list is never wrong.
var known = strings.Fields(`
	schema mapper source.native_id source.native_type source.conflict source.part_of
	source.signature.alg source.signature.kid source.signature.jwk class.schema class.class_uid
	class.activity_id class.severity_id times.occurred times.recorded times.received actor.kind
	actor.issuer actor.id actor.format actor.login actor.email actor.display actor.external_id
	actor.tenant act.#.kind act.#.issuer act.#.id act.#.format act.#.login act.#.email act.#.display
	act.#.external_id act.#.tenant credential.kind credential.ref credential.client_id
	credential.client_name targets.#.role targets.#.type targets.#.id targets.#.name
	targets.#.principal.kind targets.#.principal.issuer targets.#.principal.id
	targets.#.principal.format targets.#.principal.login targets.#.principal.email
	targets.#.principal.display targets.#.principal.external_id targets.#.principal.tenant
	outcome.status outcome.code outcome.reason outcome.http_status changes.#.path changes.#.op
	changes.#.before changes.#.after changes.#.derived hops.#.issuer hops.#.protocol hops.#.session
	hops.#.assertion hops.#.audience hops.#.authenticated hops.#.connection hops.#.evidence
	hops.#.basis hops.#.subject.kind hops.#.subject.issuer hops.#.subject.id hops.#.subject.format
	hops.#.subject.login hops.#.subject.email hops.#.subject.display hops.#.subject.external_id
	hops.#.subject.tenant correlation.session correlation.root_session correlation.transaction
	correlation.trace_id correlation.request_id network.ip network.ip_chain.# network.user_agent
	network.asn network.country network.region network.city network.latitude_e6 network.longitude_e6
	network.device_id network.proxy scim.method scim.resource_type scim.resource_id scim.external_id
	scim.path scim.status scim.scim_type scim.paths.# extra.#.name extra.#.value raw_media_type
	raw_masked.# raw submitter_signature
`)

var numbers = func() map[string]byte {
	m := make(map[string]byte)
	for i, p := range known {
		m[p] = byte(i + 1)
	}
	return m
}()

// appendPath encodes u8 number || its indexes as uvarint each, or 0 || uvarint
// length || path.
func appendPath(b []byte, path string) []byte {
	spelled := func() []byte { return append(binary.AppendUvarint(append(b, 0), uint64(len(path))), path...) }
	if strings.Contains(path, "#") {
		return spelled() // none of ours
	}
	if n := numbers[path]; n > 0 {
		return append(b, n)
	}
	var pattern [128]byte
	var indexes [8]uint64
	name, count := pattern[:0], 0
	for segment := range strings.SplitSeq(path, ".") {
		if len(name) > 0 {
			name = append(name, '.')
		}
		if index, ok := parseIndex(segment); ok && count < len(indexes) {
			indexes[count] = index
			count++
			segment = "#"
		}
		name = append(name, segment...)
	}
	n := numbers[string(name)]
	if n == 0 {
		return spelled()
	}
	b = append(b, n)
	for _, index := range indexes[:count] {
		b = binary.AppendUvarint(b, index)
	}
	return b
}

// parseIndex reads an index of a list (SPEC 2.2).
func parseIndex(s string) (uint64, bool) {
	if s == "" || len(s) > 4 || s[0] == '0' && s != "0" {
		return 0, false
	}
	var n uint64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

// path is the inverse of appendPath; empty if there is none.
func (r *reader) path() string {
	n := int(r.uint(1))
	switch {
	case n == 0:
		return string(r.take(r.uvarint()))
	case n < 0 || n > len(known):
		return ""
	}
	name := known[n-1]
	if !strings.Contains(name, "#") {
		return name
	}
	var path []byte
	for i, part := range strings.Split(name, "#") {
		if i > 0 {
			index := r.uvarint()
			if index < 0 {
				return ""
			}
			path = strconv.AppendInt(path, int64(index), 10)
		}
		path = append(path, part...)
	}
	return string(path)
}
