package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/subject"
)

// person is one enrolled identifier. It is not changed once others see it.
type person struct {
	enrolment *vault.Enrolment // without its leaf and proof
	row       *journal.Row     // of the enrolment leaf; nil if that was in the log when the person was met
}

// enroller knows the persons who were met lately, and sees to it that two
// requests that meet somebody at once make one enrolment.
type enroller struct {
	mu      sync.Mutex // guards what follows
	young   map[subject.Identifier]*person
	old     map[subject.Identifier]*person // what was young before; the two together are the cache
	flights map[subject.Identifier]*flight
}

// flight is an enrolment that somebody is making.
type flight struct {
	done   chan struct{} // closed when the rest is set
	person *person
	err    error
}

// get looks a person up. mu is held.
func (p *enroller) get(id subject.Identifier) *person {
	if found := p.young[id]; found != nil {
		return found
	}
	found := p.old[id]
	if found != nil {
		p.put(id, found)
	}
	return found
}

// put remembers a person; the half that was not asked for longest is forgotten
// when there are too many. mu is held.
func (p *enroller) put(id subject.Identifier, who *person) {
	if len(p.young) >= maxPersons/2 {
		p.old, p.young = p.young, nil
	}
	if p.young == nil {
		p.young = make(map[subject.Identifier]*person)
	}
	p.young[id] = who
}

// enrol fills in the persons of a request. Whoever is unknown is enrolled: the
// secrets are durable, and then the journal has the leaf, when it returns.
func (in *Ingest) enrol(ctx context.Context, received time.Time, persons people) error {
	mine, others := in.people.claim(persons)
	if len(mine) > 0 {
		ids := make([]subject.Identifier, 0, len(mine))
		for id := range mine {
			ids = append(ids, id)
		}
		// Others wait for this, so our caller's leaving does not end it. It waits for the disk alone.
		made, err := in.enrolAll(context.WithoutCancel(ctx), received, ids)
		in.people.mu.Lock()
		for i, id := range ids {
			f := mine[id]
			if f.err = err; err == nil {
				f.person = made[i]
				in.people.put(id, f.person)
			}
			delete(in.people.flights, id)
			close(f.done)
		}
		in.people.mu.Unlock()
	}
	for _, flights := range [...]map[subject.Identifier]*flight{mine, others} {
		for id, f := range flights {
			select {
			case <-f.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if f.err != nil {
				return f.err
			}
			persons[id] = f.person
		}
	}
	return nil
}

// claim fills in who is known, and returns the flights of the others: those that
// are the caller's to make, and those that somebody makes already.
func (p *enroller) claim(persons people) (mine, others map[subject.Identifier]*flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range persons {
		if known := p.get(id); known != nil {
			persons[id] = known
			continue
		}
		f := p.flights[id]
		if f != nil {
			if others == nil {
				others = make(map[subject.Identifier]*flight)
			}
			others[id] = f
			continue
		}
		if mine == nil {
			mine = make(map[subject.Identifier]*flight)
		}
		f = &flight{done: make(chan struct{})}
		mine[id], p.flights[id] = f, f
	}
	return mine, others
}

// enrolAll returns the persons of identifiers that nobody else is enrolling.
func (in *Ingest) enrolAll(ctx context.Context, received time.Time, ids []subject.Identifier) ([]*person, error) {
	enrolments := make([]*vault.Enrolment, len(ids))
	var unknown []subject.Identifier
	for i, id := range ids {
		var err error
		if enrolments[i], err = in.vault.Current(id); err != nil {
			return nil, err
		}
		if enrolments[i] == nil {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		// If we die after this, Current finds them at the next meeting, and the
		// journal does not know their leaves yet.
		made, err := in.vault.Enrol(in.cfg.Family, received.Unix(), unknown)
		if err != nil {
			in.fail(err)
			return nil, err
		}
		for i := range enrolments {
			if enrolments[i] == nil {
				enrolments[i], made = made[0], made[1:]
			}
		}
	}
	found := make([]*person, len(ids))
	var absent []*journal.Row
	for i, e := range enrolments {
		row, err := in.journal.Get(ctx, e.Hash)
		if err != nil {
			return nil, err
		}
		if row == nil {
			row = &journal.Row{Key: e.Hash, Leaf: e.Leaf}
			absent = append(absent, row)
		} else if row.Index() >= 0 {
			row = nil
		}
		found[i] = &person{
			enrolment: &vault.Enrolment{Secret: e.Secret, Handle: e.Handle, Hash: e.Hash},
			row:       row,
		}
	}
	// If we die after this, the enrolments are in the journal and nobody needs
	// them yet: they go into the log at the next start.
	if _, err := in.journal.Put(ctx, in.cheat.hold(absent)); err != nil {
		return nil, fmt.Errorf("journalling enrolments: %w", err)
	}
	return found, nil
}
