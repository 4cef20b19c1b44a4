package kept

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"idlog/client/internal/lru"
	"idlog/client/receipt"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

const (
	// maxSeen is of how many files it is remembered what they were. Others are read again.
	maxSeen = 1 << 16
	// namesAtOnce are read of a folder.
	namesAtOnce = 256
)

// Room is the folders of one log.
type Room struct {
	policy  *policy.Policy
	origin  string
	folders []folder
	seen    *lru.Map[string, seen] // by path
}

type folder struct {
	path     string
	receipts bool // besides tickets
}

// seen is what a file was when it was last read.
type seen struct {
	size     int64
	modified time.Time
	settled  bool
	fields   leaf.Hash // of the event that a ticket promises
	deadline time.Time
}

// File is a ticket or a receipt of the log, verified as far as it can be by
// itself, or an error.
type File struct {
	Path    string
	Sum     leaf.Hash       // of the promise, or of all that it holds: a copy elsewhere has the same
	Ticket  *receipt.Ticket // or nil
	Receipt *Receipt        // or nil
	Err     error           // why it is neither

	as seen
}

// Open returns the room of folders that must be there: tickets is read for tickets
// alone, receipts for both. It returns nil if there are none.
func Open(p *policy.Policy, origin string, tickets, receipts []string) (*Room, error) {
	if len(tickets)+len(receipts) == 0 {
		return nil, nil
	}
	r := &Room{policy: p, origin: origin, seen: lru.New[string, seen](maxSeen)}
	for i, path := range append(append([]string{}, tickets...), receipts...) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a folder", path)
		}
		if err != nil {
			return nil, fmt.Errorf("opening what is kept: %w", err)
		}
		r.folders = append(r.folders, folder{path, i >= len(tickets)})
	}
	return r, nil
}

// Files yields the files of the log that are not settled and of which there is
// something to say: receipts, tickets whose event is in the log, and those whose
// deadline is before late, the time from which on a quorum vouches for the newest
// checkpoint. logged reports whether an event with a digest was read. Errors are of
// the folders, or logged's; one is the last thing that is yielded.
func (r *Room) Files(late time.Time, logged func(fields leaf.Hash) (bool, error)) iter.Seq2[*File, error] {
	return func(yield func(*File, error) bool) {
		for _, d := range r.folders {
			for path, err := range d.files() {
				var f *File
				if err == nil {
					f, err = r.file(path, late, logged)
				}
				if err != nil {
					yield(nil, fmt.Errorf("reading what is kept: %w", err))
					return
				}
				if f != nil && !yield(f, nil) {
					return
				}
			}
		}
	}
}

// Settle says that nothing more is to be done about a file as it is.
func (r *Room) Settle(f *File) {
	f.as.settled = true
	r.seen.Put(f.Path, f.as)
}

// files yields the paths of tickets and receipts, in no order.
func (d folder) files() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		dir, err := os.Open(d.path)
		if err != nil {
			yield("", err)
			return
		}
		defer dir.Close()
		for {
			names, err := dir.Readdirnames(namesAtOnce)
			for _, name := range names {
				if (isTicket(name) || d.receipts && filepath.Ext(name) == disclosure) && !yield(filepath.Join(d.path, name), nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// The names of what is kept.
const (
	disclosure = ".idlog-disclosure"
	submission = ".idlog-submission"
)

func isTicket(name string) bool {
	return filepath.Ext(name) == ".ticket" || strings.HasPrefix(name, "ticket-") && filepath.Ext(name) == ".idlog-evidence"
}

// file returns nil for a file of which there is nothing to say, or that is gone.
func (r *Room) file(path string, late time.Time, logged func(leaf.Hash) (bool, error)) (*File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a ticket that was redeemed meanwhile
	}
	if err != nil {
		return nil, err
	}
	as, known := r.seen.Get(path)
	if known = known && as.size == info.Size() && as.modified.Equal(info.ModTime()); known {
		if ready, err := as.ready(late, logged); !ready || err != nil {
			return nil, err
		}
	}
	f, err := r.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f.as = seen{size: info.Size(), modified: info.ModTime()}
	if f.Ticket != nil {
		f.as.fields, f.as.deadline = f.Ticket.Event.Fields, f.Ticket.Deadline
	}
	if f.Ticket == nil && f.Receipt == nil && f.Err == nil {
		f.as.settled = true // it is another log's
	}
	r.seen.Put(path, f.as)
	if ready, err := f.as.ready(late, logged); !ready || err != nil {
		return nil, err
	}
	return f, nil
}

// ready reports whether there is something to say of a file.
func (s *seen) ready(late time.Time, logged func(leaf.Hash) (bool, error)) (bool, error) {
	if s.settled {
		return false, nil
	}
	if s.deadline.IsZero() || late.Unix() > s.deadline.Unix() {
		return true, nil
	}
	return logged(s.fields)
}

// read returns a file with neither ticket nor receipt nor Err if it is another
// log's. The error is the disk's.
func (r *Room) read(path string) (*File, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, Sum: sha256.Sum256(b)}
	if filepath.Ext(path) == disclosure {
		sent, err := readFile(strings.TrimSuffix(path, disclosure) + submission)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if sent != nil {
			sum := sha256.Sum256(sent)
			f.Sum = sha256.Sum256(append(f.Sum[:], sum[:]...))
		}
		f.Receipt, f.Err = parseReceipt(b, sent, r.policy, r.origin)
		return f, nil
	}
	t, err := receipt.ParseTicket(b, r.policy)
	switch {
	case errors.Is(err, policy.ErrNotSigned) || err == nil && t.Origin != r.origin:
	case err != nil:
		f.Err = err
	default:
		f.Ticket, f.Sum = t, sha256.Sum256(t.Note)
	}
	return f, nil
}

// readFile reads what is no larger than a file of evidence, and of a larger one so
// much that nobody takes it for one.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, evidence.MaxFile+1))
	return b, cmp.Or(err, f.Close())
}
