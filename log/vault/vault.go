package vault

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"idlog/log/internal/database"
	"idlog/log/internal/measure"
	"idlog/proto/leaf"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

var (
	// ErrExists says that there is a vault already.
	ErrExists = errors.New("a vault exists here")
	// ErrLost says that what opens an event is not there: its payload, or the
	// secret of a person whom it concerns. It is not the same as erased.
	ErrLost = errors.New("what opens this is lost")
)

// Epoch is the key epoch in force. Later ones need a keys leaf of their own.
const Epoch int64 = 1

// What stands in the database of subjects.
//
//	m              -> sealed: the log's own secrets
//	e || leaf hash -> sealed: an enrolment
//	l || lookup    -> leaf hashes of an identifier's enrolments, oldest first
const (
	kindLog       = 'm'
	kindEnrolment = 'e'
	kindLookup    = 'l'
)

const (
	purposeLog      = "idlog/vault/log/v1"
	purposeSubjects = "idlog/vault/subjects/v1"
	purposePayloads = "idlog/vault/payloads/v1"

	cacheSize = 16 << 20
)

// Vault is an open vault.
type Vault struct {
	db       *database.DB
	subjects box
	payloads box
	lookup   leaf.Hash // key of the hash by which identifiers are found
	epoch    tag.Key
	vrf      *subject.VRFKey
	newest   *os.File // see openNewest

	enrolling measure.Timer // set by Register
}

// Create draws the secrets of a log and stores them in a folder that has none,
// or returns ErrExists.
func Create(dir string, m Master) error {
	o := options()
	o.ErrorIfExists = true
	db, err := database.Open(dir, o, nil, nil)
	if errors.Is(err, pebble.ErrDBAlreadyExists) {
		return fmt.Errorf("creating vault %s: %w", dir, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("creating vault %s: %w", dir, err)
	}
	secrets := make([]byte, 64, 96)
	rand.Read(secrets) // never fails: it ends the program instead
	secrets = append(secrets, subject.NewVRFKey().Bytes()...)
	err = func() error {
		b, err := m.box(purposeLog)
		if err != nil {
			return err
		}
		sealed, err := b.seal(nil, []byte(purposeLog), secrets)
		if err != nil {
			return err
		}
		// If we die before this, the folder is to be removed by hand; Open says so.
		batch := db.NewBatch()
		return errors.Join(batch.Set([]byte{kindLog}, sealed, nil), db.Commit(batch, pebble.Sync))
	}()
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("creating vault %s: %w", dir, err)
	}
	return nil
}

// Open opens the vault that Create made, with the same master key; another one
// is ErrCorrupt. The logger gets what the database has to tell; nil discards it.
func Open(dir string, m Master, logger *slog.Logger) (*Vault, error) {
	o := options()
	o.ErrorIfNotExists = true
	db, err := database.Open(dir, o, logger, nil)
	if err != nil {
		return nil, fmt.Errorf("opening vault %s: %w", dir, err)
	}
	v := &Vault{db: db}
	err = v.unlock(m)
	if err == nil {
		err = v.openNewest(filepath.Join(dir, newestName))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening vault %s: %w", dir, err), db.Close())
	}
	return v, nil
}

// newestName is a file beside the database with the leaf hash of an enrolment that
// is in it, the newest, or one of those that came with it. Who copies files in the
// order of their names copies it first, so that it is never ahead of the others.
const newestName = ".newest"

// openNewest looks whether that enrolment is there. To the database the end of its
// own journal from a damaged record on is one that a crash tore off, though persons
// in it were enrolled. After a crash of the machine the file may name an older
// enrolment, or none; a copy of the vault has none.
func (v *Vault) openNewest(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	var hash leaf.Hash
	switch n, err := f.ReadAt(hash[:], 0); {
	case err != nil && !errors.Is(err, io.EOF):
		return errors.Join(err, f.Close())
	case n == len(hash) && hash != leaf.Hash{}:
		if _, err := v.Enrolment(hash); err != nil {
			return errors.Join(fmt.Errorf("the last persons who were enrolled are lost: %w: the journal of its database is damaged; put the vault back from a copy, or remove %s to go on without them", err, name), f.Close())
		}
	}
	v.newest = f
	return nil
}

