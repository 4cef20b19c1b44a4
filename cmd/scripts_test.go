package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// build compiles the programs of ./cmd once per call into a directory of the test and returns it. Flags go to go build.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	bin := t.TempDir()
	args := append([]string{"build", "-o", bin + string(filepath.Separator)}, flags...)
	if out, err := exec.CommandContext(t.Context(), "go", append(args, "./...")...).CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	return bin
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
			e.Values[daemonsKey{}] = make(daemons)
			return os.MkdirAll(filepath.Join(e.WorkDir, "state"), 0o700)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands,
	})
}
