package server

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"idlog/cmd/internal/serve"
)

// newRegistry makes the registry of a process: what it was built from, Go, the process, and the log's engine.
//
// Tessera tells OpenTelemetry's global provider what it does. Setting it is the business of a program, so it is set here, and
// taken back by the function that is returned.
func newRegistry() (reg *prometheus.Registry, end func(), err error) {
	reg = prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Name:        "idlog_build_info",
		Help:        "1, with what the program was built from.",
		ConstLabels: prometheus.Labels{"version": serve.Version(), "revision": revision(), "goversion": runtime.Version()},
	}).Set(1)
	exporter, err := otelprom.New(otelprom.WithRegisterer(reg), otelprom.WithoutTargetInfo(), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, nil, fmt.Errorf("making the exporter of metrics: %w", err)
	}
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)))
	return reg, func() { otel.SetMeterProvider(noop.NewMeterProvider()) }, nil
}

// revision is the commit that the program was built from, or "unknown".
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// counted tells reg of every request to the handler of a listener, by method and status; of no path, because callers make
// those up.
func counted(reg prometheus.Registerer, listener string, h http.Handler) http.Handler {
	labelled := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"listener": listener}, reg))
	requests := labelled.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "HTTP requests that were answered.",
	}, []string{"method", "code"})
	durations := labelled.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Help: "Time from a request's head to the end of its answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, nil)
	return promhttp.InstrumentHandlerCounter(requests, promhttp.InstrumentHandlerDuration(durations, h))
}
