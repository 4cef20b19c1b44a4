package cmd_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestReadme runs the session of the README as it stands there, in a folder that has testdata and nothing else. The first
// two commands of the README are run by CI itself.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("skipped: bash is not on this machine")
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, session, ok := strings.Cut(string(readme), "\n## Run it\n")
	session, _, _ = strings.Cut(session, "\n## ")
	var script strings.Builder
	for line := range strings.Lines(session) {
		if command, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(command, "go build ") {
			script.WriteString(command)
		}
	}
	if !ok || script.Len() == 0 {
		t.Fatal("the README has no session under \"Run it\"")
	}
	dir := t.TempDir()
	samples, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(samples, filepath.Join(dir, "testdata")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bash, "-euo", "pipefail", "-c", script.String())
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+build(t)+":"+os.Getenv("PATH"), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the daemons of the session
	out, _ := os.ReadFile(said.Name())
	if err != nil {
		t.Fatalf("the session: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "verified   entry 20 of acme.example/id/0") {
		t.Errorf("the session does not end with a verified receipt:\n%s", out)
	}
}

// TestLinks follows every relative link of the papers.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
