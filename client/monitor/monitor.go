package monitor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"idlog/client/internal/pause"
	"idlog/client/monitor/index"
	"idlog/client/monitor/kept"
	"idlog/client/monitor/memory"
	"idlog/client/remote"
	"idlog/client/rules"
	"idlog/client/trust"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
)

// Config is all that a Monitor is told. Policy, URL, Dir and State are needed.
type Config struct {
	// Policy says whose signatures count. Witnesses with a URL are asked what
	// they have seen.
	Policy *policy.Policy
	// Origin is the log; empty if the policy has keys of one only.
	Origin string
	// URL is where the log is published, as c2sp.org/tlog-tiles has it, with the
	// archive of checkpoints beside. See [remote.New].
	URL string
	// TLS is for URL alone; nil is the machine's authorities and no certificate.
	TLS *tls.Config
	// Timeout bounds each request; 0 is 30 s.
	Timeout time.Duration

	// Dir is the folder of the monitor's own state; each log has one below it.
	Dir string
	// State is what the clients of this machine know. It gets the evidence.
	State *trust.State

	// Tickets are folders of tickets that a submitter keeps of this log, and of others;
	// Receipts are folders of both its receipts and its tickets. They are read at each
	// look, and are there when Open is called. See package kept.
	Tickets, Receipts []string

	// Sinks are told of every finding, in this order.
	Sinks []Sink
	// Logger gets what people who run the monitor need; nil discards it.
	Logger *slog.Logger
	// Progress, if set, is called while entries are checked, and while the index of
	// those that were is made: what is "entries" or "index".
	Progress func(what string, done, size int64)

	// Interval lies between two looks at an idle log; 0 is 10 s.
	Interval time.Duration
	// MaxAge is how old the newest cosigned checkpoint may be, how long a log may
	// be silent, and how long a witness may be missing; 0 is 10 min.
	MaxAge time.Duration
	// Backlog is how long the log may keep what it received before it is in a
	// checkpoint, while it publishes others; 0 is the longest of its promises, a day.
	Backlog time.Duration
	// Witnesses is how many operators of witnesses must have cosigned a checkpoint,
	// besides the policy's own quorum (SPEC F43); 0 asks for no more.
	Witnesses int
	// Index computes the index of all entries, SPEC 2.12, and compares each root leaf
	// with it. Where that begins late, the entries that were checked are read again.
	Index bool
	// FromNow begins a log that was never looked at with the entries that come
	// next. What is below is not checked and its ids are not known.
	FromNow bool
	// Acknowledge goes on after the contradiction at which an earlier run stopped.
	Acknowledge bool
}

// Monitor follows one log.
type Monitor struct {
	cfg    Config
	origin string
	family string
	keys   []note.Verifier // of the log
	logger *slog.Logger
	site   *remote.Site
	others []witness
	dir    folder
	memory *memory.Store
	room   *index.Room // nil unless the index is compared
	kept   *kept.Room  // nil if nothing is

	// All below belongs to the goroutine of Run or Once.
	at           *cursor // nil before the first look
	started      time.Time
	once         bool      // it ends after one look, whatever the sinks do
	heard        time.Time // when a checkpoint was last found to be in order
	size         int64     // of the tree that is looked at
	fresh        time.Time // when a quorum vouched for it; zero if nothing says
	acknowledged map[string]bool
	alarms       map[string]*alarm    // by kind and what it is about
	newest       map[string]time.Time // the newest cosignature of each witness
	waiting      int64                // size of a checkpoint that waits for more witnesses; 0 if none does
	asked        time.Time            // when the witnesses were last asked
	ahead        map[string]view      // what others have seen that is larger than the tree
	most         int64                // bytes of entries that are read in one step
	stride       int64                // entries between archived checkpoints that are asked for
	segment      segment
	noArchive    error // why the archive bounds nothing; nil if it does
	unread       error // why what a submitter keeps could not be read; nil if it could
	history      *rules.History
	moved        bool // entries were checked since alarms were last weighed
	faults       int
}

// Open returns the monitor of a log. It creates what is missing in Dir, and
// connects to nothing. The caller closes it.
func Open(c Config) (*Monitor, error) {
	if c.Policy == nil || c.State == nil || c.Dir == "" {
		return nil, errors.New("opening monitor: a policy, a state and a folder are needed")
	}
	if c.Interval <= 0 {
		c.Interval = 10 * time.Second
	}
	if c.MaxAge <= 0 {
		c.MaxAge = 10 * time.Minute
	}
	m := &Monitor{
		cfg: c, logger: c.Logger, most: stepBytes, stride: 1, acknowledged: make(map[string]bool), alarms: make(map[string]*alarm),
		ahead: make(map[string]view), newest: make(map[string]time.Time),
	}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	if err := m.log(); err != nil {
		return nil, fmt.Errorf("opening monitor: %w", err)
	}
	var err error
	if m.site, err = remote.New(c.URL, remote.Config{TLS: c.TLS, Timeout: c.Timeout}); err != nil {
		return nil, fmt.Errorf("opening monitor of %s: the log's URL: %w", m.origin, err)
	}
	if err := m.witnesses(); err != nil {
		return nil, fmt.Errorf("opening monitor of %s: %w", m.origin, err)
	}
	if m.kept, err = kept.Open(c.Policy, m.origin, c.Tickets, c.Receipts); err != nil {
		return nil, fmt.Errorf("opening monitor of %s: %w", m.origin, err)
	}
	m.dir = folder(filepath.Join(c.Dir, folderName(m.origin)))
	if err := m.open(); err != nil {
		return nil, fmt.Errorf("opening monitor of %s: %w", m.origin, errors.Join(err, m.Close()))
	}
	return m, nil
}

