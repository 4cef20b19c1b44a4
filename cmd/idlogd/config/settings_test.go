package config_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/cmd/idlogd/config"
)

var update = flag.Bool("update", false, "write the reference page anew")

// A flag stands before the environment, that before the file, that before the default.
func TestPrecedence(t *testing.T) {
	text := strings.Replace(goodConfig, "logs:\n", "shutdown_timeout: 1s\nlog_level: warn\nlimits:\n  calls: 7\nlogs:\n", 1)
	settings, err := config.Environ([]string{"HOME=/", "IDLOGD_CONFIG=x.yaml", "IDLOGD_SHUTDOWN_TIMEOUT=2s", "IDLOGD_LOG_LEVEL=error",
		"IDLOGD_LOGS_0_SOURCES_0_ISSUER=https://other.example", "IDLOGD_LIMITS_CALLS_EACH=3"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("/srv/idlogd.yaml", []byte(text), append(settings, config.Setting{Path: "shutdown_timeout", Value: "3s", From: "--shutdown-timeout"})...)
	if err != nil {
		t.Fatal(err)
	}
	if c.ShutdownTimeout != 3*time.Second || c.LogLevel != "error" || c.Limits.Calls != 7 || c.Limits.CallsEach != 3 || c.Limits.Streams != 1024 {
		t.Errorf("got %+v", c)
	}
	if got := c.Logs[0].Sources[0].Issuer; got != "https://other.example" {
		t.Errorf("issuer %s", got)
	}
	for _, want := range []string{
		"shutdown_timeout: 3s # --shutdown-timeout",
		"log_level: \"error\" # IDLOGD_LOG_LEVEL",
		"calls: 7 # /srv/idlogd.yaml:7",
		"log_format: \"auto\" # default",
		"issuer: \"https://other.example\" # IDLOGD_LOGS_0_SOURCES_0_ISSUER",
	} {
		if printed := strings.Join(strings.Fields(c.Print(true)), " "); !strings.Contains(printed, want) {
			t.Errorf("print does not say %q:\n%s", want, c.Print(true))
		}
	}
	if strings.Contains(c.Print(false), "log_format") {
		t.Errorf("a default is among what somebody set:\n%s", c.Print(false))
	}
	for _, all := range []bool{false, true} { // what is printed can be read, from wherever it stands
		again, err := config.Parse("elsewhere/printed.yaml", []byte(c.Print(all)))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Print(all))
		}
		if reload, restart := config.Changed(c, again); len(reload)+len(restart) != 0 {
			t.Errorf("what was printed differs at %v %v", reload, restart)
		}
	}
}

// What the environment and flags say is judged as the file is, and named as what it is.
func TestSettingsAreRefused(t *testing.T) {
	for _, tt := range []struct{ env, set, want string }{
		{"IDLOGD_LISTEN_GRCP=x", "", "the environment has IDLOGD_LISTEN_GRCP, which is no setting"},
		{"IDLOGD_LOGS=x", "", "IDLOGD_LOGS, which is no setting"},
		{"IDLOGD_LOGS_00_DIR=x", "", "IDLOGD_LOGS_00_DIR, which is no setting"},
		{"IDLOGD_LISTEN=x", "", "IDLOGD_LISTEN, which is no setting"},
		{"IDLOGD_LOGS_1_DIR=x", "", "IDLOGD_LOGS_1_DIR: logs.1.dir has 1 of them in f.yaml, counted from 0"},
		{"IDLOGD_SHUTDOWN_TIMEOUT=soon", "", `IDLOGD_SHUTDOWN_TIMEOUT: shutdown_timeout: "soon" is not a duration; write a number and a unit`},
		{"IDLOGD_SHUTDOWN_TIMEOUT=5h", "", "IDLOGD_SHUTDOWN_TIMEOUT: shutdown_timeout: 5h0m0s is out of range"},
		{"IDLOGD_LOG_LEVEL=loud", "", `IDLOGD_LOG_LEVEL: log_level: "loud" is no level`},
		{"IDLOGD_LIMITS_BYTES=7", "", `IDLOGD_LIMITS_BYTES: limits.bytes: "7" is not a size; write a number and a unit`},
		{"", "logs.0.dri=x", "--set logs.0.dri: there is no setting logs.0.dri"},
		{"", "logs.0.sources=x", "--set logs.0.sources: logs.0.sources: is a list and stands in the file only"},
		{"", "nothing", `--set "nothing" is not PATH=VALUE`},
		{"", "limits.calls_each=9999", "--set limits.calls_each: limits.calls_each: out of range"},
	} {
		var environ []string
		if tt.env != "" {
			environ = []string{tt.env}
		}
		settings, err := config.Environ(environ)
		if err == nil && tt.set != "" {
			var s config.Setting
			s, err = config.ParseSetting(tt.set, "--set")
			settings = append(settings, s)
		}
		if err == nil {
			_, err = config.Parse("f.yaml", []byte(goodConfig), settings...)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s%s: error %v, want %q", tt.env, tt.set, err, tt.want)
		}
	}
}

