package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestClientOf(t *testing.T) {
	for _, tc := range []struct {
		remote    string
		header    []string
		forwarded bool
		want      string
	}{
		{"192.0.2.7:1", nil, false, "192.0.2.7/32"},
		{"[::ffff:192.0.2.7]:1", nil, false, "192.0.2.7/32"},
		{"[2001:db8:1:2:3:4:5:6]:1", nil, false, "2001:db8:1:2::/64"},
		{"127.0.0.1:1", nil, false, ""},
		{"[::1]:1", nil, false, ""},
		{"@", nil, false, ""},
		{"127.0.0.1:1", []string{"192.0.2.7"}, false, ""},
		{"127.0.0.1:1", []string{"192.0.2.7"}, true, "192.0.2.7/32"},
		{"127.0.0.1:1", []string{"127.0.0.1, 192.0.2.8"}, true, "192.0.2.8/32"},
		{"127.0.0.1:1", []string{"10.0.0.1", "192.0.2.8"}, true, "192.0.2.8/32"},
		{"127.0.0.1:1", []string{"x"}, true, ""},
		{"127.0.0.1:1", nil, true, ""},
		{"192.0.2.7:1", []string{"192.0.2.8"}, true, "192.0.2.7/32"}, // only a proxy of this machine is believed
	} {
		r := &http.Request{RemoteAddr: tc.remote, Header: http.Header{"X-Forwarded-For": tc.header}}
		got := ""
		if p := clientOf(r, tc.forwarded); p.IsValid() {
			got = p.String()
		}
		if got != tc.want {
			t.Errorf("%s %q %v: %q, want %q", tc.remote, tc.header, tc.forwarded, got, tc.want)
		}
	}
}

// TestClientRate: one address is told to wait, another and this machine are not.
func TestClientRate(t *testing.T) {
	codes := make(map[int]int)
	e := newEdge(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), 1e-9, false,
		func(_ string, code int, _ time.Duration) { codes[code]++ })
	get := func(remote string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = remote
		e.ServeHTTP(rec, r)
		return rec
	}
	for i, want := range []int{200, 429, 429} {
		if got := get("192.0.2.7:1"); got.Code != want || (want == 429) != (got.Header().Get("Retry-After") == "1") {
			t.Errorf("request %d: %d %v", i, got.Code, got.Header())
		}
	}
	if got := get("192.0.2.8:1"); got.Code != 200 {
		t.Errorf("another address: %d", got.Code)
	}
	for range 1000 {
		if got := get("127.0.0.1:1"); got.Code != 200 {
			t.Fatalf("this machine: %d", got.Code)
		}
	}
	if codes[429] != 2 || codes[200] != 1002 {
		t.Errorf("counted %v", codes)
	}
}

// TestClientsAreBounded: addresses without end share one limit, and no more
// memory is used for them.
func TestClientsAreBounded(t *testing.T) {
	e := newEdge(nil, 1e-9, false, nil)
	address := func(i int) netip.Prefix {
		return netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&0xff, i&0xff))
	}
	let := 0
	for i := range 2 * maxClients {
		if leave, ok := e.enter(address(i)); ok {
			leave()
			let++
		}
	}
	if len(e.clients) != maxClients || let != maxClients+1 {
		t.Errorf("%d addresses are told apart, %d requests got in", len(e.clients), let)
	}
	// Once those before have their share again, there is room.
	e.swept = time.Time{}
	for _, c := range e.clients {
		c.limiter.SetLimit(1e9)
	}
	if _, ok := e.enter(address(3 * maxClients)); !ok || len(e.clients) != 1 {
		t.Errorf("after a sweep: %v, %d addresses", ok, len(e.clients))
	}
}

// TestInFlight: what is asked at once is bounded, of one address and of all.
func TestInFlight(t *testing.T) {
	e := newEdge(nil, 1e9, false, nil)
	a := netip.MustParsePrefix("192.0.2.7/32")
	var leave func()
	for i := range maxOfClient {
		var ok bool
		if leave, ok = e.enter(a); !ok {
			t.Fatalf("request %d at once was refused", i)
		}
	}
	if _, ok := e.enter(a); ok {
		t.Error("one more got in")
	}
	leave()
	if _, ok := e.enter(a); !ok {
		t.Error("refused when one had left")
	}

	hold, held := make(chan struct{}), make(chan struct{})
	e = newEdge(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { held <- struct{}{}; <-hold }), 0, false,
		func(string, int, time.Duration) {})
	defer close(hold)
	for range maxInFlight {
		go e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
		<-held
	}
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") != "1" {
		t.Errorf("one more at once: %d", rec.Code)
	}
}
