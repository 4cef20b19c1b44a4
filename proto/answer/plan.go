package answer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// A Query is one that the index proof has to answer.
type Query struct {
	Field uint16
	Value leaf.Hash
	// Whole says that the whole list is wanted: all else follows from it. Without it any page will do, and only one that is
	// whole, or covers the window, makes the answer complete.
	Whole   bool
	Entries bool // with the entries, and not only their leaf hashes
}

// Missing is what a history lacks to be an answer to its question. Who makes one adds what is missing and asks again, until
// nothing is. As long as there are Queries to look up, the rest is empty, because it follows from their answers.
type Missing struct {
	Queries []Query // ascending by field and value
	// Subjects lack with the proof for their identifier and epoch; Proof and Enrolments are empty.
	Subjects []Subject
	// Enrolments are neither opened nor erased. A handle belongs to the subject of this identifier and epoch, an erased one
	// too, or if its identifier is unknown to any.
	Enrolments []Unopened
	// Keys lack the key itself.
	Keys []Key
}

// None reports whether nothing is missing.
func (m *Missing) None() bool {
	return len(m.Queries) == 0 && len(m.Subjects) == 0 && len(m.Enrolments) == 0 && len(m.Keys) == 0
}

// Unopened is an enrolment of which a history says nothing.
type Unopened struct {
	Leaf leaf.Hash // of the enrolment
	// Identifier and Epoch are those of the subject in whose list the enrolment stands. Epoch is 0 if it stands in none: then
	// a statement of sameness names it, beside an enrolment of Identifier; wanted are the subjects of its own identifier, for
	// each epoch, or, if it is erased, that line beneath the subject of Identifier.
	Identifier subject.Identifier
	Epoch      int64
	Commit     leaf.Hash // what a handle has to open; zero if Epoch is 0
}

// Missing says what the history lacks, as far as that follows from what it has. It does not verify the index proof. An error
// says that the evidence is false, or a list not whole where it must be: no addition mends that.
func (h *History) Missing() (*Missing, error) {
	d, err := h.derive()
	if err != nil {
		return nil, err
	}
	m := &Missing{Queries: d.unanswered}
	slices.SortFunc(m.Queries, func(a, b Query) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Value[:], b.Value[:]))
	})
	if len(m.Queries) == 0 {
		m.Subjects, m.Enrolments, m.Keys = d.unproven, d.unopened, d.unshown
	}
	return m, nil
}

// derivation is what follows from a question, its evidence, and the answers of the index: what must be there, and what it
// means. It is the same for who makes an answer and for who verifies it.
type derivation struct {
	h *History

	needs      map[mapKey]Query // all that must be answered
	unanswered []Query
	unproven   []Subject
	unopened   []Unopened
	unshown    []Key

	vrf     map[int64]leaf.Hash // by epoch
	epochs  []int64             // ascending
	commits []commitment        // in the order of the keys leaves

	blocks     [][]*Enrolment               // those in the list of each of h.Subjects
	enrolments map[leaf.Hash]*Enrolment     // those in the lists of the blocks
	erased     map[leaf.Hash]int64          // what the history says of erasures
	used       map[leaf.Hash]*Enrolment     // those whose erasure was needed
	reached    map[subject.Identifier]*face // identifiers that the question is about
	faces      []*face                      // likewise, in the order in which they were reached
	strays     map[leaf.Hash]*face          // linked enrolments whose identifier the history does not name
	links      map[int64]*Link              // statements of sameness by index
	keyUsed    map[Key]bool                 // keys without the key itself; false if it is not shown

	asks  []map[leaf.Tag]bool // the tags that each ask comes down to
	mains []main              // the lists that answer
}

type mapKey struct {
	field uint16
	value leaf.Hash
}

type commitment struct {
	Key    // without the key
	commit leaf.Hash
}

// face is one identifier with its evidence of all epochs.
type face struct {
	id         subject.Identifier
	asked      bool
	enrolments []*Enrolment
}

// main is a list that answers, and whose it is.
type main struct {
	query  Query
	id     *subject.Identifier
	source string
}

// listed is an entry of a list that is whole.
type listed struct {
	index int64
	hash  leaf.Hash
	leaf  leaf.Leaf
}

