// Package index is the operator's side of the verifiable index, SPEC 2.12: it follows the published log, keeps the index of
// its entries in a folder of its own, and has root leaves logged, which commit the log to it.
//
// It trusts the log's own checkpoints, and neither the tiles on disk, which it reads through their proofs, nor itself: a
// root leaf is logged only after a second computation agreed (SPEC F25), and each that it meets in the log is compared with
// its own state. What disagrees stops it for good, with the evidence kept, and never the log. It trusts a verifier's preview
// to tell the verifier's mind.
//
// The folder holds nothing that the log does not have. Deleted, it is made again with the same roots. After a crash at any
// moment:
//   - The index is at a size that it had, with the roots of that size, and goes on from there.
//   - A root leaf that was handed over is in the log when the log has started, or is not and never will be. Before another
//     one is made, everything that was in the log at the start was followed.
//   - A revision whose second computation was cut off, by a kill, is believed if the store has it: then all of its rows gave
//     its map root when the engine opened. SIGTERM waits for the computation.
//
// Invariants:
//   - N of a root leaf is a size that was published; of two, the later one's is greater, and an entry that is no root leaf
//     stands between N and N.
//   - The index grows past N only after its root leaf was compared, or, where it is of our own making, seen in the log.
//   - Nothing is indexed while only root leaves have come: a quiet log stays quiet.
//
// All methods may be called concurrently, but Run once, and Close after it.
package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	ilog "idlog/log"
	"idlog/log/follow"
	"idlog/proto/checkpoint"
	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tile"
)

// most is how many entries are read at a time. Tests change it. Twice as many may wait for the end of what was published,
// which is what a root leaf and a verifier can speak of; what is more is indexed, and computed again, on the way.
var most = 32 << 10

// Log is the log that is indexed, as *log.Log is.
type Log interface {
	follow.Log
	// Await waits for a published checkpoint of at least size.
	Await(ctx context.Context, size int64) (ilog.Published, error)
	// Integrated is the size on disk.
	Integrated() int64
}

// Writer logs root leaves, as *ingest.Ingest does.
type Writer interface {
	// Root returns where the leaf stands in the log. When the process started, the log had every one that was handed over
	// before.
	Root(ctx context.Context, l *leaf.Root) (index int64, err error)
}

// Config is all that an Index is told. What has no default must be set.
type Config struct {
	// Dir is the index's own folder. It is made if it is not there.
	Dir string
	// Origin is the name of the log.
	Origin string
	Log    Log
	Writer Writer
	// Interval is the least time between two root leaves; 0 means one second.
	Interval time.Duration
	// Answering returns the checkpoint that answers are made under: the newest that verifiers of the index have cosigned as
	// well, where there are some. Nil is the newest published one.
	Answering func() (ilog.Published, bool)
	// Verifiers are asked before a root leaf is logged. Without one that answers, what changed is computed again here.
	Verifiers []Verifier
	// Patience is how long a verifier's answer is waited for; 0 means as long as Interval, in which what it has to read came,
	// but a second at least.
	Patience time.Duration
	// HTTP asks verifiers; nil is a client of our own.
	HTTP *http.Client
	// Logger gets alarms; nil discards them.
	Logger *slog.Logger
	// Metrics are told what the index does; nil tells nobody.
	Metrics *Metrics
}

// Index is the index of one log.
type Index struct {
	cfg     Config
	engine  *history.Index // nil if it was stopped before Open
	settled int64          // the log's size when it was opened
	cheat   cheat          // owned by Run; nothing, but in tests

	// Owned by Run.
	pending []history.Entry                  // read and not indexed: they follow base
	content int64                            // all entries that are known from it on are root leaves
	stops   []logged                         // root leaves that were met and not compared yet, in the order of the log
	scan    func() (tile.Entry, error, bool) // gives those after them that stood in the log at the start; nil if none is left
	rooted  int64                            // N of the newest root leaf
	due     int64                            // where the root leaf that was handed over last ends
	began   time.Time                        // when it was

	mu      sync.Mutex // guards what follows
	base    *revision  // the newest revision; set by Run alone, which reads it without mu
	held    []held     // the revisions of root leaves, in the order of the log
	views   int        // revisions that are open
	gone    *sync.Cond // of mu: views has fallen
	closed  bool
	covered int64     // the entries below are covered by a root leaf, or need none
	behind  time.Time // since when there is one that is not; zero if there is none
	stopped string    // why; empty while it runs
}

