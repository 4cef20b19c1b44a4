package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"idlog/log/internal/atomicfile"
	"idlog/proto/leaf"
)

const (
	segmentSize = 64 << 20
	maxBuffer   = 8 << 20  // what is kept of the memory in which a group was put together
	freshRows   = 64 << 10 // how many rows go into the database at once
)

var (
	// ErrFatal is in every error of storage. What the disk holds is then
	// unknown: stop writing, end the process, and find out after a restart.
	ErrFatal = errors.New("journal storage failed; restart to read back what it holds")
	// ErrExists says that there is a journal already.
	ErrExists = errors.New("a journal exists here")
)

// Row is one leaf on its way into the log. It is read only once it was put.
type Row struct {
	// Key is the row's name for ever: tag 1 of an event's leaf, the digest of the
	// fields of a statement about persons, the leaf hash of any other (SPEC F31).
	Key  leaf.Hash
	Leaf []byte
	// Control marks a leaf that is neither an event nor about persons; see Controls.
	Control bool
	// Needs are the keys of rows that must be in the log before this one is
	// appended. They were put before it, or stand before it in the same Put.
	Needs []leaf.Hash
	// Submission is what a repeated submission is compared by (SPEC F21), and
	// Principal who submitted. Both are the caller's and may be empty.
	Submission leaf.Hash
	Principal  string

	// Absent is the Mark that was taken before Get found no row of this key; zero
	// if nobody looked. It spares Put the look into the database.
	Absent Mark

	// Payload and Raw are stored with the row and read back by their methods
	// of the same name. They are dropped from the row once they are stored.
	Payload, Raw []byte

	pos  position // of its record; zero in a row that was never stored
	size int64
	done chan struct{} // closed once the index is set; nil in a row that is not open
	at   atomic.Int64  // index + 1; 0 while there is none
}

// Index returns where the row stands in the log, or -1 while it does not.
func (r *Row) Index() int64 { return r.at.Load() - 1 }

// Size returns the bytes of leaf, payload and raw that were put; of a row that
// was read back, the leaf's alone.
func (r *Row) Size() int64 { return r.size }

// Wait returns the row's index once Sequenced has stored it.
func (r *Row) Wait(ctx context.Context) (int64, error) {
	if i := r.Index(); i >= 0 {
		return i, nil
	}
	select {
	case <-r.done:
		return r.Index(), nil
	case <-ctx.Done():
		return -1, ctx.Err()
	}
}

// Journal is an open journal.
type Journal struct {
	index    index
	segments segments
	commit   chan struct{} // holds one token; its holder is the only one that writes
	timers   timers        // set by Register

	// Owned by the token's holder.
	buf   []byte // what it writes
	order []*Row // durable, in the order of Put, from the first that had no index

	mu      sync.Mutex         // guards what follows
	pending []*put             // waiting for the next commit
	open    map[leaf.Hash]*Row // durable and without index
	queue   []*Row             // those of open that Take has not handed out, in the order of Put
	fresh   map[leaf.Hash]spot // rows with an index that the database does not have yet
	spilled Mark               // how often fresh became empty, plus one
	added   chan struct{}      // closed and replaced when queue or open changes
	bytes   int64              // of open
	cursor  int64
	failed  error
}

