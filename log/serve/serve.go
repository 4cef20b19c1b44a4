package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	ilog "idlog/log"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

const (
	maxCall       = 8 << 20  // bytes of a request
	maxAnswer     = 32 << 20 // bytes of an answer: 500 receipts, or an entry with its raw bytes
	maxConns      = 2048     // connections open at once; more wait to be accepted
	healthEvery   = 250 * time.Millisecond
	drainAtMost   = 30 * time.Second       // for calls in flight unless configured, then they are cut
	partAfter     = 500 * time.Millisecond // from the drain until those who watch health are let go
	maxStreamsPer = 256                    // calls open on one connection
	maxHeaderList = 16 << 10
)

// Reader is the published log, as *log.Log is.
type Reader interface {
	// Published returns the newest checkpoint; false before the first.
	Published() (ilog.Published, bool)
	// Next waits for a checkpoint whose note is not after; nil asks for the newest there is.
	Next(ctx context.Context, after []byte) (ilog.Published, error)
	// Entry, Inclusion and Consistency read below the integrated size. They are asked only below a published one.
	Entry(ctx context.Context, index int64) ([]byte, error)
	Inclusion(ctx context.Context, index, size int64) ([]leaf.Hash, error)
	Consistency(ctx context.Context, from, to int64) ([]leaf.Hash, error)
	// ReadOnly says why the log takes nothing more; nil while it does.
	ReadOnly() error
}

// Log is one log family as this server answers for it.
type Log struct {
	Family string
	Reader Reader
	Events Events
}

// Config of a Server.
type Config struct {
	// Logs, at least one. The first answers requests that name none.
	Logs []Log
	// TLS of the listener, with verified client certificates. Nil is plaintext, for callers on this machine only.
	TLS *tls.Config
	// Reflection lets tools such as grpcurl ask for the schema.
	Reflection bool
	// Limits; zero values mean the defaults.
	Limits Limits
	// DrainTimeout is how long Serve waits for calls in flight at its end; 0 means 30 s.
	DrainTimeout time.Duration
	// Metrics are told of every call; nil tells nobody.
	Metrics *Metrics
	// Logger of failures that are ours. Nil discards them.
	Logger *slog.Logger
}

// Server answers gRPC for some logs.
type Server struct {
	grpc      *grpc.Server
	inside    *inside
	health    *health.Server
	validator protovalidate.Validator
	methods   map[string]rule
	logger    *slog.Logger
	logs      []Log
	calls     *budget
	streams   *budget
	bytes     *budget
	pace      *pace
	panics    atomic.Int64
	drainFor  time.Duration

	draining context.Context // ends when Serve begins to drain
	drain    context.CancelFunc
	parting  context.Context // ends a little later, when watchers of health have heard of it
	part     context.CancelFunc
}

// New makes a server that listens nowhere yet. It refuses a configuration
// without a log, with a family twice, or with a method that no rule guards.
func New(c Config) (*Server, error) {
	s := &Server{logger: c.Logger, logs: c.Logs, health: health.NewServer(), inside: newInside()}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Logs) == 0 {
		return nil, errors.New("serving: no log is configured")
	}
	families := make(map[string]bool)
	for _, l := range c.Logs {
		if families[l.Family] {
			return nil, fmt.Errorf("serving: log family %q is configured twice", l.Family)
		}
		families[l.Family] = true
	}
	limits := c.Limits.withDefaults()
	s.calls, s.streams, s.bytes = newBudget("calls", limits.Calls), newBudget("streams", limits.Streams), newBudget("bytes", limits.Bytes)
	s.pace, s.drainFor = newPace(limits.EventsPerSecond), cmp.Or(c.DrainTimeout, drainAtMost)
	s.draining, s.drain = context.WithCancel(context.Background())
	s.parting, s.part = context.WithCancel(context.Background())

	var err error
	s.validator, err = protovalidate.New(protovalidate.WithMessages(
		&logv1.GetSourceKeysRequest{}, &logv1.GetEnrolmentsRequest{}, &logv1.LinkSubjectsRequest{}, &logv1.GetCheckpointRequest{},
		&logv1.WatchCheckpointsRequest{}, &logv1.GetEntryRequest{}, &logv1.WatchEntriesRequest{},
		&logv1.GetInclusionProofRequest{}, &logv1.GetConsistencyProofRequest{},
	))
	if err != nil {
		return nil, fmt.Errorf("serving: compiling the rules of requests: %w", err)
	}
	s.grpc = grpc.NewServer(append(s.options(c.TLS), s.interceptors(c.Metrics)...)...)
	logv1.RegisterEventServiceServer(s.grpc, &eventService{s: s})
	logv1.RegisterLogServiceServer(s.grpc, &logService{s: s})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc) // v1 and v1alpha
	}
	if s.methods, err = methodTable(s.grpc); err != nil {
		return nil, fmt.Errorf("serving: %w", err)
	}
	s.reportHealth()
	return s, nil
}