// logged is a root leaf where it stands in the log.
type logged struct {
	root *leaf.Root
	leaf []byte
	at   int64
}

// Open opens the index of a log whose Writer has started. An index that was stopped opens, answers nothing and says so in
// Status; so does one whose folder is damaged. Errors are of the configuration and of the file system.
func Open(c Config) (*Index, error) {
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.Patience == 0 {
		c.Patience = max(c.Interval, time.Second)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil, "")
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if c.Answering == nil {
		c.Answering = c.Log.Published
	}
	x := &Index{cfg: c, settled: c.Log.Integrated()}
	x.gone = sync.NewCond(&x.mu)
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening the index of %s: %w", c.Origin, err)
	}
	reason, err := readStop(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the index of %s: %w", c.Origin, err)
	}
	if reason != "" {
		x.stop(reason)
		return x, nil
	}
	store, err := pebblekv.Open(filepath.Join(c.Dir, "store"))
	if err == nil {
		if x.engine, err = history.Open(store, history.Config{Recount: true}); err != nil {
			err = errors.Join(err, store.Close())
		}
	}
	if err != nil {
		x.stop(fmt.Sprintf("%v; remove %s and it is made again", err, c.Dir))
		return x, nil
	}
	x.base = x.revision()
	return x, nil
}

// Close gives up the folder, once every Answer is closed. Run has returned. Of an index that was stopped, what fails is no
// error: that was said.
func (x *Index) Close() error {
	x.mu.Lock()
	x.closed = true
	for _, h := range x.held {
		x.drop(h.revision)
	}
	if x.base != nil {
		x.drop(x.base)
	}
	x.held, x.base = nil, nil
	for x.views > 0 {
		x.gone.Wait()
	}
	x.mu.Unlock()
	if x.engine == nil {
		return nil
	}
	if err := x.engine.Close(); err != nil && x.Status().Stopped == "" {
		return fmt.Errorf("closing the index of %s: %w", x.cfg.Origin, err)
	}
	return nil
}

// Run follows the log until ctx ends. What goes wrong stops the index and not the log, and Status says what it was.
func (x *Index) Run(ctx context.Context) {
	if x.engine == nil {
		return
	}
	err := x.run(ctx)
	var fault *faultError
	var readOnly *ilog.ReadOnlyError
	switch {
	case ctx.Err() != nil, errors.As(err, &readOnly), errors.Is(err, ilog.ErrFatal):
		return // the log itself says what it is
	case errors.As(err, &fault):
		x.cfg.Logger.Error("the index disagrees with itself and is stopped; the log goes on", "origin", x.cfg.Origin, "error", err.Error(), "file", stopFile(x.cfg.Dir))
		err = errors.Join(err, writeStop(x.cfg.Dir, fault, time.Now()))
	default:
		x.cfg.Logger.Error("the index is stopped; the log goes on", "origin", x.cfg.Origin, "error", err.Error())
	}
	x.stop(err.Error())
}

func (x *Index) stop(reason string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = reason
	if x.behind.IsZero() {
		x.behind = time.Now()
	}
}

