package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	api "idlog/log/serve"
)

func serveCommand(env serve.Env) *cobra.Command {
	var file, profile string
	var listen listenConfig
	var s serving
	cmd := &cobra.Command{
		Use:     "serve --config FILE",
		Short:   "Serve the logs of a configuration",
		Example: "  idlogd serve --config acme/idlogd.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(file)
			if err != nil {
				return err
			}
			if listen.GRPC != "" {
				c.Listen.GRPC = listen.GRPC
			}
			if listen.HTTP != "" {
				c.Listen.HTTP = listen.HTTP
			}
			s.logger = serve.Logger(env.Stderr, slog.LevelInfo)
			return profiled(profile, func() error { return serveLogs(cmd.Context(), c, s) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", configName, "configuration file, as idlogd init writes it")
	f.StringVar(&listen.GRPC, "listen-grpc", "", "address of the API, in place of the file's")
	f.StringVar(&listen.HTTP, "listen-http", "", "address of the tiles, in place of the file's")
	f.StringVar(&s.readyFile, "ready-file", "", "file to write the addresses to, once they accept")
	f.StringVar(&profile, "cpu-profile", "", "file to write a CPU profile of the whole run to, in pprof's format; it must not exist")
	f.StringSliceVar(&s.withoutWitness, "without-witness", nil, "sign after this start without the word of this witness on what it has seen")
	return cmd
}

// serving is how serveLogs serves.
type serving struct {
	readyFile      string
	ready          func(addresses map[string]string) // called once the listeners accept; may be nil
	withoutWitness []string
	logger         *slog.Logger
}

// serveLogs serves every log of c until ctx ends, and returns nil when all that
// was in flight is answered and on disk.
//
// The order of the end is what matters: first the listeners drain while the
// logs still run, then the logs, then their stores close. A log that fails ends
// everything with exit code 75: what it acknowledged is on disk, and the next
// start verifies it.
func serveLogs(ctx context.Context, c *config, s serving) (err error) {
	if err := serve.RemoveReady(s.readyFile); err != nil {
		return err
	}
	conf, err := serve.TLSFiles(c.TLS.files()).Config()
	if err != nil {
		return err
	}
	quiet(s.logger)
	instances, err := openAll(ctx, c, s)
	if err != nil {
		return err
	}
	defer func() {
		for _, in := range instances {
			err = errors.Join(err, in.close())
		}
	}()
	listeners, err := listen(ctx, c.Listen, conf)
	if err != nil {
		return err
	}
	logs := make([]api.Log, len(instances))
	for i, in := range instances {
		logs[i] = api.Log{Family: in.conf.Family, Reader: in.log, Events: in.ingest}
	}
	server, err := api.New(api.Config{Logs: logs, TLS: conf, Reflection: *c.Reflection, Logger: s.logger})
	if err != nil {
		return errors.Join(err, listeners.close())
	}

	life, endLife := context.WithCancel(context.WithoutCancel(ctx))
	defer endLife()
	all, life := errgroup.WithContext(life)
	for _, in := range instances {
		all.Go(func() error { return storage(in.run(life)) })
	}
	all.Go(func() error {
		defer endLife() // drained: now the logs may end
		front, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)() // a log failed
		fronts, front := errgroup.WithContext(front)
		fronts.Go(func() error { return server.Serve(front, listeners.grpc) })
		fronts.Go(func() error { return serve.HTTP(front, listeners.http, conf, tilesHandler(instances), s.logger) })
		return fronts.Wait()
	})
	addresses := map[string]string{"grpc": listeners.grpc.Addr().String(), "http": listeners.http.Addr().String()}
	s.logger.Info("serving", "grpc", addresses["grpc"], "http", addresses["http"], "version", version())
	if err := serve.WriteReady(s.readyFile, addresses); err != nil {
		endLife()
		return errors.Join(err, all.Wait())
	}
	if s.ready != nil {
		s.ready(addresses)
	}
	return errors.Join(all.Wait(), serve.RemoveReady(s.readyFile))
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

func (t tlsConfig) files() serve.TLSFiles {
	return serve.TLSFiles{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA}
}

// opening gives the errors of opening a log their exit code.
func opening(c *config, err error) error {
	var refused *ilog.RefusedError
	switch {
	case errors.Is(err, ilog.ErrNotInitialised):
		return &serve.ExitError{Code: serve.CodeInit, Err: err,
			Remedy: fmt.Sprintf("look whether the right disk is mounted; a new log is made by idlogd init --dir DIR --family FAMILY, and %s is not one", c.file)}
	case errors.As(err, &refused):
		return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%s: %s", refused.File, refused.Problem), Remedy: refused.Remedy}
	}
	return err
}

func listen(ctx context.Context, c listenConfig, conf *tls.Config) (listeners, error) {
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
