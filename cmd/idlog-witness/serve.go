package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"idlog/cmd/internal/serve"
	"idlog/proto/history/pebblekv"
	"idlog/witness"
	"idlog/witness/verify"
)

// serveOptions are the flags of serve, which document them.
type serveOptions struct {
	dir, listen, admin, ready string
	tls                       serve.TLSFiles
	logRate, clientRate       float64
	forwarded                 bool
	webhook                   string
	verifyIndex               bool
	log                       clientTLS
}

// site is a witness that is open, with all that is shown of it.
type site struct {
	store     *witness.Store
	witness   *witness.Witness
	pages     *pages
	metrics   *metrics
	announcer *announcer       // nil without a webhook
	verifier  *verify.Verifier // nil without --verify-index
	logger    *slog.Logger
}

// run serves until ctx ends or the state fails.
func (o serveOptions) run(ctx context.Context, stderr io.Writer) (err error) {
	s, err := o.open(serve.Logger(stderr, slog.LevelInfo))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.Close()) }()

	if err := serve.RemoveReady(o.ready); err != nil {
		return err
	}
	tls, err := o.tls.Open()
	if err != nil {
		return err
	}
	conf := tls.Config()
	public, err := serve.Listen(ctx, o.listen, conf)
	if err != nil {
		return err
	}
	addresses := map[string]string{"http": public.Addr().String()}
	var admin net.Listener
	if o.admin != "" {
		if admin, err = serve.Listen(ctx, o.admin, nil); err != nil {
			return errors.Join(fmt.Errorf("--admin: %w", err), public.Close())
		}
		addresses["admin"] = admin.Addr().String()
	}
	hangups := make(chan os.Signal, 1) // one is enough: the reload reads what is newest
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve.HTTP(ctx, public, conf, s.handler(o.clientRate, o.forwarded), s.logger) })
	if admin != nil {
		g.Go(func() error { return serve.HTTP(ctx, admin, nil, s.adminHandler(ctx), s.logger) })
	}
	g.Go(func() error {
		if err := s.store.Wait(ctx); err != nil {
			return &serve.ExitError{Code: serve.CodeStorage, Err: err, Remedy: "check the disk, then start again: the next start reads what is there"}
		}
		return nil
	})
	g.Go(func() error { s.reload(ctx, hangups, o, tls); return nil })
	if s.announcer != nil {
		g.Go(func() error { s.announcer.run(ctx); return nil })
	}
	if s.verifier != nil {
		g.Go(func() error { s.verifier.Run(ctx); return nil })
	}
	g.Go(func() error {
		// The listeners accept since Listen, so whoever reads the file gets through.
		if err := serve.WriteReady(o.ready, addresses); err != nil {
			return err
		}
		s.logger.Info("serving", "http", addresses["http"], "admin", addresses["admin"], "version", serve.Version())
		s.notify("READY=1")
		<-ctx.Done()
		s.notify("STOPPING=1")
		return serve.RemoveReady(o.ready)
	})
	return g.Wait()
}

// handler is all that the public listener answers.
func (s *site) handler(clientRate float64, forwarded bool) http.Handler {
	mux := http.NewServeMux()
	s.pages.register(mux)
	mux.Handle("/", s.witness.Handler())
	if s.verifier != nil {
		mux.Handle("GET /{origin}/index-root/{size}", s.verifier.Handler())
	}
	return newEdge(mux, clientRate, forwarded, func(endpoint string, code int, took time.Duration) {
		if endpoint == endpointAdd {
			s.pages.answers.count(code)
		}
		s.metrics.answered(endpoint, code, took)
	})
}

// open reads the directory and creates nothing in it.
func (o serveOptions) open(logger *slog.Logger) (s *site, err error) {
	if o.logRate < 0 || o.clientRate < 0 {
		return nil, serve.Usagef("--log-rate and --client-rate are requests per second, or 0 for no limit")
	}
	toLogs, err := o.log.open()
	if err != nil {
		return nil, err
	}
	if !o.verifyIndex && toLogs != nil {
		return nil, serve.Usagef("--log-ca, --log-cert and --log-key are for --verify-index: without it no log is read")
	}
	s = &site{metrics: newMetrics(), logger: logger}
	if o.webhook != "" {
		s.announcer, err = newAnnouncer(o.webhook, logger, func(outcome string) { s.metrics.deliveries.WithLabelValues(outcome).Inc() })
		if err != nil {
			return nil, err
		}
	}
	skeys, err := readKeys(o.dir)
	if err != nil {
		return nil, err
	}
	logs, err := readLogs(o.dir)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	store, err := witness.OpenStore(filepath.Join(o.dir, stateName))
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeStorage, Err: err, Remedy: "see \"A refused start\" in the README of idlog-witness"}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	s.store = store
	if s.announcer != nil {
		s.announcer.store = store
	}
	found := func() {
		if s.announcer != nil {
			s.announcer.look()
		}
	}
	conf := witness.Config{
		PrivateKeys: skeys, Store: store, Logs: logs, Logger: logger,
		LogRate: o.logRate, LogBurst: int(2 * o.logRate), Found: found,
	}
	if o.verifyIndex {
		s.verifier = verify.New(verify.Config{
			Dir: filepath.Join(o.dir, indexName), Open: pebblekv.Open, Store: store, Logs: logs, TLS: toLogs, Logger: logger, Found: found,
		})
		conf.Verify = s.verifier.Verify
	}
	s.witness, err = witness.New(conf)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	s.pages = &pages{
		witness: s.witness, verifier: s.verifier, store: store, logger: logger, started: time.Now().UTC(),
		answers: &answers{byCode: make(map[string]int64)},
	}
	s.metrics.registry.MustRegister(&statusCollector{pages: s.pages, logger: logger})
	return s, nil
}
