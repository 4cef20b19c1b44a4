package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"idlog/cmd/idlogd/config"
)

const twoLogs = `# ours
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0"}
logs:
  - family: one.example/id # the first
    origin: one.example/id/0
    dir: 1/log
    heads: 1/heads
    journal: 1/journal
    subjects: 1/subjects
    keys: {log: [1/log.key], ticket: 1/ticket.key, master: 1/master.key}
    policy: 1/policy
    sources: []
  - family: two.example/id
    origin: two.example/id/0
    dir: 2/log
    heads: 2/heads
    journal: 2/journal
    subjects: 2/subjects
    keys:
      log:
        - 2/log.key # since 2026
      ticket: 2/ticket.key
      master: 2/master.key
    policy: 2/policy
    sources: []
`

func TestWithLogKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, config.Name)
	if err := os.WriteFile(file, []byte(twoLogs), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := config.WithLogKeys(file, "two.example/id", []string{filepath.Join(dir, "2/log.key"), filepath.Join(dir, "2/new.key"), "/elsewhere/log.key"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"# ours\n", "# the first\n", "- 2/log.key # since 2026\n", "- 2/new.key\n", "- /elsewhere/log.key\n", "[1/log.key]"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, text)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != twoLogs {
		t.Errorf("the file was changed: %v", err)
	}
	for family, keys := range map[string][]string{"three.example/id": {"k"}, "one.example/id": nil} {
		if _, err := config.WithLogKeys(file, family, keys); err == nil {
			t.Errorf("%s with %v was accepted", family, keys)
		}
	}
	if _, err := config.WithLogKeys(filepath.Join(dir, "none"), "one.example/id", []string{"k"}); err == nil {
		t.Error("a file that is not there was edited")
	}
}
