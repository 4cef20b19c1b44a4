package main

import (
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler is for the machine that runs the witness: it names no secret and
// is served on loopback.
func adminHandler(m *metrics, p *pages) http.Handler {
	ok := func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "ok\n") }
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", ok)
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		// A state that failed ends the process, so what answers has one.
		if _, err := p.status(); err != nil {
			http.Error(rw, "the evidence folder cannot be read", http.StatusServiceUnavailable)
			return
		}
		ok(rw, r)
	})
	return mux
}
