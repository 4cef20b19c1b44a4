package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sys/unix"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/instance"
	"idlog/log/ingest"
	api "idlog/log/serve"
)

// reloader takes over at SIGHUP what of the configuration can be changed while the server runs. It belongs to one goroutine.
type reloader struct {
	*running
	policies [][2]string // the texts of each log's policy and of its verifiers' that are in force
	signals  chan os.Signal

	done, failed prometheus.Counter
	last         prometheus.Gauge
}

func (r *reloader) register(reg prometheus.Registerer) {
	f := promauto.With(reg)
	reloads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "idlog_config_reloads_total",
		Help: "Times that the configuration was read again: done, or failed, which left everything as it was.",
	}, []string{"outcome"})
	r.done, r.failed = reloads.WithLabelValues("done"), reloads.WithLabelValues("failed")
	r.last = f.NewGauge(prometheus.GaugeOpts{
		Name: "idlog_config_last_load_timestamp_seconds",
		Help: "When the configuration was read that is in force.",
	})
	r.last.SetToCurrentTime()
}

// listen catches the signals for run. It comes before anybody is told that the server is ready: who then sends a signal that
// is not caught ends the process.
func (r *reloader) listen() (stop func()) {
	r.signals = make(chan os.Signal, 1) // one is enough: a reload reads what is newest
	signal.Notify(r.signals, syscall.SIGHUP, syscall.SIGUSR1)
	return func() { signal.Stop(r.signals) }
}

// run reloads at each SIGHUP and turns debug lines on and off at each SIGUSR1, until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	for {
		select {
		case s := <-r.signals:
			if s == syscall.SIGUSR1 {
				r.toggle()
				continue
			}
			r.hangup()
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *reloader) toggle() {
	if r.level.Level() == slog.LevelDebug {
		r.level.Set(r.usual.Level())
	} else {
		r.level.Set(slog.LevelDebug)
	}
}

// hangup reloads, and tells whoever sent the signal, by log line and metric, what came of it.
func (r *reloader) hangup() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		r.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
	}
	defer r.notify("READY=1")
	reloaded, restart, err := r.reload()
	if err != nil {
		r.failed.Inc()
		r.logger.Error("the configuration was not reloaded: everything stays as it was", "error", err.Error())
		return
	}
	r.done.Inc()
	r.last.Set(float64(time.Now().UnixMilli()) / 1e3)
	if len(restart) > 0 {
		r.logger.Warn("the configuration was reloaded, and some of it waits for a restart", "reloaded", reloaded, "needs_restart", restart)
		return
	}
	r.logger.Info("the configuration was reloaded", "reloaded", reloaded)
}

// reload reads everything first, and only when nothing of it is wrong changes anything.
func (r *reloader) reload() (reloaded, restart []string, err error) {
	next, err := r.options.Reread()
	if err != nil {
		return nil, nil, err
	}
	reloaded, restart = config.Changed(r.conf, next)
	certificates, err := tlsFiles(next.TLS).Open()
	if err != nil {
		return nil, nil, err
	}
	policies, err := readPolicies(next)
	if err != nil {
		return nil, nil, err
	}
	for i := range min(len(policies), len(r.policies)) {
		for j, setting := range []string{"policy", "verifiers"} {
			if path := fmt.Sprintf("logs.%d.%s", i, setting); policies[i][j] != r.policies[i][j] && !slices.Contains(restart, path) {
				restart = append(restart, path)
			}
		}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(next.LogLevel)); err != nil {
		return nil, nil, err
	}
	if err := r.tls.Replace(certificates); err != nil {
		return nil, nil, err
	}
	// Nothing below fails.
	if r.tls.Config() != nil && !slices.Contains(reloaded, "tls.cert") {
		reloaded = append(reloaded, "tls") // the files may be new under their old names
	}
	r.conf.TLS, r.conf.Limits, r.conf.LogLevel = next.TLS, next.Limits, next.LogLevel
	r.usual.Set(level)
	r.level.Set(level)
	r.api.SetLimits(limits(next.Limits))
	for i := range min(len(r.conf.Logs), len(next.Logs)) {
		r.rebind(&r.conf.Logs[i], &next.Logs[i], r.instances[i])
	}
	return reloaded, restart, nil
}

// rebind lets in the principals that the sources of a log have now; sources that are new wait for a restart.
func (r *reloader) rebind(old, next *config.Log, in *instance.Instance) {
	if old.Family != next.Family {
		return
	}
	var sources []ingest.Source
	for i := range old.Sources {
		for _, s := range next.Sources {
			if s.Name == old.Sources[i].Name {
				old.Sources[i].Principals, old.Sources[i].Readers = s.Principals, s.Readers
				sources = append(sources, ingest.Source{Name: s.Name, Principals: s.Principals, Readers: s.Readers})
			}
		}
	}
	in.Ingest.Rebind(sources)
}

// readPolicies returns the texts of each log's policy and of its verifiers' in one
// canonical form.
func readPolicies(c *config.Config) ([][2]string, error) {
	texts := make([][2]string, len(c.Logs))
	for i := range c.Logs {
		p, err := config.ReadPolicy(c.Logs[i].Policy)
		if err != nil {
			return nil, err
		}
		texts[i][0] = string(p.Format())
		verifiers, err := c.Logs[i].ReadVerifiers()
		if err != nil {
			return nil, err
		}
		if verifiers != nil {
			texts[i][1] = string(verifiers.Format())
		}
	}
	return texts, nil
}

func limits(l config.Limits) api.Limits {
	return api.Limits{
		Calls:           api.Bound{Total: l.Calls, Each: l.CallsEach},
		Streams:         api.Bound{Total: l.Streams, Each: l.StreamsEach},
		Bytes:           api.Bound{Total: int64(l.Bytes), Each: int64(l.BytesEach)},
		EventsPerSecond: l.EventsPerSecond,
	}
}
