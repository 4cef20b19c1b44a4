package clienttest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

func (op *Operator) enrol(id subject.Identifier) *person {
	if p := op.people[id]; p != nil {
		return p
	}
	p := &person{handle: subject.NewHandle()}
	rand.Read(p.secret[:])
	etag, pi, err := op.vrf.Prove(id)
	if err != nil {
		panic(err)
	}
	commit := p.handle.Commit()
	l := &leaf.Subject{Log: Family, Received: time.Now().Unix(), Keys: 1, Commit: &commit, Etags: []leaf.Hash{etag}}
	p.pi = pi
	if p.leaf, err = l.Format(); err != nil {
		panic(err)
	}
	p.index = op.Add(p.leaf)
	op.people[id] = p
	return p
}

func (op *Operator) neutral() event.NeutralKeys {
	k := func(f uint16) tag.Key { return tag.Derive(op.epoch, f, Source) }
	return event.NeutralKeys{EventID: k(tag.EventID), Session: k(tag.Session), Class: k(tag.Class), Target: k(tag.Target)}
}

// log makes and appends the leaf of an event, with the lie that is asked for.
func (op *Operator) log(sent *eventv1.Event) (*logged, error) {
	e := proto.CloneOf(sent)
	received := op.now()
	ev := &leaf.Event{Log: Family, Source: Source, Assurance: leaf.AssuranceUnauthenticated, Keys: 1}
	switch op.Lie {
	case "other value":
		e.Outcome.Status = eventv1.Outcome_STATUS_SUCCESS.Enum()
	case "dropped field":
		e.Outcome.Reason = ""
	case "dropped raw":
		e.Raw, e.RawMediaType = nil, ""
	case "other raw":
		e.Raw = append(e.Raw, ' ')
	case "extra field":
		e.Outcome.Code = "E1"
	case "own mapper":
		e.Mapper = proto.String("direct/2")
	case "back-dating":
		received = received.Add(-2 * time.Minute)
	case "future-dating":
		received = received.Add(2 * time.Minute)
	case "foreign leaf":
		ev.Log = "log.example/other"
	case "wrong source":
		ev.Source = "okta-test"
	case "wrong assurance":
		ev.Assurance = leaf.AssuranceSigned
	case "unknown epoch":
		ev.Keys = 2
	}
	event.Stamp(e, received)
	fields, err := event.Fields(e)
	if err != nil {
		return nil, err
	}
	ev.Received = received.Unix()
	roll, err := event.NewRoll(e)
	if err != nil {
		return nil, err
	}
	late := op.Lie == "late enrolment"
	people := make(map[subject.Identifier]*person)
	for _, id := range roll.Identifiers {
		if late {
			people[id] = &person{handle: subject.NewHandle()}
		} else {
			people[id] = op.enrol(id)
		}
	}
	if op.Lie == "unenrolled handle" {
		first := roll.Persons[0].Primary
		other := *people[first]
		other.handle = subject.NewHandle()
		people[first] = &other
	}
	var handles [][32]byte
	for _, id := range roll.Identifiers {
		handles = append(handles, people[id].handle.T)
	}
	tagged := roll.Tag(fields, op.neutral(), handles)
	ev.Tags = slices.Clone(tagged.Tags)
	rec := &logged{raw: e.Raw, event: sent, opening: &logv1.Opening{Received: timestamppb.New(received)}}
	rec.lines = op.sealed(rec, tagged, people)
	ev.Fields, err = seal.Digest(rec.lines)
	if err != nil {
		return nil, err
	}
	op.misstate(ev, rec)
	if rec.leaf, err = ev.Format(); err != nil {
		return nil, err
	}
	if rec.index = -1; op.Lie != "broken promise" {
		rec.index = op.Add(rec.leaf)
	}
	if late {
		for id, p := range people {
			etag, pi, _ := op.vrf.Prove(id)
			commit := p.handle.Commit()
			p.leaf, _ = (&leaf.Subject{Log: Family, Received: 1, Keys: 1, Commit: &commit, Etags: []leaf.Hash{etag}}).Format()
			p.pi, p.index = pi, op.Add(p.leaf)
			op.people[id] = p
		}
	}
	op.byID[sent.GetSource().GetNativeId()] = rec
	if rec.index >= 0 {
		op.events[rec.index] = rec
	}
	return rec, nil
}

