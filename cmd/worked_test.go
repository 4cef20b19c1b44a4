package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWorked does what a reader of proto/WORKED.md does: it copies two files out of the paper and verifies them. The paper
// says what the command line says; the rest of it is held by TestWorked of proto.
func TestWorked(t *testing.T) {
	paper, err := os.ReadFile("../proto/WORKED.md")
	if err != nil {
		t.Fatal(err)
	}
	block := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)<!-- ([a-z]+) -->\n```\n(.*?)```\n").FindAllSubmatch(paper, -1) {
		block[string(m[1])] = string(m[2])
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"6.idlog-disclosure": block["disclosure"] + "\n" + block["proof"],
		"policy.tlog-policy": block["policy"],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "idlog")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./idlog").CombinedOutput(); err != nil {
		t.Fatalf("building idlog: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, "verify", "6.idlog-disclosure", "-p", "policy.tlog-policy")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The paper leaves out what stands between the actor and the last line.
	said := regexp.MustCompile(`(?s)(\n  \},\n).*(\nverified )`).ReplaceAllString(string(out), "$1  ...$2")
	if diff := cmp.Diff(block["verdict"], said); diff != "" {
		t.Errorf("WORKED.md and idlog verify (-paper +program):\n%s", diff)
	}
}
