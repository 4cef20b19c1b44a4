// Package server serves the logs of a configuration in one process: their API,
// their tiles, and their end.
//
// It trusts the configuration. It writes nothing of its own but the ready file;
// what a crash leaves is what the logs promise. Serve is called once at a time.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/control"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/idlogd/keys"
	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	"idlog/log/backup"
	api "idlog/log/serve"
	"idlog/log/serve/gateway"
	"idlog/log/serve/tiles"
)

// Options is how Serve serves. All but Stderr may be left out.
type Options struct {
	// ReadyFile gets the addresses once they accept.
	ReadyFile string
	// Ready is called then, with the same addresses.
	Ready func(addresses map[string]string)
	// WithoutWitness names witnesses without whose word on what they have seen the logs may sign after this start.
	WithoutWitness []string
	// Stderr gets the log lines.
	Stderr io.Writer
	// Reread reads the configuration anew, at SIGHUP.
	Reread func() (*config.Config, error)
}

// Serve serves every log of c until ctx ends, and returns nil when all that
// was in flight is answered and on disk.
//
// The order of the end is what matters: first the listeners drain while the
// logs still run, then the logs publish what they have taken in, then they end,
// and last their stores close. The admin listener answers as long as the logs
// run. A log that fails ends everything with exit code 75: what it acknowledged
// is on disk, and the next start verifies it.
func Serve(ctx context.Context, c *config.Config, o Options) (err error) {
	s := &running{conf: c, options: o, level: new(slog.LevelVar), usual: new(slog.LevelVar)}
	for _, l := range []*slog.LevelVar{s.level, s.usual} {
		if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
			return serve.Usagef("%s: log_level: %w", c.File, err)
		}
	}
	s.logger = serve.FormatLogger(o.Stderr, s.level, c.LogFormat)
	if err := serve.RemoveReady(o.ReadyFile); err != nil {
		return err
	}
	if s.tls, err = tlsFiles(c.TLS).Open(); err != nil {
		return err
	}
	var endMetrics func()
	if s.registry, endMetrics, err = newRegistry(); err != nil {
		return err
	}
	defer endMetrics()
	instance.Quiet(s.logger)
	if err := s.openAll(ctx); err != nil {
		return err
	}
	defer func() {
		for _, in := range s.instances {
			err = errors.Join(err, in.Close())
		}
	}()
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.build(); err != nil {
		return errors.Join(err, s.closeListeners())
	}
	defer func() { err = errors.Join(err, s.json.Close()) }()
	return s.run(ctx)
}

// running is a server that serves.
type running struct {
	conf    *config.Config
	options Options
	logger  *slog.Logger
	level   *slog.LevelVar // of log lines now
	usual   *slog.LevelVar // as it is configured

	tls               *serve.TLS
	registry          *prometheus.Registry
	instances         []*instance.Instance
	grpc, http, admin net.Listener
	api               *api.Server
	json              *gateway.Gateway
	reloader          *reloader
}

// build makes what answers on the listeners.
func (s *running) build() (err error) {
	logs := make([]api.Log, len(s.instances))
	for i, in := range s.instances {
		logs[i] = api.Log{Family: in.Conf.Family, Reader: reader{in.Log, in}, Events: in.Ingest}
		if in.Query != nil {
			logs[i].Histories = in.Query
		}
	}
	s.api, err = api.New(api.Config{
		Logs: logs, TLS: s.tls.Config(), Reflection: *s.conf.Reflection, Limits: limits(s.conf.Limits),
		DrainTimeout: s.conf.ShutdownTimeout, Metrics: api.NewMetrics(s.registry), Logger: s.logger,
	})
	if err != nil {
		return err
	}
	promauto.With(s.registry).NewCounterFunc(prometheus.CounterOpts{
		Name: "idlog_panics_total", Help: "Handlers that panicked; the call was answered INTERNAL. It must be 0.",
	}, func() float64 { return float64(s.api.Panics()) })
	if s.json, err = gateway.New(s.api.Dial); err != nil {
		return err
	}
	s.reloader = &reloader{running: s}
	if s.reloader.policies, err = readPolicies(s.conf); err != nil {
		return errors.Join(err, s.json.Close())
	}
	s.reloader.register(s.registry)
	return nil
}

