package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	ilog "idlog/log"
	"idlog/log/vault"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// Entry is a published leaf with its proof.
type Entry struct {
	Index     int64
	Leaf      []byte
	Inclusion []leaf.Hash
}

// SourceKeys are the tag keys of one source, and the entries that announce
// them. The source's submitters may have them, and nobody else.
type SourceKeys struct {
	Keys       []EpochKeys // ascending
	Genesis    Entry       // names the ticket key
	Checkpoint []byte      // all proofs lead to it
}

// EpochKeys are the keys of one epoch.
type EpochKeys struct {
	Epoch int64
	Keys  map[uint16]tag.Key // by field
	Entry Entry              // the keys leaf
}

// SourceKeys returns the keys of a source once they are published. Errors are a
// *Refusal, ctx's, or a failure of storage.
func (in *Ingest) SourceKeys(ctx context.Context, source string) (*SourceKeys, error) {
	src := in.sources[source]
	if src == nil {
		return nil, refuse(logv1.Reason_REASON_SOURCE_UNKNOWN, "no source has this name")
	}
	if in.genesis == nil || src.row == nil || src.row.Index() < 0 {
		return nil, refuse(logv1.Reason_REASON_NOT_FOUND, "the keys of this source are not in the log yet")
	}
	p, err := in.publishedWith(ctx, src.row.Index())
	if err != nil {
		return nil, err
	}
	k := &SourceKeys{Checkpoint: p.Note, Keys: []EpochKeys{{Epoch: vault.Epoch, Keys: make(map[uint16]tag.Key)}}}
	for _, field := range neutral {
		k.Keys[0].Keys[field] = in.vault.Key(field, source)
	}
	if k.Genesis, err = in.entry(ctx, p, in.genesis.Index(), in.genesis.Leaf); err != nil {
		return nil, err
	}
	if k.Keys[0].Entry, err = in.entry(ctx, p, src.row.Index(), src.row.Leaf); err != nil {
		return nil, err
	}
	return k, nil
}

// publishedWith returns a checkpoint that covers index. It waits for one as long
// as Submit would.
func (in *Ingest) publishedWith(ctx context.Context, index int64) (ilog.Published, error) {
	waiting, cancel := context.WithTimeout(ctx, in.cfg.AckTimeout)
	defer cancel()
	defer context.AfterFunc(in.life, cancel)()
	p, err := in.log.Await(waiting, index+1)
	switch {
	case ctx.Err() != nil:
		return p, ctx.Err()
	case err != nil:
		return p, refuse(logv1.Reason_REASON_NOT_FOUND, "it is not published yet")
	}
	return p, nil
}

func (in *Ingest) entry(ctx context.Context, p ilog.Published, index int64, b []byte) (Entry, error) {
	hashes, err := in.log.Inclusion(ctx, index, p.Size)
	if err != nil {
		return Entry{}, fmt.Errorf("making evidence: %w", err)
	}
	return Entry{Index: index, Leaf: b, Inclusion: hashes}, nil
}

// Enrolment is the evidence of one identifier: SPEC 2.6. Without handles it is
// not enrolled, or not published yet.
type Enrolment struct {
	Epoch   int64
	Proof   []byte // of the etag
	Handles []EnrolledHandle
}

// EnrolledHandle is one enrolment of an identifier.
type EnrolledHandle struct {
	Entry  Entry
	Handle subject.Handle
}