// sealed makes the seeds and the lines of an event.
func (op *Operator) sealed(rec *logged, tagged *event.Tagged, people map[subject.Identifier]*person) []seal.Line {
	var secret leaf.Hash
	rand.Read(secret[:])
	byTag := make(map[leaf.Hash]leaf.Hash)
	for _, p := range people {
		byTag[tag.OfPerson(p.handle.T, tag.Person)] = p.secret
	}
	var order []leaf.Hash
	for _, g := range tagged.Tags {
		if g.Field == tag.Person {
			order = append(order, g.Value)
		}
	}
	seeds := make(map[string]leaf.Hash)
	lines := make([]seal.Line, len(tagged.Fields))
	for i, f := range tagged.Fields {
		owners := f.Owners
		if op.Lie == "other owners" && f.Path == "actor.id" {
			owners = nil
		}
		seed, ok := seeds[string(owners)]
		if !ok {
			var shares []leaf.Hash
			for _, o := range owners {
				shares = append(shares, seal.Share(byTag[order[o]], secret))
			}
			seed = seal.Seed(secret, shares)
			seeds[string(owners)] = seed
			rec.opening.Seeds = append(rec.opening.Seeds, &logv1.Seed{Owners: owners, Seed: seed[:]})
		}
		salt := seal.Salt(seed, f.Path)
		lines[i] = seal.Line{Path: f.Path, Owners: owners, State: seal.Shown, Salt: salt, Value: f.Value, Commitment: seal.Commitment(salt, f.Path, f.Value)}
	}
	return lines
}

// misstate changes a leaf, or what opens it, once it is made.
func (op *Operator) misstate(ev *leaf.Event, rec *logged) {
	drop := func(field uint16) {
		i := slices.IndexFunc(ev.Tags, func(t leaf.Tag) bool { return t.Field == field })
		ev.Tags = slices.Delete(ev.Tags, i, i+1)
	}
	add := func(t leaf.Tag) {
		ev.Tags = append(ev.Tags, t)
		slices.SortFunc(ev.Tags, leaf.CompareTags)
	}
	o := rec.opening
	switch op.Lie {
	case "twin path":
		i := slices.IndexFunc(rec.lines, func(l seal.Line) bool { return l.Path == "actor.id" })
		twin := rec.lines[i]
		twin.Commitment = seal.Commitment(twin.Salt, twin.Path, seal.String("mallory"))
		ev.Fields = digest(slices.Insert(slices.Clone(rec.lines), i, twin))
	case "wrong neutral tag":
		drop(tag.Session)
		add(leaf.Tag{Field: tag.Session, Value: leaf.Hash{1}})
	case "missing neutral tag":
		drop(tag.Class)
	case "missing person":
		drop(tag.Person)
	case "missing actor":
		drop(tag.Actor)
	case "ghost person":
		add(leaf.Tag{Field: tag.Person, Value: leaf.Hash{0xff, 0xff, 0xff}})
	case "unknown tag":
		add(leaf.Tag{Field: 99, Value: leaf.Hash{1}})
	case "missing seed":
		o.Seeds = o.Seeds[1:]
	case "extra seed":
		o.Seeds = append(o.Seeds, &logv1.Seed{Owners: []byte{7}, Seed: o.Seeds[0].Seed})
	case "short seed":
		o.Seeds[0].Seed = o.Seeds[0].Seed[:16]
	case "twice a seed":
		o.Seeds = append(o.Seeds, o.Seeds[0])
	case "wrong seed":
		o.Seeds[0].Seed = bytes32(9)
	case "other second":
		o.Received = timestamppb.New(o.Received.AsTime().Add(time.Second))
	case "other nanosecond":
		at := o.Received.AsTime().Truncate(time.Second)
		o.Received = timestamppb.New(at.Add(time.Duration((o.Received.Nanos + 1) % 1e9)))
	}
}

// digest is SPEC 2.3 without its checks, for lies that seal.Digest would not tell.
func digest(lines []seal.Line) leaf.Hash {
	b := binary.BigEndian.AppendUint16([]byte("idlog/fields/v1\x00"), uint16(len(lines)))
	for _, l := range lines {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l.Path))), l.Path...)
		b = append(append(append(b, uint8(len(l.Owners))), l.Owners...), l.Commitment[:]...)
	}
	return sha256.Sum256(b)
}

func bytes32(b byte) []byte { return slices.Repeat([]byte{b}, 32) }
