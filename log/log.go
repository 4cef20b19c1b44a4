// Package log is one append-only log of leaf bytes: it sequences them, signs
// checkpoints, has witnesses cosign these, and publishes. It knows nothing of
// what the leaves mean.
//
// It trusts its signers, its configuration and the heads directory. It does not
// trust the directory of the log: what stands there is re-read and recomputed
// before it is opened and before each signature. It trusts no witness.
//
// After a crash at any moment:
//   - A leaf whose Append returned is in the log, and in every later tree.
//   - Every tree that was ever signed is in the heads file, with its text. The
//     last of them is the high-water mark: nothing that does not continue it is
//     ever signed, whatever became of the log's directory.
//   - What was published can be published again.
//
// A verdict of the guard, that the next signature must not be made, outlives the
// process: the log is read-only until an operator calls ClearRefusal.
//
// All methods of a Log may be called concurrently, but Append by one goroutine
// at a time, and Run once.
//
// Specifications: c2sp.org/tlog-checkpoint, c2sp.org/tlog-tiles,
// c2sp.org/tlog-witness as a client; SPEC F13, F29 to F37.
//
// Invariants:
//   - One checkpoint is in flight at a time. Sizes of signed checkpoints grow;
//     a size is signed again only with the same text.
//   - No size above the one released by Release is signed, and nothing beyond
//     the published size leaves through Resource.
//   - All log keys sign one text, after one decision.
package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"idlog/log/heads"
	"idlog/log/internal/atomicfile"
	"idlog/log/quorum"
	"idlog/log/store"
	"idlog/log/store/posix"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
)

// ErrFatal is in every error after which the process must end and verify from
// disk: the write path failed, and what it did is unknown.
var ErrFatal = errors.New("the write path failed; restart to verify from disk")

// Config is all that a log is told.
type Config struct {
	// Dir is the log's own directory. Create makes it.
	Dir string
	// Heads is a directory outside of Dir, best on another volume, for the
	// high-water mark and the checkpoint archive. Create makes it.
	Heads string
	// Origin is the name of the log and of its keys.
	Origin string
	// Signers sign every checkpoint, the primary first. VKeys are their public
	// keys in the same order.
	Signers []note.Signer
	VKeys   []string
	// Policy names the witnesses and the quorum without which nothing is
	// published. Nil, and a quorum of none, publish without.
	Policy *policy.Policy
	// Verifiers names the cosigners that verify the index, and their quorum (SPEC
	// 2.14): they are asked for what is published, and never waited for. Nil asks
	// nobody. None of their keys may be a witness's of Policy.
	Verifiers *policy.Policy
	// MinInterval is the least time between two signatures over different
	// trees. Zero, the default, publishes as soon as there is something; public
	// witnesses may ask for seconds.
	MinInterval time.Duration
	// Republish is how long a published checkpoint of an idle log gets before it
	// is cosigned anew. It should be at most a third of the least age that a
	// reader insists on. Zero is three minutes, negative is never.
	Republish time.Duration
	// WithoutWitness names witnesses of the policy without whose word on what
	// they have seen the log may sign after a start.
	WithoutWitness []string
	// HTTP calls the witnesses; nil is a client of our own. Redirects are
	// refused whatever it says.
	HTTP *http.Client
	// Logger gets alarms: a witness that lies or fails, a refusal. Nil discards.
	Logger *slog.Logger
	// Metrics are told what the log does; nil tells nobody.
	Metrics *Metrics
}

// Published is a checkpoint that readers may rely on.
type Published struct {
	Size int64
	Root leaf.Hash
	Note []byte    // signed by all keys and cosigned by a quorum; not to be changed
	At   time.Time // when its newest quorum was complete
}