// Enrolments returns the published enrolments of identifiers, in order, and the
// checkpoint that their proofs lead to. Only who may name these persons anyway
// may have them: the submitters of a source. An error is ctx's, a *Refusal, or a
// failure of storage.
func (in *Ingest) Enrolments(ctx context.Context, ids []subject.Identifier) ([]Enrolment, []byte, error) {
	p, err := in.publishedWith(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	list := make([]Enrolment, len(ids))
	for i, id := range ids {
		all, err := in.vault.All(id)
		if err != nil {
			return nil, nil, fmt.Errorf("reading enrolments: %w", err)
		}
		for _, e := range all {
			row, err := in.journal.Get(ctx, e.Hash)
			if err != nil {
				return nil, nil, fmt.Errorf("reading enrolments: %w", err)
			}
			if row == nil || row.Index() < 0 || row.Index() >= p.Size {
				continue
			}
			entry, err := in.entry(ctx, p, row.Index(), e.Leaf)
			if err != nil {
				return nil, nil, err
			}
			list[i].Epoch, list[i].Proof = e.Epoch, e.Proof
			list[i].Handles = append(list[i].Handles, EnrolledHandle{Entry: entry, Handle: e.Handle})
		}
	}
	return list, p.Note, nil
}

// Disclose returns every field of the event or statement at index, all shown, and
// its raw bytes, nil if it has none. The caller has made sure that the index is
// published. Errors are a *Refusal (NOT_FOUND: the entry has no fields;
// OPENING_LOST; DATA_LOSS: what is stored does not open the leaf), ctx's, or a
// failure of storage.
func (in *Ingest) Disclose(ctx context.Context, index int64) ([]seal.Line, []byte, error) {
	b, err := in.log.Entry(ctx, index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, refuse(logv1.Reason_REASON_INDEX_OUT_OF_RANGE, "no entry has this index")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("disclosing: %w", err)
	}
	key, committed, ok := sealed(b)
	if !ok {
		return nil, nil, refuse(logv1.Reason_REASON_NOT_FOUND, "the entry has no fields")
	}
	lost := refuse(logv1.Reason_REASON_OPENING_LOST, "what opens the entry is lost")
	lost.Index = index
	row, err := in.journal.Get(ctx, key)
	if err != nil {
		return nil, nil, fmt.Errorf("disclosing: %w", err)
	}
	if row == nil || string(row.Leaf) != string(b) {
		return nil, nil, lost
	}
	payload, err := in.journal.Payload(row)
	if err != nil {
		return nil, nil, fmt.Errorf("disclosing: %w", err)
	}
	opening, fields, err := in.vault.Fields(key, payload)
	if errors.Is(err, vault.ErrLost) {
		return nil, nil, lost
	}
	if err != nil {
		return nil, nil, corrupt(index, err)
	}
	lines := make([]seal.Line, len(fields))
	hasRaw := false
	for i, f := range fields {
		salt := seal.Salt(opening.Seed(f.Owners), f.Path)
		lines[i] = seal.Line{
			Path: f.Path, Owners: f.Owners, State: seal.Shown, Salt: salt, Value: f.Value,
			Commitment: seal.Commitment(salt, f.Path, f.Value),
		}
		hasRaw = hasRaw || f.Path == "raw"
	}
	if digest, err := in.cheat.digest(lines); err != nil || digest != committed {
		return nil, nil, corrupt(index, errors.New("the stored fields are not those of the leaf"))
	}
	if !hasRaw {
		return lines, nil, nil
	}
	closed, err := in.journal.Raw(row)
	if err != nil {
		return nil, nil, fmt.Errorf("disclosing: %w", err)
	}
	raw, err := in.vault.Raw(key, opening, closed)
	if errors.Is(err, vault.ErrLost) {
		return nil, nil, lost
	}
	if err != nil {
		return nil, nil, corrupt(index, err)
	}
	return lines, raw, nil
}

// sealed returns the row's key and the digest of the fields of a leaf that has any.
func sealed(b []byte) (key, fields leaf.Hash, ok bool) {
	l, err := leaf.Parse(b)
	if err != nil {
		return key, fields, false
	}
	switch l := l.(type) {
	case *leaf.Event:
		if len(l.Tags) > 0 && l.Tags[0].Field == tag.EventID {
			return l.Tags[0].Value, l.Fields, true
		}
	case *leaf.Subject:
		if l.Fields != nil {
			return *l.Fields, *l.Fields, true
		}
	}
	return key, fields, false
}

func corrupt(index int64, err error) error {
	r := refuse(logv1.Reason_REASON_DATA_LOSS, err.Error())
	r.Index = index
	return r
}
