package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	ilog "idlog/log"
	"idlog/log/journal"
	"idlog/log/vault"
	"idlog/proto/checkpoint"
	"idlog/proto/event"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/ticket"
)

const (
	// MaxEvents and MaxBytes bound one call of Submit.
	MaxEvents = 500
	MaxBytes  = 8 << 20

	maxRound       = 2048 // leaves that are appended at once
	maxPersons     = 100_000
	sourcesPerLeaf = 16 // of a keys leaf, which has at most 64 commits
)

// Log is what ingest needs of a log, as *log.Log is.
type Log interface {
	// Append adds leaves in order, and returns the index of the first once they are durable and integrated. One
	// caller at a time. After an error nothing more is appended by this process.
	Append(ctx context.Context, leaves [][]byte) (first int64, err error)
	// Integrated is the size on disk; Entry reads below it.
	Integrated() int64
	Entry(ctx context.Context, index int64) ([]byte, error)
	// Release allows checkpoints up to size.
	Release(size int64)
	// Published is the newest checkpoint; Await waits for one of at least size.
	Published() (ilog.Published, bool)
	Await(ctx context.Context, size int64) (ilog.Published, error)
	// Inclusion proves an entry below size, which is at most Integrated.
	Inclusion(ctx context.Context, index, size int64) ([]leaf.Hash, error)
	// ReadOnly says why the log takes nothing more; nil while it does.
	ReadOnly() error
}

// Source is an instance of a provider, or a service that submits.
type Source struct {
	Name string
	// Principals that may submit to it and read its keys. Nobody else may.
	Principals []string
}

// Config is all that Ingest is told. What has no default must be set.
type Config struct {
	// Family is the name that leaves carry.
	Family  string
	Sources []Source
	Log     Log
	Journal *journal.Journal
	Vault   *vault.Vault
	// TicketKey is the private key that signs tickets, named Family/ticket.
	TicketKey string
	// AckTimeout is how long Submit waits for a checkpoint before it gives
	// tickets; 0 means 10 s.
	AckTimeout time.Duration
	// TicketDeadline is how long after it was received an event is promised; whole seconds, 0 means 24 hours, which is
	// the most that a ticket may say.
	TicketDeadline time.Duration
	// MaxBacklog and MaxBacklogBytes bound what was taken in and is not published
	// yet, in leaves and in stored bytes; 0 means 20,000 and 64 MiB.
	MaxBacklog, MaxBacklogBytes int64
	// Room says why nothing more may be written for now, such as a disk that is
	// nearly full; it is asked for each call and answers at once. Nil is always room.
	Room func() error
	// Metrics are told what becomes of events; nil tells nobody.
	Metrics *Metrics
}

// Ingest takes events in for one log.
type Ingest struct {
	cfg     Config
	log     Log
	journal *journal.Journal
	vault   *vault.Vault
	ticket  note.Signer
	sources map[string]*source // not changed after New
	genesis *journal.Row
	backlog *backlog
	people  enroller
	desks   sync.Pool // of *desk
	cheat   cheat

	life   context.Context // ends when Run does
	end    context.CancelFunc
	failed chan error // has the first failure of storage that Run would not meet itself

	clockMu sync.Mutex
	last    time.Time // the newest time of receipt; guarded by clockMu
}

// source is one source in use.
type source struct {
	name       string
	principals atomic.Pointer[map[string]bool]
	keys       event.NeutralKeys
	row        *journal.Row // of the keys leaf that commits to keys
}

// neutral are the fields with a key per source.
var neutral = [...]uint16{tag.EventID, tag.Session, tag.Class, tag.Target}

// New brings journal and log together after whatever happened before: what the
// journal has and the log has not is appended. It puts the genesis leaf and the
// keys of every source into the log where they are not there yet. It starts
// nothing: Submit answers once Run runs. The configuration's log, journal and
// vault are used until Run returns, and closed by the caller.
func New(ctx context.Context, c Config) (*Ingest, error) {
	if c.AckTimeout == 0 {
		c.AckTimeout = 10 * time.Second
	}
	if c.TicketDeadline == 0 {
		c.TicketDeadline = ticket.Longest
	}
	if c.MaxBacklog == 0 {
		c.MaxBacklog = 20_000
	}
	if c.Room == nil {
		c.Room = func() error { return nil }
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil, "")
	}
	if c.MaxBacklogBytes == 0 {
		c.MaxBacklogBytes = 64 << 20
	}
	in := &Ingest{cfg: c, log: c.Log, journal: c.Journal, vault: c.Vault, sources: make(map[string]*source),
		backlog: newBacklog(c.MaxBacklog, c.MaxBacklogBytes), failed: make(chan error, 1)}
	in.people.flights = make(map[subject.Identifier]*flight)
	in.life, in.end = context.WithCancel(context.Background())
	if err := in.open(ctx); err != nil {
		in.end()
		return nil, fmt.Errorf("starting ingest of %s: %w", c.Family, err)
	}
	return in, nil
}