func (h *History) derive() (*derivation, error) {
	d := &derivation{h: h,
		needs: make(map[mapKey]Query), vrf: make(map[int64]leaf.Hash), enrolments: make(map[leaf.Hash]*Enrolment),
		erased: make(map[leaf.Hash]int64), used: make(map[leaf.Hash]*Enrolment), reached: make(map[subject.Identifier]*face),
		strays: make(map[leaf.Hash]*face),
		links:  make(map[int64]*Link), keyUsed: make(map[Key]bool), asks: make([]map[leaf.Tag]bool, len(h.Asks))}
	if len(h.Asks) == 0 {
		return nil, errors.New("nothing is asked")
	}
	steps := []func() error{d.readKeys, d.readSubjects, d.readAsks}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
		if len(d.unanswered) > 0 {
			break
		}
	}
	return d, nil
}

// need notes that a query must be answered, and returns the answer, or nil if there is none.
func (d *derivation) need(q Query) *proof.Answer {
	key := mapKey{q.Field, q.Value}
	_, noted := d.needs[key]
	d.needs[key] = q
	if d.h.Index != nil {
		if a := d.h.Index.Answer(q.Field, q.Value); a != nil {
			return a
		}
	}
	if !noted {
		d.unanswered = append(d.unanswered, q)
	}
	return nil
}

// list returns a list that must be there as a whole, each entry once, and whether there is an answer: the list is empty if
// there is none, and if the key is absent.
func (d *derivation) list(field uint16, value leaf.Hash) (all []listed, answered bool, err error) {
	a := d.need(Query{Field: field, Value: value, Whole: true, Entries: true})
	if a == nil || a.List == nil {
		return nil, a != nil, nil
	}
	if !a.List.Page.Whole(a.List.Head) {
		return nil, true, &IncompleteError{Promise: fmt.Sprintf("the list of %s is not whole", name(field, value))}
	}
	seen := make(map[leaf.Hash]bool)
	for i, p := range a.List.Page.Postings {
		if seen[p.Leaf] {
			continue
		}
		seen[p.Leaf] = true
		l, err := d.parse(a.List, i)
		if err != nil {
			return nil, true, err
		}
		if l == nil {
			return nil, true, &IncompleteError{Promise: fmt.Sprintf("entry %d is not given, in the list of %s", p.Index, name(field, value))}
		}
		all = append(all, listed{p.Index, p.Leaf, l})
	}
	return all, true, nil
}

// parse reads an entry of a list, which must be of our family. It is nil if the entry is not given.
func (d *derivation) parse(list *proof.List, i int) (leaf.Leaf, error) {
	if i >= len(list.Entries) || list.Entries[i] == nil {
		return nil, nil
	}
	l, err := leaf.Parse(list.Entries[i])
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", list.Page.Postings[i].Index, err)
	}
	if family, _ := leaf.LogOf(l); family != d.h.Log {
		return nil, fmt.Errorf("entry %d is a leaf of log %q", list.Page.Postings[i].Index, family)
	}
	return l, nil
}

// name is a query for people.
func name(field uint16, value leaf.Hash) string {
	of := base64.StdEncoding.EncodeToString(value[:])
	switch field {
	case mapfn.Keys:
		return "key epochs"
	case mapfn.Enrolment:
		return "enrolments of " + of
	case mapfn.Link:
		return "statements of sameness on enrolment " + of
	case mapfn.Erasure:
		return "erasures of enrolment " + of
	}
	return fmt.Sprintf("tag %d %s", field, of)
}

