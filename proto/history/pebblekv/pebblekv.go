// Package pebblekv is the store of a verifiable index in Pebble.
//
// It writes no log of its own: an index can always be made again from the log that it is of. A crash loses what was
// committed lately, and leaves all commits up to some point, each of them whole.
package pebblekv

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"idlog/proto/history"
)

const (
	cacheBytes    = 64 << 20
	memtableBytes = 32 << 20 // less is not given back by malloc, which keeps what is below
)

// Open opens the store in a folder of its own, and makes it if it is not there. Nobody else may have it open. It takes some
// 130 MiB of memory at most.
func Open(dir string) (history.Store, error) { return open(dir, vfs.Default, memtableBytes) }

// Memory returns an empty store in memory.
func Memory() (history.Store, error) { return open("index", vfs.NewMem(), memtableBytes) }

func open(dir string, fs vfs.FS, memtable uint64) (history.Store, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	s := &store{failed: make(chan struct{}), calls: make(chan func() error), done: make(chan error)}
	go s.work()
	o := &pebble.Options{
		Cache:      cache,
		DisableWAL: true,
		EventListener: &pebble.EventListener{
			BackgroundError: s.fail,
			// It is called by whoever reads, who then gets an error as well; Pebble's own way is to end the process.
			DataCorruption: func(i pebble.DataCorruptionInfo) { s.fail(fmt.Errorf("%s is damaged: %w", i.Path, i.Details)) },
		},
		FS:                    fs,
		FormatMajorVersion:    pebble.FormatNewest,
		L0CompactionThreshold: 4,
		LBaseMaxBytes:         512 << 20, // each seek looks into every level: below that there is one
		Logger:                logger{s},
		MemTableSize:          memtable,
		Merger:                pebble.DefaultMerger, // appends
	}
	o.Experimental.ReadSamplingMultiplier = -1 // reads are spread evenly: compacting where they are is work for nothing
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // hashes do not compress
		o.Levels[i].IndexBlockSize = 1 << 20                                                          // one level of index, which stays in the cache
	}
	err := s.do(func() (err error) {
		s.db, err = pebble.Open(dir, o)
		return err
	})
	if err != nil {
		close(s.calls)
		return nil, fmt.Errorf("opening the index's store: %w", err)
	}
	return s, nil
}

// A store is a database that fails instead of trying for ever, or ending the process, when it cannot write.
type store struct {
	db     *pebble.DB
	calls  chan func() error // of the one writer, to work; closed by Close
	done   chan error        // what came of them
	once   sync.Once
	failed chan struct{} // closed once err is set
	err    error
}

func (s *store) Snapshot() history.Snapshot { return snapshot{s.db.NewSnapshot()} }

func (s *store) Batch() history.Batch { return batch{s, s.db.NewBatch()} }

// Close leaves a database that failed to the end of the process.
func (s *store) Close() error {
	defer close(s.calls)
	if err := s.do(func() error { return errors.Join(s.db.Flush(), s.db.Close()) }); err != nil {
		return fmt.Errorf("closing the index's store: %w", err)
	}
	return nil
}

// do has f called by work.
func (s *store) do(f func() error) error {
	select {
	case <-s.failed:
		return s.err
	case s.calls <- f:
	}
	select {
	case err := <-s.done:
		return err
	case <-s.failed:
		return s.err
	}
}

// work is a goroutine that the database may end, or never let go on, when it fails; after that it does nothing more. Its stack
// stays as deep as a commit needs.
func (s *store) work() {
	for f := range s.calls {
		select {
		case <-s.failed:
			return
		default:
		}
		err := f()
		select {
		case s.done <- err:
		case <-s.failed:
			return
		}
	}
}

func (s *store) fail(err error) {
	s.once.Do(func() {
		s.err = fmt.Errorf("the index's store cannot go on: %w", err)
		close(s.failed)
	})
}

type snapshot struct{ s *pebble.Snapshot }

func (s snapshot) Get(key []byte) ([]byte, error) {
	b, closer, err := s.s.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b = append(make([]byte, 0, len(b)), b...)
	return b, closer.Close()
}

func (s snapshot) Scan(from, to []byte) (history.Cursor, error) {
	it, err := s.s.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	return cursor{it}, nil
}

func (s snapshot) Close() error { return s.s.Close() }

type cursor struct{ it *pebble.Iterator }

func (c cursor) Seek(key []byte) bool { return c.it.SeekGE(key) }

// Next is a short seek, because Pebble's Next goes through all that the next key's value has been since the memtable was new.
func (c cursor) Next() bool { return c.it.NextPrefix() }

func (c cursor) Key() []byte   { return c.it.Key() }
func (c cursor) Value() []byte { return c.it.Value() }
func (c cursor) Close() error  { return c.it.Close() }

type batch struct {
	s *store
	b *pebble.Batch
}

// Put and Append only write to memory; what fails, fails in Commit.
func (b batch) Put(key, value []byte)    { _ = b.b.Set(key, value, nil) }
func (b batch) Append(key, value []byte) { _ = b.b.Merge(key, value, nil) }

func (b batch) Commit() error {
	return b.s.do(func() error { return errors.Join(b.b.Commit(pebble.NoSync), b.b.Close()) })
}

func (b batch) Discard() { _ = b.b.Close() }

// A logger is where Pebble writes its own log. What matters of it is in the errors that callers get.
type logger struct{ s *store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf does not return, as Pebble asks. It ends the goroutine that cannot go on, one of Pebble's own or one of do.
func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}
