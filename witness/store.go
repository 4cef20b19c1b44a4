package witness

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrConflict says that another request was faster: the latest checkpoint is
// no longer the one that was decided on. The caller decides again.
var ErrConflict = errors.New("the latest checkpoint has changed")

// A StateError refuses to open a state directory: what is in File is not what
// a witness that keeps its promises has left there. The directory is unchanged.
type StateError struct {
	File    string
	Problem string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("opening witness state: %s %s", e.File, e.Problem)
}

// A Store is the memory of a witness in a directory: the latest checkpoint of
// each origin, one register per origin with compare-and-swap, and evidence
// against logs. All methods may be called concurrently.
type Store struct {
	dir  *os.File // held open across rename and sync
	lock *os.File // flock held for the life of the Store
	// fault is set by tests before the Store is shared.
	fault func(step, name string) error

	failed chan struct{} // closed, under mu, once err is set

	mu    sync.Mutex       // guards cells and err, held for moments
	cells map[string]*cell // by stateName
	// refused is why a log is cosigned no more, by stateName.
	refused map[string]string
	err     error // the first failure after which the disk is not known; sticky

	manifest sync.Mutex // held while the manifest is written; guards listed
	listed   []string   // the origins in the manifest, ascending

	evidence sync.Mutex // held while the evidence directory is read and written
}

// cell is the register of one origin. It is never removed from Store.cells.
type cell struct {
	writer chan struct{} // capacity 1: who has put its token in may swap
	latest *Latest       // guarded by Store.mu; written by the writer only
}

// CreateStore makes an empty state directory at dir, whose parent must exist.
// If dir exists it is untouched and the error is fs.ErrExist.
func CreateStore(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("creating witness state: %w", err)
	}
	// If we die before the manifest is there, OpenStore refuses the directory.
	if err := os.Mkdir(filepath.Join(dir, evidenceName), 0o700); err != nil {
		return fmt.Errorf("creating witness state: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), nil, 0o600); err != nil {
		return fmt.Errorf("creating witness state: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("creating witness state: %w", err)
	}
	defer d.Close()
	if err := replace(d, manifestName, formatManifest(nil), nil); err != nil {
		return fmt.Errorf("creating witness state: %w", err)
	}
	return nil
}

// OpenStore opens the state directory that CreateStore made, creating nothing
// where there is none. It fails with fs.ErrNotExist if dir does not exist, with
// a *StateError if another Store has it open, in this process or another, if a
// file is damaged, unknown, or missing though its log was cosigned before.
func OpenStore(dir string) (*Store, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening witness state: %w", err)
	}
	s := &Store{dir: d, failed: make(chan struct{}), cells: make(map[string]*cell), refused: make(map[string]string)}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.flock(); err != nil {
		return err
	}
	b, err := os.ReadFile(s.path(manifestName))
	if err != nil {
		return s.missing(manifestName, err, "is missing: it names the logs that have a state")
	}
	if s.listed, err = parseManifest(b); err != nil {
		return &StateError{File: s.path(manifestName), Problem: err.Error()}
	}
	for _, o := range s.listed {
		b, err := os.ReadFile(s.path(stateName(o)))
		if err != nil {
			return s.missing(stateName(o), err, "is missing: it is the state of "+o+", which was cosigned before")
		}
		l, err := parseState(stateName(o), b)
		if err != nil {
			return &StateError{File: s.path(stateName(o)), Problem: err.Error()}
		}
		s.cells[stateName(o)] = newCell(l)
	}
	return s.strays()
}

func newCell(l *Latest) *cell { return &cell{writer: make(chan struct{}, 1), latest: l} }

// flock takes the lock. It belongs to the open file and not to the process, so
// a second Store in this process is refused too.
func (s *Store) flock() (err error) {
	s.lock, err = os.OpenFile(s.path(lockName), os.O_RDWR, 0)
	if err != nil {
		return s.missing(lockName, err, "is missing: this is not the state directory of a witness")
	}
	err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &StateError{File: s.path(lockName), Problem: "is held: another witness runs on this state"}
	}
	if err != nil {
		return fmt.Errorf("opening witness state: locking: %w", err)
	}
	return nil
}

func (s *Store) missing(name string, err error, problem string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &StateError{File: s.path(name), Problem: problem}
	}
	return fmt.Errorf("opening witness state: %w", err)
}