// readKeys reads which epochs there are, and which keys were announced for them.
func (d *derivation) readKeys() error {
	if !slices.ContainsFunc(d.h.Asks, func(a Ask) bool { return a.person() || a.keyed() }) {
		return nil
	}
	leaves, _, err := d.list(mapfn.Keys, mapfn.None)
	if err != nil {
		return err
	}
	announced := make(map[Key]leaf.Hash)
	for _, e := range leaves {
		keys, ok := e.leaf.(*leaf.Keys)
		if !ok {
			return fmt.Errorf("entry %d announces no keys", e.index)
		}
		if vrf, ok := d.vrf[keys.Epoch]; ok && vrf != keys.VRF {
			return fmt.Errorf("entry %d announces another VRF key for epoch %d than an entry before", e.index, keys.Epoch)
		}
		d.vrf[keys.Epoch] = keys.VRF
		for _, c := range keys.Commits {
			// SPEC 2.4: the key of event ids is that of epoch 1 for ever.
			k := Key{Epoch: keys.Epoch, Field: c.Field, Source: c.Source}
			if c.Field == tag.EventID {
				k.Epoch = 1
			}
			if commit, ok := announced[k]; !ok {
				announced[k] = c.Commit
				d.commits = append(d.commits, commitment{k, c.Commit})
			} else if commit != c.Commit {
				return fmt.Errorf("entry %d announces another key %d of source %s for epoch %d than an entry before",
					e.index, k.Field, k.Source, k.Epoch)
			}
		}
	}
	for epoch := range d.vrf {
		d.epochs = append(d.epochs, epoch)
	}
	slices.Sort(d.epochs)
	slices.SortFunc(d.commits, func(a, b commitment) int { return compareKeys(a.Key, b.Key) })
	return nil
}

// readSubjects holds each subject to the VRF key of its epoch, and reads its enrolments.
func (d *derivation) readSubjects() error {
	for _, s := range d.h.Subjects {
		vrf, ok := d.vrf[s.Epoch]
		if !ok {
			return fmt.Errorf("identifier %s: the log has announced no epoch %d", s.Identifier, s.Epoch)
		}
		etag, err := subject.VerifyVRF(vrf, s.Identifier, s.Proof)
		if err != nil {
			return fmt.Errorf("identifier %s in epoch %d: %w", s.Identifier, s.Epoch, err)
		}
		entries, _, err := d.list(mapfn.Enrolment, etag)
		if err != nil {
			return err
		}
		var block []*Enrolment
		for _, e := range entries {
			l, ok := e.leaf.(*leaf.Subject)
			if !ok || l.Commit == nil {
				continue // a statement of sameness bears the etag too
			}
			one := d.enrolments[e.hash] // already there if two epochs have one VRF key
			if one == nil {
				one = &Enrolment{Leaf: e.hash, Index: e.index, Identifier: s.Identifier, Epoch: s.Epoch, commit: *l.Commit}
				d.enrolments[e.hash] = one
			}
			block = append(block, one)
		}
		d.blocks = append(d.blocks, block)
	}
	if len(d.unanswered) > 0 {
		return nil
	}
	// What the history says of each enrolment.
	for i, s := range d.h.Subjects {
		for _, e := range s.Enrolments {
			if e.Erased {
				d.erased[e.Leaf] = e.ErasedAt
				continue
			}
			one := d.enrolments[e.Leaf]
			switch {
			case one == nil || !slices.Contains(d.blocks[i], one):
				return fmt.Errorf("%s is no enrolment of %s in epoch %d", text(e.Leaf), s.Identifier, s.Epoch)
			case e.Handle.Commit() != one.commit:
				return fmt.Errorf("the handle does not open enrolment %s at entry %d", text(e.Leaf), one.Index)
			}
			handle := e.Handle
			one.handle = &handle
		}
	}
	return nil
}

// readAsks brings each ask down to tags. The lists of the first's tags are the answer.
func (d *derivation) readAsks() error {
	for i, a := range d.h.Asks {
		d.asks[i] = make(map[leaf.Tag]bool)
		add := func(value leaf.Hash, m main) {
			t := leaf.Tag{Field: a.field(), Value: value}
			if d.asks[i][t] {
				return
			}
			d.asks[i][t] = true
			if i == 0 {
				m.query = Query{Field: t.Field, Value: t.Value, Entries: len(d.h.Asks) > 1}
				d.mains = append(d.mains, m)
			}
		}
		switch {
		case a.person():
			faces, err := d.reach(a.Identifier)
			if err != nil {
				return err
			}
			for _, f := range faces {
				for _, e := range f.enrolments {
					if e.handle != nil {
						add(tag.OfPerson(e.handle.T, a.field()), main{id: &f.id})
					}
				}
			}
		case a.keyed():
			if err := d.shown(a, func(value leaf.Hash, source string) { add(value, main{source: source}) }); err != nil {
				return err
			}
		case a.Kind == OfSource:
			add(mapfn.SourceValue(a.Source), main{source: a.Source})
		default:
			add(a.Tag.Value, main{})
		}
	}
	for _, m := range d.mains {
		d.need(m.query)
	}
	return nil
}

