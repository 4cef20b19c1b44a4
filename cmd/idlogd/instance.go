package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/serve/tiles"
	"idlog/log/vault"
)

// quiet sends what the log's engine prints of its own, to standard error and in
// a format of its own, to our logger instead.
func quiet(logger *slog.Logger) { klog.SetSlogLogger(logger.With("part", "tessera")) }

// instance is one log of this process with all its parts.
type instance struct {
	conf    *logConfig
	log     *ilog.Log
	journal *journal.Journal
	vault   *vault.Vault
	ingest  *ingest.Ingest
}

// createLog makes the stores of a new log and its first entries: the genesis at
// index 0, then the keys of its sources. They are signed when it is first
// served.
func createLog(ctx context.Context, l *logConfig) error {
	quiet(slog.New(slog.DiscardHandler))
	master, err := vault.CreateMaster(l.Keys.Master)
	if err != nil {
		return err
	}
	conf, err := l.logConfig(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := ilog.Create(ctx, conf); err != nil {
		return err
	}
	if err := vault.Create(l.Subjects, master); err != nil {
		return err
	}
	if err := journal.Create(l.Journal); err != nil {
		return err
	}
	in, err := openInstance(ctx, l, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return in.close()
}

// logConfig is what package log is told.
func (l *logConfig) logConfig(withoutWitness []string, logger *slog.Logger) (ilog.Config, error) {
	signers, vkeys, err := logSigners(l)
	if err != nil {
		return ilog.Config{}, err
	}
	trusted, err := readPolicy(l.Policy)
	if err != nil {
		return ilog.Config{}, err
	}
	return ilog.Config{
		Dir: l.Dir, Heads: l.Heads, Origin: l.Origin, Signers: signers, VKeys: vkeys, Policy: trusted,
		MinInterval: l.MinInterval, Republish: l.Republish, WithoutWitness: withoutWitness, Logger: logger,
	}, nil
}

// openInstance opens a log that exists, in the order in which its parts need
// each other. The log comes first: it judges the disk before anything writes.
func openInstance(ctx context.Context, l *logConfig, withoutWitness []string, logger *slog.Logger) (in *instance, err error) {
	in = &instance{conf: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	conf, err := l.logConfig(withoutWitness, logger)
	if err != nil {
		return in, err
	}
	ticket, master, err := l.secrets()
	if err != nil {
		return in, err
	}
	if in.log, err = ilog.Open(ctx, conf); err != nil {
		return in, err
	}
	if in.vault, err = vault.Open(l.Subjects, master, logger); err != nil {
		return in, err
	}
	if in.journal, err = journal.Open(l.Journal, logger); err != nil {
		return in, err
	}
	sources := make([]ingest.Source, len(l.Sources))
	for i, s := range l.Sources {
		sources[i] = ingest.Source{Name: s.Name, Principals: s.Principals}
	}
	in.ingest, err = ingest.New(ctx, ingest.Config{
		Family: l.Family, Sources: sources, Log: in.log, Journal: in.journal, Vault: in.vault,
		TicketKey: ticket, AckTimeout: l.AckTimeout, MaxBacklog: l.MaxBacklog,
	})
	return in, err
}

// secrets reads the keys beside those of the log, and looks whether the stores
// are there at all: what is missing is said before anything is opened.
func (l *logConfig) secrets() (ticket string, m vault.Master, err error) {
	if ticket, err = readSecret(l.Keys.Ticket); err != nil {
		return ticket, m, err
	}
	if _, err = readSecret(l.Keys.Master); err != nil {
		return ticket, m, err
	}
	if m, err = vault.ReadMaster(l.Keys.Master); err != nil {
		return ticket, m, err
	}
	for _, dir := range []string{l.Journal, l.Subjects} {
		if _, err := os.Stat(dir); err != nil {
			return ticket, m, &serve.ExitError{
				Code: serve.CodeInit, Err: fmt.Errorf("a store of the log is missing: %w", err),
				Remedy: "look whether the right disk is mounted, or put it back; a log cannot go on without it",
			}
		}
	}
	return ticket, m, nil
}

// openAll opens every log, or none.
func openAll(ctx context.Context, c *config, s serving) ([]*instance, error) {
	var all []*instance
	for i := range c.Logs {
		in, err := openInstance(ctx, &c.Logs[i], s.withoutWitness, s.logger.With("log", c.Logs[i].Family))
		if err != nil {
			err = opening(c, fmt.Errorf("opening %s: %w", c.Logs[i].Family, err))
			for _, in := range all {
				err = errors.Join(err, in.close())
			}
			return nil, err
		}
		all = append(all, in)
	}
	return all, nil
}

// run sequences and publishes until ctx ends or either fails.
func (in *instance) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.log.Run(ctx) })
	g.Go(func() error { return in.ingest.Run(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("running %s: %w", in.conf.Family, err)
	}
	return nil
}

// close gives up what openInstance opened, as far as it came.
func (in *instance) close() error {
	var err error
	if in.journal != nil {
		err = errors.Join(err, in.journal.Close())
	}
	if in.vault != nil {
		err = errors.Join(err, in.vault.Close())
	}
	if in.log != nil {
		err = errors.Join(err, in.log.Close())
	}
	return err
}

// tilesHandler serves each log below its origin, and the first one at the top
// as well.
func tilesHandler(all []*instance) http.Handler {
	top := tiles.New(all[0].log, "")
	below := make(map[string]http.Handler)
	for _, in := range all {
		below["/"+in.conf.Origin] = tiles.New(in.log, "/"+in.conf.Origin)
	}
	prefixes := slices.SortedFunc(maps.Keys(below), func(a, b string) int { return len(b) - len(a) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range prefixes {
			if strings.HasPrefix(r.URL.Path, p+"/") {
				below[p].ServeHTTP(w, r)
				return
			}
		}
		top.ServeHTTP(w, r)
	})
}
