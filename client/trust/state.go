package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"idlog/client/internal/atomicfile"
	"idlog/client/internal/lru"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
)

// maxTickets is how many tickets a State in memory keeps.
const maxTickets = 1 << 16

// State remembers the newest checkpoint that was verified of each log, by
// origin and not by key: a log that changes its keys inherits it.
//
// On disk each origin has one file, <escaped origin>.seen:
//
//	idlog-seen/v1 SP <base64 SHA-256 of what follows> LF
//	size <decimal> LF
//	root <base64> LF
//	LF
//	the signed note, verbatim
//
// Beside them stand tickets/, promises that are open, and evidence/.
//
// A damaged file is an error that names it, never a first contact. A missing
// file is a first contact and nothing can tell it from a deleted one: back the
// directory up with whatever else you would miss.
//
// A State may be used by any number of goroutines, and its directory by any
// number of processes.
type State struct {
	dir string // "" in memory

	mu   sync.Mutex      // guards seen
	seen map[string]Seen // in memory only

	tickets *lru.Map[leaf.Hash, struct{}] // in memory only
}

// Seen is the checkpoint of one origin that a State remembers.
type Seen struct {
	Size int64
	Root leaf.Hash
	Note []byte // the signed note, with the cosignatures it was accepted with
}

// Open opens the state in a directory, which it creates if need be,
// readable by its owner alone.
func Open(dir string) (*State, error) {
	if dir == "" {
		return nil, errors.New("opening client state: no directory named")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening client state: %w", err)
	}
	return &State{dir: dir}, nil
}

// NewMemory returns a state that ends with the process: it notices forks
// and rollbacks while it lives and knows nothing of yesterday. Evidence is in
// the errors alone.
func NewMemory() *State {
	return &State{seen: make(map[string]Seen), tickets: lru.New[leaf.Hash, struct{}](maxTickets)}
}

// Seen returns what is remembered of an origin, and false if that is nothing.
func (s *State) Seen(origin string) (Seen, bool, error) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		seen, ok := s.seen[origin]
		return seen, ok, nil
	}
	name := s.file(origin)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Seen{}, false, nil
	}
	if err != nil {
		return Seen{}, false, fmt.Errorf("reading client state: %w", err)
	}
	seen, err := parseSeen(b, origin)
	if err != nil {
		return Seen{}, false, fmt.Errorf("reading client state %s: %w; it is damaged: restore it from a backup, or remove it to begin anew and lose what it knew", name, err)
	}
	return seen, true, nil
}

// swap replaces what is remembered of an origin if that is still old (known
// says whether there was anything), and reports whether it was. The lock holds
// other processes off; they see the old file or the new one.
func (s *State) swap(origin string, old Seen, known bool, next Seen) (bool, error) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		now, ok := s.seen[origin]
		if ok != known || !bytes.Equal(now.Note, old.Note) {
			return false, nil
		}
		s.seen[origin] = next
		return true, nil
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, fmt.Errorf("locking client state: %w", err)
	}
	defer lock.Close() // and with it the lock is gone
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return false, fmt.Errorf("locking client state: %w", err)
	}
	now, ok, err := s.Seen(origin)
	if err != nil {
		return false, err
	}
	if ok != known || !bytes.Equal(now.Note, old.Note) {
		return false, nil
	}
	if err := atomicfile.Write(s.file(origin), next.format(), 0o600); err != nil {
		return false, fmt.Errorf("writing client state: %w", err)
	}
	return true, nil
}

// file is the path of an origin's file. An origin too long for a file name is
// known by its hash.
func (s *State) file(origin string) string {
	name := url.QueryEscape(origin)
	if len(name) > 200 {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(origin)))
	}
	return filepath.Join(s.dir, name+".seen")
}

const seenHeader = "idlog-seen/v1 "

func (s Seen) format() []byte {
	body := fmt.Appendf(nil, "size %d\nroot %s\n\n%s", s.Size, base64.StdEncoding.EncodeToString(s.Root[:]), s.Note)
	sum := sha256.Sum256(body)
	return append([]byte(seenHeader+base64.StdEncoding.EncodeToString(sum[:])+"\n"), body...)
}

func parseSeen(b []byte, origin string) (Seen, error) {
	_, rest, _ := bytes.Cut(b, []byte("\n\n"))
	text, _, err := checkpoint.Split(rest)
	if err != nil {
		return Seen{}, err
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		return Seen{}, err
	}
	seen := Seen{Size: c.Size, Root: c.Root, Note: rest}
	if c.Origin != origin || !bytes.Equal(seen.format(), b) {
		return Seen{}, errors.New("its checksum, size, root or origin is not that of its note")
	}
	return seen, nil
}

// SaveEvidence writes an evidence file of the parts that are not empty and returns its
// bytes and name; in memory it writes none. The same evidence twice is one file.
func (s *State) SaveEvidence(claim evidence.Claim, parts ...evidence.Part) (data []byte, name string, err error) {
	e := &evidence.Evidence{Claim: claim, Parts: slices.DeleteFunc(parts, func(p evidence.Part) bool { return len(p.Data) == 0 })}
	data, err = e.Format()
	if err != nil || s.dir == "" {
		return data, "", err
	}
	name, err = s.keep(string(claim), "idlog-evidence", data)
	if err != nil {
		return data, "", fmt.Errorf("writing evidence: %w", err)
	}
	return data, name, nil
}

// SaveAnswer keeps a history that does not hold, beside the evidence, and returns its name; in memory it keeps none.
func (s *State) SaveAnswer(file []byte) (name string, err error) {
	if s.dir == "" {
		return "", nil
	}
	if name, err = s.keep("refused", "idlog-history", file); err != nil {
		return "", fmt.Errorf("keeping a refused history: %w", err)
	}
	return name, nil
}

// keep writes a file of the folder evidence. The same bytes twice are one file.
func (s *State) keep(what, kind string, data []byte) (name string, err error) {
	dir := filepath.Join(s.dir, "evidence")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	name = filepath.Join(dir, fmt.Sprintf("%s-%x.%s", what, sum[:8], kind))
	return name, atomicfile.Write(name, data, 0o600)
}
