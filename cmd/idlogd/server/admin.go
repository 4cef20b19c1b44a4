package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"idlog/cmd/idlogd/instance"
)

// admin answers the operator: what it shows is for nobody else.
type admin struct {
	instances []*instance.Instance
	registry  *prometheus.Registry
	draining  context.Context // ended: the server goes
	level     *slog.LevelVar
	usual     *slog.LevelVar // that is configured
}

// index is what GET / says.
const index = `GET /livez              200 while the process runs (also /healthz)
GET /readyz             200 while every log can do all that it is for, 503 with the reasons otherwise
GET /readyz?verbose     every check of every log; ?log=FAMILY asks of one
GET /metrics            for Prometheus
GET /debug/pprof/       profiles, for go tool pprof
POST /debug/logs/on     log lines of level debug, until /debug/logs/off
`

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, index) })
	live := func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /healthz", live)
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(a.registry, promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		Registry: a.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second, EnableOpenMetrics: true,
	})))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("POST /debug/logs/on", func(w http.ResponseWriter, _ *http.Request) { a.debug(w, slog.LevelDebug) })
	mux.HandleFunc("POST /debug/logs/off", func(w http.ResponseWriter, _ *http.Request) { a.debug(w, a.usual.Level()) })
	return mux
}

func (a *admin) debug(w http.ResponseWriter, level slog.Level) {
	a.level.Set(level)
	answer(w, http.StatusOK, fmt.Sprintf("log lines from level %v on\n", level))
}

// ready says whether every log can do all that it is for. Without verbose it tells what is not right, and with it all.
func (a *admin) ready(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	verbose, family := query.Has("verbose"), query.Get("log")
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	status, found, now := http.StatusOK, false, time.Now()
	var text strings.Builder
	for _, in := range a.instances {
		if family != "" && family != in.Conf.Family {
			continue
		}
		found = true
		for _, c := range in.Checks(ctx, now) {
			mark := "[+]"
			switch {
			case !c.OK && (c.Warning || in.Conf.Staging):
				mark = "[~]" // told, and not counted
			case !c.OK:
				mark, status = "[-]", http.StatusServiceUnavailable
			}
			if verbose || mark == "[-]" {
				fmt.Fprintf(&text, "%s %s %s: %s\n", mark, in.Conf.Family, c.Name, c.Detail)
			}
		}
	}
	if !found {
		answer(w, http.StatusNotFound, fmt.Sprintf("no log of family %q is served\n", family))
		return
	}
	if a.draining.Err() != nil {
		status = http.StatusServiceUnavailable
		text.WriteString("[-] the server is shutting down\n")
	}
	if status == http.StatusOK {
		text.WriteString("ready\n")
	} else {
		text.WriteString("not ready\n")
	}
	answer(w, status, text.String())
}

// onThisMachine refuses what a foreign web page makes a browser on this machine send: its Host is a name that was rebound to
// this machine.
func onThisMachine(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			answer(w, http.StatusForbidden, "ask 127.0.0.1 or localhost: another name may be somebody else's\n")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // whoever asked has left if this fails
}
