package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/monitoring"
	"idlog/cmd/internal/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// admin asks the operator's listener.
func (d *daemon) admin(path string) (int, string) {
	d.t.Helper()
	res, err := http.Get("http://" + d.addresses["admin"] + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// What the alerts and the dashboard ask for is there: every metric that they name is one of a running server's, and so is
// every label that they ask it by.
func TestMonitoringIsTrue(t *testing.T) {
	dir := t.TempDir()
	d := startDaemon(t, "dev", "--dir", dir)
	d.get("/checkpoint")
	d.admin("/livez")
	d.waitFor(func() bool { // the samples are logged after the server is ready, and the history comes last
		_, err := os.Stat(filepath.Join(dir, "ada.idlog-history"))
		return err == nil
	})
	_, metrics := d.admin("/metrics")
	d.stop()

	labels := make(map[string]map[string]bool) // by metric
	sample := regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? `)
	label := regexp.MustCompile(`([a-z_]+)="`)
	for _, m := range sample.FindAllStringSubmatch(metrics, -1) {
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{"job": true, "instance": true}
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			labels[m[1]][l[1]] = true
		}
	}
	asked := 0
	metric := regexp.MustCompile(`\b((?:idlog|grpc|http|go|process|tessera)_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`([a-z_]+)=~?"`)
	for _, expr := range expressions(t) {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			asked++
			has, ok := labels[m[1]]
			if !ok && !slices.Contains([]string{"grpc_method", "grpc_code", "grpc_type"}, m[1]) {
				t.Errorf("%s asks for %s, which no server has", expr, m[1])
			}
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				if ok && !has[l[1]] {
					t.Errorf("%s asks %s by %s, which is no label of it", expr, m[1], l[1])
				}
			}
		}
	}
	if asked < 40 {
		t.Errorf("the alerts and the dashboard ask for only %d metrics", asked)
	}

	// Each name is as Prometheus asks, but those that Tessera gives itself.
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.HasPrefix(p.Metric, "tessera_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for name, has := range labels {
		if perLog := strings.HasPrefix(name, "idlog_") && !strings.HasPrefix(name, "idlog_config_"); perLog && !has["log"] && name != "idlog_build_info" && name != "idlog_panics_total" {
			t.Errorf("%s does not say which log", name)
		}
	}
}

