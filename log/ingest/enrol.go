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

// seat is where a person is missing that somebody is enrolling.
type seat struct {
	at     **person
	flight *flight
}

// enrol finds the persons of all items that have a roll. Whoever is unknown is enrolled: the secrets are durable,
// and then the journal has the leaf, when it returns.
func (in *Ingest) enrol(ctx context.Context, received time.Time, items []*item) error {
	ids, mine, seats := in.people.claim(items)
	if len(mine) > 0 {
		// Others wait for this, so our caller's leaving does not end it. It waits for the disk alone.
		made, err := in.enrolAll(context.WithoutCancel(ctx), received, ids)
		in.people.mu.Lock()
		for i, f := range mine {
			if f.err = err; err == nil {
				f.person = made[i]
				in.people.put(ids[i], f.person)
			}
			delete(in.people.flights, ids[i])
			close(f.done)
		}
		in.people.mu.Unlock()
	}
	for _, s := range seats {
		select {
		case <-s.flight.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.flight.err != nil {
			return s.flight.err
		}
		*s.at = s.flight.person
	}
	return nil
}

// claim fills in who is known. It returns the identifiers that are the caller's to enrol, with their flights, and the
// seats that wait for these or for somebody else's.
func (p *enroller) claim(items []*item) (ids []subject.Identifier, mine []*flight, seats []seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range items {
		if it.roll == nil {
			continue
		}
		it.persons = make([]*person, len(it.roll.Identifiers))
		for i, id := range it.roll.Identifiers {
			if it.persons[i] = p.get(id); it.persons[i] != nil {
				continue
			}
			f := p.flights[id]
			if f == nil {
				f = &flight{done: make(chan struct{})}
				p.flights[id] = f
				ids, mine = append(ids, id), append(mine, f)
			}
			seats = append(seats, seat{&it.persons[i], f})
		}
	}
	return ids, mine, seats
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