// A Log is an open log.
type Log struct {
	cfg       Config
	keys      []note.Verifier
	store     store.Backend
	appender  store.Appender
	heads     *heads.File // written by the goroutine in Run
	locks     []*os.File
	witnesses *quorum.Caller
	verifiers *quorum.Verifiers
	guard     *guard // owned by the goroutine in Run
	edge      edge

	appending sync.Mutex // held by Append
	size      atomic.Int64
	released  atomic.Int64
	wake      chan struct{} // tells the publisher that released has grown
	running   atomic.Bool

	mu        sync.Mutex // guards what follows
	published Published
	verified  verified
	readOnly  *ReadOnlyError
	fatal     error
	changed   chan struct{} // closed and replaced whenever one of these changes
}

// Create makes an empty log. It returns ErrExists, and touches nothing, if
// anything is at Dir or Heads already. If it fails otherwise, or the process
// dies within it, Open finds no log and both directories are to be removed by
// hand before the next attempt.
func Create(ctx context.Context, c Config) error {
	if _, err := c.check(); err != nil {
		return err
	}
	for _, dir := range []string{c.Dir, c.Heads} {
		names, err := os.ReadDir(dir)
		if err == nil && len(names) > 0 {
			return fmt.Errorf("creating log %s: %s is not empty: %w", c.Origin, dir, ErrExists)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("creating log %s: %w", c.Origin, err)
		}
	}
	if err := c.create(ctx, time.Now()); err != nil {
		return fmt.Errorf("creating log %s: %w", c.Origin, err)
	}
	return nil
}

func (c *Config) create(ctx context.Context, now time.Time) error {
	for _, dir := range []string{c.Dir, c.Heads} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	empty := checkpoint.Checkpoint{Origin: c.Origin, Root: rootOf(ranges.NewEmptyRange(0))}
	if err := heads.Create(c.Heads, c.Origin, empty, now); err != nil {
		return err
	}
	if err := posix.New(filepath.Join(c.Dir, tilesName), c.Origin).Create(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(c.Dir, publishedName), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(c.Dir, lockName), nil); err != nil {
		return err
	}
	for _, dir := range []string{c.Dir, filepath.Dir(c.Dir), filepath.Dir(c.Heads)} {
		if err := atomicfile.SyncDir(dir); err != nil {
			return err
		}
	}
	// If we die before this, there is no log. After it, there is one.
	return atomicfile.Write(filepath.Join(c.Dir, identityName), formatIdentity(c.Origin, c.VKeys, now))
}

// Open opens a log after checking everything that the next signature builds on.
// What it will not build on is a *RefusedError, and nothing on disk has changed;
// ErrNotInitialised is a directory without a log. A log under a refusal opens,
// and ReadOnly says so.
//
// No witness is asked yet: Run does so, and signs nothing new before enough of
// them have said that they have not seen more than the high-water mark.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil, "")
	}
	if c.Republish == 0 {
		c.Republish = 3 * time.Minute
	}
	keys, err := c.check()
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: c, keys: keys, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	l.witnesses, err = quorum.New(quorum.Config{
		Origin: c.Origin, Keys: keys, Policy: c.Policy, Without: c.WithoutWitness,
		Prove: l.Consistency, HTTP: c.HTTP, Logger: c.Logger, Metrics: c.Metrics.quorum,
	})
	if err != nil {
		return nil, fmt.Errorf("configuring log %s: %w", c.Origin, err)
	}
	l.verifiers, err = quorum.NewVerifiers(quorum.Config{
		Origin: c.Origin, Keys: keys, Policy: c.Verifiers, Prove: l.Consistency, HTTP: c.HTTP, Logger: c.Logger,
	}, c.Metrics.verifiers, c.Policy)
	if err != nil {
		return nil, fmt.Errorf("configuring log %s: %w", c.Origin, err)
	}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	return l, nil
}

// open is preflight, then the first changes on disk.
func (l *Log) open(ctx context.Context) error {
	if err := l.preflight(ctx); err != nil {
		return err
	}
	if err := l.heads.Start(time.Now()); err != nil {
		return err
	}
	if err := l.store.Sweep(ctx); err != nil {
		return err
	}
	if err := l.healPublished(); err != nil {
		return err
	}
	if err := l.readVerified(); err != nil {
		return err
	}
	var err error
	l.appender, err = l.store.Open(ctx)
	return err
}

