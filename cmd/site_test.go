package cmd_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"idlog/proto/policy"
)

// process is a program of ours in a process group of its own.
type process struct {
	name      string
	cmd       *exec.Cmd
	addresses map[string]string
	exited    chan struct{} // closed once the process is gone and cmd.ProcessState is set
	output    *os.File
}

// spawn starts a program and waits until its ready file says where it listens.
func spawn(t *testing.T, name, ready, program string, args ...string) *process {
	t.Helper()
	p := launch(t, name, nil, program, append(args, "--ready-file", ready)...)
	var err error
	if p.addresses, err = p.accepts(ready); err != nil {
		t.Fatal(err)
	}
	return p
}

// launch starts a program without waiting for it, in this environment or, if it is nil, in ours. It is killed when the test
// ends.
func launch(t *testing.T, name string, env []string, program string, args ...string) *process {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = env
	p, err := begin(name, cmd, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// begin starts a command whose output goes to a file that the process owns from now on.
func begin(name string, cmd *exec.Cmd, out *os.File) (*process, error) {
	p := &process{name: name, cmd: cmd, exited: make(chan struct{}), output: out}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		cmd.Wait()
		out.Close()
		close(p.exited)
	}()
	return p, nil
}

// accepts waits for the ready file and returns the addresses in it; a program that ends before is an error.
func (p *process) accepts(ready string) (map[string]string, error) {
	err := until(func() (bool, error) {
		select {
		case <-p.exited:
			return false, fmt.Errorf("%s ended before it was ready: %s\n%s", p.name, p.cmd.ProcessState, p.said())
		default:
		}
		_, err := os.Stat(ready)
		return err == nil, nil
	})
	if err != nil {
		return nil, err
	}
	return awaitReady(ready)
}

// kill ends the whole group at once, as a power cut would end the program, and returns when it is gone.
func (p *process) kill() {
	// An error means that the group is gone already.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// wait returns the exit code once the program has ended.
func (p *process) wait() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// said is what the program printed so far.
func (p *process) said() string {
	b, _ := os.ReadFile(p.output.Name())
	return string(b)
}

// site is a log and three witnesses, each a process with keys and stores of its own.
type site struct {
	t      *testing.T
	bin    string
	dir    string
	policy *policy.Policy
	server *process
	starts int
	listen string // of the log's HTTP; empty for any port
}

const (
	family     = "test.example/id"
	testSource = "crash"
)

// newSite makes the keys, starts the witnesses and leaves the log initialised and not yet served. The programs of bin may
// be built otherwise than those of witnessBin, which are honest. Sources are beside testSource, each as init has them.
func newSite(t *testing.T, bin, witnessBin string, sources ...string) *site {
	t.Helper()
	s := &site{t: t, bin: bin, dir: t.TempDir()}
	var lines []string
	var witnesses []*process
	for i := range 3 {
		dir := filepath.Join(s.dir, fmt.Sprintf("w%d", i))
		vkey := run(t, filepath.Join(witnessBin, "idlog-witness"), "init", "--dir", dir, "--name", fmt.Sprintf("w%d.example", i), "--key-type", "ed25519")
		w := spawn(t, "witness", filepath.Join(s.dir, fmt.Sprintf("w%d.ready", i)), filepath.Join(witnessBin, "idlog-witness"), "serve", "--dir", dir, "--listen", "127.0.0.1:0")
		witnesses = append(witnesses, w)
		lines = append(lines, fmt.Sprintf("witness w%d %s http://%s", i, strings.TrimSpace(vkey), w.addresses["http"]))
	}
	lines = append(lines, "group quorum 2 w0 w1 w2", "quorum quorum", "")
	witnessPolicy := filepath.Join(s.dir, "witnesses.tlog-policy")
	if err := os.WriteFile(witnessPolicy, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"init", "--dir", s.path("log"), "--family", family, "--witness-policy", witnessPolicy}
	for _, source := range append([]string{testSource + "=https://acme.example"}, sources...) {
		args = append(args, "--source", source)
	}
	run(t, s.idlogd(), args...)
	vkey, err := os.ReadFile(s.path("log", "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range witnesses {
		run(t, filepath.Join(witnessBin, "idlog-witness"), "add-log", "--dir", filepath.Join(s.dir, fmt.Sprintf("w%d", i)), strings.TrimSpace(string(vkey)))
		if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(s.path("log", "policy.tlog-policy"))
	if err != nil {
		t.Fatal(err)
	}
	if s.policy, err = policy.Parse(text); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) path(elem ...string) string { return filepath.Join(append([]string{s.dir}, elem...)...) }
func (s *site) idlogd() string             { return filepath.Join(s.bin, "idlogd") }

// serve starts the log and waits until it accepts.
func (s *site) serve(args ...string) {
	s.t.Helper()
	s.starts++
	s.server = spawn(s.t, "idlogd", s.path(fmt.Sprintf("idlogd.%d.ready", s.starts)), s.idlogd(),
		append([]string{"serve", "--config", s.path("log", "idlogd.yaml"), "--listen-grpc", "127.0.0.1:0", "--listen-http", cmp.Or(s.listen, "127.0.0.1:0")}, args...)...)
}

// fetch reads what the log publishes over HTTP, by path.
func (s *site) fetch(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.server.addresses["http"]+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return io.ReadAll(res.Body)
}

// run runs a program to its end and returns what it printed.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
