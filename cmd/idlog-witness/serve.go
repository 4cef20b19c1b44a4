package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"

	"idlog/cmd/internal/serve"
	"idlog/witness"
)

// serveOptions are the flags of serve, which document them.
type serveOptions struct {
	dir, listen, ready string
	tls                serve.TLSFiles
}

// run serves until ctx ends or the state fails.
func (o serveOptions) run(ctx context.Context, stderr io.Writer) (err error) {
	logger := serve.Logger(stderr, slog.LevelInfo)
	store, w, err := o.open(logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	if err := serve.RemoveReady(o.ready); err != nil {
		return err
	}
	conf, err := o.tls.Config()
	if err != nil {
		return err
	}
	l, err := serve.Listen(ctx, o.listen, conf)
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1) // one is enough: the reload reads what is newest
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok\n") })
	mux.Handle("/", w.Handler())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve.HTTP(ctx, l, conf, mux, logger) })
	g.Go(func() error {
		if err := store.Wait(ctx); err != nil {
			return &serve.ExitError{Code: serve.CodeStorage, Err: err, Remedy: "check the disk, then start again: the next start reads what is there"}
		}
		return nil
	})
	g.Go(func() error { o.reload(ctx, hangups, w, logger); return nil })
	g.Go(func() error {
		// The listener accepts since Listen, so whoever reads the file gets through.
		if err := serve.WriteReady(o.ready, map[string]string{"http": l.Addr().String()}); err != nil {
			return err
		}
		logger.Info("serving", "http", l.Addr().String())
		<-ctx.Done()
		return serve.RemoveReady(o.ready)
	})
	return g.Wait()
}

// open reads the directory and creates nothing in it.
func (o serveOptions) open(logger *slog.Logger) (*witness.Store, *witness.Witness, error) {
	skeys, err := readKeys(o.dir)
	if err != nil {
		return nil, nil, err
	}
	logs, err := readLogs(o.dir)
	if err != nil {
		return nil, nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	store, err := witness.OpenStore(filepath.Join(o.dir, stateName))
	if err != nil {
		return nil, nil, &serve.ExitError{Code: serve.CodeStorage, Err: err, Remedy: "see \"A refused start\" in the README of idlog-witness"}
	}
	w, err := witness.New(witness.Config{PrivateKeys: skeys, Store: store, Logs: logs, Logger: logger})
	if err != nil {
		return nil, nil, errors.Join(&serve.ExitError{Code: serve.CodeUsage, Err: err}, store.Close())
	}
	return store, w, nil
}

// reload replaces the list of logs at each hangup. A list that is refused
// leaves the old one in force.
func (o serveOptions) reload(ctx context.Context, hangups <-chan os.Signal, w *witness.Witness, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		logs, err := readLogs(o.dir)
		if err == nil {
			err = w.SetLogs(logs)
		}
		if err != nil {
			logger.Error("keeping the old list of logs", "err", fmt.Errorf("reloading: %w", err))
			continue
		}
		logger.Info("reloaded", "logs", logs.Len())
	}
}