func (v *Vault) unlock(m Master) error {
	logBox, err1 := m.box(purposeLog)
	subjects, err2 := m.box(purposeSubjects)
	payloads, err3 := m.box(purposePayloads)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	sealed, err := v.value([]byte{kindLog})
	if err != nil {
		return err
	}
	if sealed == nil {
		return errors.New("it was never finished: remove the folder and create it again")
	}
	secrets, err := logBox.open([]byte(purposeLog), sealed)
	if err != nil {
		return err
	}
	if len(secrets) != 96 {
		return ErrCorrupt
	}
	v.subjects, v.payloads = subjects, payloads
	v.lookup, v.epoch = leaf.Hash(secrets[:32]), tag.Key(secrets[32:64])
	v.vrf, err = subject.ParseVRFKey(secrets[64:])
	return err
}

func options() *pebble.Options {
	o := &pebble.Options{CacheSize: cacheSize}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// Wait returns when the storage of the vault has failed, with why, or nil when
// ctx ends. The process must end then.
func (v *Vault) Wait(ctx context.Context) error {
	if err := v.db.Wait(ctx); err != nil {
		return fmt.Errorf("storing persons: %w", err)
	}
	return nil
}

// Close closes the database. Nothing else may be called from then on.
func (v *Vault) Close() error {
	if err := errors.Join(v.newest.Close(), v.db.Close()); err != nil {
		return fmt.Errorf("closing vault: %w", err)
	}
	return nil
}

// Key returns the key of a field's tags of one source, in epoch Epoch.
func (v *Vault) Key(field uint16, source string) tag.Key { return tag.Derive(v.epoch, field, source) }

// VRF returns the public key that the keys leaf of the epoch announces.
func (v *Vault) VRF() [32]byte { return v.vrf.Public() }

// Enrolment is one enrolment of one identifier. It is read only.
type Enrolment struct {
	// Identifier is whose enrolment it is; zero in one that a version before made, which did not keep it.
	Identifier subject.Identifier
	Secret     leaf.Hash // S: what the person adds to the seeds of events
	Handle     subject.Handle
	Epoch      int64
	Proof      []byte // of the etag, under the VRF key of the epoch
	Leaf       []byte // the enrolment leaf
	Hash       leaf.Hash
}

// Enrol draws the secrets of new enrolments, one per identifier, computes their
// leaves and returns once all is durable. Received is in seconds. It does not
// look whether an identifier is enrolled already: that is the caller's to know,
// for an identifier with two enrolments has two histories.
func (v *Vault) Enrol(family string, received int64, ids []subject.Identifier) ([]*Enrolment, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	b := v.db.NewBatch()
	made := make([]*Enrolment, len(ids))
	for i, id := range ids {
		e, err := v.enrol(b, family, received, id)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("enrolling: %w", err), b.Close())
		}
		made[i] = e
	}
	// If we die before this returns, nobody is enrolled and no leaf names these
	// handles. After it, the secrets are there before any leaf that needs them.
	began := time.Now()
	if err := v.db.Commit(b, pebble.Sync); err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	v.enrolling.Since(began)
	// It is told, not promised: if we die before this, an older one is named.
	if _, err := v.newest.WriteAt(made[len(made)-1].Hash[:], 0); err != nil {
		return nil, fmt.Errorf("enrolling: %w", err)
	}
	return made, nil
}

func (v *Vault) enrol(b *pebble.Batch, family string, received int64, id subject.Identifier) (*Enrolment, error) {
	etag, proof, err := v.vrf.Prove(id)
	if err != nil {
		return nil, err
	}
	e := &Enrolment{Identifier: id, Handle: subject.NewHandle(), Epoch: Epoch, Proof: proof}
	rand.Read(e.Secret[:])
	commit := e.Handle.Commit()
	l := leaf.Subject{Log: family, Received: received, Keys: Epoch, Commit: &commit, Etags: []leaf.Hash{etag}}
	if e.Leaf, err = l.Format(); err != nil {
		return nil, err
	}
	e.Hash = leaf.HashOf(e.Leaf)
	key := append([]byte{kindEnrolment}, e.Hash[:]...)
	plain, err := e.format()
	if err != nil {
		return nil, err
	}
	sealed, err := v.subjects.seal(nil, key, plain)
	if err != nil {
		return nil, err
	}
	lookup, err := v.lookupKey(id)
	if err != nil {
		return nil, err
	}
	known, err := v.value(lookup)
	if err != nil {
		return nil, err
	}
	return e, errors.Join(b.Set(key, sealed, nil), b.Set(lookup, append(known, e.Hash[:]...), nil))
}

