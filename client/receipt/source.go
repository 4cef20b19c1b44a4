package receipt

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/event"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/ticket"
)

// Source is what a submitter verified of one source: its keys, each held against its commitment in an included keys
// leaf, and the genesis of the log. It is not changed once made.
type Source struct {
	Name   string
	Origin string // of the shard
	// Genesis proves entry 0, whose key signs tickets.
	Genesis proof.Proof

	log    string
	epochs map[int64]epoch
	ticket note.Verifier
}

// epoch is the keys of one source in one key epoch.
type epoch struct {
	index   int64 // of the keys leaf
	vrf     [32]byte
	neutral event.NeutralKeys // EventID is that of epoch 1
}

// Enrolment is one handle of an identifier: its leaf is in the log, bears the identifier's etag and commits to the
// handle.
type Enrolment struct {
	index  int64     // of the enrolment leaf
	leaf   leaf.Hash // its hash
	etag   leaf.Hash
	handle [32]byte  // T
	mark   leaf.Hash // the tag 2 of T
}

// ReadSource verifies an answer of GetSourceKeys about a source of a log family under cp, an accepted checkpoint: the
// genesis leaf and each keys leaf are included, and each key opens a commitment of its keys leaf. Errors are *Mismatch.
func ReadSource(log, name string, res *logv1.GetSourceKeysResponse, cp *policy.Verified) (*Source, error) {
	src := &Source{Name: name, Origin: cp.Checkpoint.Origin, log: log, epochs: make(map[int64]epoch)}
	genesis, path, err := included[*leaf.Shard](cp, 0, res.GetGenesis(), res.GetGenesisInclusion())
	if err != nil {
		return nil, &Mismatch{What: "genesis leaf", Err: err}
	}
	if genesis.Genesis == nil || genesis.Log != log {
		return nil, &Mismatch{What: "entry 0 is not the genesis of this log"}
	}
	src.Genesis = proof.Proof{Extra: res.GetGenesis(), Hashes: path, Checkpoint: cp.Note}
	// SPEC 2.10: a ticket is signed "under a key of its own, named <family>/ticket and announced in the genesis leaf".
	if src.ticket, err = checkpoint.NewVerifier(genesis.Genesis.Ticket); err != nil || src.ticket.Name() != ticket.KeyName(log) {
		return nil, &Mismatch{What: "the genesis leaf names no ticket key of this log", Err: err}
	}
	for _, k := range res.GetKeys() {
		e, err := src.epoch(k, cp)
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

// Continues returns a *Mismatch if a key of an epoch is another one than it was.
func (s *Source) Continues(old *Source) error {
	for n, e := range old.epochs {
		if now, ok := s.epochs[n]; ok && (now.vrf != e.vrf || now.neutral != e.neutral) {
			return &Mismatch{What: fmt.Sprintf("the keys of source %s in epoch %d have changed", s.Name, n)}
		}
	}
	return nil
}

func (s *Source) epoch(k *logv1.SourceKeys, cp *policy.Verified) (epoch, error) {
	l, _, err := included[*leaf.Keys](cp, k.GetIndex(), k.GetLeaf(), k.GetInclusion())
	if err != nil {
		return epoch{}, err
	}
	if l.Log != s.log || l.Epoch != k.GetEpoch() {
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
		if !slices.Contains(l.Commits, leaf.Commit{Field: field, Source: s.Name, Commit: key.Commit(field, s.Name)}) {
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

// Enrolments verifies the evidence of one identifier under cp, an accepted checkpoint (SPEC 2.6, 3.1 step 6): the VRF
// proof gives its etag, each handle's leaf bears that etag and is included, and its commitment opens to the handle. It
// returns none if the identifier was never enrolled. Errors are *Mismatch.
func (s *Source) Enrolments(id subject.Identifier, e *logv1.Enrolment, cp *policy.Verified) ([]Enrolment, error) {
	list, err := s.enrolments(id, e, cp)
	if err != nil {
		return nil, &Mismatch{What: "enrolment of " + id.String(), Err: err}
	}
	return list, nil
}

func (s *Source) enrolments(id subject.Identifier, e *logv1.Enrolment, cp *policy.Verified) ([]Enrolment, error) {
	if len(e.GetHandles()) == 0 {
		return nil, nil
	}
	keys, ok := s.epochs[e.GetEpoch()]
	if !ok {
		return nil, fmt.Errorf("epoch %d has no keys of source %s", e.GetEpoch(), s.Name)
	}
	etag, err := subject.VerifyVRF(keys.vrf, id, e.GetVrfProof())
	if err != nil {
		return nil, err
	}
	var list []Enrolment
	for _, h := range e.GetHandles() {
		l, _, err := included[*leaf.Subject](cp, h.GetIndex(), h.GetLeaf(), h.GetInclusion())
		if err != nil {
			return nil, err
		}
		if len(h.GetOpening()) != 32 || len(h.GetHandle()) != 32 {
			return nil, errors.New("opening and handle are not of 32 bytes")
		}
		handle := subject.Handle{Opening: [32]byte(h.GetOpening()), T: [32]byte(h.GetHandle())}
		switch {
		case l.Log != s.log || l.Keys != e.GetEpoch():
			return nil, errors.New("the enrolment leaf is of another log or epoch")
		case l.Commit == nil || *l.Commit != handle.Commit():
			return nil, errors.New("the handle does not open the commitment of the enrolment leaf")
		case len(l.Etags) != 1 || l.Etags[0] != etag:
			return nil, errors.New("the enrolment leaf is somebody else's")
		}
		list = append(list, Enrolment{
			index: h.GetIndex(), leaf: leaf.HashOf(h.GetLeaf()), etag: etag,
			handle: handle.T, mark: tag.OfPerson(handle.T, tag.Person),
		})
	}
	return list, nil
}

// included parses a leaf of a kind and verifies that it is at an index of the tree.
func included[L leaf.Leaf](cp *policy.Verified, index int64, b []byte, inclusion [][]byte) (l L, path []leaf.Hash, err error) {
	parsed, err := leaf.Parse(b)
	if err != nil {
		return l, nil, err
	}
	l, ok := parsed.(L)
	if !ok {
		return l, nil, fmt.Errorf("entry %d is of another kind than it should be", index)
	}
	if path, err = Hashes(inclusion); err != nil {
		return l, nil, err
	}
	return l, path, proof.Inclusion(leaf.HashOf(b), index, cp.Checkpoint.Size, path, cp.Checkpoint.Root)
}
