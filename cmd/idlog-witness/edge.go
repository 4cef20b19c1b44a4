package main

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxInFlight    = 512     // requests at once, of everybody
	maxOfClient    = 64      // requests at once of one address
	maxClients     = 1 << 14 // addresses told apart; beyond, newcomers share one limit
	sweepEvery     = 10 * time.Second
	clientBurst    = 2 // seconds of its rate that a client may use at once
	endpointAdd    = "add-checkpoint"
	endpointLatest = "checkpoint"
	endpointRoot   = "index-root"
	endpointPages  = "pages"
)

// edge stands before the handlers: it bounds what one client and all of them
// may ask, and counts what is answered.
type edge struct {
	next http.Handler
	// forwarded says that a proxy on this machine names the client.
	forwarded bool
	rate      rate.Limit // per client and second; rate.Inf is no limit
	slots     chan struct{}
	observe   func(endpoint string, code int, took time.Duration)

	mu      sync.Mutex // guards clients, those in it, and swept
	clients map[netip.Prefix]*client
	rest    *client // of all that find no place in clients
	swept   time.Time
}

// client is what one address uses.
type client struct {
	limiter  *rate.Limiter
	inFlight int // guarded by edge.mu
}

func newEdge(next http.Handler, perSecond float64, forwarded bool, observe func(endpoint string, code int, took time.Duration)) *edge {
	e := &edge{
		next: next, forwarded: forwarded, rate: rate.Limit(perSecond), observe: observe,
		slots: make(chan struct{}, maxInFlight), clients: make(map[netip.Prefix]*client),
	}
	if perSecond == 0 {
		e.rate = rate.Inf
	}
	e.rest = e.newClient()
	return e
}

func (e *edge) newClient() *client {
	return &client{limiter: rate.NewLimiter(e.rate, max(1, int(clientBurst*e.rate)))}
}

func (e *edge) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	w := &counted{ResponseWriter: rw, code: http.StatusOK}
	e.serve(w, r)
	e.observe(endpointOf(r), w.code, time.Since(begin))
}

func (e *edge) serve(rw http.ResponseWriter, r *http.Request) {
	leave, ok := e.enter(clientOf(r, e.forwarded))
	if !ok {
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, "too many requests from your address", http.StatusTooManyRequests)
		return
	}
	defer leave()
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	default:
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, "too many requests at once", http.StatusServiceUnavailable)
		return
	}
	e.next.ServeHTTP(rw, r)
}

// enter takes one request of an address. The zero Prefix is not limited.
func (e *edge) enter(address netip.Prefix) (leave func(), ok bool) {
	if !address.IsValid() || e.rate == rate.Inf {
		return func() {}, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clients[address]
	if c == nil {
		c = e.place(address)
	}
	if c.inFlight >= maxOfClient || !c.limiter.Allow() {
		return nil, false
	}
	c.inFlight++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		c.inFlight--
	}, true
}

// place makes room for an address by forgetting those that have used nothing
// lately, which changes no answer to them. Without room it shares with others.
func (e *edge) place(address netip.Prefix) *client {
	if now := time.Now(); len(e.clients) >= maxClients && now.Sub(e.swept) > sweepEvery {
		e.swept = now
		for a, c := range e.clients {
			if c.inFlight == 0 && c.limiter.TokensAt(now) >= float64(c.limiter.Burst()) {
				delete(e.clients, a)
			}
		}
	}
	if len(e.clients) >= maxClients {
		return e.rest
	}
	c := e.newClient()
	e.clients[address] = c
	return c
}

// clientOf is whom a request is counted against: an IPv4 address, or the /64 of
// an IPv6 one, which is one customer's. Requests of this machine are nobody's,
// unless a proxy here names its client.
func clientOf(r *http.Request, forwarded bool) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		if !forwarded {
			return netip.Prefix{}
		}
		// The last entry is the proxy's own word; those before are the client's.
		all := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
		last := strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:])
		if a, err = netip.ParseAddr(last); err != nil {
			return netip.Prefix{}
		}
		a = a.Unmap().WithZone("")
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func endpointOf(r *http.Request) string {
	switch {
	case r.URL.Path == "/add-checkpoint":
		return endpointAdd
	case strings.HasSuffix(r.URL.Path, "/checkpoint"):
		return endpointLatest
	case strings.Contains(r.URL.Path, "/index-root/"):
		return endpointRoot
	}
	return endpointPages
}

// counted remembers the status of an answer.
type counted struct {
	http.ResponseWriter
	code int
}

func (c *counted) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find the connection.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// answers counts the answers to add-checkpoint by status.
type answers struct {
	mu     sync.Mutex // guards byCode
	byCode map[string]int64
}

func (a *answers) count(code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byCode[strconv.Itoa(code)]++
}

func (a *answers) snapshot() map[string]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]int64, len(a.byCode))
	for code, n := range a.byCode {
		out[code] = n
	}
	return out
}
