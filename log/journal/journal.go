package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"idlog/log/internal/database"
	"idlog/proto/leaf"
)

const (
	cacheSize    = 64 << 20
	memTableSize = 16 << 20
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
	// Key is the row's name for ever: tag 1 of an event's leaf, the leaf hash
	// of any other (SPEC F31).
	Key  leaf.Hash
	Leaf []byte
	// Control marks a leaf that is neither an event nor an enrolment; see Controls.
	Control bool
	// Needs are the keys of rows that must be in the log before this one is
	// appended. They were put before it, or stand before it in the same Put.
	Needs []leaf.Hash
	// Submission is what a repeated submission is compared by (SPEC F21), and
	// Principal who submitted. Both are the caller's and may be empty.
	Submission leaf.Hash
	Principal  string

	// Absent is the mark that was taken before Get found no row of this key;
	// zero if nobody looked. It spares Put the look into the database.
	Absent Mark

	// Payload and Raw are stored with the row and read back by their methods
	// of the same name. They are dropped from the row once they are stored.
	Payload, Raw []byte

	seq  uint64 // from 1; 0 in a row that was never stored
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
	db     *pebble.DB
	commit chan struct{} // holds one token; its holder is the only one that commits rows
	recent recent        // keys of the latest rows; the token's holder's
	timers timers        // set by Register

	next atomic.Uint64 // sequence number of the next row

	mu      sync.Mutex         // guards what follows
	pending []*put             // waiting for the next commit
	open    map[leaf.Hash]*Row // durable and without index
	queue   []*Row             // those of open that Take has not handed out, in the order of Put
	added   chan struct{}      // closed and replaced when queue or open changes
	bytes   int64              // of open
	cursor  int64
	shown   uint64 // sequence number of the latest row that Get finds
	failed  error
}

// Create makes an empty journal in a folder that has none, or returns ErrExists.
func Create(dir string) error {
	o := options(nil)
	o.ErrorIfExists = true
	db, err := pebble.Open(dir, o)
	if errors.Is(err, pebble.ErrDBAlreadyExists) {
		return fmt.Errorf("creating journal %s: %w", dir, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("creating journal %s: %w", dir, err)
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("creating journal %s: %w", dir, err)
	}
	return nil
}

// Open opens the journal that Create made; a folder without one is an error.
// The logger gets what the database has to tell; nil discards it.
func Open(dir string, logger *slog.Logger) (*Journal, error) {
	o := options(logger)
	o.ErrorIfNotExists = true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening journal %s: %w", dir, err)
	}
	j := &Journal{db: db, commit: make(chan struct{}, 1), open: make(map[leaf.Hash]*Row), added: make(chan struct{})}
	if err := j.load(); err != nil {
		return nil, fmt.Errorf("opening journal %s: %w", dir, errors.Join(err, db.Close()))
	}
	return j, nil
}

func options(logger *slog.Logger) *pebble.Options {
	o := &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          cacheSize,
		MemTableSize:       memTableSize,
		Logger:             database.Logger(logger),
	}
	for i := range o.Levels {
		// Nearly every lookup by key is of an event that is new.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// Close waits for a commit under way and closes the database. Nothing else may
// be called from then on.
func (j *Journal) Close() error {
	j.commit <- struct{}{}
	if err := j.db.Close(); err != nil {
		return fmt.Errorf("closing journal: %w", err)
	}
	return nil
}

// Outcome is what became of a row that was put.
type Outcome struct {
	// Row is the one that stands under the key: that which was put, or the one
	// that was there before.
	Row *Row
	New bool
}

// put is one call of Put.
type put struct {
	rows     []*Row
	outcomes []Outcome
	err      error
	done     chan struct{}
}

// Put stores rows that are not there yet and returns what stands under each key
// once it is durable, together with whatever other callers put meanwhile. The
// journal owns the rows from then on. Equal keys, within one call, of two
// concurrent ones or years apart, give one row: the first.
//
// If ctx ends first, its error is returned, and the rows may be stored or not.
// Every other error is an ErrFatal.
func (j *Journal) Put(ctx context.Context, rows []*Row) ([]Outcome, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	p := &put{rows: rows, done: make(chan struct{})}
	j.mu.Lock()
	j.pending = append(j.pending, p)
	j.mu.Unlock()
	// Whoever gets the token commits for all who wait.
	select {
	case j.commit <- struct{}{}:
		j.commitPending()
		<-j.commit
		<-p.done // closed: p was pending or had been committed
	case <-p.done:
	case <-ctx.Done():
		if j.withdraw(p) {
			return nil, fmt.Errorf("putting rows: %w", ctx.Err())
		}
		return nil, fmt.Errorf("putting rows, which may be stored: %w", ctx.Err())
	}
	return p.outcomes, p.err
}

// withdraw removes a put that nobody commits yet.
func (j *Journal) withdraw(p *put) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.pending {
		if j.pending[i] == p {
			j.pending = append(j.pending[:i], j.pending[i+1:]...)
			return true
		}
	}
	return false
}

