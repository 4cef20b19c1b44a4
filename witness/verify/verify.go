// Package verify is what a witness needs to be a cosigner that verifies the
// index: SPEC 2.14. It follows what each log of the list publishes, builds the
// index of its entries, and computes every root leaf again. Only then may a
// checkpoint be cosigned, which [Verifier.Verify] says.
//
// It trusts its own index and the keys of the logs, and nothing that a log
// serves: entries are proven under a checkpoint that the log has signed, and each
// such checkpoint continues the one before.
//
// All that is durable is the index, whose entries were judged before they went in,
// and in the [witness.Store] that a log is refused. After a crash the index may be
// smaller than it was, and the entries above it are read and judged again; an
// index that is not there is built again. So nothing is ever stated of a root leaf
// that this index, or the one it was lost from, does not give.
//
// The index runs behind what was read, since a root leaf speaks of entries before
// it. Where it has passed the size that a root leaf names all the same, the root
// of that size is computed by taking back what came later: [rewind].
//
// One goroutine a log owns its index, in Run. All methods may be called
// concurrently.
package verify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/history"
	"idlog/witness"
)

// Config is what New needs. All but TLS, Logger, Found and Poll must be set.
type Config struct {
	// Dir is the folder of the indexes, one folder for each log; it is made. All
	// of it may be deleted while no Verifier runs on it.
	Dir string
	// Open opens the store of an index in a folder: pebblekv.Open.
	Open func(dir string) (history.Store, error)
	// Store is that of the witness: it keeps evidence, and that a log is refused.
	Store *witness.Store
	// Logs are those to follow; a log without a URL cannot be, and nothing of it is
	// ever verified. SetLogs replaces them.
	Logs *witness.Logs
	// TLS is for https to the logs; nil is the machine's authorities and no
	// certificate.
	TLS *tls.Config
	// Logger gets what a log does wrong, and that it cannot be read. Nil discards.
	Logger *slog.Logger
	// Found, if not nil, is called after evidence was kept; it must not block.
	Found func()
	// Poll is how often a log is asked for its newest checkpoint if nobody brings
	// one; 0 is 5 s.
	Poll time.Duration
}

// A Verifier follows the logs of a list.
type Verifier struct {
	cfg  Config
	http *http.Client
	// As the constants, but in tests.
	hold   int
	rewind int64

	mu        sync.Mutex // guards what follows
	logs      *witness.Logs
	followers map[string]*follower // by origin
	ctx       context.Context      // of Run; nil before
	running   sync.WaitGroup
}

// New returns a Verifier. Nothing is read before Run.
func New(c Config) *Verifier {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	v := &Verifier{cfg: c, http: client(c.TLS), hold: hold, rewind: maxRewind, followers: make(map[string]*follower)}
	v.SetLogs(c.Logs)
	return v
}

// Run follows the logs until ctx ends, and returns once every index is closed. It
// is called once.
func (v *Verifier) Run(ctx context.Context) {
	v.mu.Lock()
	v.ctx = ctx
	for _, f := range v.followers {
		v.start(f)
	}
	v.mu.Unlock()
	<-ctx.Done()
	v.mu.Lock()
	running := &v.running // ctx has ended, so once this is locked SetLogs starts nothing more
	v.mu.Unlock()
	running.Wait()
}

// start is called with mu held.
func (v *Verifier) start(f *follower) {
	if v.ctx == nil || v.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(v.ctx)
	f.stop = stop
	v.running.Go(func() {
		defer stop()
		if f.before != nil {
			<-f.before // the index is another's until then
		}
		f.run(ctx)
	})
}

// SetLogs replaces the list. A log that is new in it is followed from now on, one
// that is gone no more; its index stays.
func (v *Verifier) SetLogs(l *witness.Logs) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.logs = l
	for origin, f := range v.followers {
		if !l.Has(origin) || l.URL(origin) != f.url {
			if f.stop != nil {
				f.stop()
			} else {
				close(f.done)
			}
			if !l.Has(origin) {
				// A list that names it again waits for the end of this one.
				f.gone = true
			}
		}
	}
	for _, origin := range l.Origins() {
		old := v.followers[origin]
		if old != nil && !old.gone && old.url == l.URL(origin) {
			continue
		}
		f := v.newFollower(origin, l.URL(origin))
		if old != nil {
			f.before = old.done
		}
		v.followers[origin] = f
		v.start(f)
	}
}

// of returns the follower of a log of the list, or nil.
func (v *Verifier) of(origin string) *follower {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.followers[origin]; f != nil && !f.gone {
		return f
	}
	return nil
}

// open verifies a note under the keys that the list has now.
func (v *Verifier) open(origin string, note []byte) (checkpoint.Checkpoint, []byte, error) {
	v.mu.Lock()
	l := v.logs
	v.mu.Unlock()
	return l.Open(origin, note)
}