// expressions are those of the alerts and the dashboard.
func expressions(t *testing.T) []string {
	t.Helper()
	var all []string
	var rules struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	if err := yaml.Unmarshal(monitoring.Rules, &rules); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules.Groups[0].Rules {
		all = append(all, r.Expr)
	}
	var dashboard struct {
		Panels     []struct{ Targets []struct{ Expr string } }
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal(monitoring.Dashboard, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		all = append(all, v.Query)
	}
	return all
}

// Nothing that a caller sends, and no secret, is told to anybody: not by a log line of any level, a metric, or health.
func TestNothingIsTold(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name), "--log-level", "debug")
	const mark = "canary"
	event := func(id string) *eventv1.Event {
		return &eventv1.Event{
			Source:  &eventv1.Source{NativeId: proto.String(mark + id), NativeType: proto.String(mark + "-type")},
			Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
			Actor:   &eventv1.Principal{Issuer: "https://" + mark + ".example", Id: mark + "-actor", Email: mark + "@a.example", Display: mark},
			Targets: []*eventv1.Target{{Type: "app", Id: mark + "-target"}},
			Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_SUCCESS.Enum()},
			Raw:     []byte(`{"` + mark + `":1}`), RawMediaType: "application/json",
		}
	}
	conflict, invalid := event("1"), event("2")
	conflict.Actor.Id = mark + "-other"
	invalid.Actor.Id = mark + "\xff"
	invalid.Class.Schema = proto.String(strings.Repeat(mark, 1000))
	c := logv1.NewEventServiceClient(d.conn)
	for _, req := range []*logv1.SubmitEventsRequest{
		{Source: "app", Events: []*eventv1.Event{event("1")}},
		{Source: "app", Events: []*eventv1.Event{event("1"), conflict}},
		{Source: "app", Events: []*eventv1.Event{invalid}},
		{Source: mark, Events: []*eventv1.Event{event("3")}},
		{Source: "app", Log: mark + ".example", Events: []*eventv1.Event{event("3")}},
	} {
		_, _ = c.SubmitEvents(t.Context(), req) // refused or not: that is other tests'
	}
	for _, body := range []string{`{"source":"app","` + mark + `":1}`, mark, `{"source":"` + mark + `"}`} {
		res, err := http.Post("http://"+d.addresses["http"]+"/v1/events:submit?"+mark, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	d.get("/" + mark)
	d.admin("/" + mark)
	d.admin("/readyz?log=" + mark)
	_, metrics := d.admin("/metrics")
	_, ready := d.admin("/readyz?verbose")
	d.stop()
	told := metrics + ready + d.errs.String() + d.out.String()
	if !strings.Contains(told, `"level":"DEBUG"`) || !strings.Contains(told, "idlog_appends_total") {
		t.Fatalf("nothing was told at all:\n%s", told)
	}
	for line := range strings.Lines(told) {
		if strings.Contains(strings.ToLower(line), mark) {
			t.Errorf("told: %s", line)
		}
	}
	keys, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil || len(keys) != 3 {
		t.Fatal(keys, err)
	}
	for _, file := range keys {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range bytes.Fields(b) {
			if parts := bytes.SplitN(secret, []byte("+"), 5); len(parts) == 5 && string(parts[0]) == "PRIVATE" {
				secret = parts[4] // the rest names the key, and base64 has plus signs of its own
			}
			if len(secret) > 30 && strings.Contains(told, string(secret)) {
				t.Errorf("%s was told", file)
			}
		}
	}
}

// A disk without its reserve takes nothing in: writers are refused, readers are not, and health says why.
func TestDiskReserve(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name), "--set", "logs.0.disk_reserve=8000TiB")
	_, err := logv1.NewEventServiceClient(d.conn).SubmitEvents(t.Context(), &logv1.SubmitEventsRequest{Source: "app", Events: []*eventv1.Event{{}}})
	if err == nil || !strings.Contains(err.Error(), "a disk of the log is nearly full") {
		t.Errorf("submitting answers %v", err)
	}
	d.waitFor(func() bool {
		_, err := logv1.NewLogServiceClient(d.conn).GetCheckpoint(t.Context(), &logv1.GetCheckpointRequest{})
		return err == nil
	})
	d.waitFor(func() bool {
		res, err := healthv1.NewHealthClient(d.conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: logv1.EventService_ServiceDesc.ServiceName})
		return err == nil && res.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING
	})
	code, text := d.admin("/readyz")
	if want := "[-] a.example/id disk: dir has "; code != http.StatusServiceUnavailable || !strings.HasPrefix(text, want) {
		t.Errorf("/readyz: %d %s", code, text)
	}
	if _, metrics := d.admin("/metrics"); !strings.Contains(metrics, fmt.Sprintf("idlog_disk_reserve_bytes{folder=%q,log=%q} 8.79", "dir", "a.example/id")) {
		t.Error("the metrics do not have the reserve")
	}
	d.stop()
	if !strings.Contains(d.errs.String(), "a disk is nearly full") {
		t.Errorf("no log line says so: %s", d.errs)
	}
}

// The service manager hears when the server accepts, reads its configuration again, and goes.
func TestServiceManagerHears(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	short, err := os.MkdirTemp("", "n") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	socket := filepath.Join(short, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := func(want string) {
		t.Helper()
		b := make([]byte, 256)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("heard %q, %v, want %q", b[:n], err, want)
		}
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name))
	heard("READY=1")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	heard("RELOADING=1\nMONOTONIC_USEC=")
	heard("READY=1")
	d.stop()
	heard("STOPPING=1")
}

// Debug lines are turned on and off while the server runs.
func TestDebugLines(t *testing.T) {
	dir := t.TempDir()
	exits(t, serve.CodeOK, "init", "--dir", dir, "--family", "a.example/id", "--source", "app")
	d := startDaemon(t, "serve", "--config", filepath.Join(dir, config.Name))
	for _, step := range []struct{ path, want string }{{"/debug/logs/on", "DEBUG"}, {"/debug/logs/off", "INFO"}} {
		res, err := http.Post("http://"+d.addresses["admin"]+step.path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(b), step.want) {
			t.Errorf("POST %s: %d %s, %v", step.path, res.StatusCode, b, err)
		}
	}
	if code, _ := d.admin("/debug/logs/on"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET /debug/logs/on: %d", code)
	}
	if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	submitOne(t, d.conn, "", "1")
	d.stop()
}