// commitPending commits every pending put in one batch. The token is held.
func (j *Journal) commitPending() {
	j.mu.Lock()
	puts, failed := j.pending, j.failed
	j.pending = nil
	j.mu.Unlock()
	if len(puts) == 0 {
		return
	}
	if failed == nil {
		failed = j.commitGroup(puts)
	}
	for _, p := range puts {
		if failed != nil {
			p.outcomes, p.err = nil, failed
		}
		close(p.done)
	}
}

func (j *Journal) commitGroup(puts []*put) error {
	b := j.db.NewBatch()
	group := make(map[leaf.Hash]*Row)
	var added []*Row
	for _, p := range puts {
		for _, r := range p.rows {
			existing := group[r.Key]
			if existing == nil && !j.recent.lacks(r.Key, r.Absent) {
				var err error
				if existing, err = j.get(r.Key); err != nil {
					return j.fail(errors.Join(err, b.Close()))
				}
			}
			if existing != nil {
				p.outcomes = append(p.outcomes, Outcome{Row: existing})
				continue
			}
			r.seq = j.next.Add(1)
			r.size = int64(len(r.Leaf) + len(r.Payload) + len(r.Raw))
			r.done = make(chan struct{})
			if err := j.write(b, r); err != nil {
				return j.fail(errors.Join(err, b.Close()))
			}
			group[r.Key] = r
			added = append(added, r)
			p.outcomes = append(p.outcomes, Outcome{Row: r, New: true})
		}
	}
	if len(added) == 0 {
		return j.closeBatch(b)
	}
	j.recent.add(added)
	// If we die before this returns, none of the rows exist and nobody was told
	// that they do. After it, all are found by the next Open.
	began := time.Now()
	err := j.durable(b, func() {
		for _, r := range added {
			r.Payload, r.Raw = nil, nil
		}
		j.mu.Lock()
		for _, r := range added {
			j.open[r.Key] = r
			j.bytes += r.size
		}
		j.queue = append(j.queue, added...)
		j.shown = added[len(added)-1].seq
		j.notify()
		j.mu.Unlock()
	})
	if err != nil {
		return j.fail(err)
	}
	j.timers.put.Since(began)
	return nil
}

func (j *Journal) closeBatch(b *pebble.Batch) error {
	if err := b.Close(); err != nil {
		return j.fail(err)
	}
	return nil
}

// Get returns the row of a key, or nil. Its error is an ErrFatal, or ctx's: it
// waits for a commit that may just be storing the row.
func (j *Journal) Get(ctx context.Context, key leaf.Hash) (*Row, error) {
	r, err := j.get(key)
	if err == nil && (r == nil || r.done != nil || r.Index() >= 0) {
		return r, nil
	}
	if err == nil {
		// Stored, but not in open yet: the commit is about to end.
		select {
		case j.commit <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("reading row: %w", ctx.Err())
		}
		r, err = j.get(key)
		<-j.commit
	}
	if err != nil {
		return nil, j.fail(err)
	}
	return r, nil
}

// get is Get without waiting: a row without index that is not in open yet comes
// back with neither index nor done. The holder of the token never sees that.
func (j *Journal) get(key leaf.Hash) (*Row, error) {
	var r *Row
	for range 2 { // between two looks a commit may have opened the row, or Sequenced stored its index
		j.mu.Lock()
		open := j.open[key]
		j.mu.Unlock()
		if open != nil {
			return open, nil
		}
		var err error
		if r, err = j.read(key); err != nil || r == nil || r.Index() >= 0 {
			return r, err
		}
	}
	return r, nil
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
	j.mu.Lock()
	cursor, failed := j.cursor, j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if first != cursor {
		return j.fail(fmt.Errorf("rows are sequenced from %d, want %d", first, cursor))
	}
	b := j.db.NewBatch()
	placed := make(map[*Row]bool, len(rows))
	var adopted []*Row
	for i, r := range rows {
		if r.seq == 0 {
			if adopted == nil { // rows that come without Put are stored as if by one
				j.commit <- struct{}{}
				defer func() { <-j.commit }()
			}
			r.seq, r.size = j.next.Add(1), int64(len(r.Leaf))
			if err := j.write(b, r); err != nil {
				return j.fail(errors.Join(err, b.Close()))
			}
			adopted = append(adopted, r)
		}
		if err := j.writeIndex(b, r, first+int64(i), placed[r]); err != nil {
			return j.fail(errors.Join(err, b.Close()))
		}
		placed[r] = true
	}
	if err := writeCursor(b, first+int64(len(rows))); err != nil {
		return j.fail(errors.Join(err, b.Close()))
	}
	j.recent.add(adopted)
	// If we die before this returns, the entries are in the log and above the
	// cursor: the next start finds them there.
	began := time.Now()
	if err := database.Commit(b); err != nil {
		return j.fail(err)
	}
	j.timers.sequenced.Since(began)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cursor = first + int64(len(rows))
	if len(adopted) > 0 {
		j.shown = adopted[len(adopted)-1].seq
	}
	for i, r := range rows {
		if r.at.CompareAndSwap(0, first+int64(i)+1) && r.done != nil {
			close(r.done)
			delete(j.open, r.Key)
			j.bytes -= r.size
		}
	}
	// After a restart they may stand in the queue as well.
	j.queue = slices.DeleteFunc(j.queue, func(r *Row) bool { return r.Index() >= 0 })
	j.notify()
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
