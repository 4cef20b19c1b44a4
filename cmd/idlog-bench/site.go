package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"idlog/proto/policy"
)

// site is a log and its three witnesses, which run as processes; the log's own server is started by serve.
type site struct {
	bench     *bench
	dir, root string
	policy    *policy.Policy
	address   string   // of the API, the same in each life of the server
	args      []string // of each life of the server
}

// site starts the witnesses and makes a log that they cosign, with or without an index.
func (b *bench) site(ctx context.Context, dir string, index bool) (*site, error) {
	witness := filepath.Join(b.bin, "idlog-witness")
	var lines []string
	var running []*daemon
	for i := range witnesses {
		name := fmt.Sprintf("w%d", i)
		vkey, err := output(ctx, witness, "init", "--dir", filepath.Join(dir, name), "--name", name+".example", "--key-type", "ed25519")
		if err != nil {
			return nil, err
		}
		w, err := start(ctx, dir, name+".serve", witness, "serve", "--dir", filepath.Join(dir, name), "--listen", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		running = append(running, w)
		lines = append(lines, fmt.Sprintf("witness %s %s http://%s", name, vkey, w.addresses["http"]))
	}
	lines = append(lines, "group two 2 w0 w1 w2", "quorum two", "")
	wanted := filepath.Join(dir, "witnesses.tlog-policy")
	if err := os.WriteFile(wanted, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return nil, err
	}
	s := &site{bench: b, dir: dir, root: filepath.Join(dir, "log"), address: "127.0.0.1:0",
		args: []string{"--set", fmt.Sprintf("logs.0.index.enabled=%t", index)}}
	for _, setting := range b.settings {
		s.args = append(s.args, "--set", setting)
	}
	if _, err := output(ctx, s.program(), "init", "--dir", s.root, "--family", "bench.example/id", "--source", benchSource+"=https://acme.example", "--witness-policy", wanted); err != nil {
		return nil, err
	}
	vkey, err := os.ReadFile(filepath.Join(s.root, "log.vkey"))
	if err != nil {
		return nil, err
	}
	for i, w := range running {
		if _, err := output(ctx, witness, "add-log", "--dir", filepath.Join(dir, fmt.Sprintf("w%d", i)), strings.TrimSpace(string(vkey))); err != nil {
			return nil, err
		}
		if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(s.root, "policy.tlog-policy"))
	if err != nil {
		return nil, err
	}
	s.policy, err = policy.Parse(text)
	return s, err
}

func (s *site) program() string { return filepath.Join(s.bench.bin, "idlogd") }

// serve starts the log's server.
func (s *site) serve(ctx context.Context, name string, args ...string) (*daemon, error) {
	d, err := start(ctx, s.dir, name, s.program(), append([]string{"serve", "--config", filepath.Join(s.root, "idlogd.yaml"),
		"--listen-grpc", s.address, "--listen-http", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0"}, slices.Concat(s.args, args)...)...)
	if err != nil {
		return nil, err
	}
	s.address = d.addresses["grpc"]
	return d, nil
}

// populate enrols the persons that the events are about, in a life of the server that nobody measures, and returns who has
// verified that and knows them from now on.
func (s *site) populate(ctx context.Context) (*verifier, error) {
	server, err := s.serve(ctx, "idlogd.populate")
	if err != nil {
		return nil, err
	}
	conns, err := connect(s.address)
	if err != nil {
		return nil, err
	}
	v, err := newVerifier(conns[0], s.policy, benchSource)
	if err != nil {
		return nil, err
	}
	answers, err := population(ctx, conns[0], benchSource)
	if err == nil {
		_, _, err = v.verifyAll(ctx, answers)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("enrolling the population: %w", err), v.close())
	}
	return v, server.stop()
}

// output runs a program to its end and returns what it printed, without the last newline.
func output(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w", filepath.Base(program), args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// startSelf starts the bare server as a process of its own.
func startSelf(ctx context.Context, dir string) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, dir, "echo", self, "echo")
}

// connect opens eight connections, over which callers are spread as those of eight services would be.
func connect(target string) ([]grpc.ClientConnInterface, error) {
	conns := make([]grpc.ClientConnInterface, 8)
	for i := range conns {
		c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(8<<20)))
		if err != nil {
			return nil, err
		}
		conns[i] = c
	}
	return conns, nil
}

// processor is the machine's name for its processors.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(b))
}
