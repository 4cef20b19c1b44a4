package program_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
)

// run executes a small program and returns what it prints and its exit code.
func run(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	root := &cobra.Command{Use: "tool", Short: "Do things", Example: "  tool get 1"}
	root.PersistentFlags().Bool("json", false, "JSON")
	get := &cobra.Command{Use: "get INDEX", Short: "Get a thing", Args: cobra.ExactArgs(1), ValidArgsFunction: program.FileArgs("thing"),
		RunE: func(cmd *cobra.Command, args []string) error { cmd.Println("got", args[0]); return nil }}
	get.Flags().String("format", "", "form")
	get.Flags().String("file", "", "file")
	get.Flags().String("dir", "", "folder")
	get.Flags().String("log", "", "log")
	program.Values(get, "format", "event", "okta")
	program.Files(get, "file", "key")
	get.Flags().String("config", "", "file")
	program.Computed(get, "log", func() []string { return []string{"log.example"} })
	show := &cobra.Command{Use: "show", Short: "Show it", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return errors.New("no") }}
	root.AddCommand(get, program.Group("key", "Keys", show))
	var b bytes.Buffer
	err := program.Run(t.Context(), root, serve.Env{Args: args, Stdin: strings.NewReader(""), Stdout: &b, Stderr: &b})
	return b.String(), serve.Report(&b, "tool", err)
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string // part of the output
	}{
		{nil, 0, "Do things\n\nExamples:\n  tool get 1\n\nUsage:"},
		{[]string{"key"}, 0, "show        Show it"},
		{[]string{"get", "1"}, 0, "got 1"},
		{[]string{"get", "--help"}, 0, "Flags of every command: tool --help"},
		{[]string{"key", "show"}, 1, ""},
		{[]string{"get"}, 2, ""},
		{[]string{"get", "1", "2"}, 2, ""},
		{[]string{"get", "1", "--nonsense"}, 2, ""},
		{[]string{"nonsense"}, 2, ""},
		{[]string{"key", "shw"}, 2, ""},
		{[]string{"version"}, 0, "tool "},
		{[]string{"version", "--json"}, 0, `{"program":"tool","version":"`},
		{[]string{"completion", "bash"}, 0, "bash completion V2 for tool"},
		{[]string{"completion", "zsh"}, 0, "#compdef tool"},
		{[]string{"completion", "fish"}, 0, "complete -c tool"},
		{[]string{"completion", "pwsh"}, 0, "Register-ArgumentCompleter"},
		{[]string{"completion", "tcsh"}, 2, ""},
		{[]string{"completion"}, 2, ""},
		{[]string{"__complete", "get", "--format", ""}, 0, "event\nokta\n:4"},
		{[]string{"__complete", "get", "--log", ""}, 0, "log.example\n:4"},
		{[]string{"__complete", "get", "--file", ""}, 0, "key\n:8"},
		{[]string{"__complete", "get", "--dir", ""}, 0, ":16"},
		{[]string{"__complete", "get", "--config", ""}, 0, "yaml\nyml\n:8"},
		{[]string{"__complete", "man", ""}, 0, ":16"},
		{[]string{"__complete", "get", ""}, 0, "thing\n:8"},
		{[]string{"__complete", "completion", ""}, 0, "bash\nzsh\nfish\npwsh\n"},
	} {
		out, code := run(t, tc.args...)
		if code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%q exits %d and prints %q", tc.args, code, out)
		}
	}
}

func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if out, code := run(t, "man", dir); code != 0 || out != "" {
		t.Fatal(out, code)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		names[i] = filepath.Base(n)
	}
	want := []string{"tool-completion.1", "tool-get.1", "tool-key-show.1", "tool-key.1", "tool-man.1", "tool-version.1", "tool.1"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	page, err := os.ReadFile(filepath.Join(dir, "tool-get.1"))
	if err != nil || !bytes.Contains(page, []byte("Get a thing")) || bytes.Contains(page, []byte("Auto generated")) {
		t.Errorf("%s, %v", page, err)
	}
}
