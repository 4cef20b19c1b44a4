// Package gateway serves the API as JSON over HTTP, for callers without gRPC.
//
// It is a translation and nothing else: each request becomes a gRPC call within
// the process, on behalf of the same caller, and the server behind it
// authenticates, validates, bounds and answers it as any other. http.yaml says
// which path is which method, and the generated openapi.swagger.json, served at
// /openapi.json, describes all of them. Errors are google.rpc.Status as JSON,
// with Retry-After where the server says when to come again. A stream is one
// JSON object a line, with "result" or "error".
//
// A browser on the same machine is no caller: what a foreign web page makes it
// send is refused by its Origin, by its Host (a name that was rebound to this
// machine), and because a body must say that it is application/json.
package gateway

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	gw "idlog/log/serve/gateway/logv1"
	logv1 "idlog/proto/idlog/log/v1"
)

const (
	maxBody    = 12 << 20         // bytes of a request: 8 MiB of a call as base64
	maxCallers = 256              // identities with an open connection; the one idle longest goes
	maxStream  = 10 * time.Minute // a watching request is ended after this; the caller asks again from where it was
)

//go:embed openapi.swagger.json
var openapi []byte

// Dial connects to the API for one caller, as (*serve.Server).Dial does.
type Dial func(state *tls.ConnectionState, addr net.Addr) (*grpc.ClientConn, error)

// Gateway is an http.Handler of /v1/ and /openapi.json. Its methods may be
// called concurrently.
type Gateway struct {
	handler http.Handler
	dial    Dial

	mu    sync.Mutex
	conns map[identity]*list.Element // of *connection
	used  *list.List                 // of *connection, the newest first
}

// identity is a caller: the hash of its certificate chain, or its address without one.
type identity struct {
	chain [sha256.Size]byte
	host  string
}

type connection struct {
	identity identity
	conn     *grpc.ClientConn
	calls    int  // in flight; guarded by Gateway.mu
	gone     bool // out of the table: the last call closes it
}

// New makes a gateway to the server that dial reaches.
func New(dial Dial) (*Gateway, error) {
	g := &Gateway{dial: dial, conns: make(map[identity]*list.Element), used: list.New()}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{},
			UnmarshalOptions: protojson.UnmarshalOptions{}, // an unknown name is an error
		}),
		runtime.WithIncomingHeaderMatcher(only("X-Request-Id")),
		runtime.WithOutgoingHeaderMatcher(func(name string) (string, bool) { return "X-Request-Id", name == "x-request-id" }),
		runtime.WithErrorHandler(answerError),
		runtime.WithDisablePathLengthFallback(),
		runtime.SetQueryParameterParser(strictQuery{}),
	)
	ctx := context.Background() // of a registration that keeps nothing of it
	if err := errors.Join(
		gw.RegisterEventServiceHandlerClient(ctx, mux, logv1.NewEventServiceClient(caller{})),
		gw.RegisterLogServiceHandlerClient(ctx, mux, logv1.NewLogServiceClient(caller{})),
		gw.RegisterQueryServiceHandlerClient(ctx, mux, logv1.NewQueryServiceClient(caller{})),
	); err != nil {
		return nil, fmt.Errorf("making the JSON gateway: %w", err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openapi) // a caller that is gone is told nothing
	})
	routes.Handle("/v1/", g.calling(mux))
	g.handler = guarded(routes)
	return g, nil
}

// ServeHTTP answers one request. It ends a stream after ten minutes.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Close closes the connections to the server. Requests in flight fail.
func (g *Gateway) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	for e := g.used.Front(); e != nil; e = e.Next() {
		err = errors.Join(err, e.Value.(*connection).conn.Close())
	}
	g.conns, g.used = make(map[identity]*list.Element), list.New()
	return err
}

