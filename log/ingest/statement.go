package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"idlog/log/journal"
	"idlog/log/vault"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

// Bounds of a statement: SPEC 2.10. A leaf names at most so many enrolments, and each identifier has one at least.
const (
	minJoined    = 2
	maxJoined    = 16
	maxAuthority = 256  // bytes
	maxReason    = 1024 // bytes
	maxStatement = 64   // bytes of its id
)

// Statement says that identifiers are of one person, or takes that back: SPEC 2.10.
type Statement struct {
	Source, Principal string
	// ID tells statements apart that say the same; at most 64 bytes. The same statement under the same id is made once.
	ID string
	// Unlink takes back what was said.
	Unlink bool
	// Identifiers are 2 to 16, none of them twice, in any order. Each must be enrolled.
	Identifiers []subject.Identifier
	// Authority is who says so, Reason why: text of 1 to 256 and of 0 to 1024 bytes.
	Authority, Reason string
}

// Link logs a statement and returns its receipt, whose one seed opens authority and reason. It names all enrolments that
// the identifiers have; those that are only journalled are sequenced first.
//
// Errors are a *Refusal (NOT_FOUND with the path of an identifier that is not enrolled; BACKLOG_FULL if the checkpoint does
// not come in time: then the statement is durable, and the same again waits for it), ctx's, or a failure of storage.
func (in *Ingest) Link(ctx context.Context, s Statement) (*Receipt, error) {
	if err := in.Bound(s.Source, s.Principal); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := in.writable(); err != nil {
		return nil, err
	}
	r, err := in.link(ctx, &s)
	if err != nil {
		return nil, fmt.Errorf("stating who is one person: %w", err)
	}
	return r, nil
}

func (s *Statement) check() error {
	n := len(s.Identifiers)
	wrong := func(path, format string, args ...any) error {
		r := refuse(logv1.Reason_REASON_FIELD_INVALID, fmt.Sprintf(format, args...))
		r.Path = path
		return r
	}
	switch {
	case n < minJoined || n > maxJoined:
		return wrong("identifiers", "%d identifiers, not %d to %d", n, minJoined, maxJoined)
	case len(s.Authority) < 1 || len(s.Authority) > maxAuthority || !utf8.ValidString(s.Authority):
		return wrong("authority", "not text of 1 to %d bytes", maxAuthority)
	case len(s.Reason) > maxReason || !utf8.ValidString(s.Reason):
		return wrong("reason", "not text of at most %d bytes", maxReason)
	case len(s.ID) > maxStatement:
		return wrong("id", "longer than %d bytes", maxStatement)
	}
	for i, id := range s.Identifiers {
		if slices.Contains(s.Identifiers[:i], id) {
			return wrong(fmt.Sprintf("identifiers[%d]", i), "it is there twice")
		}
	}
	return nil
}

// said is everything that a statement is told apart by; whoever is bound to its source may repeat it.
func (s *Statement) said() ([]byte, error) {
	kind := byte(0)
	if s.Unlink {
		kind = 1
	}
	words := [][]byte{[]byte(s.Source), []byte(s.ID), []byte(s.Authority), []byte(s.Reason)}
	var ids [][]byte
	for _, id := range s.Identifiers {
		b, err := id.Bytes()
		if err != nil {
			return nil, err
		}
		ids = append(ids, b)
	}
	slices.SortFunc(ids, bytes.Compare)
	b := []byte{kind}
	for _, w := range append(words, ids...) {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(w))), w...)
	}
	return b, nil
}

func (in *Ingest) link(ctx context.Context, s *Statement) (*Receipt, error) {
	said, err := s.said()
	if err != nil {
		return nil, err
	}
	received := in.now()
	opening := in.vault.StatementOpening(received, said)
	fields := []seal.Field{{Path: "authority", Value: seal.String(s.Authority)}, {Path: "reason", Value: seal.String(s.Reason)}}
	digest, err := in.commit(opening, fields, new(desk))
	if err != nil {
		return nil, err
	}
	row, err := in.journal.Get(ctx, digest)
	if err != nil {
		return nil, err
	}
	if row == nil {
		if row, err = in.declare(ctx, s, opening, fields, digest); err != nil {
			return nil, err
		}
	}
	return in.stated(ctx, row, opening)
}

