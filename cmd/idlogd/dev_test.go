package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	"idlog/proto/seal"
)

// TestMain lets the test binary be idlogd, so that processes are real.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_IDLOGD") != "" {
		os.Exit(serve.Main(run))
	}
	os.Exit(m.Run())
}

// idlogd is the program as a process that has not started.
func idlogd(ctx context.Context, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_AS_IDLOGD=1", "IDLOGD_LISTEN_ADMIN=127.0.0.1:0")
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// exits runs the program to its end and wants this exit code.
func exits(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, out, errs := idlogd(ctx, args...)
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("idlogd %s: exit code %d, want %d: %v\n%s%s", strings.Join(args, " "), got, code, err, out, errs)
	}
	return out.String(), errs.String()
}

// The first command of the README, up to its verified receipt.
func TestDevOnce(t *testing.T) {
	dir := t.TempDir()
	out, errs := exits(t, serve.CodeOK, "dev", "--once", "--dir", dir)
	for _, want := range []string{"witness-1, witness-2, witness-3; any 2 must cosign", "user.session.start", "cosigned"} {
		if !strings.Contains(out, want) {
			t.Errorf("the account does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out+errs, "\x1b") {
		t.Errorf("escapes for a terminal where there is none: %q", out+errs)
	}
	if errs != "" {
		t.Errorf("standard error: %s", errs)
	}
	opened := verified(t, dir)
	if len(opened.Cosigned) < 2 {
		t.Errorf("cosigned by %v", opened.Cosigned)
	}

	// The same folder again: the log goes on, and the same events have the same places.
	exits(t, serve.CodeOK, "dev", "--once", "--dir", dir)
	again := verified(t, dir)
	if again.Index != opened.Index || again.Checkpoint.Size < opened.Checkpoint.Size {
		t.Errorf("first %d in %d, then %d in %d", opened.Index, opened.Checkpoint.Size, again.Index, again.Checkpoint.Size)
	}
}

// verified is what the receipt that dev left in its folder proves.
func verified(t *testing.T, dir string) *seal.Opened {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "receipt.idlog-disclosure"))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := config.ReadPolicy(filepath.Join(dir, "policy.tlog-policy"))
	if err != nil {
		t.Fatal(err)
	}
	disclosure, err := seal.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := disclosure.Verify(trusted)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// A temporary folder is gone afterwards.
func TestDevLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tmp := t.TempDir()
	cmd, out, errs := idlogd(ctx, "dev", "--once")
	cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"sevre"}, {"serve", "extra"}, {"serve", "--no-such-flag"}, {"init"}, {"init", "--dir", t.TempDir()},
		{"init", "--dir", t.TempDir(), "--family", "a b"},
		{"init", "--dir", t.TempDir(), "--family", "a/b", "--source", "NOT A SOURCE"},
	} {
		if _, errs := exits(t, serve.CodeUsage, args...); !strings.HasPrefix(errs, "idlogd") {
			t.Errorf("%v: %s", args, errs)
		}
	}
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	out, _ := exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "acme.example/id", "--source", "okta=https://acme.okta.com", "--ml-dsa")
	if !strings.Contains(out, "acme.example/id/0 is initialised") {
		t.Errorf("it says %q", out)
	}
	for _, key := range []string{"log.key", "log-mldsa.key", "ticket.key", "master.key"} {
		info, err := os.Stat(filepath.Join(dir, "keys", key))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", key, info.Mode())
		}
	}
	file := filepath.Join(dir, config.Name)
	exits(t, serve.CodeOK, "config", "check", "--config", file)
	printed, _ := exits(t, serve.CodeOK, "config", "print", "--effective", "--config", file)
	if _, err := config.Parse("printed", []byte(printed)); err != nil {
		t.Errorf("config print is no configuration: %v\n%s", err, printed)
	}
	before := folder(t, dir)
	if _, errs := exits(t, serve.CodeInit, "init", "--dir", dir, "--family", "acme.example/id"); !strings.Contains(errs, "exists") {
		t.Errorf("init twice says %q", errs)
	}
	if after := folder(t, dir); after != before {
		t.Errorf("init twice changed the folder:\n%s\nto\n%s", before, after)
	}
	if err := os.Chmod(filepath.Join(dir, "keys", "log.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	exits(t, serve.CodePermission, "serve", "--config", file)
}

// A mistake in the options leaves nothing that the next attempt would stumble on.
func TestInitLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(t.TempDir(), "bad.tlog-policy")
	if err := os.WriteFile(bad, []byte("quorum nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	acme := filepath.Join(dir, "acme")
	exits(t, serve.CodeUsage, "init", "--dir", acme, "--family", "acme.example/id", "--witness-policy", bad)
	exits(t, serve.CodeError, "init", "--dir", acme, "--family", "acme.example/id", "--witness-policy", filepath.Join(dir, "none"))
	exits(t, serve.CodeUsage, "init", "--dir", acme, "--family", "acme.example/id", "--origin", "other.example/0")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("init left %v, %v", left, err)
	}
	exits(t, serve.CodeOK, "init", "--dir", acme, "--family", "acme.example/id")
}

func TestServeWithoutInit(t *testing.T) {
	dir := t.TempDir()
	_, errs := exits(t, serve.CodeInit, "serve", "--config", filepath.Join(dir, config.Name))
	if !strings.Contains(errs, "idlogd init --dir "+dir) {
		t.Errorf("it does not say how to make a log: %s", errs)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("serve made %v, %v", left, err)
	}
}

// folder is every file below dir with size and time of change.
func folder(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, name, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
