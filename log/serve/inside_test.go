package serve_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/log/ingest"
	"idlog/log/serve"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// A caller whom another listener of the process has heard is who it is there.
func TestDial(t *testing.T) {
	got := make(chan ingest.Request, 1)
	submit := scriptedEvents{submit: func(_ context.Context, r ingest.Request) ([]ingest.Answer, error) {
		got <- r
		return nil, errors.New("passed")
	}}
	ca := newAuthority(t)
	logs := []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: submit}}
	server := ca.sign(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	guarded := start(t, serve.Config{
		TLS:  &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert},
		Logs: logs,
	})
	plain := start(t, serve.Config{Logs: logs})

	state := func(verified bool, holder x509.Certificate) *tls.ConnectionState {
		cert, err := x509.ParseCertificate(ca.sign(holder).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		s := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if verified {
			s.VerifiedChains = [][]*x509.Certificate{{cert, ca.cert}}
		}
		return s
	}
	here, there := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for _, tt := range []struct {
		name      string
		server    *served
		state     *tls.ConnectionState
		addr      net.Addr
		want      string // "" is refused
		assurance leaf.Assurance
	}{
		{"a certificate", guarded, state(true, x509.Certificate{Subject: pkix.Name{CommonName: "cn"}}), there, "cn", leaf.AssurancePushed},
		{"a certificate that nobody verified", guarded, state(false, x509.Certificate{Subject: pkix.Name{CommonName: "cn"}}), there, "", ""},
		{"plaintext of this machine", plain, nil, here, serve.LocalPrincipal, leaf.AssuranceUnauthenticated},
		{"plaintext of another", plain, nil, there, "", ""},
		{"no address", plain, nil, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := tt.server.Dial(tt.state, tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = logv1.NewEventServiceClient(conn).SubmitEvents(t.Context(), request())
			if tt.want == "" {
				if diff := cmp.Diff(told{Code: codes.Unauthenticated, Reason: "UNAUTHENTICATED"}, ofError(t, err)); diff != "" {
					t.Errorf("error differs (-want +got):\n%s", diff)
				}
				return
			}
			if status.Code(err) != codes.Internal {
				t.Fatalf("it did not get to ingest: %v", err)
			}
			if r := <-got; r.Principal != tt.want || r.Assurance != tt.assurance {
				t.Errorf("principal %q, assurance %q", r.Principal, r.Assurance)
			}
		})
	}
}

// Who dials a server that has stopped is told, and does not wait.
func TestDialAfterTheEnd(t *testing.T) {
	s := start(t, serve.Config{Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{}}}})
	s.stop()
	if err := <-s.done; err != nil {
		t.Fatal(err)
	}
	conn, err := s.Dial(nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := logv1.NewLogServiceClient(conn).GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("error %v", err)
	}
}