// declare journals the leaf of a statement that is not there yet. If we die before it returns, the statement is there or
// not, and made again it is the same; after it, it goes into the log.
func (in *Ingest) declare(ctx context.Context, s *Statement, o *vault.Opening, fields []seal.Field, digest leaf.Hash) (*journal.Row, error) {
	l := &leaf.Subject{Log: in.cfg.Family, Received: o.Received.Unix(), Keys: vault.Epoch, Fields: &digest}
	row := &journal.Row{Key: digest, Principal: s.Principal}
	var joined []leaf.Hash
	for i, id := range s.Identifiers {
		found, err := in.join(ctx, id, l, row)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			r := refuse(logv1.Reason_REASON_NOT_FOUND, "no event has named this identifier yet: it is not enrolled")
			r.Path = fmt.Sprintf("identifiers[%d]", i)
			return nil, r
		}
		joined = append(joined, found...)
	}
	if len(joined) > maxJoined {
		r := refuse(logv1.Reason_REASON_TOO_LARGE, fmt.Sprintf("the identifiers have %d enrolments, and a leaf names %d", len(joined), maxJoined))
		r.Path = "identifiers"
		return nil, r
	}
	slices.SortFunc(joined, compareHashes)
	slices.SortFunc(l.Etags, compareHashes)
	if s.Unlink {
		l.Unlinks = joined
	} else {
		l.Links = joined
	}
	var err error
	if row.Leaf, err = l.Format(); err != nil {
		return nil, fmt.Errorf("making leaf: %w", err)
	}
	if row.Payload, _, err = in.vault.Seal(digest, o, fields, nil); err != nil {
		return nil, err
	}
	size := int64(len(row.Leaf) + len(row.Payload))
	if rows, bytes := in.journal.Queued(); !in.backlog.reserve(1, size, rows, bytes) {
		return nil, refuse(logv1.Reason_REASON_BACKLOG_FULL, "too much waits to be published; try again later")
	}
	defer in.backlog.release(1, size)
	outcomes, err := in.journal.Put(ctx, []*journal.Row{row})
	if err != nil {
		return nil, err
	}
	return outcomes[0].Row, nil
}

// join adds the etag of an identifier to a leaf, and to its row what must be in the log before it, and returns the leaf
// hashes of the identifier's enrolments that are journalled. One that is not is in no log, and may never be.
func (in *Ingest) join(ctx context.Context, id subject.Identifier, l *leaf.Subject, row *journal.Row) (found []leaf.Hash, err error) {
	all, err := in.vault.All(id)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		known, err := in.journal.Get(ctx, e.Hash)
		if err != nil {
			return nil, err
		}
		if known == nil {
			continue
		}
		if known.Index() < 0 {
			row.Needs = append(row.Needs, known.Key)
		}
		enrolled, err := leaf.Parse(e.Leaf)
		if err != nil {
			return nil, fmt.Errorf("reading enrolment: %w", err)
		}
		for _, etag := range enrolled.(*leaf.Subject).Etags {
			if !slices.Contains(l.Etags, etag) { // its enrolments have one, in one epoch
				l.Etags = append(l.Etags, etag)
			}
		}
		found = append(found, e.Hash)
	}
	return found, nil
}

// stated waits until a statement is published and returns its receipt.
func (in *Ingest) stated(ctx context.Context, row *journal.Row, o *vault.Opening) (*Receipt, error) {
	l, err := leaf.Parse(row.Leaf)
	if err != nil {
		return nil, fmt.Errorf("reading statement: %w", err)
	}
	opening := Opening{Received: time.Unix(l.(*leaf.Subject).Received, 0), Seeds: o.Seeds}
	waiting, cancel := context.WithTimeout(ctx, in.cfg.AckTimeout)
	defer cancel()
	defer context.AfterFunc(in.life, cancel)()
	index, err := row.Wait(waiting)
	if err == nil {
		p, err2 := in.log.Await(waiting, index+1)
		if err = err2; err == nil {
			e, err := in.entry(ctx, p, index, row.Leaf)
			if err != nil {
				return nil, err
			}
			return &Receipt{Index: index, Leaf: e.Leaf, Inclusion: e.Inclusion, Checkpoint: p.Note, Opening: opening}, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := in.writable(); err != nil {
		return nil, err
	}
	return nil, refuse(logv1.Reason_REASON_BACKLOG_FULL, "it is taken, and will be published when the witnesses are back: ask again with the same id")
}

func compareHashes(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) }

// Identify returns the identifier that an enrolment is of, by the hash of its leaf. It is false where there is no such
// enrolment, or what was kept of it does not say: it was erased, lost, or made by the first version. Whose name somebody
// may learn is for the caller to judge. The error is a failure of storage.
func (in *Ingest) Identify(enrolment leaf.Hash) (subject.Identifier, bool, error) {
	e, err := in.vault.Enrolment(enrolment)
	if errors.Is(err, vault.ErrLost) {
		return subject.Identifier{}, false, nil
	}
	if err != nil {
		return subject.Identifier{}, false, fmt.Errorf("identifying a person: %w", err)
	}
	return e.Identifier, e.Identifier != subject.Identifier{}, nil
}
