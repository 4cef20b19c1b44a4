package cmd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// durableCalls are the system calls after which something is on disk, or gone from it.
const durableCalls = "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"

// killedAt runs a program that strace kills with SIGKILL at the n-th durable call of one of its threads. It returns what the
// program printed, and its exit code, or -1 if it was killed.
func killedAt(t *testing.T, strace string, n int, program string, args ...string) (said string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), strace, append([]string{"-f", "-o", os.DevNull, "-e", "trace=" + durableCalls,
		"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", durableCalls, n), program}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.String(), 0
	case !errors.As(err, &exit):
		t.Fatal(err)
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return out.String(), -1
	}
	return out.String(), exit.ExitCode()
}

// refusesToServe runs the log's server, which must end by itself, with this exit code.
func (s *site) refusesToServe(code int, why string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.idlogd(), "serve", "--config", s.path("log", "idlogd.yaml"),
		"--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(string(out), why) {
		s.t.Fatalf("a half restored log: %v, want exit code %d and %q\n%s", err, code, why, out)
	}
}

// TestKilledBackupAndRestore kills backup and restore with SIGKILL, again and again, each time further on. The backup before
// stays whole; what is half restored is not served; the same command again completes either; and in the end every event that
// was acknowledged is in the log, once.
func TestKilledBackupAndRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not on this machine, so nothing can be killed at a chosen call")
	}
	bin := build(t)
	c := newCrash(t, newSite(t, bin, bin))
	s := c.site
	config, to := s.path("log", "idlogd.yaml"), s.path("backup")
	round := func() {
		t.Helper()
		if err := c.round(); err != nil {
			t.Fatal(err)
		}
	}

	// The server is killed while it makes the backup.
	round()
	run(t, s.idlogd(), "backup", "--config", config, "--to", to)
	s.server.kill()
	for i := range 2 {
		round()
		backup := launch(t, "backup", nil, s.idlogd(), "backup", "--config", config, "--to", to)
		<-time.After(time.Duration(1+10*i) * time.Millisecond)
		s.server.kill()
		code := backup.wait()
		run(t, s.idlogd(), "backup", "verify", to)
		if code != 0 && !strings.Contains(backup.said(), "idlogd: ") {
			t.Errorf("it failed and did not say why: %s", backup.said())
		}
	}

	// The command is, which makes it where no server does.
	kills := 0
	for n := 1; ; n += n/2 + 1 {
		said, code := killedAt(t, strace, n, s.idlogd(), "backup", "--config", config, "--to", to)
		run(t, s.idlogd(), "backup", "verify", to)
		if code == 0 {
			break
		}
		if kills++; code != -1 {
			t.Fatalf("killed before, backup exits %d: %s", code, said)
		}
	}

	// All but the heads is lost. What the journal of the backup has beyond its tiles was signed perhaps.
	round()
	s.server.kill()
	run(t, s.idlogd(), "backup", "--config", config, "--to", to)
	for _, dir := range []string{"log", "journal", "subjects"} {
		if err := os.RemoveAll(s.path("log", dir)); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; ; n += n/2 + 1 {
		said, code := killedAt(t, strace, n, s.idlogd(), "restore", "--config", config, "--from", to)
		if code == 0 {
			break
		}
		if kills++; code != -1 {
			// It was complete when it was killed, and nobody replaces what is complete.
			if code == 9 && strings.Contains(said, "it is not empty") {
				break
			}
			t.Fatalf("killed before, restore exits %d: %s", code, said)
		}
		if _, err := os.Stat(s.path("log", "log", "identity")); err != nil {
			s.refusesToServe(9, "idlogd: ")
		}
	}
	if kills < 6 {
		t.Errorf("only %d kills", kills)
	}
	s.serve()
	if err := c.resubmit(); err != nil {
		t.Fatal(err)
	}
	if err := c.verify(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills, seed %d", kills, c.seed)
}
