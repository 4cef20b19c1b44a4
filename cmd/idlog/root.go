package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
)

// attempts is how often a call is tried: some six seconds of a server that restarts.
const attempts = 6

// globals are the flags of every command, and where it reads and writes.
type globals struct {
	env serve.Env

	server, policy, log, state string
	tlsCA, tlsCert, tlsKey     string
	timeout                    time.Duration
	json                       bool
}

// run is the whole program but for its process: it returns the exit code.
func run(ctx context.Context, env serve.Env, getenv func(string) string) int {
	g := &globals{env: env}
	root := g.root(getenv)
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := classify(root.ExecuteContext(ctx))
	if g.json && err != nil {
		return reportJSON(env.Stderr, err)
	}
	return serve.Report(env.Stderr, "idlog", err)
}

func (g *globals) root(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:   "idlog",
		Short: "Submit identity events and check what a log says, without trusting it",
		Example: `  idlog submit events.ndjson --server 127.0.0.1:7443 -p policy.tlog-policy --source okta --format okta
  idlog get 42 --server 127.0.0.1:7443 -p policy.tlog-policy
  idlog verify 42.idlog-disclosure -p policy.tlog-policy`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a command of its own the root prints its help, and an unknown word is an error.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return serve.Usagef("%w", err) })
	f := root.PersistentFlags()
	f.StringVar(&g.server, "server", getenv("IDLOG_SERVER"), "host:port of the log's gRPC server ($IDLOG_SERVER)")
	f.StringVarP(&g.policy, "policy", "p", getenv("IDLOG_POLICY"), "tlog-policy file: whose signatures count ($IDLOG_POLICY)")
	f.StringVar(&g.log, "log", "", "log family; needed when the policy has keys of several")
	f.StringVar(&g.state, "state", stateDir(getenv), "folder of what was seen before")
	f.DurationVar(&g.timeout, "timeout", 30*time.Second, "for one call and its repeats; 0 waits for ever")
	f.BoolVar(&g.json, "json", false, "write JSON, one object a line")
	f.StringVar(&g.tlsCA, "tls-ca", "", "PEM file of the authorities that the server's certificate comes from")
	f.StringVar(&g.tlsCert, "tls-cert", "", "PEM file of the client certificate")
	f.StringVar(&g.tlsKey, "tls-key", "", "PEM file of the client certificate's key")
	root.AddCommand(g.submitCommand(), g.getCommand(), g.watchCommand(), g.checkpointCommand(), g.proveCommand(),
		g.verifyCommand(), g.consistencyCommand(), g.policyCommand(), g.keyCommand())
	usage(root)
	return root
}

// version is that of the build, as the go command recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// usage makes every wrong number of arguments an error of usage.
func usage(cmd *cobra.Command) {
	if judge := cmd.Args; judge != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := judge(cmd, args); err != nil {
				return &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: cmd.CommandPath() + " --help"}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usage(sub)
	}
}

// stateDir is where client state belongs: $STATE_DIRECTORY of a service,
// $XDG_STATE_HOME/idlog, or its default.
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

// trusted reads the policy file and returns it with its SHA-256, by which two
// people can tell that they trust the same.
func (g *globals) trusted() (*policy.Policy, [32]byte, error) {
	if g.policy == "" {
		return nil, [32]byte{}, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no policy: nothing can be verified without one"),
			Remedy: "-p FILE, the tlog-policy that you got from somebody you trust",
		}
	}
	return readPolicy(g.policy)
}

func readPolicy(file string) (*policy.Policy, [32]byte, error) {
	b, err := readFile(file)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := policy.Parse(b)
	if err != nil {
		return nil, [32]byte{}, serve.Usagef("reading the policy %s: %w", file, err)
	}
	return p, sha256.Sum256(b), nil
}

// client connects as the flags say; the caller closes it.
func (g *globals) client() (*client.Client, error) {
	p, _, err := g.trusted()
	if err != nil {
		return nil, err
	}
	if g.server == "" {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no server"),
			Remedy: "--server HOST:PORT, or IDLOG_SERVER in the environment",
		}
	}
	if g.state == "" {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("no folder for what was seen before"), Remedy: "--state DIR",
		}
	}
	conf, err := g.tls()
	if err != nil {
		return nil, err
	}
	state, err := trust.Open(g.state)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Target: g.server, TLS: conf, Log: g.log, Policy: p, State: state, Attempts: attempts})
}

// tls reads the TLS flags; nil without any of them.
func (g *globals) tls() (*tls.Config, error) {
	if g.tlsCA == "" && g.tlsCert == "" && g.tlsKey == "" {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if (g.tlsCert == "") != (g.tlsKey == "") {
		return nil, serve.Usagef("--tls-cert and --tls-key go together")
	}
	if g.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(g.tlsCert, g.tlsKey)
		if err != nil {
			return nil, serve.Usagef("reading the client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	if g.tlsCA != "" {
		pem, err := readFile(g.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("reading the TLS authorities: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, serve.Usagef("there is no certificate in %s", g.tlsCA)
		}
	}
	return conf, nil
}

// within bounds one call by --timeout.
func (g *globals) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if g.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, g.timeout)
}

// readFile reads a file that the user named, which is theirs to get right.
func readFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	return b, err
}

// printable returns a text as it is if a terminal shows it as it is, and
// quoted otherwise.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '"' || r > 0x7e }) || s == "" {
		return fmt.Sprintf("%+q", s)
	}
	return s
}
