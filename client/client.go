package client

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlog/client/call"
	"idlog/client/internal/lru"
	"idlog/client/receipt"
	"idlog/client/trust"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/subject"
)

const (
	defaultSkew  = 60 * time.Second
	defaultCache = 1 << 16
)

// Config is what a Client needs. Policy, State and one of Target and Conn must
// be set.
type Config struct {
	// Target is a gRPC target such as "log.example.com:7443" or
	// "127.0.0.1:7443". The connection is made when it is first needed.
	Target string
	// TLS is used for Target. Without it a Target that is not on this machine
	// is refused with ErrPlaintext.
	TLS *tls.Config
	// Conn is used in place of Target; the caller closes it.
	Conn grpc.ClientConnInterface

	// Assurance is how the server must say that the events came: pushed when it
	// authenticates the connection, else unauthenticated. Empty means pushed
	// for a Target whose TLS has a client certificate, and unauthenticated
	// otherwise.
	Assurance leaf.Assurance
	// Log is the log family. Empty means that of the policy's log lines, which
	// must then all be of one family.
	Log string
	// Policy says which signatures count. Receipts and reads fail without it.
	Policy *policy.Policy
	// Trust is what History judges by. Nil is [Attested], by the policy alone.
	Trust *policy.Trust
	// State is what was seen before; trust.NewMemory for a process that may forget.
	State *trust.State

	// Skew is how far two clocks may disagree; 0 means 60 s.
	Skew time.Duration
	// Cache is the number of persons whose enrolments are kept; 0 means 65,536,
	// some 20 MiB.
	Cache int
	// Attempts is how often a call is tried that fails for a reason that passes;
	// 0 means for as long as its context lasts.
	Attempts int
	// Clock is the time of day; nil means time.Now.
	Clock func() time.Time
}

// Client submits to and reads from one log family.
type Client struct {
	log       string
	policy    *policy.Policy
	trust     *policy.Trust
	state     *trust.State
	assurance leaf.Assurance
	skew      time.Duration
	attempts  int
	now       func() time.Time

	conn    *grpc.ClientConn // nil if it is the caller's
	events  logv1.EventServiceClient
	reads   logv1.LogServiceClient
	queries logv1.QueryServiceClient

	checkpoints *lru.Map[leaf.Hash, *Checkpoint] // accepted, by the hash of the note
	enrolments  *lru.Map[subject.Identifier, []receipt.Enrolment]

	// advancing holds a token while nobody compares a checkpoint with the state.
	advancing chan struct{}

	mu      sync.Mutex // guards what follows
	known   horizon
	past    map[string][]*policy.Verified // by origin, oldest first; see remember
	sources map[string]*receipt.Source
}

// horizon is the size of the newest accepted checkpoint of each origin. It is
// taken before a question is asked: no answer may show less.
type horizon map[string]int64

// New makes a client. It reads the state and asks the server nothing.
func New(cfg Config) (*Client, error) {
	switch {
	case cfg.Policy == nil:
		return nil, errors.New("making client: no policy")
	case cfg.State == nil:
		return nil, errors.New("making client: no state")
	case (cfg.Target == "") == (cfg.Conn == nil):
		return nil, errors.New("making client: needs a target or a connection, not both")
	}
	family, err := pinned(cfg.Log, cfg.Policy)
	if err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	c := &Client{
		log: family, policy: cfg.Policy, trust: cfg.Trust, state: cfg.State,
		assurance:   cfg.Assurance,
		skew:        cmp.Or(cfg.Skew, defaultSkew),
		attempts:    cfg.Attempts,
		now:         cfg.Clock,
		checkpoints: lru.New[leaf.Hash, *Checkpoint](256),
		enrolments:  lru.New[subject.Identifier, []receipt.Enrolment](cmp.Or(cfg.Cache, defaultCache)),
		advancing:   make(chan struct{}, 1),
		known:       make(horizon),
		past:        make(map[string][]*policy.Verified),
		sources:     make(map[string]*receipt.Source),
	}
	c.advancing <- struct{}{}
	if c.trust == nil {
		c.trust = Attested(cfg.Policy, family)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.assurance == "" {
		c.assurance = leaf.AssuranceUnauthenticated
		if cfg.TLS != nil && (len(cfg.TLS.Certificates) > 0 || cfg.TLS.GetClientCertificate != nil) {
			c.assurance = leaf.AssurancePushed
		}
	}
	if err := c.recall(); err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	conn := cfg.Conn
	if conn == nil {
		if c.conn, err = call.Dial(cfg.Target, cfg.TLS); err != nil {
			return nil, fmt.Errorf("making client: %w", err)
		}
		conn = c.conn
	}
	c.events, c.reads, c.queries = logv1.NewEventServiceClient(conn), logv1.NewLogServiceClient(conn), logv1.NewQueryServiceClient(conn)
	return c, nil
}

// recall takes what the state holds of the policy's logs.
func (c *Client) recall() error {
	for _, l := range c.policy.Logs {
		seen, ok, err := c.state.Seen(l.Origin)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c.known[l.Origin] = seen.Size
		if v, err := c.verify(seen.Note); err == nil { // else the policy is another one than then
			c.remember(v)
		}
	}
	return nil
}

// Close closes the connection, unless it was the caller's. Calls in flight fail.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Log returns the log family.
func (c *Client) Log() string { return c.log }

// pinned returns the family that a client is for.
func pinned(family string, p *policy.Policy) (string, error) {
	var families []string
	for _, l := range p.Logs {
		if f := familyOf(l.Origin); f != "" && !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	switch {
	case family != "" && !slices.Contains(families, family):
		return "", fmt.Errorf("the policy has no key of log %s", family)
	case family != "":
		return family, nil
	case len(families) != 1:
		return "", fmt.Errorf("the policy has keys of %d logs: say which one is meant", len(families))
	}
	return families[0], nil
}

// familyOf returns the log family of an origin, "" if it has none.
// SPEC 2.1: origin = family "/" shard.
func familyOf(origin string) string {
	i := strings.LastIndexByte(origin, '/')
	if i < 0 || i == len(origin)-1 {
		return ""
	}
	return origin[:i]
}

// horizon returns what is known now, before a question is asked.
func (c *Client) horizon() horizon {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.known)
}

// learned raises the horizon of a checkpoint's origin.
func (c *Client) learned(cp *policy.Verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[cp.Checkpoint.Origin] = max(c.known[cp.Checkpoint.Origin], cp.Checkpoint.Size)
	c.remember(cp)
}
