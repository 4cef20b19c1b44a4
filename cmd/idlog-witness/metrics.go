package main

import (
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"idlog/cmd/internal/serve"
)

// metrics are those of /metrics. Labels are closed lists, or the origins of the
// list of logs: what a stranger sends never becomes one.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	reloads    *prometheus.CounterVec
	deliveries *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idlog_witness_requests_total", Help: "Requests answered, by endpoint and HTTP status.",
		}, []string{"endpoint", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "idlog_witness_request_duration_seconds", Help: "Time to answer a request, with its sync to disk.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"endpoint"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idlog_witness_reloads_total", Help: "Times the list of logs was read again, taken or refused.",
		}, []string{"outcome"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "idlog_witness_announcements_total", Help: "Attempts to announce a contradiction, delivered or failed.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"taken", "refused"} {
		m.reloads.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"delivered", "failed"} {
		m.deliveries.WithLabelValues(outcome)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "idlog_witness_build_info", Help: "Always 1; the labels say what runs.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(serve.Version(), runtime.Version()).Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.reloads, m.deliveries, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) answered(endpoint string, code int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
}

var (
	descSize = prometheus.NewDesc("idlog_witness_tree_size_entries",
		"Size of the latest checkpoint cosigned of a log.", []string{"log"}, nil)
	descTime = prometheus.NewDesc("idlog_witness_cosigned_timestamp_seconds",
		"Time of the newest cosignature of a log.", []string{"log"}, nil)
	descKept = prometheus.NewDesc("idlog_witness_contradictions",
		"Contradictions kept of a log; one that is proven convinces whoever has its key.", []string{"log", "proven"}, nil)
	descListed = prometheus.NewDesc("idlog_witness_log_listed",
		"1 for a log that is cosigned, 0 for one that was taken out of the list.", []string{"log"}, nil)
	descVerified = prometheus.NewDesc("idlog_witness_index_verified_entries",
		"Entries of a log up to which every root of the index was computed again.", []string{"log"}, nil)
	descKnown = prometheus.NewDesc("idlog_witness_index_known_entries",
		"Size of the newest checkpoint known of a log whose index is verified.", []string{"log"}, nil)
	descRefused = prometheus.NewDesc("idlog_witness_index_refused",
		"1 for a log with a false root of the index, which is cosigned no more.", []string{"log"}, nil)
)

// statusCollector shows what the status page shows.
type statusCollector struct {
	pages  *pages
	logger *slog.Logger
}

func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSize, descTime, descKept, descListed, descVerified, descKnown, descRefused} {
		out <- d
	}
}

func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	s, err := c.pages.status()
	if err != nil {
		c.logger.Error("not measuring", "err", err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, l := range s.Logs {
		listed, proven := 0.0, 0
		if l.Listed {
			listed = 1
		}
		gauge(descListed, listed, l.Origin)
		if l.Size != nil {
			gauge(descSize, float64(*l.Size), l.Origin)
			gauge(descTime, float64(l.Cosigned.Unix()), l.Origin)
		}
		if i := l.Index; i != nil {
			refused := 0.0
			if i.Refused != "" {
				refused = 1
			}
			gauge(descVerified, float64(i.Verified), l.Origin)
			gauge(descKnown, float64(i.Known), l.Origin)
			gauge(descRefused, refused, l.Origin)
		}
		for _, k := range l.Contradictions {
			if k.Proven {
				proven++
			}
		}
		gauge(descKept, float64(proven), l.Origin, "true")
		gauge(descKept, float64(len(l.Contradictions)-proven), l.Origin, "false")
	}
}
