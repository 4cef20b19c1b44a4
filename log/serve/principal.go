package serve

import (
	"context"
	"crypto/x509"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// LocalPrincipal is who calls over plaintext from the machine itself. A source
// that anybody on the machine may write to is bound to this name.
const LocalPrincipal = "local"

// caller is who makes a call and how its events are vouched for.
type caller struct {
	principal string
	assurance leaf.Assurance
}

// callerOf names the caller of a connection: the leaf of a verified client
// certificate (URI SAN, else DNS SAN, else common name), whose events are
// "pushed"; or LocalPrincipal over plaintext from loopback or a Unix socket,
// whose events are "unauthenticated". Everybody else is UNAUTHENTICATED, with
// one text, so that a caller learns nothing of why.
func callerOf(ctx context.Context) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, errUnauthenticated()
	}
	switch info := p.AuthInfo.(type) {
	case credentials.TLSInfo:
		if len(info.State.VerifiedChains) == 0 || len(info.State.PeerCertificates) == 0 {
			return caller{}, errUnauthenticated()
		}
		name := principalOf(info.State.PeerCertificates[0])
		if name == "" || name == LocalPrincipal { // a certificate never speaks for the machine
			return caller{}, errUnauthenticated()
		}
		return caller{name, leaf.AssurancePushed}, nil
	case nil:
		if isLocal(p.Addr) {
			return caller{LocalPrincipal, leaf.AssuranceUnauthenticated}, nil
		}
	}
	return caller{}, errUnauthenticated()
}

func errUnauthenticated() error {
	return refuse(logv1.Reason_REASON_UNAUTHENTICATED, "the call is not authenticated")
}

// principalOf returns the name of a certificate's holder, "" if it has none.
func principalOf(cert *x509.Certificate) string {
	switch {
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}

func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