// folderName is that of a log's folder. An origin too long for a file name is
// known by its hash.
func folderName(origin string) string {
	name := url.QueryEscape(origin)
	if len(name) > 200 {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(origin)))
	}
	return name
}

// log finds the log among those of the policy.
func (m *Monitor) log() error {
	var origins []string
	for _, l := range m.cfg.Policy.Logs {
		if m.cfg.Origin != "" && l.Origin != m.cfg.Origin {
			continue
		}
		v, err := checkpoint.NewVerifier(l.VKey)
		if err != nil {
			return err
		}
		m.keys = append(m.keys, v)
		if !slices.Contains(origins, l.Origin) {
			origins = append(origins, l.Origin)
		}
	}
	switch {
	case len(origins) == 0:
		return fmt.Errorf("the policy has no key of log %s", m.cfg.Origin)
	case len(origins) > 1:
		return fmt.Errorf("the policy has keys of several logs, %s: one must be named", strings.Join(origins, ", "))
	}
	m.origin = origins[0]
	// SPEC 1: origin = family "/" shard.
	i := strings.LastIndexByte(m.origin, '/')
	if i < 0 {
		return fmt.Errorf("the origin %s is not one of a family of logs", m.origin)
	}
	m.family = m.origin[:i]
	return nil
}

// open reads the state and the memory, which must be of one age.
func (m *Monitor) open() error {
	if err := os.MkdirAll(string(m.dir), 0o700); err != nil {
		return &StateError{err}
	}
	var err error
	if m.memory, err = memory.Open(m.dir.file("memory"), m.logger); err != nil {
		return &StateError{err}
	}
	if m.at, err = m.dir.cursor(m.origin); err != nil {
		return err
	}
	if m.at != nil && m.at.checked > m.at.base && m.memory.Checked() < m.at.checked {
		return m.dir.damaged("memory", fmt.Errorf("it knows %d entries, and %d were checked", m.memory.Checked(), m.at.checked))
	}
	if err := m.remember(); err != nil {
		return err
	}
	if m.at != nil && m.cfg.FromNow {
		return fmt.Errorf("it is followed since entry %d and has been checked up to %d: to begin anew would skip what is between; move %s away if that is meant",
			m.at.base, m.at.checked, m.dir)
	}
	if m.at != nil {
		m.heard = m.at.looked
		maps.Copy(m.newest, m.at.seen)
	}
	known, err := m.dir.findings("acknowledged")
	for _, f := range known {
		m.acknowledged[f.ID] = true
	}
	if err != nil || !m.cfg.Index {
		return err
	}
	if m.room, err = index.Open(m.dir.file("index"), m.origin, m.logger); err != nil {
		return &StateError{err}
	}
	return nil
}

// Close closes the directory. Neither Run nor Once may be running.
func (m *Monitor) Close() error {
	var errs []error
	if m.room != nil {
		errs = append(errs, m.room.Close())
	}
	if m.memory != nil {
		errs = append(errs, m.memory.Close())
	}
	return errors.Join(errs...)
}

// Origin returns the log's origin.
func (m *Monitor) Origin() string { return m.origin }

// Checked returns how many entries, from the first on, were checked and
// delivered for. It is not to be called while Run or Once is running.
func (m *Monitor) Checked() int64 {
	if m.at == nil {
		return 0
	}
	return m.at.checked
}

// Faults returns how many faults were found since Open. It is not to be called
// while Run or Once is running.
func (m *Monitor) Faults() int { return m.faults }

// Run follows the log until ctx ends, and then returns nil. A contradiction is
// *Stopped, once it was delivered; the monitor's own disk failing, *StateError.
// What the log or the network does otherwise ends nothing.
func (m *Monitor) Run(ctx context.Context) error {
	err := m.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (m *Monitor) run(ctx context.Context) error {
	m.started = time.Now()
	if err := m.resume(ctx); err != nil {
		return err
	}
	for {
		more, err := m.look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		found, err := m.weigh(err)
		if err != nil {
			return err
		}
		if err := m.settle(ctx, found); err != nil {
			return err
		}
		if more {
			continue
		}
		if err := pause.For(ctx, m.cfg.Interval); err != nil {
			return err
		}
	}
}

// tries is how often Once begins again when a look fails.
const tries = 3

// Once checks all that is published now and returns. Besides the errors of Run
// it returns *Stale, once that was delivered, *Undelivered if a sink refused a
// finding again and again, ctx.Err, and why a look failed after all tries: a
// *policy.QuorumError, policy.ErrNotSigned, a *tile.MismatchError, or an error
// of the network.
func (m *Monitor) Once(ctx context.Context) error {
	m.started, m.once = time.Now(), true
	if err := m.resume(ctx); err != nil {
		return err
	}
	for failed, more := 0, true; more; {
		before := m.Checked()
		var err error
		more, err = m.look(ctx)
		if ctx.Err() != nil {
			return ctx.Err() // says nothing of the log, and the outbox stays as it is
		}
		if m.Checked() > before {
			failed = 0
		}
		if err == nil {
			continue
		}
		if failed++; failed < tries && m.passing(err) {
			m.logger.Warn("looking again", "log", m.origin, "err", err)
			if werr := pause.For(ctx, firstPause<<failed); werr != nil {
				return werr
			}
			more = true
			continue
		}
		found, fatal := m.weigh(err)
		if fatal != nil {
			return fatal
		}
		return errors.Join(m.settle(ctx, found), err)
	}
	found, err := m.weigh(nil)
	if err != nil {
		return err
	}
	if err := m.settle(ctx, found); err != nil {
		return err
	}
	if age := m.age(); age > m.cfg.MaxAge {
		return &Stale{Log: m.origin, Age: age}
	}
	return nil
}
