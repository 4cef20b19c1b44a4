package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/event"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/ticket"
)

// source is what a submitter verified of one source. It is not changed once made.
type source struct {
	name   string
	epochs map[int64]epoch
	ticket note.Verifier // of the key that the genesis leaf announces
}

// epoch is the keys of one source in one key epoch, each held against its
// commitment in an included keys leaf.
type epoch struct {
	index   int64 // of the keys leaf
	vrf     [32]byte
	neutral event.NeutralKeys // EventID is that of epoch 1
}

// enrolment is one handle of an identifier, verified.
type enrolment struct {
	handle [32]byte // T
	index  int64    // of the enrolment leaf
}

// sourceKeys returns the verified keys of a source; fresh asks the server again.
func (c *Client) sourceKeys(ctx context.Context, name string, fresh bool) (*source, error) {
	c.mu.Lock()
	src := c.sources[name]
	c.mu.Unlock()
	if src != nil && !fresh {
		return src, nil
	}
	asked := c.horizon()
	res, err := call(ctx, c, c.events.GetSourceKeys, &logv1.GetSourceKeysRequest{Log: c.log, Source: name})
	if err != nil {
		return nil, fmt.Errorf("fetching the keys of source %s: %w", name, err)
	}
	cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
	if err != nil {
		return nil, fmt.Errorf("verifying the keys of source %s: %w", name, err)
	}
	if src, err = c.verifySource(name, res, cp); err != nil {
		return nil, fmt.Errorf("verifying the keys of source %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.sources[name]; old != nil {
		for n, e := range old.epochs {
			if now, ok := src.epochs[n]; ok && (now.vrf != e.vrf || now.neutral != e.neutral) {
				return nil, &Mismatch{What: fmt.Sprintf("the keys of source %s in epoch %d have changed", name, n)}
			}
		}
	}
	c.sources[name] = src
	return src, nil
}

// verifySource checks an answer of GetSourceKeys: the genesis leaf and each
// keys leaf are included, and each key opens a commitment of its keys leaf.
func (c *Client) verifySource(name string, res *logv1.GetSourceKeysResponse, cp *Checkpoint) (*source, error) {
	src := &source{name: name, epochs: make(map[int64]epoch)}
	genesis, err := included[*leaf.Shard](c, cp, 0, res.GetGenesis(), res.GetGenesisInclusion())
	if err != nil {
		return nil, &Mismatch{What: "genesis leaf", Err: err}
	}
	if genesis.Genesis == nil || genesis.Log != c.log {
		return nil, &Mismatch{What: "entry 0 is not the genesis of this log"}
	}
	// SPEC 2.10: a ticket is signed "under a key of its own, named <family>/ticket and announced in the genesis leaf".
	if src.ticket, err = checkpoint.NewVerifier(genesis.Genesis.Ticket); err != nil || src.ticket.Name() != ticket.KeyName(c.log) {
		return nil, &Mismatch{What: "the genesis leaf names no ticket key of this log", Err: err}
	}
	for _, k := range res.GetKeys() {
		e, err := c.verifyEpoch(name, k, cp)
		if err != nil {
			return nil, &Mismatch{What: fmt.Sprintf("keys of epoch %d", k.GetEpoch()), Err: err}
		}
		if _, twice := src.epochs[k.GetEpoch()]; twice {
			return nil, &Mismatch{What: fmt.Sprintf("keys of epoch %d are given twice", k.GetEpoch())}
		}
		src.epochs[k.GetEpoch()] = e
	}
	// SPEC 2.4: "f = 1 uses the key of epoch 1 for ever".
	first, ok := src.epochs[1]
	if !ok {
		return nil, &Mismatch{What: "there are no keys of epoch 1"}
	}
	for n, e := range src.epochs {
		e.neutral.EventID = first.neutral.EventID
		src.epochs[n] = e
	}
	return src, nil
}

func (c *Client) verifyEpoch(name string, k *logv1.SourceKeys, cp *Checkpoint) (epoch, error) {
	l, err := included[*leaf.Keys](c, cp, k.GetIndex(), k.GetLeaf(), k.GetInclusion())
	if err != nil {
		return epoch{}, err
	}
	if l.Log != c.log || l.Epoch != k.GetEpoch() {
		return epoch{}, errors.New("the keys leaf is of another log or epoch")
	}
	e := epoch{index: k.GetIndex(), vrf: l.VRF}
	into := map[uint16]*tag.Key{
		tag.EventID: &e.neutral.EventID, tag.Session: &e.neutral.Session,
		tag.Class: &e.neutral.Class, tag.Target: &e.neutral.Target,
	}
	for _, t := range k.GetTagKeys() {
		field := uint16(min(t.GetField(), 1<<16-1))
		key := into[field]
		if key == nil || len(t.GetKey()) != len(key) {
			return epoch{}, fmt.Errorf("key of field %d: not one of 32 bytes for a neutral field, once", t.GetField())
		}
		copy(key[:], t.GetKey())
		if !slices.Contains(l.Commits, leaf.Commit{Field: field, Source: name, Commit: key.Commit(field, name)}) {
			return epoch{}, fmt.Errorf("key of field %d is not the one that the log committed to", field)
		}
		delete(into, field)
	}
	if k.GetEpoch() > 1 {
		delete(into, tag.EventID)
	}
	if len(into) > 0 {
		return epoch{}, fmt.Errorf("%d keys are missing", len(into))
	}
	return e, nil
}

// included parses a leaf of a kind and verifies that it is at an index of the tree.
func included[L leaf.Leaf](c *Client, cp *Checkpoint, index int64, b []byte, inclusion [][]byte) (l L, err error) {
	parsed, err := leaf.Parse(b)
	if err != nil {
		return l, err
	}
	l, ok := parsed.(L)
	if !ok {
		return l, fmt.Errorf("entry %d is of another kind than it should be", index)
	}
	path, err := hashes(inclusion)
	if err != nil {
		return l, err
	}
	return l, proof.Inclusion(leaf.HashOf(b), index, cp.Checkpoint.Size, path, cp.Checkpoint.Root)
}

// maxIdentifiers is the most identifiers that one GetEnrolments may ask for.
const maxIdentifiers = 1000

// enrol fetches and verifies the enrolments of the identifiers and caches them.
// An identifier without any is cached as such: the next call for it asks again.
func (c *Client) enrol(ctx context.Context, src *source, ids []subject.Identifier) error {
	for chunk := range slices.Chunk(ids, maxIdentifiers) {
		req := &logv1.GetEnrolmentsRequest{Log: c.log, Source: src.name}
		for _, id := range chunk {
			b, err := id.Bytes()
			if err != nil {
				return fmt.Errorf("asking for enrolments: %w", err)
			}
			req.Identifiers = append(req.Identifiers, b)
		}
		asked := c.horizon()
		res, err := call(ctx, c, c.events.GetEnrolments, req)
		if err != nil {
			return fmt.Errorf("fetching enrolments: %w", err)
		}
		if len(res.GetEnrolments()) != len(chunk) {
			return &Mismatch{What: fmt.Sprintf("%d enrolments for %d identifiers", len(res.GetEnrolments()), len(chunk))}
		}
		cp, err := c.accept(ctx, res.GetCheckpoint(), asked)
		if err != nil {
			return fmt.Errorf("verifying enrolments: %w", err)
		}
		for i, id := range chunk {
			list, err := c.verifyEnrolment(src, id, res.GetEnrolments()[i], cp)
			if err != nil {
				return &Mismatch{What: "enrolment of " + id.String(), Err: err}
			}
			c.enrolments.Put(id, list)
		}
	}
	return nil
}

// verifyEnrolment checks the evidence of one identifier (SPEC 2.6, 3.1 step 6):
// the VRF proof gives its etag, each handle's leaf bears that etag and is
// included, and its commitment opens to the handle.
func (c *Client) verifyEnrolment(src *source, id subject.Identifier, e *logv1.Enrolment, cp *Checkpoint) ([]enrolment, error) {
	if len(e.GetHandles()) == 0 {
		return nil, nil
	}
	keys, ok := src.epochs[e.GetEpoch()]
	if !ok {
		return nil, fmt.Errorf("epoch %d has no keys of source %s", e.GetEpoch(), src.name)
	}
	etag, err := subject.VerifyVRF(keys.vrf, id, e.GetVrfProof())
	if err != nil {
		return nil, err
	}
	var list []enrolment
	for _, h := range e.GetHandles() {
		l, err := included[*leaf.Subject](c, cp, h.GetIndex(), h.GetLeaf(), h.GetInclusion())
		if err != nil {
			return nil, err
		}
		if len(h.GetOpening()) != 32 || len(h.GetHandle()) != 32 {
			return nil, errors.New("opening and handle are not of 32 bytes")
		}
		handle := subject.Handle{Opening: [32]byte(h.GetOpening()), T: [32]byte(h.GetHandle())}
		switch {
		case l.Log != c.log || l.Keys != e.GetEpoch():
			return nil, errors.New("the enrolment leaf is of another log or epoch")
		case l.Commit == nil || *l.Commit != handle.Commit():
			return nil, errors.New("the handle does not open the commitment of the enrolment leaf")
		case len(l.Etags) != 1 || l.Etags[0] != etag:
			return nil, errors.New("the enrolment leaf is somebody else's")
		}
		list = append(list, enrolment{handle: handle.T, index: h.GetIndex()})
	}
	return list, nil
}