// run serves until ctx ends and everything has come to its end.
func (s *running) run(ctx context.Context) error {
	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	if s.options.Reread != nil {
		defer s.reloader.listen()()
	}
	all, life := errgroup.WithContext(life)
	for _, in := range s.instances {
		all.Go(func() error { return storage(in.Run(life)) })
	}
	all.Go(func() error {
		defer endLife() // drained: now the logs may end
		err := s.front(ctx, life)
		s.settle(ctx, life)
		return err
	})
	all.Go(func() error {
		a := &admin{instances: s.instances, registry: s.registry, draining: ctx, level: s.level, usual: s.usual}
		conf, h := s.tls.Config(), a.handler()
		if serve.Loopback(s.conf.Listen.Admin) {
			conf, h = nil, onThisMachine(h)
		}
		h = counted(s.registry, "admin", h)
		return serve.HTTPDraining(life, s.admin, conf, h, s.logger, time.Second)
	})
	addresses := map[string]string{"grpc": s.grpc.Addr().String(), "http": s.http.Addr().String(), "admin": s.admin.Addr().String()}
	s.logger.Info("serving", "grpc", addresses["grpc"], "http", addresses["http"], "admin", addresses["admin"], "version", serve.Version())
	if err := serve.WriteReady(s.options.ReadyFile, addresses); err != nil {
		endLife()
		return errors.Join(err, all.Wait())
	}
	s.notify("READY=1")
	if s.options.Ready != nil {
		s.options.Ready(addresses)
	}
	return errors.Join(all.Wait(), serve.RemoveReady(s.options.ReadyFile))
}

// front answers everybody until ctx ends and what was in flight is answered, or until a log fails and ends life.
func (s *running) front(ctx, life context.Context) error {
	front, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(life, stop)()
	defer context.AfterFunc(front, func() {
		s.logger.Info("stopping: calls in flight are answered, then what was taken in is published")
		s.notify("STOPPING=1")
	})()
	fronts, front := errgroup.WithContext(front)
	fronts.Go(func() error { return s.api.Serve(front, s.grpc) })
	for _, in := range s.instances {
		fronts.Go(func() error {
			if err := control.Serve(front, in.Conf.Dir, func() backup.Source { return in.Source(s.conf.File) }); err != nil {
				s.logger.Warn("commands cannot reach this server: a backup needs it stopped", "log", in.Conf.Family, "error", err.Error())
			}
			return nil
		})
	}
	fronts.Go(func() error {
		h := counted(s.registry, "http", handler(s.instances, s.json))
		return serve.HTTPDraining(front, s.http, s.tls.Config(), h, s.logger, s.conf.ShutdownTimeout)
	})
	if s.options.Reread != nil {
		fronts.Go(func() error { return s.reloader.run(front) })
	}
	return fronts.Wait()
}

// settleFor is how long the end waits for the last checkpoint. What is not published then is durable, and is published
// by the next start.
const settleFor = 2 * time.Second

// settle waits until what was taken in is published, for a while.
func (s *running) settle(ctx, life context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(settleFor, s.conf.ShutdownTimeout))
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	for _, in := range s.instances {
		if left := in.Settle(ctx); left > 0 && life.Err() == nil {
			s.logger.Warn("stopping before everything is published; the next start publishes it", "log", in.Conf.Family, "events", left)
		}
	}
}

// reader is a log whose health follows its disk too.
type reader struct {
	*ilog.Log
	in *instance.Instance
}

// ReadOnly says why nothing is taken in.
func (r reader) ReadOnly() error {
	if err := r.Log.ReadOnly(); err != nil {
		return err
	}
	return r.in.Room()
}

