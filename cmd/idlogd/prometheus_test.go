package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"idlog/cmd/idlogd/monitoring"
)

// Prometheus names the port that it has at last in its log, on standard error.
var listening = regexp.MustCompile(`"?Listening on"? address=(\S+)`)

// A real Prometheus loads the rules and scrapes a real server: every rule can be evaluated, and while all is well no alert is
// pending or firing.
func TestPrometheus(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not here: the rules are tried by promtool alone (Debian: apt-get install prometheus)")
	}
	dir := t.TempDir()
	d := startDaemon(t, "dev", "--dir", filepath.Join(dir, "dev"))
	d.waitFor(func() bool {
		_, err := os.Stat(filepath.Join(dir, "dev", "receipt.idlog-disclosure"))
		return err == nil
	})
	conf := fmt.Sprintf(`
global: {scrape_interval: 250ms, evaluation_interval: 250ms}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: idlogd
    static_configs: [{targets: [%q]}]
`, d.addresses["admin"])
	for name, text := range map[string]string{"prometheus.yml": conf, "rules.yaml": string(monitoring.Rules)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := os.Create(filepath.Join(dir, "prometheus.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.CommandContext(t.Context(), program, "--config.file", filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(dir, "tsdb"), "--web.listen-address", "127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = cmd.Process.Kill(), cmd.Wait()
		if t.Failed() {
			text, err := os.ReadFile(said.Name())
			t.Logf("Prometheus said (%v):\n%s", err, text)
		}
	}()
	var addr string // it chose the port itself, so that nobody else has it
	d.waitFor(func() bool {
		text, err := os.ReadFile(said.Name())
		if err != nil {
			t.Fatal(err)
		}
		if m := listening.FindSubmatch(text); m != nil {
			addr = string(m[1])
		}
		return addr != ""
	})

	type rule struct {
		Name, State, Health, LastError string
		LastEvaluation                 string
	}
	var rules []rule
	var waitsFor rule
	scraped := func() bool { // and every rule was evaluated on what was scraped
		var targets struct {
			Data struct {
				ActiveTargets []struct{ Health, LastError string }
			}
		}
		var groups struct {
			Data struct{ Groups []struct{ Rules []rule } }
		}
		if !ask(addr, "/api/v1/targets", &targets) || !ask(addr, "/api/v1/rules", &groups) {
			return false
		}
		a := targets.Data.ActiveTargets
		if len(a) != 1 || a[0].Health != "up" || len(groups.Data.Groups) != 1 {
			return false
		}
		rules = groups.Data.Groups[0].Rules
		for _, r := range rules {
			if r.Health == "unknown" || r.State == "pending" { // absent() of before the first scrape
				waitsFor = r
				return false
			}
		}
		return true
	}
	defer func() {
		if t.Failed() {
			t.Logf("it waited last for %+v", waitsFor)
		}
	}()
	d.waitFor(scraped)
	if len(rules) < 10 {
		t.Errorf("%d rules", len(rules))
	}
	for _, r := range rules {
		if r.Health != "ok" || r.State != "inactive" {
			t.Errorf("%s is %s, %s: %s", r.Name, r.State, r.Health, r.LastError)
		}
	}
	d.stop()
}

// ask reads the answer of an API of Prometheus.
func ask(addr, path string, answer any) bool {
	res, err := http.Get("http://" + addr + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(answer) == nil
}