// Close waits for writes under way and releases the directories. It is called
// after Run has returned.
func (l *Log) Close() error {
	return errors.Join(l.appender.Close(), l.unlock())
}

func (l *Log) unlock() error {
	var err error
	if l.heads != nil {
		err = l.heads.Close()
	}
	for _, f := range l.locks {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Run publishes until ctx ends, which is no error, or until the first error of
// the write path, also one of Append; that is an ErrFatal. A refusal to sign does
// not end it: reads go on, and ReadOnly says why nothing is published.
func (l *Log) Run(ctx context.Context) error {
	if l.running.Swap(true) {
		return errors.New("running log: Run was called before")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.witnesses.Run(ctx) })
	g.Go(func() error { return l.verifiers.Run(ctx) })
	g.Go(func() error { return l.keepVerified(ctx) })
	g.Go(func() error {
		if err := (&publisher{l: l}).run(ctx); err != nil && ctx.Err() == nil {
			return l.fail(fmt.Errorf("publishing: %w", err))
		}
		return nil
	})
	g.Go(func() error { return l.failure(ctx) })
	return g.Wait()
}

// failure returns the first fatal error, or nil when ctx ends.
func (l *Log) failure(ctx context.Context) error {
	for {
		l.mu.Lock()
		err, changed := l.fatal, l.changed
		l.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Append adds leaves in order and returns the index of the first, once they are
// durable and integrated; they are not published before Release covers them. It
// is called by one goroutine at a time. A *ReadOnlyError has changed nothing.
// Any other error, that of ctx included, is an ErrFatal: which leaves are in the
// log is unknown, Run ends, and every later Append fails. Leaves are 1 to 65535
// bytes and are not kept.
func (l *Log) Append(ctx context.Context, leaves [][]byte) (int64, error) {
	if !l.appending.TryLock() {
		return 0, errors.New("appending: called by two goroutines at a time")
	}
	defer l.appending.Unlock()
	l.mu.Lock()
	fatal, readOnly := l.fatal, l.readOnly
	l.mu.Unlock()
	switch {
	case fatal != nil:
		return 0, fatal
	case readOnly != nil:
		return 0, readOnly
	}
	began := time.Now()
	first, err := l.appender.Append(ctx, leaves)
	l.cfg.Metrics.integrate.Since(began)
	if err == nil && first != l.size.Load() {
		err = fmt.Errorf("first leaf is at %d, want %d", first, l.size.Load())
	}
	if err != nil {
		return 0, l.fail(err)
	}
	l.size.Store(first + int64(len(leaves)))
	return first, nil
}

// fail notes the first fatal error and returns it.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf("%w: %w", ErrFatal, err)
		l.notify()
	}
	return l.fatal
}

// notify wakes everybody who waits for a change. l.mu is held.
func (l *Log) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Integrated returns the size of the tree on disk. It may never be shown
// outside: it may go back after a crash.
func (l *Log) Integrated() int64 { return l.size.Load() }

// Release allows the publisher to sign trees up to size, which is at most
// Integrated. The caller has made durable what it needs about every leaf below.
func (l *Log) Release(size int64) {
	size = min(size, l.size.Load())
	for old := l.released.Load(); size > old; old = l.released.Load() {
		if l.released.CompareAndSwap(old, size) {
			break
		}
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// VKeys returns the public keys that sign this log, the primary first. They are
// not to be changed.
func (l *Log) VKeys() []string { return l.cfg.VKeys }

// Witnesses says how the witnesses stand. It may be called from any goroutine.
func (l *Log) Witnesses() quorum.Status { return l.witnesses.Status() }

// ReadOnly returns a *ReadOnlyError if the log no longer signs, else nil.
func (l *Log) ReadOnly() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readOnly == nil {
		return nil
	}
	return l.readOnly
}
