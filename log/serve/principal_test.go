package serve_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"idlog/log/ingest"
	"idlog/log/serve"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template x509.Certificate) tls.Certificate {
	a.t.Helper()
	template.SerialNumber, template.NotAfter = big.NewInt(2), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Who a caller is comes from its certificate, and how its events came from the
// connection.
func TestPrincipal(t *testing.T) {
	got := make(chan ingest.Request, 1)
	submit := scriptedEvents{submit: func(_ context.Context, r ingest.Request) ([]ingest.Answer, error) {
		got <- r
		return nil, errors.New("passed")
	}}
	ca := newAuthority(t)
	server := ca.sign(x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	s := start(t, serve.Config{
		TLS:  &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert},
		Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: submit}},
	})
	spiffe, err := url.Parse("spiffe://acme.example/okta-connector")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		holder x509.Certificate
		want   string // "" is refused
	}{
		{"URI first", x509.Certificate{URIs: []*url.URL{spiffe}, DNSNames: []string{"a.example"}, Subject: pkix.Name{CommonName: "cn"}}, "spiffe://acme.example/okta-connector"},
		{"then DNS", x509.Certificate{DNSNames: []string{"a.example", "b.example"}, Subject: pkix.Name{CommonName: "cn"}}, "a.example"},
		{"then common name", x509.Certificate{Subject: pkix.Name{CommonName: "cn"}}, "cn"},
		{"no name", x509.Certificate{}, ""},
		{"the machine's name", x509.Certificate{Subject: pkix.Name{CommonName: serve.LocalPrincipal}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
				RootCAs: ca.pool, Certificates: []tls.Certificate{ca.sign(tt.holder)},
			})))
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
			if r := <-got; r.Principal != tt.want || r.Assurance != leaf.AssurancePushed {
				t.Errorf("principal %q, assurance %q", r.Principal, r.Assurance)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.pool})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := logv1.NewEventServiceClient(conn).SubmitEvents(t.Context(), request()); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v", err)
		}
	})
	t.Run("plaintext", func(t *testing.T) {
		s := start(t, serve.Config{Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: submit}}})
		if _, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), request()); status.Code(err) != codes.Internal {
			t.Fatalf("it did not get to ingest: %v", err)
		}
		if r := <-got; r.Principal != "local" || r.Assurance != leaf.AssuranceUnauthenticated {
			t.Errorf("principal %q, assurance %q", r.Principal, r.Assurance)
		}
	})
}
