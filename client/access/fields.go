package access

import (
	"cmp"
	"strconv"
	"strings"

	"idlog/proto/answer"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// fields are the lines of an event by their paths.
type fields map[string]*seal.Line

func newFields(lines []seal.Line) fields {
	f := make(fields, len(lines))
	for i := range lines {
		f[lines[i].Path] = &lines[i]
	}
	return f
}

// hidden returns the first of some paths that is there and is not shown, or "".
func (f fields) hidden(paths ...string) string {
	for _, p := range paths {
		if l := f[p]; l != nil && l.State != seal.Shown {
			return p
		}
	}
	return ""
}

// reader reads an event that may be shown in parts.
type reader struct {
	fields fields
	event  *eventv1.Event // what is shown of it
	tags   []leaf.Hash    // of its persons
}

func newReader(e *answer.Event) (*reader, error) {
	told, err := event.FromLines(e.Fields, nil)
	if err != nil {
		return nil, err
	}
	return &reader{fields: newFields(e.Fields), event: told, tags: personTags(e.Leaf)}, nil
}

// personTags are the tags of the persons of a leaf, in its order: what owners are counted by, SPEC 2.3.
func personTags(l *leaf.Event) (tags []leaf.Hash) {
	if l == nil {
		return nil
	}
	for _, t := range l.Tags {
		if t.Field == tag.Person {
			tags = append(tags, t.Value)
		}
	}
	return tags
}

var identifying = []string{".id", ".format", ".issuer", ".login", ".email"}

// person returns a principal of the event by its path; nil if there is none.
func (r *reader) person(path string, p *eventv1.Principal) *Person {
	if p == nil {
		return nil
	}
	out := &Person{Name: cmp.Or(p.Login, p.Email, p.Display)}
	hidden := false
	for _, name := range identifying {
		l := r.fields[path+name]
		if l == nil {
			continue
		}
		if l.State != seal.Shown {
			hidden = true
			out.Erased = out.Erased || l.State == seal.Erased
		}
		// SPEC 2.3: such fields are owned by whom they name. A format or an issuer alone names nobody.
		if len(l.Owners) == 1 && int(l.Owners[0]) < len(r.tags) && name != ".format" && name != ".issuer" {
			out.Tag = &r.tags[l.Owners[0]]
		}
	}
	if !hidden {
		// The identifier by which the log knows them is the roll's to say.
		if roll, err := event.NewRoll(&eventv1.Event{Actor: p}); err == nil && len(roll.Persons) == 1 {
			out.Identifier = roll.Persons[0].Primary
		}
	}
	return out
}

func principalOf(target int) string { return "targets." + strconv.Itoa(target) + ".principal" }

// names reports whether a principal has an identifier, shown or not. One that has none is nobody.
func (r *reader) names(path string) bool {
	return r.fields[path+".id"] != nil || r.fields[path+".login"] != nil || r.fields[path+".email"] != nil
}

// persons yields the principals that targets are, with the role of each.
func (r *reader) persons(yield func(role string, p *Person)) {
	for i, t := range r.event.GetTargets() {
		if path := principalOf(i); r.names(path) {
			yield(t.Role, r.person(path, t.Principal))
		}
	}
}

// learn remembers whose tags are shown.
func (r *reader) learn(names map[leaf.Hash]Person) {
	note := func(_ string, p *Person) {
		if p != nil && p.Tag != nil && p.Identifier != (subject.Identifier{}) {
			names[*p.Tag] = *p
		}
	}
	note("", r.person("actor", r.event.GetActor()))
	r.persons(note)
}

// subjects are the persons to whom the event was done. A provider that names an account in an application beside its owner
// says which is the user.
func (r *reader) subjects() (list []Person) {
	users := false
	r.persons(func(role string, _ *Person) { users = users || role == "user" || role == "member" })
	r.persons(func(role string, p *Person) {
		if role == "act" || users && role != "user" && role != "member" {
			return
		}
		for _, known := range list {
			if sameTag(known.Tag, p.Tag) {
				return
			}
		}
		list = append(list, *p)
	})
	return list
}

// thing is a target that is no person, as far as it is shown.
type thing struct {
	Target
	name string
	here bool // it is the one that is asked for
}

func (r *reader) listThings(target Target) (list []thing) {
	asked, hidden := false, false
	for i, t := range r.event.GetTargets() {
		if r.names(principalOf(i)) {
			continue
		}
		one := thing{Target: Target{t.GetType(), t.GetId()}, name: t.GetName()}
		path := "targets." + strconv.Itoa(i)
		if r.fields.hidden(path+".type", path+".id") != "" {
			hidden = true
		} else {
			one.here = one.Target == target
		}
		asked = asked || one.here
		list = append(list, one)
	}
	if len(list) == 1 && hidden && !asked {
		list[0].here = true // the event is in the history of the target, and names no other thing
	}
	return list
}

// about reports whether it is the target that an event gives or takes, and not another thing that it names.
func (r *reader) about(c change, target Target) bool {
	list := r.listThings(target)
	if c.effect == ends {
		return len(list) == 1 && list[0].here
	}
	if c.to == things && receives(c, target.Type) {
		return false // it is the target to which something is given
	}
	if c.of == "" || like(target.Type, c.of) {
		return true
	}
	for _, t := range list {
		if !t.here && like(t.Type, c.of) {
			return false
		}
	}
	return true
}

// receives reports whether things of a type are what such an event gives something to.
func receives(c change, kind string) bool {
	if c.of != "" && like(kind, c.of) {
		return false
	}
	return like(kind, "group") || c.of == "" && like(kind, "role")
}

// things are those to which the event gives the target.
func (r *reader) things(target Target) (list []Via) {
	for _, t := range r.listThings(target) {
		if !t.here && (like(t.Type, "group") || like(t.Type, "role")) {
			list = append(list, Via{Target: t.Target, Name: t.name})
		}
	}
	return list
}

// String writes a target as the command line has it.
func (t Target) String() string { return strings.TrimPrefix(t.Type+"/"+t.ID, "/") }
