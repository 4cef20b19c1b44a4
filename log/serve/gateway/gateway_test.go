package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"idlog/log/serve/gateway"
	logv1 "idlog/proto/idlog/log/v1"
)

// api answers as the tests need it; what the real one answers is tested where the whole server runs.
type api struct {
	logv1.UnimplementedLogServiceServer
	ended chan struct{} // hears that a stream's caller is gone
}

func (a *api) GetEntry(ctx context.Context, r *logv1.GetEntryRequest) (*logv1.GetEntryResponse, error) {
	if r.GetIndex() != 7 {
		s, err := status.New(codes.Unavailable, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(1200 * time.Millisecond)})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	id := metadata.ValueFromIncomingContext(ctx, "x-request-id")
	if len(id) == 1 {
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-request-id", id[0])); err != nil {
			return nil, err
		}
	}
	if len(metadata.ValueFromIncomingContext(ctx, "x-secret")) > 0 {
		return nil, status.Error(codes.Internal, "a header of the caller's came through")
	}
	return &logv1.GetEntryResponse{Leaf: []byte(r.GetLog())}, nil
}

func (a *api) WatchCheckpoints(_ *logv1.WatchCheckpointsRequest, stream logv1.LogService_WatchCheckpointsServer) error {
	if err := stream.Send(&logv1.WatchCheckpointsResponse{Checkpoint: []byte("one")}); err != nil {
		return err
	}
	<-stream.Context().Done()
	a.ended <- struct{}{}
	return stream.Context().Err()
}

// serve is a gateway on a socket before an API on another.
func serve(t *testing.T) (url string, a *api, dialled func() int) {
	t.Helper()
	a = &api{ended: make(chan struct{}, 1)}
	server := grpc.NewServer()
	logv1.RegisterLogServiceServer(server, a)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	dials := make(chan int, 1)
	dials <- 0
	g, err := gateway.New(func(*tls.ConnectionState, net.Addr) (*grpc.ClientConn, error) {
		dials <- <-dials + 1
		return grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(g)
	t.Cleanup(func() {
		h.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h.URL, a, func() int { n := <-dials; dials <- n; return n }
}

func do(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// What a page in somebody's browser can send is refused before it is a call, and so is what is not JSON.
func TestRefusals(t *testing.T) {
	url, _, dialled := serve(t)
	port := url[strings.LastIndex(url, ":"):]
	asJSON := []string{"Content-Type", "application/json"}
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		want                     int
	}{
		{"a name that was made to point here", "GET", "/v1/entries/7", "", []string{"Host", "evil.example" + port}, 421},
		{"an address that is not this machine's", "GET", "/v1/entries/7", "", []string{"Host", "192.0.2.1" + port}, 421},
		{"another page", "POST", "/v1/events:submit", "{}", append(asJSON, "Origin", "https://evil.example"), 403},
		{"another site", "POST", "/v1/events:submit", "{}", append(asJSON, "Sec-Fetch-Site", "cross-site"), 403},
		{"a form", "POST", "/v1/events:submit", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"plain text", "POST", "/v1/events:submit", "{}", []string{"Content-Type", "text/plain"}, 415},
		{"no type", "POST", "/v1/events:submit", "{}", nil, 415},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, body := do(t, tt.method, url+tt.path, tt.body, tt.header...)
			var s struct{ Message string }
			if err := json.Unmarshal([]byte(body), &s); err != nil || s.Message == "" || res.StatusCode != tt.want {
				t.Errorf("%s %q, want %d and a reason", res.Status, body, tt.want)
			}
			if res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("a browser may guess what this is")
			}
		})
	}
	if n := dialled(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no such path":       {"GET", "/v1/nothing", "", 404},
		"another method":     {"DELETE", "/v1/entries/7", "", 501},
		"no number":          {"GET", "/v1/entries/seven", "", 400},
		"unknown parameter":  {"GET", "/v1/entries/7?sorce=x", "", 400},
		"unknown name":       {"POST", "/v1/events:submit", `{"sorce":"x"}`, 400},
		"not JSON":           {"POST", "/v1/events:submit", `{`, 400},
		"too large":          {"POST", "/v1/events:submit", `{"source":"` + strings.Repeat("x", 12<<20) + `"}`, 400},
		"not in this server": {"POST", "/v1/events:submit", `{}`, 501},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := do(t, tt.method, url+tt.path, tt.body, asJSON...)
			if res.StatusCode != tt.want || !json.Valid([]byte(body)) {
				t.Errorf("%s %q, want %d", res.Status, body, tt.want)
			}
		})
	}
}

func TestCalls(t *testing.T) {
	url, a, dialled := serve(t)
	t.Run("a family with slashes", func(t *testing.T) {
		res, body := do(t, "GET", url+"/v1/entries/7?log=acme.example/id", "", "X-Request-Id", "mine-1", "X-Secret", "s")
		var got struct{ Leaf []byte }
		if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != 200 || string(got.Leaf) != "acme.example/id" {
			t.Errorf("%s %q", res.Status, body)
		}
		if id := res.Header.Get("X-Request-Id"); id != "mine-1" {
			t.Errorf("request id %q", id)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Error("an answer may be kept")
		}
	})
	t.Run("come again", func(t *testing.T) {
		if res, body := do(t, "GET", url+"/v1/entries/8", ""); res.StatusCode != 503 || res.Header.Get("Retry-After") != "2" {
			t.Errorf("%s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), body)
		}
	})
	t.Run("description", func(t *testing.T) {
		res, body := do(t, "GET", url+"/openapi.json", "")
		if res.StatusCode != 200 || !json.Valid([]byte(body)) || !strings.Contains(body, `"/v1/events:submit"`) {
			t.Errorf("%s", res.Status)
		}
	})
	t.Run("a caller who leaves ends the stream", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/checkpoint:watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var line struct{ Result struct{ Checkpoint []byte } }
		if err := json.NewDecoder(res.Body).Decode(&line); err != nil || string(line.Result.Checkpoint) != "one" {
			t.Errorf("%q, %v", line.Result.Checkpoint, err)
		}
		leave()
		<-a.ended
	})
	if n := dialled(); n != 1 {
		t.Errorf("one caller had %d connections", n)
	}
}

// More callers than connections are kept for: those longest idle lose theirs, and get another one when they come back.
func TestManyCallers(t *testing.T) {
	url, _, dialled := serve(t)
	call := func(n int) {
		t.Helper()
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(n/256), byte(n%256))}}
		transport := &http.Transport{DialContext: from.DialContext}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/entries/7", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Skipf("this machine has one loopback address: %v", err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("caller %d: %s", n, res.Status)
		}
	}
	const callers = 300
	for n := 1; n <= callers; n++ {
		call(n)
	}
	call(callers) // the newest still has its own
	if n := dialled(); n != callers {
		t.Errorf("%d connections for %d callers", n, callers)
	}
	call(1)
	if n := dialled(); n != callers+1 {
		t.Errorf("%d connections after the first came back", n)
	}
}
