package serve

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Dial connects to this server from within the process, on behalf of a caller
// whom another listener has heard: state is the TLS state of the caller's
// connection, verified by that listener, or nil for plaintext, and addr is
// where the caller is. All rules and limits hold as if it had called here. It
// does not wait for the connection; calls do, until Serve accepts. The caller
// closes it.
func (s *Server) Dial(state *tls.ConnectionState, addr net.Addr) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return s.inside.dial(ctx, state, addr) }
	conn, err := grpc.NewClient("passthrough:///inside",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(maxCall)))
	if err != nil {
		return nil, fmt.Errorf("connecting within the process: %w", err)
	}
	return conn, nil
}

// inside is a listener whose connections come from this process.
type inside struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once // of closing
}

func newInside() *inside {
	return &inside{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *inside) dial(ctx context.Context, state *tls.ConnectionState, addr net.Addr) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- insideConn{Conn: theirs, state: state, addr: addr}:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *inside) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *inside) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

func (insideAddr) Network() string { return "inside" }
func (insideAddr) String() string  { return "inside" }

// insideConn is a connection that knows for whom it was made.
type insideConn struct {
	net.Conn
	state *tls.ConnectionState
	addr  net.Addr
}

func (c insideConn) RemoteAddr() net.Addr { return c.addr }

// handshake gives a connection from within the process the identity that it
// came with, and any other the handshake of the listener.
type handshake struct {
	credentials.TransportCredentials // nil is plaintext
}

func (h handshake) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := conn.(insideConn)
	switch {
	case ok && c.state != nil:
		return conn, credentials.TLSInfo{State: *c.state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	case ok, h.TransportCredentials == nil:
		return conn, nil, nil
	}
	return h.TransportCredentials.ServerHandshake(conn)
}

func (h handshake) Info() credentials.ProtocolInfo {
	if h.TransportCredentials == nil {
		return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
	}
	return h.TransportCredentials.Info()
}

func (h handshake) Clone() credentials.TransportCredentials {
	if h.TransportCredentials == nil {
		return h
	}
	return handshake{h.TransportCredentials.Clone()}
}