// Create makes an empty journal in a folder that has none, or returns ErrExists.
func Create(dir string) error {
	s := segments{dir: dir}
	if _, err := os.Stat(s.name(1)); err == nil {
		return fmt.Errorf("creating journal %s: %w", dir, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating journal: %w", err)
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = s.create(1)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("creating journal: %w", err)
	}
	return nil
}

// Open opens the journal that Create made; a folder without one is an error.
// The logger gets what the database has to tell; nil discards it.
func Open(dir string, logger *slog.Logger) (*Journal, error) {
	j := &Journal{
		segments: segments{dir: dir, full: segmentSize}, commit: make(chan struct{}, 1),
		open: make(map[leaf.Hash]*Row), fresh: make(map[leaf.Hash]spot), spilled: 1, added: make(chan struct{}),
	}
	if _, err := os.Stat(j.segments.name(1)); err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	var err error
	if j.index, err = openIndex(filepath.Join(dir, "index"), logger, func(err error) { _ = j.fail(err) }); err != nil {
		return nil, fmt.Errorf("opening journal %s: %w", dir, remedy(err))
	}
	if err := j.load(); err != nil {
		_ = j.index.db.Close() // nothing was told to it that the segments do not say
		return nil, fmt.Errorf("opening journal %s: %w", dir, err)
	}
	return j, nil
}

// load reads what the database does not have yet, and takes into memory the rows
// without index. If we die within it, the next Open does the same.
func (j *Journal) load() error {
	from, cursor, known, err := j.index.applied()
	if err != nil {
		return remedy(err)
	}
	if from == 0 {
		from = at(1, 0)
	}
	j.cursor = cursor
	open := make(map[position]*Row)
	end, err := j.segments.scan(from, func(p position, kind byte, body []byte) error {
		switch kind {
		case kindRow:
			r, _, _, err := parseRow(body, p)
			if err != nil {
				return err
			}
			open[p] = r
			j.order = append(j.order, r)
			return nil
		case kindPlace:
			return j.loadPlace(body, open)
		case kindGroup:
			// What stands before it is durable. This may not be: see renew.
			j.segments.last = p
			return j.spill(p, freshRows)
		default:
			return errRow
		}
	})
	if err != nil {
		return err
	}
	if end < known {
		return j.segments.corrupt(end, "it ends here, and the index beside it knows of more")
	}
	for _, r := range j.order {
		if r.Index() >= 0 {
			continue
		}
		r.done = make(chan struct{})
		j.open[r.Key] = r
		j.bytes += r.size
		j.queue = append(j.queue, r)
	}
	return j.segments.open(end)
}

// loadPlace takes over what a record says of the rows that are open. The others
// have their index already.
func (j *Journal) loadPlace(body []byte, open map[position]*Row) error {
	first, rows, err := parsePlace(body)
	if err != nil {
		return err
	}
	cursor := first + int64(len(rows))
	known := cursor <= j.cursor // the database has it
	if !known && first != j.cursor {
		return errRow
	}
	for i, pos := range rows {
		r := open[pos]
		if r == nil {
			continue
		}
		r.at.Store(first + int64(i) + 1)
		delete(open, pos)
		if !known {
			j.fresh[r.Key] = spot{pos, r.Index(), r.Control}
		}
	}
	if !known {
		j.cursor = cursor
	}
	return nil
}

// oldest returns the position of the first row without index, or else, what
// comes after all. The token is held.
func (j *Journal) oldest(end position) position {
	for len(j.order) > 0 && j.order[0].Index() >= 0 {
		j.order[0] = nil
		j.order = j.order[1:]
	}
	if len(j.order) > 0 {
		return j.order[0].pos
	}
	return end
}

// Close waits for a commit under way and closes the journal. Nothing else may
// be called from then on.
func (j *Journal) Close() error {
	j.commit <- struct{}{}
	j.mu.Lock()
	failed := j.failed
	j.mu.Unlock()
	var err error
	if failed == nil { // else nobody knows what is durable
		err = j.spill(j.segments.end, 1) // so that the next Open need not read it again
	}
	if err := errors.Join(err, j.index.db.Close(), j.segments.file.Close()); err != nil {
		return fmt.Errorf("closing journal: %w", err)
	}
	return nil
}

// Mark is a moment in the life of an open journal; zero is none. See Row.Absent.
type Mark uint64

// Mark returns the present moment: what was put before is found by a Get that
// begins now.
func (j *Journal) Mark() Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.spilled
}

// Get returns the row of a key, or nil. Its error is an ErrFatal.
func (j *Journal) Get(_ context.Context, key leaf.Hash) (*Row, error) {
	r, err := j.get(key, 0)
	if err != nil {
		return nil, j.fail(err)
	}
	return r, nil
}

// get is Get for a key that was absent at a mark: if it came since, and nothing
// went into the database since, it is not in there.
func (j *Journal) get(key leaf.Hash, absent Mark) (*Row, error) {
	j.mu.Lock()
	open, ok := j.open[key]
	found, fresh := j.fresh[key]
	spilled := j.spilled
	j.mu.Unlock()
	if ok {
		return open, nil
	}
	if !fresh {
		if absent == spilled {
			return nil, nil
		}
		var err error
		if found, err = j.index.find(key); err != nil || found.row == 0 {
			return nil, err
		}
	}
	r, _, _, err := j.segments.row(found.row)
	if err != nil {
		return nil, err
	}
	if r.Key != key {
		return nil, j.segments.corrupt(found.row, "the row has another key than it was looked for by")
	}
	r.at.Store(found.index + 1)
	return r, nil
}