func (s *Server) options(conf *tls.Config) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxCall),
		grpc.MaxSendMsgSize(maxAnswer),
		grpc.MaxConcurrentStreams(maxStreamsPer),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     5 * time.Minute,
			MaxConnectionAge:      30 * time.Minute, // so that a balancer's new member gets its share
			MaxConnectionAgeGrace: 30 * time.Second,
		}),
		grpc.InTapHandle(s.tap),
	}
	if conf != nil {
		return append(opts, grpc.Creds(handshake{credentials.NewTLS(conf)}))
	}
	return append(opts, grpc.Creds(handshake{}))
}

// Serve accepts calls on l until ctx ends. Then health says NOT_SERVING, open
// streams are ended with SHUTTING_DOWN, no new call is accepted, and those in
// flight are answered, for at most the drain timeout; so the logs must run on until
// Serve returns. It returns nil after a drain and owns l. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		// Stopped before it began is stopped.
		if err := s.grpc.Serve(newLimitListener(l, maxConns)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving gRPC: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := s.grpc.Serve(s.inside); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serving gRPC within the process: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		tick := time.NewTicker(healthEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				s.stop()
				return nil
			case <-tick.C:
				s.reportHealth()
			}
		}
	})
	return g.Wait()
}

// stop drains and returns when no call is left.
func (s *Server) stop() {
	s.health.Shutdown()
	s.drain()
	part := time.AfterFunc(partAfter, s.part)
	defer part.Stop()
	// A stream handler that does not hear draining, or a caller that does not read, is cut.
	cut := time.AfterFunc(s.drainFor, s.grpc.Stop)
	defer cut.Stop()
	s.grpc.GracefulStop()
}

// reportHealth tells the health service what is so now: a log that takes
// nothing more makes EventService NOT_SERVING, and reading goes on.
func (s *Server) reportHealth() {
	events := healthv1.HealthCheckResponse_SERVING
	for _, l := range s.logs {
		if l.Reader.ReadOnly() != nil {
			events = healthv1.HealthCheckResponse_NOT_SERVING
		}
	}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	s.health.SetServingStatus(logv1.LogService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	s.health.SetServingStatus(logv1.EventService_ServiceDesc.ServiceName, events)
}

// SetLimits changes what callers may hold at once, from the next call on; zero
// values mean the defaults.
func (s *Server) SetLimits(l Limits) {
	l = l.withDefaults()
	s.calls.set(l.Calls)
	s.streams.set(l.Streams)
	s.bytes.set(l.Bytes)
	s.pace.set(l.EventsPerSecond)
}

// Panics counts handlers that panicked and were recovered. It should be 0.
func (s *Server) Panics() int64 { return s.panics.Load() }

// log finds a log by family; the empty name is the first log's.
func (s *Server) log(family string) (*Log, error) {
	if family == "" {
		return &s.logs[0], nil
	}
	for i := range s.logs {
		if s.logs[i].Family == family {
			return &s.logs[i], nil
		}
	}
	return nil, refusal{
		reason:  logv1.Reason_REASON_LOG_UNKNOWN,
		message: "this server has no log of that family",
		kind:    "log",
		name:    family,
	}.status().Err()
}
