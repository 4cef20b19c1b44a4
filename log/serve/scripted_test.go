package serve_test

import (
	"context"
	"io/fs"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	ilog "idlog/log"
	"idlog/log/ingest"
	"idlog/log/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// scriptedReader is a log of which nothing is published. Its methods fail the
// contract's way: they are never asked for what is not published.
type scriptedReader struct {
	t  testing.TB
	mu sync.Mutex // guards ro
	ro error
}

func (r *scriptedReader) Published() (ilog.Published, bool) { return ilog.Published{}, false }
func (r *scriptedReader) Next(ctx context.Context, _ []byte) (ilog.Published, error) {
	<-ctx.Done()
	return ilog.Published{}, ctx.Err()
}
func (r *scriptedReader) Entry(context.Context, int64) ([]byte, error) {
	r.t.Error("an entry was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) Inclusion(context.Context, int64, int64) ([]leaf.Hash, error) {
	r.t.Error("a proof was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) Consistency(context.Context, int64, int64) ([]leaf.Hash, error) {
	r.t.Error("a proof was asked for before anything was published")
	return nil, fs.ErrNotExist
}
func (r *scriptedReader) ReadOnly() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ro
}
func (r *scriptedReader) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ro = err
}

// scriptedEvents answers a submission as the test says, and nothing else.
type scriptedEvents struct {
	serve.Events
	submit func(context.Context, ingest.Request) ([]ingest.Answer, error)
}

func (e scriptedEvents) Bound(string, string) error { return nil }
func (e scriptedEvents) Submit(ctx context.Context, r ingest.Request) ([]ingest.Answer, error) {
	return e.submit(ctx, r)
}

// served is a server on a socket of its own.
type served struct {
	*serve.Server
	addr string
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, c serve.Config) *served {
	t.Helper()
	s, err := serve.New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &served{Server: s, addr: l.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { v.done <- s.Serve(ctx, l); close(v.done) }()
	v.conn, err = grpc.NewClient(v.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.conn.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-v.done; err != nil {
			t.Error(err)
		}
	})
	return v
}

// scripted is a server whose submissions the test answers.
func scripted(t *testing.T, submit func(context.Context, ingest.Request) ([]ingest.Answer, error)) (*served, *scriptedReader) {
	t.Helper()
	r := &scriptedReader{t: t}
	return start(t, serve.Config{Logs: []serve.Log{{Family: "acme.example/id", Reader: r, Events: scriptedEvents{submit: submit}}}, Reflection: true}), r
}

func request() *logv1.SubmitEventsRequest {
	return &logv1.SubmitEventsRequest{Source: "okta", Events: []*eventv1.Event{{}}}
}