// strays reads the directory for what the manifest does not name. Temporary
// files, which a crash leaves, are removed. A state that a crash kept from the
// manifest is listed: nothing was released of it, and to remember more than was
// said is safe. Any other file is refused, before anything is changed.
func (s *Store) strays() error {
	entries, err := os.ReadDir(s.dir.Name())
	if err != nil {
		return fmt.Errorf("opening witness state: %w", err)
	}
	var temps, unlisted []string
	for _, e := range entries {
		name := e.Name()
		h, err := hex.DecodeString(name)
		switch {
		case name == manifestName || name == lockName || name == evidenceName || s.cells[name] != nil:
		case strings.Contains(name, tempMark):
			temps = append(temps, name)
		case strings.HasSuffix(name, refusalMark):
			b, err := os.ReadFile(s.path(name))
			if err != nil {
				return fmt.Errorf("opening witness state: %w", err)
			}
			reason, err := parseRefusal(name, b)
			if err != nil {
				return &StateError{File: s.path(name), Problem: err.Error()}
			}
			s.refused[strings.TrimSuffix(name, refusalMark)] = reason
		case err != nil || len(h) != 32:
			return &StateError{File: s.path(name), Problem: "is not a file of a witness"}
		default:
			b, err := os.ReadFile(s.path(name))
			if err != nil {
				return fmt.Errorf("opening witness state: %w", err)
			}
			l, err := parseState(name, b)
			if err != nil {
				return &StateError{File: s.path(name), Problem: err.Error()}
			}
			s.cells[name] = newCell(l)
			unlisted = append(unlisted, l.Origin)
		}
	}
	for _, name := range temps {
		if err := os.Remove(s.path(name)); err != nil {
			return fmt.Errorf("opening witness state: %w", err)
		}
	}
	for _, o := range unlisted {
		if err := s.list(o); err != nil {
			return fmt.Errorf("opening witness state: %w", err)
		}
	}
	return nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir.Name(), name) }

// Close gives the directory up. No other method may be running.
func (s *Store) Close() error {
	err := s.dir.Close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Latest returns the latest checkpoint of an origin, nil if it was never
// cosigned. It was synced to disk.
func (s *Store) Latest(origin string) *Latest { return s.named(stateName(origin)) }

// Origins returns every origin that was ever cosigned, ascending.
func (s *Store) Origins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var origins []string
	for _, c := range s.cells {
		if c.latest != nil {
			origins = append(origins, c.latest.Origin)
		}
	}
	slices.Sort(origins)
	return origins
}

// Refuse remembers for ever that a log is cosigned no more, and why, in one line.
// When it returns nil that survives a loss of power. A log is refused once; what
// was cosigned of it stays.
func (s *Store) Refuse(origin, reason string) error {
	name, reason := stateName(origin), strings.Join(strings.Fields(reason), " ")
	if err := replace(s.dir, name+refusalMark, formatRefusal(origin, reason), s.fault); err != nil {
		return s.fail(fmt.Errorf("refusing a log: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[name] = reason
	return nil
}

// Refusal returns why a log is cosigned no more, or "".
func (s *Store) Refusal(origin string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[stateName(origin)]
}

// named returns the latest checkpoint of the origin with that stateName.
func (s *Store) named(name string) *Latest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cells[name]; c != nil {
		return c.latest
	}
	return nil
}

// Swap makes next the latest checkpoint of its origin if old, which Latest
// returned, still is. When it returns nil, next is synced to disk and may be
// released. With ErrConflict nothing was written. After any other error next
// must not be released; if what is on disk is not known, this and every later
// Swap fails, and so does Wait.
func (s *Store) Swap(ctx context.Context, old, next *Latest) error {
	c := s.cell(stateName(next.Origin))
	select {
	case c.writer <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.writer }()

	s.mu.Lock()
	latest, failed := c.latest, s.err
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	if latest != old {
		return ErrConflict
	}
	if err := replace(s.dir, stateName(next.Origin), formatState(next), s.fault); err != nil {
		return s.fail(err)
	}
	// If we die here: the state is next, and the log, which got no answer, asks
	// again. A first state is not in the manifest; the next start lists it.
	if err := s.list(next.Origin); err != nil {
		return s.fail(err)
	}
	// If we die here: as above, and the loss of the state file is noticed.
	s.mu.Lock()
	defer s.mu.Unlock()
	c.latest = next
	return nil
}

func (s *Store) cell(name string) *cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cells[name] == nil {
		s.cells[name] = newCell(nil)
	}
	return s.cells[name]
}

// list adds an origin, whose state is on disk, to the manifest.
func (s *Store) list(origin string) error {
	s.manifest.Lock()
	defer s.manifest.Unlock()
	i, found := slices.BinarySearch(s.listed, origin)
	if found {
		return nil
	}
	listed := slices.Insert(slices.Clone(s.listed), i, origin)
	if err := replace(s.dir, manifestName, formatManifest(listed), s.fault); err != nil {
		return err
	}
	s.listed = listed
	return nil
}

// fail makes a failure sticky if the disk is not known after it.
func (s *Store) fail(err error) error {
	if !errors.Is(err, errUnsure) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.failed)
	}
	return s.err
}

// Wait blocks until ctx ends, and then returns nil, or until the Store has
// failed for good. The caller ends the process: a new one reads what is there.
func (s *Store) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.failed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	}
}
