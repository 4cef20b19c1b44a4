package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a program of ours running as a process of its own.
type daemon struct {
	cmd       *exec.Cmd
	log       string // where it prints
	addresses map[string]string
	exited    chan struct{} // closed once the process is gone and err is set
	err       error
}

// start runs a program and waits until it says where it listens. What it prints goes to a file beside its ready file.
func start(ctx context.Context, dir, name, program string, args ...string) (*daemon, error) {
	ready := filepath.Join(dir, name+".ready")
	d := &daemon{log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	out, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close()
	d.cmd = exec.CommandContext(ctx, program, append(args, "--ready-file", ready)...)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.exited)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(ready); err == nil {
			if err := json.Unmarshal(b, &d.addresses); err != nil {
				return nil, fmt.Errorf("reading the ready file of %s: %w", name, err)
			}
			return d, nil
		}
		select {
		case <-d.exited:
			said, _ := os.ReadFile(d.log)
			return nil, fmt.Errorf("%s ended before it was ready: %w: %s", name, d.err, said)
		case <-tick.C:
		}
	}
}

// stop asks the program to drain and waits until its process is gone.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", d.cmd.Path, err)
	}
	<-d.exited
	return d.err
}

// cpu is the processor time that the process has used, user and system, from the kernel's own account of it.
func (d *daemon) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading the server's processor time: %w", err)
	}
	// The name in brackets may hold spaces; utime and stime are the 12th and 13th fields after it, in ticks of 10 ms.
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("reading the server's processor time: cannot parse %q", b)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the server's processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// peak is the largest resident memory that the process has had, in bytes.
func (d *daemon) peak() (int64, error) { return peakOf(d.cmd.Process.Pid) }

func peakOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading a process's memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("reading a process's memory: no VmHWM")
}

// diskBytes is what the files below a directory occupy on disk.
func diskBytes(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreMissing(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}

// ignoreMissing forgives a file that the running server removed under our eyes.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
