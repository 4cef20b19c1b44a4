// Package session is what the commands of idlog have in common before they do
// anything: the flags of every command, the policy file and the state that are
// trusted, and the connection to a log's server.
//
// A session belongs to one run of the program and to one goroutine.
package session

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/idlog/report"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
)

// attempts is how often a call is tried: some six seconds of a server that restarts.
const attempts = 6

// Session holds the flags of every command, and where it reads and writes.
type Session struct {
	report.Printer
	Stdin io.Reader

	Server, Policy, Log, State string
	TrustFile                  string
	Timeout                    time.Duration

	tlsCA, tlsCert, tlsKey string
}

// Flags defines the flags of every command on root, with their defaults from
// the environment. The fields of the session are theirs once root has parsed.
func (s *Session) Flags(root *cobra.Command, getenv func(string) string) {
	f := root.PersistentFlags()
	f.StringVar(&s.Server, "server", getenv("IDLOG_SERVER"), "host:port of the log's gRPC server ($IDLOG_SERVER)")
	f.StringVarP(&s.Policy, "policy", "p", getenv("IDLOG_POLICY"), "tlog-policy file: whose signatures count ($IDLOG_POLICY)")
	f.StringVarP(&s.TrustFile, "trust", "t", getenv("IDLOG_TRUST"), "idlog-trust file, in place of a policy: also who must vouch that nothing is missing ($IDLOG_TRUST)")
	f.StringVar(&s.Log, "log", "", "log family; needed when the policy has keys of several")
	f.StringVar(&s.State, "state", stateDir(getenv), "folder of what was seen before")
	f.DurationVar(&s.Timeout, "timeout", 30*time.Second, "for one call and its repeats; 0 waits for ever")
	f.BoolVar(&s.JSON, "json", false, "write JSON, one object a line")
	f.StringVar(&s.tlsCA, "tls-ca", "", "PEM file of the authorities that the server's certificate comes from")
	f.StringVar(&s.tlsCert, "tls-cert", "", "PEM file of the client certificate")
	f.StringVar(&s.tlsKey, "tls-key", "", "PEM file of the client certificate's key")
	program.Computed(root, "log", s.families)
}

// families lists the log families of the policy that is named so far.
func (s *Session) families() []string {
	p, _, err := s.Trusted()
	if err != nil {
		return nil
	}
	return Families(p)
}

// Families lists the log families that a policy has keys of.
func Families(p *policy.Policy) (list []string) {
	for _, l := range p.Logs {
		family := l.Origin[:max(strings.LastIndexByte(l.Origin, '/'), 0)]
		if family != "" && !slices.Contains(list, family) {
			list = append(list, family)
		}
	}
	return list
}

// stateDir is where client state belongs: $IDLOG_STATE, $XDG_STATE_HOME/idlog,
// or its default.
func stateDir(getenv func(string) string) string {
	if dir := getenv("IDLOG_STATE"); dir != "" {
		return dir
	}
	base := getenv("XDG_STATE_HOME")
	if home := getenv("HOME"); base == "" && home != "" {
		base = filepath.Join(home, ".local", "state")
	}
	if base == "" {
		return ""
	}
	return filepath.Join(base, "idlog")
}

// Trusted reads the policy file, or that which the trust file holds, and returns it
// with the SHA-256 of the file, by which two people can tell that they trust the same.
func (s *Session) Trusted() (*policy.Policy, [32]byte, error) {
	if s.TrustFile != "" {
		t, sum, err := s.trustFile()
		if err != nil {
			return nil, sum, err
		}
		return t.Policy, sum, nil
	}
	if s.Policy == "" {
		return nil, [32]byte{}, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no policy: nothing can be verified without one"),
			Remedy: "-p FILE, the tlog-policy that you got from somebody you trust",
		}
	}
	return ReadPolicy(s.Policy)
}

// TrustedOf is what histories of a log are judged by: the trust file, or the policy
// alone, and then all that it proves is attested by the operator.
func (s *Session) TrustedOf(family string) (*policy.Trust, [32]byte, error) {
	if s.TrustFile != "" {
		return s.trustFile()
	}
	p, sum, err := s.Trusted()
	if err != nil {
		return nil, sum, err
	}
	return client.Attested(p, family), sum, nil
}