func (in *Ingest) open(ctx context.Context) error {
	promises, err := checkpoint.NewSigner(in.cfg.TicketKey)
	if err != nil {
		return fmt.Errorf("reading ticket key: %w", err)
	}
	// SPEC 2.10: "under a key of its own, named <family>/ticket".
	if want := ticket.KeyName(in.cfg.Family); promises.Name() != want {
		return fmt.Errorf("reading ticket key: it is named %s, want %s", promises.Name(), want)
	}
	in.ticket = promises
	for _, s := range in.cfg.Sources {
		src := &source{name: s.Name}
		src.bind(s.Principals)
		src.keys = event.NeutralKeys{
			EventID: in.vault.Key(tag.EventID, s.Name), Session: in.vault.Key(tag.Session, s.Name),
			Class: in.vault.Key(tag.Class, s.Name), Target: in.vault.Key(tag.Target, s.Name),
		}
		if in.sources[s.Name] != nil {
			return fmt.Errorf("source %s is configured twice", s.Name)
		}
		in.sources[s.Name] = src
	}
	if err := in.recover(ctx); err != nil {
		return fmt.Errorf("reading back the log: %w", err)
	}
	return in.found(ctx)
}

// Run sequences what is journalled until ctx ends, which is no error, or until
// something fails after which the process must end and start again. A log that
// turns read-only does not end it.
func (in *Ingest) Run(ctx context.Context) error {
	defer in.end()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.sequence(ctx) })
	g.Go(func() error { in.drain(ctx); return nil })
	g.Go(func() error { return in.vault.Wait(ctx) })
	g.Go(func() error {
		select {
		case err := <-in.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// fail ends Run.
func (in *Ingest) fail(err error) {
	select {
	case in.failed <- err:
	default:
	}
}

// bind lets these principals in, and nobody else.
func (s *source) bind(principals []string) {
	set := make(map[string]bool, len(principals))
	for _, p := range principals {
		set[p] = true
	}
	s.principals.Store(&set)
}

// Rebind changes who may submit to the sources that New was told of, from the
// next call on. Another source changes nothing: it needs keys in the log first.
func (in *Ingest) Rebind(sources []Source) {
	for _, s := range sources {
		if src := in.sources[s.Name]; src != nil {
			src.bind(s.Principals)
		}
	}
}

// Backlog returns how much was taken in and is not published yet, and the most
// that may be.
func (in *Ingest) Backlog() (rows, bytes, maxRows, maxBytes int64) {
	queued, queuedBytes := in.journal.Queued()
	in.backlog.mu.Lock()
	defer in.backlog.mu.Unlock()
	return in.backlog.rows + queued, in.backlog.bytes + queuedBytes, in.backlog.maxRows, in.backlog.maxBytes
}

// Bound refuses principals that are not bound to a source, and unknown sources,
// with a *Refusal. Submit asks it; who hands out SourceKeys or Enrolments does too.
func (in *Ingest) Bound(source, principal string) error {
	src := in.sources[source]
	if src == nil {
		return refuse(logv1.Reason_REASON_SOURCE_UNKNOWN, "no source has this name")
	}
	// SPEC F20: "only the principals bound to a source write to it".
	if !(*src.principals.Load())[principal] {
		return refuse(logv1.Reason_REASON_SOURCE_NOT_BOUND, "the caller is not bound to this source")
	}
	return nil
}

// now is our time of receipt. It does not go back.
func (in *Ingest) now() time.Time {
	in.clockMu.Lock()
	defer in.clockMu.Unlock()
	if t := time.Now(); t.After(in.last) {
		in.last = t
	}
	return in.cheat.received(in.last)
}

// Refusal says why an event, or a call, was not taken. Nothing of it was stored.
type Refusal struct {
	Reason logv1.Reason
	// Path of the field at fault, from the event's top; may be empty.
	Path string
	// Index of the entry that stands in the way; -1 if there is none, or if the
	// caller may not know it.
	Index   int64
	Message string
}

func (r *Refusal) Error() string {
	if r.Path != "" {
		return r.Path + ": " + r.Message
	}
	return r.Message
}

func refuse(reason logv1.Reason, message string) *Refusal {
	return &Refusal{Reason: reason, Index: -1, Message: message}
}

// refusalOf makes the refusal of an error that the schema or the persons of an
// event give; nil if it is none of these.
func refusalOf(err error) *Refusal {
	if errors.Is(err, event.ErrTooManyPersons) {
		return refuse(logv1.Reason_REASON_TOO_MANY_PERSONS, "split the event: "+err.Error())
	}
	var field *event.FieldError
	if !errors.As(err, &field) {
		return nil
	}
	r := &Refusal{Reason: logv1.Reason_REASON_FIELD_INVALID, Path: field.Path, Index: -1, Message: field.Reason}
	switch field.Fault {
	case event.Missing:
		r.Reason = logv1.Reason_REASON_FIELD_MISSING
	case event.TooLarge:
		r.Reason = logv1.Reason_REASON_TOO_LARGE
	}
	return r
}
