package cmd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// programs are those of ./cmd as they are shipped, built once for all tests, in a folder that TestMain removes.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// build returns a folder with the programs of ./cmd. With tags they are others than are shipped, and built for this test.
func build(t *testing.T, tags ...string) string {
	t.Helper()
	if len(tags) > 0 {
		dir := t.TempDir()
		if err := compile(dir, "-tags", strings.Join(tags, ",")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "idlog-programs-"); programs.err == nil {
			programs.err = compile(programs.dir)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return programs.dir
}

func compile(dir string, flags ...string) error {
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...)
	if out, err := exec.Command("go", append(args, "./...")...).CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// TestScripts runs the programs as programs: each file of testdata/scripts is a session that reads like a manual.
func TestScripts(t *testing.T) {
	bin := build(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "../testdata/scripts",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("SAMPLES", filepath.Join(root, "testdata", "samples"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("IDLOGD_LISTEN_ADMIN", freePort)
			e.Values[daemonsKey{}] = make(daemons)
			return os.MkdirAll(filepath.Join(e.WorkDir, "state"), 0o700)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
	})
}
