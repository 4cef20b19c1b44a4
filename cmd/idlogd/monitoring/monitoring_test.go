package monitoring_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"idlog/cmd/idlogd/monitoring"
)

// Prometheus loads the rules, and each alert fires when it must and not before.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not here: the rules are not tried (Debian: apt-get install prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert says how bad it is, what is wrong, and where it stands what to do; and has tests in which it fires.
func TestAlerts(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert               string
				Expr                string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(monitoring.Rules, &rules); err != nil {
		t.Fatal(err)
	}
	tests, guide := read(t, "rules_test.yaml"), read(t, "../../../log/OPERATING.md")
	for _, r := range rules.Groups[0].Rules {
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has severity %q", r.Alert, s)
		}
		for _, a := range []string{"summary", "description"} {
			if r.Annotations[a] == "" {
				t.Errorf("%s has no %s", r.Alert, a)
			}
		}
		if !strings.Contains(guide, "\n### "+r.Alert+"\n") {
			t.Errorf("the operating guide has no section %s", r.Alert)
		}
		if want := "log/OPERATING.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("the runbook of %s is %q, not %q", r.Alert, r.Annotations["runbook"], want)
		}
		if !strings.Contains(tests, "alertname: "+r.Alert+"\n        exp_alerts:") || !strings.Contains(tests, "alertname: "+r.Alert+"}") {
			t.Errorf("rules_test.yaml does not try %s both ways", r.Alert)
		}
	}
	if len(rules.Groups[0].Rules) < 10 {
		t.Errorf("%d rules", len(rules.Groups[0].Rules))
	}
}

// What Grafana's schema leaves open (.ci/grafana tries the schema itself): ids are unique, nothing overlaps, and every panel asks
// the chosen data source.
func TestDashboard(t *testing.T) {
	type source struct{ Type, UID string }
	var d struct {
		Title, UID string
		Panels     []struct {
			ID         int
			Type       string
			Title      string
			Datasource source
			GridPos    struct{ H, W, X, Y int }
			Targets    []struct {
				Expr       string
				Datasource source
			}
		}
		Templating struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal(monitoring.Dashboard, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" {
		t.Error("the dashboard has no title or uid")
	}
	if v := d.Templating.List; len(v) == 0 || v[0].Name != "datasource" || v[0].Type != "datasource" {
		t.Errorf("the first variable is no data source: %v", v)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	variable := regexp.MustCompile(`\$([a-z_]+)`)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel id %d stands twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Errorf("%s lies over %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%s asks nothing, or not the chosen data source", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks another data source", p.Title)
			}
			for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if m[1] != "__rate_interval" && !slices.Contains(names, m[1]) {
					t.Errorf("%s uses $%s, which is no variable", p.Title, m[1])
				}
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
