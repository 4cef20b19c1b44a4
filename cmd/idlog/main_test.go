package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"idlog/client/clienttest"
	"idlog/cmd/idlog/session"
	"idlog/proto/mapfn"
)

// TestMain lets the scripts run this test binary as idlog.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"idlog": main})
}

// TestScripts runs idlog as a program, each file of testdata against an
// operator of its own that can be told to lie.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			op := clienttest.New(t)
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				Setup: func(e *testscript.Env) error {
					e.Setenv("IDLOG_SERVER", op.Addr)
					e.Setenv("IDLOG_POLICY", "policy.tlog-policy")
					e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
					p := op.Policy.Format()
					alone := bytes.Clone(p[:bytes.IndexByte(p, '\n')+1])
					for name, text := range map[string][]byte{
						"policy.tlog-policy":   p,
						"everyone.tlog-policy": bytes.Replace(p, []byte("group all 2"), []byte("group all all"), 1),
						"nobody.tlog-policy":   append(alone, "quorum none\n"...),
						"other.tlog-policy":    clienttest.New(t).Policy.Format(),
					} {
						if err := os.WriteFile(filepath.Join(e.WorkDir, name), text, 0o600); err != nil {
							return err
						}
					}
					return nil
				},
				Cmds: commands(op),
			})
		})
	}
}

// commands are what the scripts say beyond testscript's own words.
func commands(op *clienttest.Operator) map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	number := func(ts *testscript.TestScript, s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	set := func(f func(op *clienttest.Operator, ts *testscript.TestScript, arg string)) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) != 1 {
				ts.Fatalf("one argument is needed")
			}
			op.Set(func(op *clienttest.Operator) { f(op, ts, args[0]) })
		}
	}
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		// lie NAME makes the operator lie; '' makes it honest again.
		"lie": set(func(op *clienttest.Operator, _ *testscript.TestScript, name string) { op.Lie = name }),
		// refuse N answers the next N calls UNAVAILABLE.
		"refuse": set(func(op *clienttest.Operator, ts *testscript.TestScript, n string) { op.Refuse = number(ts, n) }),
		// publish N goes back to a checkpoint of size N; 0 ends that.
		"publish": set(func(op *clienttest.Operator, ts *testscript.TestScript, n string) { op.Publish = int64(number(ts, n)) }),
		// tickets yes|no answers with tickets.
		"tickets": set(func(op *clienttest.Operator, _ *testscript.TestScript, yes string) { op.Tickets = yes == "yes" }),
		// quorum N lets only N witnesses cosign what is signed from now on.
		"quorum": set(func(op *clienttest.Operator, ts *testscript.TestScript, n string) { op.Quorum = number(ts, n) }),
		// index true|false logs a root leaf of the index of all entries, or of one that has but the first event of the source.
		"index": set(func(op *clienttest.Operator, ts *testscript.TestScript, kind string) {
			var change func(clienttest.Lists)
			if kind == "false" {
				change = func(x clienttest.Lists) {
					source := mapfn.Key(mapfn.Source, mapfn.SourceValue(clienttest.Source))
					x[source] = x[source][:1]
				}
			}
			ts.Check(op.Root(change))
		}),
		// fork N replaces the log by one of N other entries.
		"fork": func(ts *testscript.TestScript, neg bool, args []string) { op.Fork(number(ts, args[0])) },
		// exits CODE PROGRAM ARG... runs a program that must end with exactly this code.
		"exits": func(ts *testscript.TestScript, neg bool, args []string) {
			got := 0
			if err := ts.Exec(args[1], args[2:]...); err != nil {
				exit, ok := errors.AsType[*exec.ExitError](err)
				if !ok {
					ts.Fatalf("running %s: %v", args[1], err)
				}
				got = exit.ExitCode()
			}
			if want := number(ts, args[0]); got != want {
				ts.Fatalf("%s exited %d, not %d", args[1], got, want)
			}
		},
		// objects N checks that what was printed is so many JSON objects, one a line.
		"objects": func(ts *testscript.TestScript, neg bool, args []string) {
			out := strings.TrimSuffix(ts.ReadFile("stdout"), "\n")
			lines := strings.Split(out, "\n")
			if len(lines) != number(ts, args[0]) {
				ts.Fatalf("%d lines, not %s", len(lines), args[0])
			}
			for _, line := range lines {
				var object map[string]any
				if err := json.Unmarshal([]byte(line), &object); err != nil {
					ts.Fatalf("%v in %s", err, line)
				}
			}
		},
		// flip FILE turns one bit over in the middle of a file.
		"flip": func(ts *testscript.TestScript, neg bool, args []string) {
			name := ts.MkAbs(args[0])
			b, err := os.ReadFile(name)
			ts.Check(err)
			b[len(b)/2] ^= 1
			ts.Check(os.WriteFile(name, b, 0o600))
		},
	}
}

// TestHelp holds every command to help with an example that fits one screen.
func TestHelp(t *testing.T) {
	const screen = 50 // lines of a window
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if n := strings.Count(c.UsageString()+c.Long, "\n"); n > screen {
			t.Errorf("the help of %s has %d lines", c.CommandPath(), n)
		}
		if c.Short == "" || c.Example == "" && !c.HasSubCommands() {
			t.Errorf("%s does not say what it is for, or has no example", c.CommandPath())
		}
	}
	visit(command(&session.Session{}, func(string) string { return "" }))
}
