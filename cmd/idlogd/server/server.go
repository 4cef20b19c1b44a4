// Package server serves the logs of a configuration in one process: their API,
// their tiles, and their end.
//
// It trusts the configuration. It writes nothing of its own but the ready file;
// what a crash leaves is what the logs promise. Serve is called once at a time.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/control"
	"idlog/cmd/idlogd/instance"
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

	logger *slog.Logger
}

// Serve serves every log of c until ctx ends, and returns nil when all that
// was in flight is answered and on disk.
//
// The order of the end is what matters: first the listeners drain while the
// logs still run, then the logs, then their stores close. A log that fails ends
// everything with exit code 75: what it acknowledged is on disk, and the next
// start verifies it.
func Serve(ctx context.Context, c *config.Config, o Options) (err error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return serve.Usagef("%s: log_level: %w", c.File, err)
	}
	o.logger = serve.FormatLogger(o.Stderr, level, c.LogFormat)
	if err := serve.RemoveReady(o.ReadyFile); err != nil {
		return err
	}
	conf, err := serve.TLSFiles(tlsFiles(c.TLS)).Config()
	if err != nil {
		return err
	}
	instance.Quiet(o.logger)
	instances, err := openAll(ctx, c, o)
	if err != nil {
		return err
	}
	defer func() {
		for _, in := range instances {
			err = errors.Join(err, in.Close())
		}
	}()
	listeners, err := listen(ctx, c.Listen, conf)
	if err != nil {
		return err
	}
	logs := make([]api.Log, len(instances))
	for i, in := range instances {
		logs[i] = api.Log{Family: in.Conf.Family, Reader: in.Log, Events: in.Ingest}
	}
	server, err := api.New(api.Config{Logs: logs, TLS: conf, Reflection: *c.Reflection, Logger: o.logger})
	if err != nil {
		return errors.Join(err, listeners.close())
	}
	json, err := gateway.New(server.Dial)
	if err != nil {
		return errors.Join(err, listeners.close())
	}
	defer func() { err = errors.Join(err, json.Close()) }()

	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	all, life := errgroup.WithContext(life)
	for _, in := range instances {
		all.Go(func() error { return storage(in.Run(life)) })
	}
	all.Go(func() error {
		defer endLife() // drained: now the logs may end
		front, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)() // a log failed
		fronts, front := errgroup.WithContext(front)
		fronts.Go(func() error { return server.Serve(front, listeners.grpc) })
		for _, in := range instances {
			fronts.Go(func() error {
				if err := control.Serve(front, in.Conf.Dir, func() backup.Source { return in.Source(c.File) }); err != nil {
					o.logger.Warn("commands cannot reach this server: a backup needs it stopped", "log", in.Conf.Family, "error", err.Error())
				}
				return nil
			})
		}
		fronts.Go(func() error { return serve.HTTP(front, listeners.http, conf, handler(instances, json), o.logger) })
		return fronts.Wait()
	})
	addresses := map[string]string{"grpc": listeners.grpc.Addr().String(), "http": listeners.http.Addr().String()}
	o.logger.Info("serving", "grpc", addresses["grpc"], "http", addresses["http"], "version", serve.Version())
	if err := serve.WriteReady(o.ReadyFile, addresses); err != nil {
		endLife()
		return errors.Join(err, all.Wait())
	}
	if o.Ready != nil {
		o.Ready(addresses)
	}
	return errors.Join(all.Wait(), serve.RemoveReady(o.ReadyFile))
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

// listeners are the two sockets of a server.
type listeners struct{ grpc, http net.Listener }

func (l listeners) close() error { return errors.Join(l.grpc.Close(), l.http.Close()) }

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

func listen(ctx context.Context, c config.Listen, conf *tls.Config) (listeners, error) {
	grpc, err := serve.Listen(ctx, c.GRPC, conf)
	if err != nil {
		return listeners{}, err
	}
	http, err := serve.Listen(ctx, c.HTTP, conf)
	if err != nil {
		return listeners{}, errors.Join(err, grpc.Close())
	}
	return listeners{grpc, http}, nil
}

// openAll opens every log, or none.
func openAll(ctx context.Context, c *config.Config, o Options) ([]*instance.Instance, error) {
	var all []*instance.Instance
	for i := range c.Logs {
		in, err := instance.Open(ctx, &c.Logs[i], o.WithoutWitness, o.logger.With("log", c.Logs[i].Family))
		if err != nil {
			err = opening(c, fmt.Errorf("opening %s: %w", c.Logs[i].Family, err))
			for _, in := range all {
				err = errors.Join(err, in.Close())
			}
			return nil, err
		}
		all = append(all, in)
	}
	return all, nil
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