// A reload knows what it may do and what needs a restart.
func TestChanged(t *testing.T) {
	old, err := config.Parse("f.yaml", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		old, new        string
		reload, restart []string
	}{
		{"[local]", "[local, other]", []string{"logs.0.sources.0.principals"}, nil},
		{"        principals: [local]\n", "        principals: [local]\n        readers: [auditor]\n", []string{"logs.0.sources.0.readers"}, nil},
		{"logs:\n", "limits:\n  calls: 9\n  calls_each: 9\nlogs:\n", []string{"limits.calls", "limits.calls_each"}, nil},
		{"logs:\n", "tls: {cert: a, key: b, client_ca: c}\nlogs:\n", []string{"tls.cert", "tls.key", "tls.client_ca"}, nil},
		{"dir: log", "dir: other", nil, []string{"logs.0.dir"}},
		{"        principals: [local]\n", "        principals: [local]\n      - {name: more, principals: []}\n", nil, []string{"logs.0.sources"}},
		{"keys/log.key]", "keys/log.key, keys/two.key]", nil, []string{"logs.0.keys.log"}},
	} {
		now, err := config.Parse("f.yaml", []byte(strings.Replace(goodConfig, tt.old, tt.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		reload, restart := config.Changed(old, now)
		if diff := cmp.Diff([][]string{tt.reload, tt.restart}, [][]string{reload, restart}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.new, diff)
		}
	}
}

// The reference page is what the struct's comments say; `go test ./cmd/idlogd/config -update` writes it.
func TestReferencePage(t *testing.T) {
	manual, err := config.Manual()
	if err != nil {
		t.Fatal(err)
	}
	const page = "../CONFIG.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, table, ok := strings.Cut(string(b), "\n| setting")
	if !ok {
		t.Fatal("the page has no table")
	}
	if want := head + "\n" + manual; *update && "\n| setting"+table != "\n"+manual {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("the page is not what the struct says; run with -update (-want +got):\n%s", diff)
	}
	all, err := config.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Doc == "" || !strings.HasSuffix(e.Doc, ".") {
			t.Errorf("%s has no sentence in the manual: %q", e.Path, e.Doc)
		}
	}
}

// Each variable of the reference page is a setting.
func TestEveryVariable(t *testing.T) {
	all, err := config.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Variable == "" {
			continue
		}
		settings, err := config.Environ([]string{strings.ReplaceAll(e.Variable, "_N_", "_0_") + "=x"})
		if err != nil || len(settings) != 1 || settings[0].Path != strings.ReplaceAll(e.Path, ".N.", ".0.") {
			t.Errorf("%s: %v, %v", e.Variable, settings, err)
		}
	}
}

// The schema is JSON and knows every setting.
func TestSchema(t *testing.T) {
	b, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	all, err := config.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		at := schema
		for _, part := range strings.Split(e.Path, ".") {
			step := "items"
			if part != "N" {
				at, step = at.(map[string]any)["properties"], part
			}
			at = at.(map[string]any)[step]
			if at == nil {
				break
			}
		}
		m, ok := at.(map[string]any)
		if !ok || m["description"] != e.Doc {
			t.Errorf("%s: the schema says %v", e.Path, at)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]string{"64KiB": "64KiB", "1024KiB": "1MiB", "1 GiB": "1GiB", "1kB": "1000B", "5TB": "4882812500KiB", "0B": "0B"} {
		c, err := config.Parse("f.yaml", []byte(strings.Replace(goodConfig, "    dir: log\n", "    dir: log\n    disk_reserve: "+text+"\n", 1)))
		if err != nil {
			t.Error(err)
		} else if got := c.Logs[0].DiskReserve.String(); got != want {
			t.Errorf("%s is %s", text, got)
		}
	}
	for _, text := range []string{"7", "GiB", "-1GiB", "1.5GiB", "1Gib", "99999999TiB", "\"\""} {
		_, err := config.Parse("f.yaml", []byte(strings.Replace(goodConfig, "    dir: log\n", "    dir: log\n    disk_reserve: "+text+"\n", 1)))
		if err == nil || !strings.Contains(err.Error(), "f.yaml:8: logs.0.disk_reserve: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever stands in a file, it is a configuration or refused in words that begin with the file's name.
func FuzzParse(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("logs: [&a {dir: *a}]"))
	f.Add([]byte("listen: {grpc: !!binary x}\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := config.Parse("f.yaml", b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("error %v", err)
			}
			return
		}
		if _, err := config.Parse("f.yaml", []byte(c.Print(true))); err != nil {
			t.Errorf("%v\n%s", err, c.Print(true))
		}
	})
}

// What is printed names its files so that it can stand in another folder.
func TestPrintStandsAnywhere(t *testing.T) {
	c, err := config.Parse("here/f.yaml", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse("there/g.yaml", []byte(c.Print(false)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{again.Logs[0].Dir, again.Logs[0].Policy, again.Logs[0].Keys.Log[0], again.Logs[0].Keys.Master} {
		if !filepath.IsAbs(name) || !strings.Contains(name, "/here/") {
			t.Errorf("%s", name)
		}
	}
}