// Current returns the newest enrolment of an identifier, or nil.
func (v *Vault) Current(id subject.Identifier) (*Enrolment, error) {
	hashes, err := v.hashes(id)
	if err != nil || len(hashes) == 0 {
		return nil, err
	}
	return v.Enrolment(hashes[len(hashes)-1])
}

// All returns every enrolment of an identifier, oldest first.
func (v *Vault) All(id subject.Identifier) ([]*Enrolment, error) {
	hashes, err := v.hashes(id)
	if err != nil {
		return nil, err
	}
	var all []*Enrolment
	for _, h := range hashes {
		e, err := v.Enrolment(h)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// Enrolment returns the enrolment with a leaf of this hash. Its error is
// ErrLost if there is none.
func (v *Vault) Enrolment(hash leaf.Hash) (*Enrolment, error) {
	key := append([]byte{kindEnrolment}, hash[:]...)
	sealed, err := v.value(key)
	if err != nil {
		return nil, err
	}
	if sealed == nil {
		return nil, fmt.Errorf("reading enrolment: %w", ErrLost)
	}
	plain, err := v.subjects.open(key, sealed)
	if err != nil {
		return nil, fmt.Errorf("reading enrolment: %w", err)
	}
	e, err := parseEnrolment(plain)
	if err != nil || e.Hash != hash {
		return nil, fmt.Errorf("reading enrolment: %w", ErrCorrupt)
	}
	return e, nil
}

func (v *Vault) hashes(id subject.Identifier) ([]leaf.Hash, error) {
	key, err := v.lookupKey(id)
	if err != nil {
		return nil, err
	}
	b, err := v.value(key)
	if err != nil {
		return nil, err
	}
	if len(b)%32 != 0 {
		return nil, fmt.Errorf("looking up person: %w", ErrCorrupt)
	}
	var hashes []leaf.Hash
	for h := range slices.Chunk(b, 32) {
		hashes = append(hashes, leaf.Hash(h))
	}
	return hashes, nil
}

// lookupKey is SPEC 2.6: "Ingest finds an enrolled identifier by HMAC under a look-up key of its own".
func (v *Vault) lookupKey(id subject.Identifier) ([]byte, error) {
	b, err := id.Bytes()
	if err != nil {
		return nil, fmt.Errorf("looking up person: %w", err)
	}
	h := hmac.New(sha256.New, v.lookup[:])
	h.Write(b)
	return h.Sum([]byte{kindLookup}), nil
}

const (
	versionNameless  = 1 // without the identifier: what the first version wrote
	enrolmentVersion = 2
	proofSize        = 80
)

// format encodes version || S || opening || T || u64 epoch || proof || u16 length || identifier || leaf.
func (e *Enrolment) format() ([]byte, error) {
	id, err := e.Identifier.Bytes()
	if err != nil {
		return nil, err
	}
	b := []byte{enrolmentVersion}
	b = append(b, e.Secret[:]...)
	b = append(b, e.Handle.Opening[:]...)
	b = append(b, e.Handle.T[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Epoch))
	b = append(b, e.Proof...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(id))), id...)
	return append(b, e.Leaf...), nil
}

func parseEnrolment(b []byte) (*Enrolment, error) {
	if len(b) < 105+proofSize || b[0] != versionNameless && b[0] != enrolmentVersion {
		return nil, ErrCorrupt
	}
	e := &Enrolment{
		Secret: leaf.Hash(b[1:33]),
		Handle: subject.Handle{Opening: [32]byte(b[33:65]), T: [32]byte(b[65:97])},
		Epoch:  int64(binary.BigEndian.Uint64(b[97:])),
		Proof:  b[105 : 105+proofSize],
	}
	rest := reader{b[105+proofSize:]}
	if b[0] == enrolmentVersion {
		var err error
		if e.Identifier, err = subject.ParseIdentifier(rest.take(int(rest.uint(2)))); err != nil {
			return nil, ErrCorrupt
		}
	}
	e.Leaf = rest.b
	e.Hash = leaf.HashOf(e.Leaf)
	return e, nil
}

// value returns a copy of what stands under a key, nil if there is nothing.
func (v *Vault) value(key []byte) ([]byte, error) {
	b, closer, err := v.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading vault: %w", err)
	}
	out := append(make([]byte, 0, len(b)+32), b...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("reading vault: %w", err)
	}
	return out, nil
}