// shown yields the tag of a value under each key that was announced for it, of each source that the question allows.
func (d *derivation) shown(a Ask, yield func(value leaf.Hash, source string)) error {
	for _, c := range d.commits {
		other := func(b Ask) bool { return b.Kind == OfSource && b.Source != c.Source }
		if c.Field != a.field() || slices.ContainsFunc(d.h.Asks, other) {
			continue
		}
		i, ok := slices.BinarySearchFunc(d.h.Keys, c.Key, compareKeys)
		if !ok {
			if _, noted := d.keyUsed[c.Key]; !noted {
				d.keyUsed[c.Key] = false
				d.unshown = append(d.unshown, c.Key)
			}
			continue
		}
		k := d.h.Keys[i].Key
		if k.Commit(c.Field, c.Source) != c.commit {
			return fmt.Errorf("the key %d of source %s for epoch %d is not the one that the log has announced", c.Field, c.Source, c.Epoch)
		}
		d.keyUsed[c.Key] = true
		yield(k.Tag([]byte(a.Value)), c.Source)
	}
	return nil
}

// reach returns an identifier that is asked for and those that statements of sameness join to it, however many steps away.
func (d *derivation) reach(id subject.Identifier) ([]*face, error) {
	first := d.face(id)
	first.asked = true
	faces, seen := []*face{first}, map[*face]bool{first: true}
	for i := 0; i < len(faces); i++ {
		for _, e := range faces[i].enrolments {
			if e.handle != nil {
				continue
			}
			if err := d.isErased(e); err != nil {
				return nil, err
			}
		}
		if d.h.NoLinks {
			break
		}
		peers, err := d.peers(faces[i])
		if err != nil {
			return nil, err
		}
		for _, f := range peers {
			if !seen[f] {
				seen[f] = true
				faces = append(faces, f)
			}
		}
	}
	return faces, nil
}

// face collects the evidence on an identifier, of each epoch.
func (d *derivation) face(id subject.Identifier) *face {
	if f := d.reached[id]; f != nil {
		return f
	}
	f := &face{id: id}
	d.reached[id], d.faces = f, append(d.faces, f)
	for _, epoch := range d.epochs {
		i := slices.IndexFunc(d.h.Subjects, func(s Subject) bool { return s.Identifier == id && s.Epoch == epoch })
		if i < 0 {
			d.unproven = append(d.unproven, Subject{Identifier: id, Epoch: epoch})
			continue
		}
		for _, e := range d.blocks[i] {
			if !slices.Contains(f.enrolments, e) {
				f.enrolments = append(f.enrolments, e)
			}
		}
	}
	return f
}

// isErased holds an enrolment that is not opened to the list of its erasures.
func (d *derivation) isErased(e *Enrolment) error {
	at, ok := d.erased[e.Leaf]
	if !ok {
		if !slices.ContainsFunc(d.unopened, func(u Unopened) bool { return u.Leaf == e.Leaf }) {
			d.unopened = append(d.unopened, Unopened{Leaf: e.Leaf, Identifier: e.Identifier, Epoch: e.Epoch, Commit: e.commit})
		}
		return nil
	}
	d.used[e.Leaf] = e
	erasures, answered, err := d.list(mapfn.Erasure, e.Leaf)
	if err != nil {
		return err
	}
	e.Erased, e.ErasedAt = true, at
	if answered && (len(erasures) == 0 || erasures[0].index != at) {
		return &IncompleteError{Promise: fmt.Sprintf("enrolment %s is said to be erased at entry %d, which is not its first erasure", text(e.Leaf), at)}
	}
	return nil
}