// Payload returns what was put with a row under this name; nil if nothing was,
// or if it is gone. The caller owns it.
func (j *Journal) Payload(r *Row) ([]byte, error) {
	_, payload, _, err := j.segments.row(r.pos)
	if err != nil {
		return nil, j.fail(err)
	}
	if len(payload) == 0 {
		return nil, nil
	}
	return payload, nil
}

// Raw is Payload for the other name.
func (j *Journal) Raw(r *Row) ([]byte, error) {
	_, _, raw, err := j.segments.row(r.pos)
	if err != nil {
		return nil, j.fail(err)
	}
	if len(raw) == 0 {
		return nil, nil
	}
	return raw, nil
}

// Controls returns the control rows in the order of Put.
func (j *Journal) Controls() ([]*Row, error) {
	rows, err := j.controls()
	if err != nil {
		return nil, j.fail(err)
	}
	return rows, nil
}

func (j *Journal) controls() ([]*Row, error) {
	var at []position
	j.mu.Lock()
	for _, r := range j.open {
		if r.Control {
			at = append(at, r.pos)
		}
	}
	for _, s := range j.fresh {
		if s.control {
			at = append(at, s.row)
		}
	}
	j.mu.Unlock()
	at, err := j.index.controls(at)
	if err != nil {
		return nil, err
	}
	slices.Sort(at)
	var rows []*Row
	for _, pos := range slices.Compact(at) {
		r, _, _, err := j.segments.row(pos)
		if err == nil {
			r, err = j.get(r.Key, 0)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// Take waits until some row may go into the log, and returns at most limit of
// them in the order of Put. They are not handed out again by this process.
func (j *Journal) Take(ctx context.Context, limit int) ([]*Row, error) {
	for {
		j.mu.Lock()
		rows, failed, added := j.ready(limit), j.failed, j.added
		j.mu.Unlock()
		if failed != nil {
			return nil, failed
		}
		if len(rows) > 0 {
			return rows, nil
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for rows: %w", ctx.Err())
		}
	}
}

// ready cuts out of the queue what may go into the log now. j.mu is held.
func (j *Journal) ready(limit int) []*Row {
	var rows []*Row
	kept := j.queue[:0]
	for i, r := range j.queue {
		if len(rows) == limit {
			kept = append(kept, j.queue[i:]...)
			break
		}
		// SPEC F15: "ingest adds an event only when the enrolment of each of its persons is sequenced".
		blocked := false
		for _, key := range r.Needs {
			if j.open[key] != nil {
				blocked = true
				break
			}
		}
		if blocked {
			kept = append(kept, r)
		} else {
			rows = append(rows, r)
		}
	}
	clear(j.queue[len(kept):])
	j.queue = kept
	return rows
}

// Sequenced stores that rows stand in the log from index first on, one after
// the other, and moves the cursor behind them; first is the cursor. A row that
// was never put is one that the log has and the journal had not: it is stored
// without a payload. A row that has an index already keeps it (SPEC F34). Errors
// are an ErrFatal.
func (j *Journal) Sequenced(first int64, rows []*Row) error {
	if cursor := j.Cursor(); first != cursor {
		return j.fail(fmt.Errorf("rows are sequenced from %d, want %d", first, cursor))
	}
	if len(rows) == 0 {
		return nil
	}
	// If we die before this returns, the entries are in the log and perhaps above
	// the cursor: the next start finds them there.
	began := time.Now()
	if err := j.do(context.Background(), &put{place: &place{first: first, rows: rows}}); err != nil {
		return err
	}
	j.timers.sequenced.Since(began)
	return nil
}

// Cursor returns J: every entry of the log below it has its index here.
func (j *Journal) Cursor() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cursor
}

// Queued returns how many rows have no index, and the sum of their sizes.
func (j *Journal) Queued() (rows, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return int64(len(j.open)), j.bytes
}

// notify wakes Take. j.mu is held.
func (j *Journal) notify() {
	close(j.added)
	j.added = make(chan struct{})
}

// fail keeps the first failure: what follows it is not to be believed.
func (j *Journal) fail(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		j.failed = fmt.Errorf("%w: %w", ErrFatal, err)
		j.notify()
	}
	return j.failed
}
