// Package instance is one log with all its parts, from the keys that `idlogd
// init` makes to the goroutines that `idlogd serve` runs.
//
// It trusts the configuration and the key files, and what it opens judges the
// disk. What a crash leaves is said where each part writes: Init's last file is
// the configuration, without which there is no log. An Instance is opened, run
// and closed by one goroutine; its parts say what others may do with them.
package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	"idlog/log/index"
	"idlog/log/ingest"
	"idlog/log/journal"
	"idlog/log/query"
	"idlog/log/vault"
	"idlog/proto/policy"
)

// Quiet sends what the log's engine prints of its own, to standard error and in
// a format of its own, to our logger instead. What the libraries of gRPC and its
// gateway would print is dropped: it can quote what callers sent.
func Quiet(logger *slog.Logger) {
	klog.SetSlogLogger(logger.With("part", "tessera"))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// Instance is one log of this process with all its parts.
type Instance struct {
	Conf    *config.Log
	Log     *ilog.Log
	Journal *journal.Journal
	Vault   *vault.Vault
	Ingest  *ingest.Ingest
	Index   *index.Index // nil if the log keeps none
	Query   *query.Query // likewise

	disks *disks
}

// Options is how a log is opened.
type Options struct {
	// WithoutWitness names witnesses without whose word on what they have seen the log may sign.
	WithoutWitness []string
	// Logger gets what the log has to tell.
	Logger *slog.Logger
	// Metrics is told what the log does, and must not be gathered any more when it closes; nil tells nobody.
	Metrics prometheus.Registerer
}

// create makes the stores of a new log and its first entries: the genesis at
// index 0, then the keys of its sources. They are signed when it is first
// served.
func create(ctx context.Context, l *config.Log) error {
	quiet := Options{Logger: slog.New(slog.DiscardHandler)}
	Quiet(quiet.Logger)
	master, err := vault.CreateMaster(l.Keys.Master)
	if err != nil {
		return err
	}
	conf, err := logConfig(l, quiet)
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
	unindexed := *l
	unindexed.Index.Enabled = new(false) // there is nothing yet
	in, err := Open(ctx, &unindexed, quiet)
	if err != nil {
		return err
	}
	return in.Close()
}

// logConfig is what package log is told.
func logConfig(l *config.Log, o Options) (ilog.Config, error) {
	signers, vkeys, err := l.Signers()
	if err != nil {
		return ilog.Config{}, err
	}
	trusted, err := config.ReadPolicy(l.Policy)
	if err != nil {
		return ilog.Config{}, err
	}
	verifiers, err := l.ReadVerifiers()
	if err != nil {
		return ilog.Config{}, err
	}
	return ilog.Config{
		Dir: l.Dir, Heads: l.Heads, Origin: l.Origin, Signers: signers, VKeys: vkeys, Policy: trusted, Verifiers: verifiers,
		MinInterval: l.MinInterval, Republish: l.Republish, WithoutWitness: o.WithoutWitness, Logger: o.Logger,
		Metrics: ilog.NewMetrics(o.Metrics, l.Family),
	}, nil
}

// Open opens a log that exists, in the order in which its parts need each other.
// The log comes first: it judges the disk before anything writes. Errors that have
// an exit code of their own are a *serve.ExitError.
func Open(ctx context.Context, l *config.Log, o Options) (in *Instance, err error) {
	in = &Instance{Conf: l, disks: newDisks(l, o.Logger)}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	ticket, err := in.openStores(ctx, o)
	if err != nil {
		return in, err
	}
	sources := make([]ingest.Source, len(l.Sources))
	for i, s := range l.Sources {
		sources[i] = ingest.Source{Name: s.Name, Principals: s.Principals, Readers: s.Readers}
	}
	in.Ingest, err = ingest.New(ctx, ingest.Config{
		Family: l.Family, Sources: sources, Log: in.Log, Journal: in.Journal, Vault: in.Vault,
		TicketKey: ticket, AckTimeout: l.AckTimeout, TicketDeadline: l.TicketDeadline, MaxBacklog: l.MaxBacklog,
		Room: in.disks.room, Metrics: ingest.NewMetrics(o.Metrics, l.Family),
	})
	if err == nil && *l.Index.Enabled {
		conf := index.Config{
			Dir: l.IndexDir(), Origin: l.Origin, Log: in.Log, Writer: in.Ingest, Interval: l.Index.Interval, Logger: o.Logger,
			Metrics: index.NewMetrics(o.Metrics, l.Family),
		}
		var verifiers *policy.Policy
		if verifiers, err = l.ReadVerifiers(); err != nil {
			return in, err
		}
		if verifiers != nil {
			conf.Answering = in.Log.Verified
			for _, w := range verifiers.Witnesses {
				conf.Verifiers = append(conf.Verifiers, index.Verifier{Name: w.Name, URL: w.URL})
			}
		}
		in.Index, err = index.Open(conf)
		if err == nil {
			in.Query, err = in.answering(verifiers != nil)
		}
	}
	if err == nil && o.Metrics != nil {
		in.register(o.Metrics)
	}
	return in, err
}

// answering makes what answers questions, under checkpoints that index verifiers have cosigned where there are some.
func (in *Instance) answering(verified bool) (*query.Query, error) {
	trusted, err := config.ReadPolicy(in.Conf.Policy)
	if err != nil {
		return nil, err
	}
	c := query.Config{Family: in.Conf.Family, Index: in.Index, Log: in.Log, Events: in.Ingest, Vault: in.Vault, Policy: trusted, Verified: verified}
	for _, s := range in.Conf.Sources {
		c.Sources = append(c.Sources, s.Name)
	}
	return query.New(c), nil
}

// secrets reads the keys beside those of the log, and looks whether the stores
// are there at all: what is missing is said before anything is opened.
func secrets(l *config.Log) (ticket string, m vault.Master, err error) {
	if ticket, err = config.ReadSecret(l.Keys.Ticket); err != nil {
		return ticket, m, err
	}
	if _, err = config.ReadSecret(l.Keys.Master); err != nil {
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

// Run sequences, publishes and indexes until ctx ends or one of the first two fails.
func (in *Instance) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.disks.run(ctx) })
	g.Go(func() error { return in.Log.Run(ctx) })
	g.Go(func() error { return in.Ingest.Run(ctx) })
	if in.Index != nil {
		g.Go(func() error { in.Index.Run(ctx); return nil })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("running %s: %w", in.Conf.Family, err)
	}
	return nil
}

// Close gives up what Open opened, as far as it came.
func (in *Instance) Close() error {
	var err error
	if in.Index != nil {
		err = errors.Join(err, in.Index.Close())
	}
	if in.Journal != nil {
		err = errors.Join(err, in.Journal.Close())
	}
	if in.Vault != nil {
		err = errors.Join(err, in.Vault.Close())
	}
	if in.Log != nil {
		err = errors.Join(err, in.Log.Close())
	}
	return err
}