// peers returns who is of one person with an identifier, by the last statement on each (SPEC 2.10).
func (d *derivation) peers(f *face) ([]*face, error) {
	statements, own := make(map[int64]*leaf.Subject), make(map[leaf.Hash]bool)
	for _, e := range f.enrolments {
		own[e.Leaf] = true
		entries, _, err := d.list(mapfn.Link, e.Leaf)
		if err != nil {
			return nil, err
		}
		for _, st := range entries {
			l, ok := st.leaf.(*leaf.Subject)
			if !ok || l.Fields == nil {
				return nil, fmt.Errorf("entry %d states no sameness", st.index)
			}
			statements[st.index] = l
			if d.links[st.index] == nil {
				d.links[st.index] = &Link{Index: st.index, Leaf: l}
			}
		}
	}
	// An identifier, or an enrolment of one that the history does not name.
	type peer struct {
		id    subject.Identifier
		stray leaf.Hash
	}
	of := func(enrolment leaf.Hash) peer {
		if e := d.enrolments[enrolment]; e != nil {
			return peer{id: e.Identifier}
		}
		return peer{stray: enrolment}
	}
	var order []peer
	joined := make(map[peer]bool)
	for _, index := range slices.Sorted(maps.Keys(statements)) {
		l := statements[index]
		for _, h := range slices.Concat(l.Links, l.Unlinks) {
			if own[h] {
				continue
			}
			p := of(h)
			if _, named := joined[p]; !named {
				order = append(order, p)
			}
			joined[p] = len(l.Links) > 0
		}
	}
	var faces []*face
	for _, p := range order {
		switch {
		case !joined[p]:
		case p.id == subject.Identifier{}:
			faces = append(faces, d.stray(p.stray, f.id))
		default:
			faces = append(faces, d.face(p.id))
		}
	}
	return faces, nil
}

// stray is a face of which nothing is known but an enrolment, to which an identifier is linked.
func (d *derivation) stray(enrolment leaf.Hash, by subject.Identifier) *face {
	if d.strays[enrolment] == nil {
		d.strays[enrolment] = &face{id: by, enrolments: []*Enrolment{{Leaf: enrolment, Index: -1, Identifier: by}}}
	}
	return d.strays[enrolment]
}

// lacks says which promise is not kept, if any is not.
func (d *derivation) lacks() error {
	promise := func(format string, args ...any) error {
		return &IncompleteError{Promise: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(d.unanswered) > 0:
		q := d.unanswered[0]
		return promise("the index proof does not answer for the %s", name(q.Field, q.Value))
	case len(d.unproven) > 0:
		s := d.unproven[0]
		return promise("nothing shows what identifier %s is called in epoch %d", s.Identifier, s.Epoch)
	case len(d.unopened) > 0 && d.unopened[0].Epoch == 0:
		u := d.unopened[0]
		return promise("identifier %s is linked to enrolment %s, whose identifier the file does not name", u.Identifier, text(u.Leaf))
	case len(d.unopened) > 0:
		u := d.unopened[0]
		return promise("enrolment %s of %s is neither opened nor erased", text(u.Leaf), u.Identifier)
	case len(d.unshown) > 0:
		k := d.unshown[0]
		return promise("key %d of source %s for epoch %d is not shown", k.Field, k.Source, k.Epoch)
	case d.needs[mapKey{mapfn.Keys, mapfn.None}].Whole && len(d.vrf) == 0:
		return promise("the log has announced no keys among these entries")
	}
	return nil
}

// surplus refuses what the question does not ask for: it would be shown to whoever reads the file, and mean nothing.
func (d *derivation) surplus() error {
	for _, s := range d.h.Subjects {
		if d.reached[s.Identifier] == nil {
			return fmt.Errorf("identifier %s is neither asked for nor linked to one that is", s.Identifier)
		}
		for _, e := range s.Enrolments {
			if e.Erased && d.used[e.Leaf] == nil {
				return fmt.Errorf("enrolment %s is said to be erased, and is not asked for", text(e.Leaf))
			}
		}
	}
	for _, k := range d.h.Keys {
		if !d.keyUsed[Key{Epoch: k.Epoch, Field: k.Field, Source: k.Source}] {
			return fmt.Errorf("key %d of source %s for epoch %d is not asked for", k.Field, k.Source, k.Epoch)
		}
	}
	for _, a := range d.h.Index.Answers {
		if _, ok := d.needs[mapKey{a.Field, a.Value}]; !ok {
			return fmt.Errorf("the %s is answered and not asked for", name(a.Field, a.Value))
		}
	}
	return nil
}
