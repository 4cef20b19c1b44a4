package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
)

// Split returns an event that one leaf can carry as it is, and else its parts (SPEC 2.10): each has some of the
// targets and everything else, the native id `ID#k/n` with k from 1, source.part_of = ID, and one transaction, which is
// ID when the event has none. A part's raw is masked whole, where it was JSON, and else left out, because it speaks
// of persons whom this part does not name, and whose erasure could not reach it.
//
// e is not changed; the parts share no memory with it. Whoever submits calls it, after the mapper and before
// [Check], which the parts may still fail for other reasons.
func Split(e *eventv1.Event) []*eventv1.Event {
	if len(e.GetTargets()) <= maxTargets() {
		if _, err := NewRoll(e); err == nil && fits(e) {
			return []*eventv1.Event{e}
		}
	}
	base := partBase(e)
	if _, err := NewRoll(base); err != nil || !fits(base) {
		return []*eventv1.Event{e} // no split helps it
	}
	var parts []*eventv1.Event
	for targets := e.Targets; len(targets) > 0; {
		n := room(base, targets)
		part := proto.Clone(base).(*eventv1.Event)
		for _, t := range targets[:n] {
			part.Targets = append(part.Targets, proto.Clone(t).(*eventv1.Target))
		}
		parts, targets = append(parts, part), targets[n:]
	}
	if len(parts) < 2 {
		return []*eventv1.Event{e}
	}
	id := e.GetSource().GetNativeId()
	for i, part := range parts {
		part.Source.NativeId = proto.String(fmt.Sprintf("%s#%d/%d", id, i+1, len(parts)))
	}
	return parts
}

func maxTargets() int { return schema().byName["targets"].rules.maxItems }

// fits reports whether an event is within the bounds on the number of fields and on the size of all values.
func fits(e *eventv1.Event) bool {
	fields, size := cost(e)
	return fields <= MaxFields && size <= MaxValues
}

// partBase is what the parts of an event have in common.
func partBase(e *eventv1.Event) *eventv1.Event {
	base := proto.Clone(e).(*eventv1.Event)
	base.Targets = nil
	if base.Source == nil {
		base.Source = &eventv1.Source{}
	}
	id := base.Source.GetNativeId()
	base.Source.PartOf = id
	if base.Correlation == nil {
		base.Correlation = &eventv1.Correlation{}
	}
	if base.Correlation.Transaction == "" {
		if len(id) > 512 {
			sum := sha256.Sum256([]byte(id))
			id = "sha256:" + hex.EncodeToString(sum[:])
		}
		base.Correlation.Transaction = id
	}
	switch {
	case base.Raw == nil:
	case base.RawMediaType == "application/json":
		base.Raw, base.RawMasked = []byte("null"), []string{""}
	default:
		base.Raw, base.RawMasked, base.RawMediaType = nil, nil, ""
	}
	return base
}

// room returns how many of the targets fit one leaf beside base, at least one.
func room(base *eventv1.Event, targets []*eventv1.Target) int {
	const spare = 64 // bytes by which the native id may grow
	r := callRoll(base)
	tags := r.tags()
	fields, size := cost(base)
	for n, t := range targets {
		before := len(r.Identifiers)
		if p := t.GetPrincipal(); p != nil {
			r.add(p)
		}
		tags += len(r.Identifiers) - before
		if t.GetId() != "" && !named(t.GetPrincipal()) {
			tags++
		}
		f, s := cost(&eventv1.Event{Targets: []*eventv1.Target{t}})
		fields, size = fields+f, size+s
		over := len(r.Identifiers) > MaxPersons || tags > leaf.MaxTags || fields > MaxFields || size > MaxValues-spare
		if over || n == maxTargets() {
			return max(n, 1)
		}
	}
	return len(targets)
}

// cost counts the fields of an event, with those that the server adds, and the bytes of their values, whether or
// not they obey the rules.
func cost(e *eventv1.Event) (fields, size int) {
	var walk func(m protoreflect.Message, p *plan)
	scalar := func(v protoreflect.Value, n *node) {
		fields++
		switch n.kind {
		case kindString:
			size += 1 + len(v.String())
		case kindBytes:
			size += 1 + len(v.Bytes())
		default:
			size += rawLength // at most
		}
	}
	walk = func(m protoreflect.Message, p *plan) {
		for _, n := range p.fields {
			v, set := n.get(m)
			switch {
			case !set:
			case n.list:
				for i := range v.List().Len() {
					if n.kind == kindNone {
						walk(v.List().Get(i).Message(), n.message)
					} else {
						scalar(v.List().Get(i), n)
					}
				}
			case n.kind == kindNone:
				walk(v.Message(), n.message)
			default:
				scalar(v, n)
			}
		}
	}
	walk(e.ProtoReflect(), schema())
	return fields + len(ServerPaths), size + len(ServerPaths)*rawLength
}

// Fit clears what the schema has no room for, so that an event whose source was verbose is logged all the same; its
// raw bytes still say everything. It clears texts that are too long, numbers and times out of range, enums without a
// name, and elements that are empty or lost what they must have; it shortens lists, but none that names persons, for [Split] exists; and it drops
// extra, then changes, from an event whose values are too large together. Mandatory fields and raw are left alone.
// It changes e.
func Fit(e *eventv1.Event) {
	fit(e.ProtoReflect(), schema())
	if len(e.Extra) > 0 && !fits(e) {
		e.Extra = nil
	}
	if len(e.Changes) > 0 && !fits(e) {
		e.Changes = nil
	}
}

func fit(m protoreflect.Message, p *plan) {
	for _, n := range p.fields {
		v, set := n.get(m)
		switch {
		case !set || n.kind == kindRaw:
		case n.list:
			fitList(v.List(), n)
		case n.kind == kindNone:
			fit(v.Message(), n.message)
		case !n.rules.required:
			if n.rules.broken(v, n) {
				m.Clear(n.desc)
			}
		}
	}
}

func fitList(l protoreflect.List, n *node) {
	kept := 0
	for i := range l.Len() {
		v := l.Get(i)
		keep := true
		switch {
		case n.kind == kindNone:
			fit(v.Message(), n.message)
			keep = holds(v.Message(), n.message)
		case n.rules.items != nil:
			keep = !n.rules.items.broken(v, n)
		}
		if keep {
			l.Set(kept, v)
			kept++
		}
	}
	switch n.name {
	case "act", "hops", "targets", "raw_masked":
		// What they say must not be lost: persons, and what was masked.
	default:
		if n.rules.maxItems >= 0 {
			kept = min(kept, n.rules.maxItems)
		}
	}
	l.Truncate(kept)
}

// holds reports whether a message has any field, and all that it must have.
func holds(m protoreflect.Message, p *plan) bool {
	any := false
	for _, n := range p.fields {
		v, set := n.get(m)
		if n.must && !set {
			return false
		}
		any = any || set && (n.kind != kindNone || n.list || holds(v.Message(), n.message))
	}
	return any
}
