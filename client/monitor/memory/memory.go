// Package memory is what a monitor remembers of the entries of one log: by the
// id and by the digest of each event, where it was first seen.
//
// It trusts its directory. What [Store.Commit] returned for is on disk; after a
// crash the store is as it was before a commit or after it, never between. A
// batch that is committed twice is as one that is committed once: the first
// place of a key is kept. Find may be called concurrently, with batches that
// nobody changes meanwhile; all else belongs to one goroutine, and the directory
// to one Store.
package memory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"idlog/proto/leaf"
)

// Key is a name under which a Place is remembered. Keys of two kinds never meet.
type Key [1 + sha256.Size]byte

// ID is the key of an event's id: the source, and the value of its tag 1, which
// is made with a key of that source alone.
func ID(source string, tag leaf.Hash) Key {
	var b [128]byte // a source has at most 64 bytes
	return join('i', sha256.Sum256(append(append(append(b[:0], source...), 0), tag[:]...)))
}

// Fields is the key of an event's digest.
func Fields(digest leaf.Hash) Key { return join('f', digest) }

// Enrolment is the key of an enrolment's leaf hash.
func Enrolment(h leaf.Hash) Key { return join('e', h) }

// Told is the key of a file that a submitter keeps, by the hash of what it says, of
// which everything was told that there is to tell.
func Told(sum leaf.Hash) Key { return join('k', sum) }

func join(kind byte, h leaf.Hash) (k Key) {
	k[0] = kind
	copy(k[1:], h[:])
	return k
}

// Place is where something was first seen.
type Place struct {
	Index int64
	Hash  leaf.Hash // its leaf hash
}

// Batch is what was learned and not yet committed. Its zero value is empty.
type Batch struct {
	places map[Key]Place
	// Checked is the number of entries, from the first on, that the store knows
	// all of once the batch is committed.
	Checked int64
}

// Store is the memory in a directory.
type Store struct {
	db      *pebble.DB
	lock    *pebble.Lock
	checked int64
}

// checkedKey holds Batch.Checked. No Key begins so.
var checkedKey = []byte("n")

// ErrInUse is a store that another monitor has open, of this process or another.
var ErrInUse = errors.New("another monitor has it open")

// Open opens the store in a directory, which it creates if need be. It returns
// ErrInUse if another monitor has it open.
func Open(dir string, logger *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening memory: %w", err)
	}
	o := &pebble.Options{FormatMajorVersion: pebble.FormatNewest, CacheSize: 32 << 20, MemTableSize: 32 << 20, Logger: quiet{logger}}
	for i := range o.Levels {
		// Nearly every question is about an event that is new.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	// Who reads a block that is damaged gets an error; left to itself the database
	// would end the process.
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if _, ofFile := errors.AsType[*fs.PathError](err); err != nil && !ofFile {
		err = fmt.Errorf("%w: %w", ErrInUse, err) // the file is there, and its lock is another's
	}
	if err != nil {
		return nil, fmt.Errorf("opening memory %s: %w", dir, err)
	}
	o.Lock = lock
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening memory %s: %w", dir, errors.Join(err, lock.Close()))
	}
	s := &Store{db: db, lock: lock}
	value, err := s.get(checkedKey)
	if err == nil && value != nil {
		if len(value) != 8 {
			err = errors.New("its size is damaged")
		} else {
			s.checked = int64(binary.BigEndian.Uint64(value))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening memory %s: %w", dir, errors.Join(err, db.Close(), lock.Close()))
	}
	return s, nil
}

// Close closes the store.
func (s *Store) Close() error {
	if err := errors.Join(s.db.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("closing memory: %w", err)
	}
	return nil
}

// Checked returns the largest Batch.Checked that was committed.
func (s *Store) Checked() int64 { return s.checked }

// Find returns the first place of a key, in the store or else in the batch, and
// false if there is none.
func (s *Store) Find(b *Batch, k Key) (Place, bool, error) {
	if p, ok := b.Learned(k); ok {
		return p, true, nil
	}
	value, err := s.get(k[:])
	if err != nil || value == nil {
		return Place{}, false, err
	}
	if len(value) != 8+sha256.Size {
		return Place{}, false, errors.New("reading memory: a value is damaged")
	}
	return Place{Index: int64(binary.BigEndian.Uint64(value)), Hash: leaf.Hash(value[8:])}, true, nil
}

// Learned returns the place of a key in the batch, and false if there is none.
func (b *Batch) Learned(k Key) (Place, bool) {
	p, ok := b.places[k]
	return p, ok
}

// Learn adds a place that Find did not find to the batch.
func (b *Batch) Learn(k Key, p Place) {
	if b.places == nil {
		b.places = make(map[Key]Place)
	}
	b.places[k] = p
}

// Commit makes a batch durable. If it fails the store is not to be used again.
func (s *Store) Commit(b *Batch) (err error) {
	defer func() {
		// What the database can only end the process for is an error here.
		if r := recover(); r != nil {
			f, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = f
		}
	}()
	w := s.db.NewBatchWithSize(len(b.places)*80 + 64)
	defer w.Close()
	var value [8 + sha256.Size]byte
	// In their order they cost the database half as much.
	for _, k := range slices.SortedFunc(maps.Keys(b.places), func(a, b Key) int { return bytes.Compare(a[:], b[:]) }) {
		p := b.places[k]
		binary.BigEndian.PutUint64(value[:], uint64(p.Index))
		copy(value[8:], p.Hash[:])
		if err := w.Set(k[:], value[:], nil); err != nil {
			return fmt.Errorf("writing memory: %w", err)
		}
	}
	checked := max(s.checked, b.Checked)
	if err := w.Set(checkedKey, binary.BigEndian.AppendUint64(nil, uint64(checked)), nil); err != nil {
		return fmt.Errorf("writing memory: %w", err)
	}
	// If we die here nothing of the batch is known, and its entries are read again.
	if err := w.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("writing memory: %w", err)
	}
	s.checked = checked
	return nil
}

// get returns nil for a key that is not there.
func (s *Store) get(k []byte) ([]byte, error) {
	value, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading memory: %w", err)
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// quiet keeps the database's own log away from people.
type quiet struct{ *slog.Logger }

func (q quiet) Infof(format string, args ...any)  { q.Debug(fmt.Sprintf(format, args...)) }
func (q quiet) Errorf(format string, args ...any) { q.Error(fmt.Sprintf(format, args...)) }

// Fatalf does not return, as the database asks: nothing may be written on top of
// what failed. In its own goroutines that ends the process.
func (q quiet) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }

// fatal is what the database panics with instead of ending the process.
type fatal string

func (e fatal) Error() string { return "writing memory: " + string(e) }
