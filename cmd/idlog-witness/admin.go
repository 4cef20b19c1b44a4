package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminIndex is what GET / of the admin listener says.
const adminIndex = `GET /livez           200 while the process runs (also /healthz)
GET /readyz          200 while it cosigns, 503 with the reasons otherwise
GET /readyz?verbose  every check
GET /metrics         for Prometheus
GET /debug/pprof/    profiles, for go tool pprof
`

// adminHandler is for the machine that runs the witness. draining has ended when
// the process goes.
func (s *site) adminHandler(draining context.Context) http.Handler {
	mux := http.NewServeMux()
	text := func(body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { say(rw, http.StatusOK, body) }
	}
	mux.HandleFunc("GET /{$}", text(adminIndex))
	mux.HandleFunc("GET /livez", text("ok\n"))
	mux.HandleFunc("GET /healthz", text("ok\n"))
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) { s.ready(rw, r, draining) })
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(s.metrics.registry, promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{
		Registry: s.metrics.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true,
	})))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ready tells what is not right, and with ?verbose what is too. A state that
// failed needs no check: it ends the process.
func (s *site) ready(rw http.ResponseWriter, r *http.Request, draining context.Context) {
	status, end := http.StatusOK, "ready\n"
	var out strings.Builder
	check := func(name string, ok bool, detail string) {
		mark := "[+]"
		if !ok {
			mark, status, end = "[-]", http.StatusServiceUnavailable, "not ready\n"
		}
		if !ok || r.URL.Query().Has("verbose") {
			fmt.Fprintf(&out, "%s %s: %s\n", mark, name, detail)
		}
	}
	known, err := s.pages.status()
	check("evidence", err == nil, "the folder of contradictions can be read")
	check("logs", s.witness.Logs().Len() > 0, fmt.Sprintf("%d in the list", s.witness.Logs().Len()))
	var newest time.Time
	if err == nil {
		for _, l := range known.Logs {
			if l.Cosigned != nil && l.Cosigned.After(newest) {
				newest = *l.Cosigned
			}
		}
	}
	// The times of cosignatures never decrease, so a clock that is behind them cosigns nothing.
	check("clock", !time.Now().Add(time.Second).Before(newest), "not before the newest cosignature")
	check("process", draining.Err() == nil, "not shutting down")
	say(rw, status, out.String()+end)
}

func say(rw http.ResponseWriter, status int, text string) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, text) // whoever asked has left if this fails
}
