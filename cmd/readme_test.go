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
	if !verified.Match(out) {
		t.Errorf("the session does not end with a verified receipt:\n%s", out)
	}
}

var (
	verified = regexp.MustCompile(`(?m)^verified   entry [0-9]+ of acme\.example/id/0`)
	link     = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	noSlug   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are the places of a page that a link can name.
func anchors(page []byte) map[string]bool {
	places := make(map[string]bool)
	for _, m := range heading.FindAllSubmatch(page, -1) {
		places[strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(string(m[1])), ""), " ", "-")] = true
	}
	return places
}

// TestLinks follows every relative link of the papers, to the file and to its section.
func TestLinks(t *testing.T) {
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			to := name
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(name), m[1])
			}
			page, err := os.ReadFile(to)
			if _, folder := os.Stat(to); folder != nil || err != nil && m[2] != "" {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
			if m[2] != "" && !anchors(page)[m[2]] {
				t.Errorf("%s links to #%s of %s, which has no such section", name, m[2], to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