// run indexes what is published, as it is published.
func (x *Index) run(ctx context.Context) error {
	head, err := x.resume(ctx)
	if err != nil {
		return err
	}
	known := head.Size // root leaves below it are found by scan
	var end func()
	x.scan, end = iter.Pull2(roots(ctx, x.reader(head), x.base.state.Size, known))
	defer end()
	for b, err := range follow.Batches(ctx, x.cfg.Log, x.cfg.Origin, x.base.state.Size, most) {
		if err != nil {
			return err
		}
		for _, e := range b.Entries {
			if err := x.take(e, e.Index >= known); err != nil {
				return err
			}
		}
		x.note(b.Head.At)
		whole := b.Whole() && b.End() >= known
		if b.End() < x.due || !whole && len(x.pending) <= 2*most {
			continue // nothing grows before the last root leaf is seen
		}
		if err := x.grow(ctx, b.Head, whole); err != nil {
			return err
		}
		if whole && x.content > x.rooted {
			if err := x.commit(ctx, b.Head); err != nil {
				return err
			}
		}
		x.reached(b.End())
		if err := x.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// roots yields the root leaves among the entries [from, to).
func roots(ctx context.Context, reader *tile.Reader, from, to int64) iter.Seq2[tile.Entry, error] {
	return func(yield func(tile.Entry, error) bool) {
		for e, err := range reader.Entries(ctx, from, to) {
			if (err != nil || rootOf(e.Data) != nil) && !yield(e, err) {
				return
			}
		}
	}
}

// resume finds the log as the index left it, and returns how it is published now.
func (x *Index) resume(ctx context.Context) (head ilog.Published, err error) {
	state := x.base.state
	if state.Size > x.settled {
		return head, fmt.Errorf("the index has %d entries and the log %d: it is of another log, or the log was put back; remove %s and it is made again", state.Size, x.settled, x.cfg.Dir)
	}
	head, err = x.cfg.Log.Await(ctx, max(x.settled, 1))
	var readOnly *ilog.ReadOnlyError
	if errors.As(err, &readOnly) {
		// Nothing comes any more; what was published is answered.
		if p, ok := x.cfg.Log.Published(); ok && p.Size >= state.Size {
			head, err = p, nil
		}
	}
	if err != nil {
		return head, err
	}
	reader := x.reader(head)
	root, err := reader.Root(ctx, state.Size)
	if err != nil {
		return head, err
	}
	if root != state.LogRoot {
		return head, fmt.Errorf("the index is of other entries than the log has below %d; remove %s and it is made again", state.Size, x.cfg.Dir)
	}
	if err := x.recall(ctx, reader); err != nil {
		return head, err
	}
	if head.Size == state.Size && x.content > x.rooted {
		// The last process died between the revision and its root leaf.
		err = x.commit(ctx, head)
	}
	return head, err
}

// recall finds the newest root leaf that is indexed, and what other entry was indexed last from its N on.
func (x *Index) recall(ctx context.Context, reader *tile.Reader) error {
	view, size := x.base.view, x.base.state.Size
	key := mapfn.Key(mapfn.Root, mapfn.None)
	_, list, err := view.Find(key)
	if err != nil {
		return err
	}
	if list.N > 0 {
		page, err := view.Page(key, list.N-1, 1)
		if err != nil {
			return err
		}
		e, err := reader.Entry(ctx, page.Postings[0].Index)
		if err != nil {
			return err
		}
		r := rootOf(e.Data)
		if r == nil {
			return fmt.Errorf("entry %d is indexed as a root leaf and is none; remove %s and it is made again", e.Index, x.cfg.Dir)
		}
		x.rooted = r.N
	}
	for to := size; to > x.rooted && x.content == 0; to -= tile.Width {
		for e, err := range reader.Entries(ctx, max(to-tile.Width, x.rooted), to) {
			if err != nil {
				return err
			}
			if rootOf(e.Data) == nil {
				x.content = e.Index + 1
			}
		}
	}
	return nil
}

func (x *Index) reader(head ilog.Published) *tile.Reader {
	return tile.NewReader(checkpoint.Checkpoint{Origin: x.cfg.Origin, Size: head.Size, Root: head.Root}, x.cfg.Log.Resource)
}
