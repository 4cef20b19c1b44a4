package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// durableSteps are the writes on an event's way, in its order: the file or folder, below the site's, whose system calls
// are made to fail, and which calls these are. An asterisk stands for the file that the running server holds open.
var durableSteps = []struct{ name, path, calls string }{
	{"subject secrets", "log/subjects/*.log", "fsync,fdatasync,sync_file_range"},
	{"journal", "log/journal/*.rows", "fsync,fdatasync,sync_file_range"},
	{"entry bundle", "log/log/tiles/tile/entries/000.p", "fsync"},
	{"tile", "log/log/tiles/tile/0/000.p", "fsync"},
	{"tree state", "log/log/tiles/.state/treeState", "rename,renameat,renameat2"},
	{"heads file", "log/heads/*", "fsync,fdatasync"},
	{"published checkpoint", "log/log/published/checkpoint", "rename,renameat,renameat2"},
	{"next published checkpoint", "log/log/published/checkpoint.tmp", "fsync"},
}

// TestStorageError makes each durable step fail once, by an I/O error that strace injects into the running server. The
// server must end with 75, and the next start must be clean: what was not answered is submitted again, and the whole log
// holds.
func TestStorageError(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not on this machine, so no I/O error can be injected")
	}
	bin := build(t)
	c := newCrash(t, newSite(t, bin, bin))
	c.site.serve()
	if err := c.resubmit(); err != nil {
		t.Fatal(err)
	}
	for _, step := range durableSteps {
		c.rounds++
		tracer := c.inject(t, strace, step.path, step.calls)
		submitter := c.submitter(0)
		<-c.site.server.exited
		if code := c.site.server.wait(); code != 75 {
			t.Fatalf("%s: idlogd exited %d: %s", step.name, code, c.site.server.said())
		}
		if code := submitter.wait(); code != 0 {
			t.Fatalf("%s: the submitter: %s", step.name, submitter.said())
		}
		<-tracer.exited
		if err := c.ledger.read(c.ledgerName(0)); err != nil {
			t.Fatal(err)
		}
		c.site.serve()
		if err := c.resubmit(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := c.verify(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		t.Logf("%s: exit 75, and a clean restart", step.name)
	}
}

// inject attaches strace to the server and returns once it does what it is told.
func (c *crash) inject(t *testing.T, strace, path, calls string) *process {
	t.Helper()
	path = filepath.Join(c.site.dir, path)
	if strings.Contains(path, "*") {
		path = c.open(path)
	}
	p := launch(t, "strace", nil, strace, "-f", "-p", fmt.Sprint(c.site.server.cmd.Process.Pid),
		"-P", path, "-e", "trace="+calls, "-e", "inject="+calls+":error=EIO:when=1+")
	if err := until(func() (bool, error) {
		select {
		case <-p.exited:
			return false, fmt.Errorf("strace ended: %s", p.said())
		default:
			return strings.Contains(p.said(), "attached"), nil
		}
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// open returns the newest file of a pattern that the server holds open.
func (c *crash) open(pattern string) string {
	c.t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.site.server.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			continue // closed meanwhile
		}
		if ok, _ := filepath.Match(pattern, name); ok {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		c.t.Fatalf("the server holds no %s open", pattern)
	}
	return slices.MaxFunc(found, func(a, b string) int { return modTime(a).Compare(modTime(b)) })
}

func modTime(name string) time.Time {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