func (s *Session) trustFile() (*policy.Trust, [32]byte, error) {
	t, b, err := ReadTrust(s.TrustFile)
	return t, sha256.Sum256(b), err
}

// ReadPolicy reads a policy file strictly and returns it with its SHA-256.
func ReadPolicy(file string) (*policy.Policy, [32]byte, error) {
	b, err := ReadFile(file)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := program.ParsePolicy(file, b)
	return p, sha256.Sum256(b), err
}

// Client connects as the flags say; the caller closes it.
func (s *Session) Client() (*client.Client, error) {
	p, _, err := s.Trusted()
	if err != nil {
		return nil, err
	}
	if s.Server == "" {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no server"),
			Remedy: "--server HOST:PORT, or IDLOG_SERVER in the environment",
		}
	}
	if _, _, err := net.SplitHostPort(s.Server); err != nil && !strings.Contains(s.Server, ":") {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("--server %s has no port", s.Server), Remedy: "--server " + s.Server + ":7443"}
	}
	if families := Families(p); s.TrustFile == "" && s.Log == "" && len(families) > 1 || s.Log != "" && !slices.Contains(families, s.Log) {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("--log %q is no log of the policy %s, which has %d", s.Log, s.Policy, len(families)),
			Remedy: "--log " + strings.Join(families, ", or "),
		}
	}
	conf, err := s.TLS()
	if err != nil {
		return nil, err
	}
	state, err := s.Trust()
	if err != nil {
		return nil, err
	}
	c := client.Config{Target: s.Server, TLS: conf, Log: s.Log, Policy: p, State: state, Attempts: attempts}
	if s.TrustFile != "" {
		if c.Trust, _, err = s.trustFile(); err != nil {
			return nil, err
		}
		c.Log = c.Trust.Log
	}
	return client.New(c)
}

// Trust opens what was seen before.
func (s *Session) Trust() (*trust.State, error) {
	if s.State == "" {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no folder for what was seen before"), Remedy: "--state DIR",
		}
	}
	state, err := trust.Open(s.State)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: "--state DIR, a folder that you may write to"}
	}
	return state, nil
}

// With connects, calls f once, bounded by --timeout, and closes the connection.
func (s *Session) With(ctx context.Context, f func(ctx context.Context, c *client.Client) error) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := s.Within(ctx)
	defer cancel()
	return f(ctx, c)
}

// TLS reads the TLS flags; nil without any of them.
func (s *Session) TLS() (*tls.Config, error) {
	if s.tlsCA == "" && s.tlsCert == "" && s.tlsKey == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if (s.tlsCert == "") != (s.tlsKey == "") {
		return nil, serve.Usagef("--tls-cert and --tls-key go together")
	}
	if s.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
		if err != nil {
			return nil, serve.Usagef("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if s.tlsCA != "" {
		pem, err := ReadFile(s.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("reading the TLS authorities: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, serve.Usagef("there is no certificate in %s", s.tlsCA)
		}
	}
	return conf, nil
}

// Within bounds one call by --timeout.
func (s *Session) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.Timeout)
}

// maxFile is more than any file of ours has.
const maxFile = 64 << 20

// ReadFile reads a file that the user named, which is theirs to get right.
func ReadFile(name string) ([]byte, error) {
	b, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: "the path of a file that is there"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &serve.ExitError{Code: serve.CodePermission, Err: err, Remedy: "as the user that may read " + name}
	}
	return b, err
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("%s is a folder", name), Remedy: "a file in it"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		return nil, serve.Usagef("%s has more than %d bytes, and no file of ours has", name, maxFile)
	}
	return b, err
}

// ReadTrust reads a trust file strictly and returns it with its bytes, by whose hash two people can tell that they trust
// the same.
func ReadTrust(file string) (*policy.Trust, []byte, error) {
	b, err := ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the trust file: %w", err)
	}
	t, err := policy.ParseTrust(b)
	if err != nil {
		return nil, nil, program.WrongFile("trust file", file, 0, err)
	}
	return t, b, nil
}
