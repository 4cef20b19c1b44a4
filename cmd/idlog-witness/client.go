package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"idlog/cmd/internal/serve"
)

// clientTLS are the files with which the logs are read.
type clientTLS struct{ ca, cert, key string }

// open returns the configuration, nil if no file is named.
func (c clientTLS) open() (*tls.Config, error) {
	if c == (clientTLS{}) {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if (c.cert == "") != (c.key == "") {
		return nil, serve.Usagef("--log-cert and --log-key go together")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, serve.Usagef("reading the certificate for the logs: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, serve.Usagef("reading the authorities of the logs: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, serve.Usagef("there is no certificate in %s", c.ca)
		}
	}
	return conf, nil
}
