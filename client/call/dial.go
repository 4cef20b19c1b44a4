package call

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// maxAnswer is the largest message that a server may send: a full batch of
// receipts, or one entry with its raw bytes and disclosure.
const maxAnswer = 32 << 20

// Dial makes the connection to a target, which is opened when it is first
// needed. Without TLS a target that is not on this machine is ErrPlaintext.
func Dial(target string, conf *tls.Config) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	switch {
	case conf != nil:
		creds = credentials.NewTLS(conf)
	case !onThisMachine(target):
		return nil, fmt.Errorf("%s: %w", target, ErrPlaintext)
	}
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		// A server that is back is found within maxPause; gRPC would wait for up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause},
			MinConnectTimeout: maxPause,
		}),
		// A connection that went dead is noticed while a call waits on it. Servers of idlog allow a ping every 30 seconds.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 40 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
}

// onThisMachine reports whether a target is a loopback address or a socket file.
// A name other than localhost is the resolver's to define and does not count.
func onThisMachine(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	for _, scheme := range []string{"passthrough:///", "dns:///"} {
		target = strings.TrimPrefix(target, scheme)
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