// Status is how far a log was verified.
type Status struct {
	// Read is how many entries were read and judged: checkpoints up to this size
	// may be cosigned.
	Read int64
	// Indexed is how many of them the index has.
	Indexed int64
	// Known is the size of the newest checkpoint that is known of the log.
	Known int64
	// Refused is why nothing is cosigned any more; empty if the log is not refused.
	Refused string
	// Problem is why reading does not go on at present; empty if it does.
	Problem string
}

// Status returns how far a log of the list was verified.
func (v *Verifier) Status(origin string) Status {
	s := Status{Refused: v.cfg.Store.Refusal(origin)}
	if f := v.of(origin); f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		s.Read, s.Indexed, s.Known, s.Problem = f.read, f.indexed, max(f.target.Size, f.newest.Size), f.problem
	}
	return s
}

const (
	// patience is how long a request waits for what is being read. A log that asks
	// for a cosignature gives up after two seconds.
	patience = time.Second
	// maxWaiting is how many requests of one log wait at once.
	maxWaiting = 16
)

// Verify is the Verify of [witness.Config]: 200 if each root leaf below the size of
// the checkpoint is true, 503 while that is not known, 422 if the log is refused or
// the checkpoint is not of the log that was read. It waits for a moment. The
// checkpoint must bear a signature of its log, and its size is read up to.
func (v *Verifier) Verify(ctx context.Context, c checkpoint.Checkpoint, signed []byte) witness.Decision {
	f := v.of(c.Origin)
	if f == nil {
		return witness.Decision{Status: http.StatusServiceUnavailable, Reason: "the log is not followed here"}
	}
	if why := v.cfg.Store.Refusal(c.Origin); why != "" {
		return witness.Decision{Status: http.StatusUnprocessableEntity, Reason: why}
	}
	if f.url == "" {
		return witness.Decision{Status: http.StatusServiceUnavailable, Reason: "the list has no URL of the log, so its entries cannot be read"}
	}
	f.offer(c, signed)
	read := f.await(ctx, func() bool { return f.read >= c.Size })
	if why := v.cfg.Store.Refusal(c.Origin); why != "" {
		return witness.Decision{Status: http.StatusUnprocessableEntity, Reason: why}
	}
	if !read {
		return witness.Decision{Status: http.StatusServiceUnavailable, Reason: f.behind(c.Size)}
	}
	same, err := f.same(ctx, c, signed)
	switch {
	case err != nil:
		return witness.Decision{Status: http.StatusServiceUnavailable, Reason: fmt.Sprintf("comparing with what was read: %v", err)}
	case !same:
		return witness.Decision{Status: http.StatusUnprocessableEntity, Reason: "the checkpoint is not of the tree that the log has published"}
	}
	return witness.Decision{Status: http.StatusOK}
}

// Handler serves GET /<hex SHA-256 of origin>/index-root/<N>: the root leaf that
// this verifier would make for a size that it has read, with the milliseconds 0.
// 503 is for one that it has not, 404 for one that is long past, and 422 for a log
// that is refused.
func (v *Verifier) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{origin}/index-root/{size}", v.preview)
	return mux
}

func (v *Verifier) preview(rw http.ResponseWriter, r *http.Request) {
	n, err := checkpoint.ParseSize(r.PathValue("size"))
	if err != nil {
		http.Error(rw, "not a size", http.StatusBadRequest)
		return
	}
	f := v.named(r.PathValue("origin"))
	if f == nil {
		http.Error(rw, "that log is not followed here", http.StatusNotFound)
		return
	}
	if why := v.cfg.Store.Refusal(f.origin); why != "" {
		http.Error(rw, why, http.StatusUnprocessableEntity)
		return
	}
	later := func(why string) {
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, why, http.StatusServiceUnavailable)
	}
	f.wanted(n)
	if !f.await(r.Context(), func() bool { return f.read >= n }) {
		later(f.behind(n))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*patience)
	defer cancel()
	l, err := f.preview(ctx, n)
	switch {
	case errors.Is(err, errLongPast):
		http.Error(rw, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		later(err.Error())
		return
	}
	b, err := l.Format()
	if err != nil {
		v.cfg.Logger.Error("not showing a root", "log", f.origin, "err", err)
		http.Error(rw, "the verifier failed", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.Write(b)
}

// named returns the follower of the log whose name in URLs this is.
func (v *Verifier) named(hash string) *follower {
	v.mu.Lock()
	defer v.mu.Unlock()
	for origin, f := range v.followers {
		if !f.gone && nameOf(origin) == hash {
			return f
		}
	}
	return nil
}

// nameOf is the name of an origin in URLs, and of its index.
func nameOf(origin string) string {
	h := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(h[:])
}

func (f *follower) dir() string { return filepath.Join(f.v.cfg.Dir, nameOf(f.origin)) }
