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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// freePort is where a server listens that may share the machine with others.
const freePort = "127.0.0.1:0"

// patience bounds every wait for a condition: reaching it is a failure, never a pass.
const patience = 60 * time.Second

// scriptCommands are what the scripts say beyond testscript's own words.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// start NAME PROGRAM ARG... starts a daemon, waits until it accepts, and sets NAME_<listener> to each of its addresses.
	"start": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: start NAME PROGRAM ARG...")
		}
		startDaemon(ts, args[0], args[1], args[2:])
	},
	// signal NAME SIGNAL sends a signal to a started daemon: TERM, INT, HUP or KILL.
	"signal": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 || signals[args[1]] == 0 {
			ts.Fatalf("usage: signal NAME TERM|INT|HUP|KILL")
		}
		ts.Check(daemonOf(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
	},
	// ends NAME CODE waits until a daemon has ended, with this exit code.
	"ends": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: ends NAME CODE")
		}
		d := daemonOf(ts, args[0])
		select {
		case <-d.exited:
		case <-time.After(patience):
			ts.Fatalf("%s is still running", args[0])
		}
		if got := strconv.Itoa(d.cmd.ProcessState.ExitCode()); got != args[1] {
			ts.Fatalf("%s exited %s, not %s: %s", args[0], got, args[1], d.said())
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
	// pick PATTERN FILE copies the newest of the files that a pattern names.
	"pick": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: pick PATTERN FILE")
		}
		b, err := os.ReadFile(newest(ts, args[0]))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
	},
	// flip PATTERN [OFFSET] turns one bit over in the newest of the files that a pattern names, in its middle unless an
	// offset is given (from the end if negative).
	"flip": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 || len(args) > 2 {
			ts.Fatalf("usage: flip PATTERN [OFFSET]")
		}
		name := newest(ts, args[0])
		b, err := os.ReadFile(name)
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
		ts.Check(os.WriteFile(name, b, 0o600))
	},
	// fetch URL FILE [STATUS] [HEADER...] stores what an HTTP GET answers; the status is 200 unless another is named. A header
	// is 'Name: value'.
	"fetch": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: fetch URL FILE [STATUS] [HEADER...]")
		}
		request(ts, http.MethodGet, args[0], "", args[1], args[2:])
	},
	// post URL BODY FILE [STATUS] [HEADER...] sends a file, as JSON if its name says so, and stores what is answered.
	"post": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 3 {
			ts.Fatalf("usage: post URL BODY FILE [STATUS] [HEADER...]")
		}
		media := "Content-Type: text/plain"
		if strings.HasSuffix(args[1], ".json") {
			media = "Content-Type: application/json"
		}
		more := slices.Clone(args[3:])
		request(ts, http.MethodPost, args[0], ts.ReadFile(args[1]), args[2], append(more, media))
	},
	// await URL STATUS [PATTERN] waits until an HTTP GET answers this status and a text that the pattern matches.
	"await": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 || len(args) > 3 {
			ts.Fatalf("usage: await URL STATUS [PATTERN]")
		}
		pattern, err := regexp.Compile("(?m)" + append(args, "")[2])
		ts.Check(err)
		var last string
		if err := until(func() (bool, error) {
			res, err := http.Get(args[0])
			if err != nil {
				last = err.Error()
				return false, nil
			}
			defer res.Body.Close()
			body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
			last = fmt.Sprintf("%d %.2000s", res.StatusCode, body)
			return err == nil && strconv.Itoa(res.StatusCode) == args[1] && pattern.Match(body), nil
		}); err != nil {
			ts.Fatalf("GET %s: %v; it answered %s", args[0], err, last)
		}
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
	// certs DIR NAME... makes an authority, ca.pem, and of it server.pem and server.key for this machine, and NAME.pem and
	// NAME.key for each client, whose principal is spiffe://acme.example/NAME.
	"certs": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 {
			ts.Fatalf("usage: certs DIR NAME...")
		}
		ts.Check(makeCertificates(ts.MkAbs(args[0]), args[1:]))
	},
	// setenv NAME FILE sets a variable to a file's text without its last newline.
	"setenv": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: setenv NAME FILE")
		}
		ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
	},
}

// request stores what an HTTP request answers. Of args, one with a colon is a header, the first of a name counts, and another
// is the status that it must have.
func request(ts *testscript.TestScript, method, url, body, file string, args []string) {
	want := "200"
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	ts.Check(err)
	for _, arg := range args {
		name, value, header := strings.Cut(arg, ": ")
		switch {
		case !header:
			want = arg
		case name == "Host":
			r.Host = value
		case r.Header.Get(name) == "":
			r.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	ts.Check(err)
	if got := strconv.Itoa(res.StatusCode); got != want {
		ts.Fatalf("%s %s answered %s, not %s: %s", method, url, got, want, answer)
	}
	ts.Check(os.WriteFile(ts.MkAbs(file), answer, 0o600))
}

// newest is the file of a pattern that was written last.
func newest(ts *testscript.TestScript, pattern string) string {
	names, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file is %s", pattern)
	}
	return slices.MaxFunc(names, func(a, b string) int { return modTime(a).Compare(modTime(b)) })
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}

// daemons are those of one script by name. They are found in its environment under daemonsKey.
type (
	daemons    map[string]*process
	daemonsKey struct{}
)

func daemonOf(ts *testscript.TestScript, name string) *process {
	d := ts.Value(daemonsKey{}).(daemons)[name]
	if d == nil {
		ts.Fatalf("no daemon %s was started", name)
	}
	return d
}

// startDaemon starts a program in the folder and environment of the script. It is killed when the script ends.
func startDaemon(ts *testscript.TestScript, name, program string, args []string) {
	path := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], program) // where build put it
	ready := ts.MkAbs(name + ".ready")
	ts.Check(os.RemoveAll(ready))
	out, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	cmd := exec.Command(path, append(args, "--ready-file", ready)...)
	cmd.Dir = ts.MkAbs(".")
	for _, v := range []string{"PATH", "HOME", "XDG_STATE_HOME", "TMPDIR", "IDLOGD_LISTEN_ADMIN"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	p, err := begin(name, cmd, out)
	ts.Check(err)
	ts.Value(daemonsKey{}).(daemons)[name] = p
	ts.Defer(p.kill)
	addresses, err := p.accepts(ready)
	ts.Check(err)
	for listener, address := range addresses {
		ts.Setenv(name+"_"+listener, address)
	}
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