func (s *running) notify(state string) {
	if err := serve.Notify(state); err != nil {
		s.logger.Warn("the service manager does not hear", "error", err.Error())
	}
}

// storage gives the errors of a running log their exit code.
func storage(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return &serve.ExitError{
		Code:   serve.CodeStorage,
		Err:    err,
		Remedy: "look at the disk, then start again: what was acknowledged is there, and the start verifies it",
	}
}

func tlsFiles(t config.TLS) serve.TLSFiles {
	return serve.TLSFiles{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA}
}

// opening gives the errors of opening a log their exit code.
func opening(c *config.Config, err error) error {
	var refused *ilog.RefusedError
	var unfinished *backup.RefusedError
	switch {
	case errors.As(err, &unfinished):
		return &serve.ExitError{Code: serve.CodeInit, Err: fmt.Errorf("%s: %s", unfinished.File, unfinished.Problem), Remedy: unfinished.Remedy}
	case errors.Is(err, ilog.ErrNotInitialised):
		return &serve.ExitError{Code: serve.CodeInit, Err: err,
			Remedy: fmt.Sprintf("look whether the right disk is mounted; a new log is made by idlogd init --dir DIR --family FAMILY, and %s is not one", c.File)}
	case errors.As(err, &refused):
		return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%s: %s", refused.File, refused.Problem), Remedy: refused.Remedy}
	}
	return err
}

// listen opens every listener, or none. That of the operator speaks TLS only beyond this machine.
func (s *running) listen(ctx context.Context) (err error) {
	if s.grpc, err = serve.Listen(ctx, s.conf.Listen.GRPC, s.tls.Config()); err == nil {
		if s.http, err = serve.Listen(ctx, s.conf.Listen.HTTP, s.tls.Config()); err == nil {
			s.admin, err = serve.Listen(ctx, s.conf.Listen.Admin, s.tls.Config())
		}
	}
	if err != nil {
		return errors.Join(err, s.closeListeners())
	}
	return nil
}

func (s *running) closeListeners() error {
	var err error
	for _, l := range []net.Listener{s.grpc, s.http, s.admin} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// openAll opens every log, or none.
func (s *running) openAll(ctx context.Context) error {
	for i := range s.conf.Logs {
		l := &s.conf.Logs[i]
		if keys.Interrupted(l) {
			s.logger.Warn("a change of the log's keys was interrupted: stop and run idlogd key finish", "log", l.Family)
		}
		in, err := instance.Open(ctx, l, instance.Options{
			WithoutWitness: s.options.WithoutWitness, Logger: s.logger.With("log", l.Family), Metrics: s.registry,
		})
		if err != nil {
			err = opening(s.conf, fmt.Errorf("opening %s: %w", l.Family, err))
			for _, in := range s.instances {
				err = errors.Join(err, in.Close())
			}
			return err
		}
		if err := in.Log.ReadOnly(); err != nil {
			s.logger.Error("it refused to sign before this start: find out what happened, then stop and run idlogd clear-refusal",
				"log", l.Family, "error", err.Error())
		}
		s.instances = append(s.instances, in)
	}
	return nil
}

// handler serves the API as JSON below /v1, each log below its origin, and the
// first one at the top as well.
func handler(all []*instance.Instance, json http.Handler) http.Handler {
	top := tiles.New(all[0].Log, "")
	below := make(map[string]http.Handler)
	for _, in := range all {
		below["/"+in.Conf.Origin] = tiles.New(in.Log, "/"+in.Conf.Origin)
	}
	prefixes := slices.SortedFunc(maps.Keys(below), func(a, b string) int { return len(b) - len(a) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") || r.URL.Path == "/openapi.json" {
			json.ServeHTTP(w, r)
			return
		}
		for _, p := range prefixes {
			if strings.HasPrefix(r.URL.Path, p+"/") {
				below[p].ServeHTTP(w, r)
				return
			}
		}
		top.ServeHTTP(w, r)
	})
}
