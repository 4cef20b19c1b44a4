package cmd_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for a condition: reaching it is a failure, never a pass.
const patience = 60 * time.Second

// scriptCommands are what the scripts say beyond testscript's own words.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// ready NAME FILE waits for a program's ready file and sets NAME_<listener> to each address in it.
	"ready": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: ready NAME FILE")
		}
		addresses, err := awaitReady(ts.MkAbs(args[1]))
		ts.Check(err)
		for listener, address := range addresses {
			ts.Setenv(args[0]+"_"+listener, address)
		}
	},
	// exits CODE PROGRAM ARG... runs a program that must end with exactly this code.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: exits CODE PROGRAM ARG...")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		got := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				ts.Fatalf("running %s: %v", args[1], err)
			}
			got = exit.ExitCode()
		}
		if got != want {
			ts.Fatalf("%s exited %d, not %d", args[1], got, want)
		}
	},
	// flip PATTERN [OFFSET] turns one bit over in the one file that the pattern names, in the middle of the file unless an offset is given (from the end if negative).
	"flip": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 || len(args) > 2 {
			ts.Fatalf("usage: flip PATTERN [OFFSET]")
		}
		names, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(names) != 1 {
			ts.Fatalf("%s is %d files", args[0], len(names))
		}
		b, err := os.ReadFile(names[0])
		ts.Check(err)
		at := len(b) / 2
		if len(args) == 2 {
			at, err = strconv.Atoi(args[1])
			ts.Check(err)
			if at < 0 {
				at += len(b)
			}
		}
		b[at] ^= 1
		ts.Check(os.WriteFile(names[0], b, 0o600))
	},
	// fetch URL FILE [STATUS] stores what an HTTP GET answers; the status is 200 unless another is named.
	"fetch": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 || len(args) > 3 {
			ts.Fatalf("usage: fetch URL FILE [STATUS]")
		}
		want := "200"
		if len(args) == 3 {
			want = args[2]
		}
		res, err := http.Get(args[0])
		ts.Check(err)
		defer res.Body.Close()
		body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		ts.Check(err)
		if got := strconv.Itoa(res.StatusCode); got != want {
			ts.Fatalf("GET %s answered %s, not %s: %s", args[0], got, want, body)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
	},
	// envsubst FILE replaces $NAME by the variable's value throughout a file.
	"envsubst": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: envsubst FILE")
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
	},
	// replace OLD NEW FILE replaces every occurrence of a text in a file; there must be one.
	"replace": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 3 {
			ts.Fatalf("usage: replace OLD NEW FILE")
		}
		text := ts.ReadFile(args[2])
		if !strings.Contains(text, args[0]) {
			ts.Fatalf("%s does not contain %q", args[2], args[0])
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], args[1])), 0o600))
	},
	// copytree FROM TO copies a folder with all that is below it; TO is what FROM is, nothing else.
	"copytree": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: copytree FROM TO")
		}
		copyTree(ts, args[0], args[1])
	},
	// digest FOLDER FILE writes down the name, mode and SHA-256 of every file below a folder.
	"digest": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: digest FOLDER FILE")
		}
		var lines strings.Builder
		root := ts.MkAbs(args[0])
		ts.Check(filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			sum := [32]byte{}
			if !entry.IsDir() {
				b, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				sum = sha256.Sum256(b)
			}
			fmt.Fprintf(&lines, "%s %v %x\n", strings.TrimPrefix(name, root), info.Mode(), sum)
			return nil
		}))
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(lines.String()), 0o600))
	},
	// setenv NAME FILE sets a variable to a file's text without its last newline.
	"setenv": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: setenv NAME FILE")
		}
		ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
	},
}

// copyTree replaces the folder to by a copy of the folder from.
func copyTree(ts *testscript.TestScript, from, to string) {
	ts.Check(os.RemoveAll(ts.MkAbs(to)))
	ts.Check(ts.Exec("cp", "-a", ts.MkAbs(from), ts.MkAbs(to))) // modes and all, as an operator's copy would be
}

// awaitReady waits for a ready file and returns the addresses in it. The file is written in one piece.
func awaitReady(name string) (map[string]string, error) {
	var addresses map[string]string
	err := until(func() (bool, error) {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, json.Unmarshal(b, &addresses)
	})
	return addresses, err
}

// until asks for a condition again and again and fails when patience ends.
func until(holds func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-end.C:
			return errors.New("the condition did not come about in " + patience.String())
		}
	}
}