// guarded refuses what a browser was made to send, and bounds the rest.
func guarded(next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, codes.PermissionDenied, "requests of other web pages are refused")
	}))
	checked := sameOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil && !ownHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, codes.InvalidArgument, "the Host is not this machine's: without TLS use 127.0.0.1, [::1] or localhost")
			return
		}
		if r.Method == http.MethodPost {
			if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
				refuse(w, http.StatusUnsupportedMediaType, codes.InvalidArgument, "a body needs Content-Type: application/json")
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		checked.ServeHTTP(w, r)
	})
}

// ownHost tells whether the Host header names the loopback interface itself,
// and not a name that somebody made to point at it.
func ownHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

type connKey struct{}

// calling gives each request the connection of its caller.
func (g *Gateway) calling(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := g.take(r)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, codes.Unavailable, "the server cannot be reached")
			return
		}
		defer g.give(c)
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), connKey{}, c.conn), maxStream)
		defer cancel()
		// A stream may last longer than the listener lets an answer take. A connection that cannot be told is cut earlier.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxStream + time.Minute))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// take finds or opens the connection of the caller of r.
func (g *Gateway) take(r *http.Request) (*connection, error) {
	addr, err := net.ResolveTCPAddr("tcp", r.RemoteAddr) // digits already: nothing is looked up
	if err != nil {
		return nil, fmt.Errorf("reading the caller's address: %w", err)
	}
	id := identity{host: addr.IP.String()}
	if r.TLS != nil {
		h := sha256.New()
		for _, cert := range r.TLS.PeerCertificates {
			h.Write(cert.Raw)
		}
		h.Sum(id.chain[:0])
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.conns[id]; ok {
		g.used.MoveToFront(e)
		c := e.Value.(*connection)
		c.calls++
		return c, nil
	}
	conn, err := g.dial(r.TLS, addr)
	if err != nil {
		return nil, err
	}
	c := &connection{identity: id, conn: conn, calls: 1}
	g.conns[id] = g.used.PushFront(c)
	if g.used.Len() > maxCallers {
		g.forget(g.used.Back())
	}
	return c, nil
}

// forget takes a connection out of the table; g.mu is held.
func (g *Gateway) forget(e *list.Element) {
	c := g.used.Remove(e).(*connection)
	delete(g.conns, c.identity)
	c.gone = true
	if c.calls == 0 {
		_ = c.conn.Close() // nothing is in flight on it
	}
}

func (g *Gateway) give(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.calls--; c.calls == 0 && c.gone {
		_ = c.conn.Close() // nothing is in flight on it
	}
}

// caller makes each call on the connection of its request.
type caller struct{}

func (caller) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return ctx.Value(connKey{}).(*grpc.ClientConn).Invoke(ctx, method, args, reply, opts...)
}

func (caller) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return ctx.Value(connKey{}).(*grpc.ClientConn).NewStream(ctx, desc, method, opts...)
}

// strictQuery refuses a parameter that the method does not have, as the decoder
// of bodies does: a mistyped filter would else be no filter.
type strictQuery struct{ runtime.DefaultQueryParser }

func (q strictQuery) Parse(m proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := m.ProtoReflect().Descriptor().Fields()
	for name := range values {
		if fields.ByJSONName(name) == nil && fields.ByTextName(name) == nil {
			return fmt.Errorf("no such parameter: %q", name)
		}
	}
	return q.DefaultQueryParser.Parse(m, values, filter)
}

// only lets one header through.
func only(name string) runtime.HeaderMatcherFunc {
	return func(key string) (string, bool) { return key, key == name }
}

// answerError writes a google.rpc.Status, and when to come again.
func answerError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			seconds := (retry.GetRetryDelay().AsDuration() + time.Second - 1) / time.Second
			w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
		}
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, err)
}

// refuse answers what never became a call.
func refuse(w http.ResponseWriter, code int, grpcCode codes.Code, text string) {
	body, _ := protojson.Marshal(status.New(grpcCode, text).Proto())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a caller that is gone is told nothing
}
