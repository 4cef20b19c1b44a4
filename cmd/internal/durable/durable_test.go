package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"idlog/cmd/internal/durable"
)

func want(t *testing.T, name, content string, perm fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil || string(b) != content {
		t.Errorf("%s holds %q, %v; want %q", name, b, err, content)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != perm {
		t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, perm)
	}
	if names, _ := os.ReadDir(filepath.Dir(name)); len(names) != 1 {
		t.Errorf("beside it stand %v", names)
	}
}

func TestReplace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"one", "", "three"} {
		if err := durable.Replace(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, name, content, 0o600)
	}
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(dir, "within"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(dir, nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if names, _ := os.ReadDir(filepath.Dir(dir)); len(names) != 1 {
		t.Errorf("a failure left %v", names)
	}
}

func TestCreate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := durable.Create(name, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(name, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	want(t, name, "one", 0o600)
}
