package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"idlog/cmd/internal/serve"
	"idlog/witness"
)

// reload reads the list of logs and the TLS files again at each hangup, and says
// what came of it. What is refused leaves all as it was.
func (s *site) reload(ctx context.Context, hangups <-chan os.Signal, o serveOptions, tls *serve.TLS) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
			s.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
		}
		outcome := "taken"
		if err := s.reread(o, tls); err != nil {
			outcome = "refused"
			s.logger.Error("keeping the old list of logs", "err", fmt.Errorf("reloading: %w", err))
		} else {
			s.logger.Info("reloaded", "logs", s.witness.Logs().Len())
		}
		s.metrics.reloads.WithLabelValues(outcome).Inc()
		s.notify("READY=1")
	}
}

// reread replaces what can be, all of it or nothing.
func (s *site) reread(o serveOptions, tls *serve.TLS) error {
	logs, err := readLogs(o.dir)
	if err != nil {
		return err
	}
	files, err := o.tls.Open()
	if err != nil {
		return err
	}
	old := s.witness.Logs()
	if err := s.witness.SetLogs(logs); err != nil {
		return err
	}
	if s.verifier != nil {
		s.verifier.SetLogs(logs)
	}
	s.compare(old, logs)
	return tls.Replace(files) // of the same flags, so with the same kind of TLS
}

// compare says how a list differs from the one before.
func (s *site) compare(old, logs *witness.Logs) {
	for _, o := range logs.Origins() {
		switch {
		case !old.Has(o):
			s.logger.Info("a log is cosigned from now on", "log", o)
		case !slices.Equal(old.VKeys(o), logs.VKeys(o)):
			s.logger.Warn("the keys of a log have changed", "log", o, "before", old.VKeys(o), "now", logs.VKeys(o))
		case old.URL(o) != logs.URL(o):
			s.logger.Info("the URL of a log has changed", "log", o, "url", logs.URL(o))
		}
	}
	for _, o := range old.Origins() {
		if !logs.Has(o) {
			s.logger.Warn("a log is no longer cosigned; what is known of it stays", "log", o)
		}
	}
}

// notify tells the service manager, if one asked.
func (s *site) notify(state string) {
	if err := serve.Notify(state); err != nil {
		s.logger.Warn("the service manager does not hear", "err", err)
	}
}
