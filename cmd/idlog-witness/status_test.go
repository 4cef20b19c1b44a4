package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"idlog/proto/evidence"
)

// receiver is a webhook that refuses as often as it is told, and keeps what it
// takes.
type receiver struct {
	mu     sync.Mutex // guards the rest
	refuse int
	got    []*http.Request
	bodies []string
}

func (r *receiver) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse > 0 {
		r.refuse--
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.got, r.bodies = append(r.got, req), append(r.bodies, string(b))
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// TestContradiction is a fork, from the request to everybody who hears of it.
func TestContradiction(t *testing.T) {
	l := newLog(t, "log.example/<script>alert(1)</script>")
	dir, vkeys := newWitness(t)
	mustRun(t, "add-log", "--dir", dir, l.vkey, "javascript:alert(1)")
	hook := &receiver{refuse: 1}
	server := httptest.NewServer(hook)
	defer server.Close()

	d := startDaemon(t, dir, "--webhook", server.URL+"/secret", "--admin", "127.0.0.1:0")
	if got := d.do("POST", "/add-checkpoint", l.request(t, 0, 1)); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	fork := &testLog{origin: l.origin, vkey: l.vkey, signer: l.signer, branch: "x"}
	if got := d.do("POST", "/add-checkpoint", fork.request(t, 1, 1)); got.Status != 422 {
		t.Fatalf("%+v", got)
	}
	d.await("the announcement", func() bool { return hook.count() == 1 })
	d.await("the note of it", func() bool {
		marks, err := filepath.Glob(filepath.Join(dir, "state", "evidence", "*.announced"))
		return err == nil && len(marks) == 1
	})
	if strings.Contains(d.stderr.String(), "secret") {
		t.Errorf("the webhook's address is in the log:\n%s", d.stderr)
	}

	var s status
	page := d.do("GET", "/status.json", "")
	if err := json.Unmarshal([]byte(page.Body), &s); err != nil || page.Status != 200 || page.Type != "application/json" {
		t.Fatalf("%+v: %v", page, err)
	}
	if diff := cmp.Diff(vkeys, s.VKeys); diff != "" || s.Name != "witness.example/w1" || len(s.Logs) != 1 {
		t.Fatalf("%+v", s)
	}
	if diff := cmp.Diff(map[string]int64{"200": 1, "422": 1}, s.Answers); diff != "" {
		t.Error(diff)
	}
	log := s.Logs[0]
	if log.Origin != l.origin || !log.Listed || *log.Size != 1 || log.Cosigned == nil || log.Checkpoint != l.path() || len(log.Contradictions) != 1 || !log.Contradictions[0].Proven {
		t.Fatalf("%+v", log)
	}
	kept := d.do("GET", log.Contradictions[0].Path, "")
	if kept.Status != 200 || kept.Body != hook.bodies[0] {
		t.Errorf("what is kept is not what was announced: %+v", kept)
	}
	if e, err := evidence.Parse([]byte(kept.Body)); err != nil || e.Claim != evidence.Fork {
		t.Errorf("%v, %v", e, err)
	}
	if h := hook.got[0].Header; h.Get("Idlog-Proven") != "true" || "/evidence/"+h.Get("Idempotency-Key") != log.Contradictions[0].Path {
		t.Errorf("announced with %v", h)
	}
	for _, path := range []string{"/evidence/", "/evidence/manifest", "/evidence/..%2fmanifest", "/evidence/x.idlog-evidence", "/state/manifest"} {
		if got := d.do("GET", path, ""); got.Status != 404 {
			t.Errorf("%s: %+v", path, got)
		}
	}

	html := d.do("GET", "/", "")
	if html.Status != 200 || strings.Contains(html.Body, "<script") || strings.Contains(html.Body, `href="javascript`) || !strings.Contains(html.Body, "&lt;script&gt;") {
		t.Errorf("%+v", html)
	}
	resp, err := http.Get(d.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy of the page: %s", csp)
	}

	var metrics string
	d.await("the announcement to be counted", func() bool {
		metrics = d.ask("GET", d.admin+"/metrics", "").Body
		return strings.Contains(metrics, `idlog_witness_announcements_total{outcome="delivered"} 1`)
	})
	for _, want := range []string{
		`idlog_witness_requests_total{code="422",endpoint="add-checkpoint"} 1`,
		fmt.Sprintf(`idlog_witness_contradictions{log="%s",proven="true"} 1`, l.origin),
		fmt.Sprintf(`idlog_witness_tree_size_entries{log="%s"} 1`, l.origin),
		`idlog_witness_announcements_total{outcome="failed"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no metric %s in\n%s", want, metrics)
		}
	}
	for path, want := range map[string]string{
		"/":               adminIndex,
		"/livez":          "ok\n",
		"/readyz":         "ready\n",
		"/readyz?verbose": "[+] evidence: the folder of contradictions can be read\n[+] logs: 1 in the list\n[+] clock: not before the newest cosignature\n[+] process: not shutting down\nready\n",
	} {
		if got := d.ask("GET", d.admin+path, ""); got != (reply{200, "text/plain; charset=utf-8", want}) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := d.ask("GET", d.url+"/metrics", ""); got.Status != 404 {
		t.Errorf("metrics are shown to everybody: %+v", got)
	}
	d.end(syscall.SIGTERM)

	// The next start does not announce it again.
	d = startDaemon(t, dir, "--webhook", server.URL)
	fork.branch = "y"
	if got := d.do("POST", "/add-checkpoint", fork.request(t, 1, 1)); got.Status != 422 {
		t.Fatalf("%+v", got)
	}
	d.await("the second announcement", func() bool { return hook.count() >= 2 })
	if hook.got[0].Header.Get("Idempotency-Key") == hook.got[1].Header.Get("Idempotency-Key") {
		t.Error("the first was announced twice")
	}
	d.end(syscall.SIGTERM)
}

// TestReload: what is other in a list is said, and what was taken out of it is
// remembered.
func TestReload(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/b")
	dir, _ := newWitness(t)
	list := filepath.Join(dir, "logs.tlog-policy")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	d := startDaemon(t, dir, "--admin", "127.0.0.1:0")
	if got := d.ask("GET", d.admin+"/readyz", ""); got.Status != 503 || got.Body != "[-] logs: 0 in the list\nnot ready\n" {
		t.Errorf("without a log: %+v", got)
	}
	write("log " + a.vkey + "\n")
	reload := func(says string) {
		t.Helper()
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		d.await(says, func() bool { return strings.Contains(d.stderr.String(), says) })
	}
	reload("a log is cosigned from now on")
	d.await("the first list", func() bool { return d.ask("GET", d.admin+"/readyz", "").Status == 200 })
	if got := d.do("POST", "/add-checkpoint", a.request(t, 0, 1)); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	latest := d.do("GET", a.path(), "")

	write("log " + b.vkey + " https://log.example/b\n")
	reload("a log is no longer cosigned; what is known of it stays")
	d.await("the end of it", func() bool { return d.do("POST", "/add-checkpoint", a.request(t, 1, 2)).Status == 404 })
	if got := d.do("GET", a.path(), ""); got != latest {
		t.Errorf("what was known is forgotten: %+v", got)
	}
	var s status
	if err := json.Unmarshal([]byte(d.do("GET", "/status.json", "").Body), &s); err != nil || len(s.Logs) != 2 || s.Logs[1].Origin != a.origin || s.Logs[1].Listed {
		t.Errorf("%+v, %v", s, err)
	}

	write("log " + b.vkey + " https://other.example/b\n\nlog nonsense\n")
	reload(list + ":3: ")
	write("log " + b.vkey + " https://other.example/b\n")
	reload("the URL of a log has changed")
	other := newLog(t, b.origin)
	write("log " + other.vkey + "\nlog " + a.vkey + "\n")
	reload("the keys of a log have changed")
	d.await("the new list", func() bool { return d.do("POST", "/add-checkpoint", a.request(t, 0, 2)).Status == 409 })
	if got := d.do("POST", "/add-checkpoint", b.request(t, 0, 1)); got.Status != 403 {
		t.Errorf("under a key that was taken out: %+v", got)
	}
	if got := d.do("POST", "/add-checkpoint", a.request(t, 1, 2)); got.Status != 200 {
		t.Errorf("after it came back: %+v", got)
	}
	d.end(syscall.SIGTERM)
}

// TestRates: a log that asks without end is told to wait.
func TestRates(t *testing.T) {
	l := newLog(t, "log.example/a")
	dir, _ := newWitness(t)
	mustRun(t, "add-log", "--dir", dir, l.vkey)
	d := startDaemon(t, dir, "--log-rate", "0.0001")
	for i, want := range []int{200, 429, 429} {
		if got := d.do("POST", "/add-checkpoint", l.request(t, int64(min(i, 1)), 1)); got.Status != want {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	d.end(syscall.SIGTERM)
}

// TestNetworkList: the lists that operators of witnesses share are read as they
// are.
func TestNetworkList(t *testing.T) {
	a, b := newLog(t, "log.example/a"), newLog(t, "log.example/b")
	dir, _ := newWitness(t)
	file := filepath.Join(t.TempDir(), "list")
	for _, tc := range []struct{ text, says string }{
		{"logs/v0\n\n# one\nvkey " + a.vkey + "\nqpd 86400\ncontact a@log.example\n\nvkey " + b.vkey + "\norigin " + b.origin + "\n", ""},
		{"logs/v0\nvkey\n", file + ":2: want"},
		{"logs/v0\nvkey nonsense\n", file + ":2: "},
		{"logs/v0\nvkey " + a.vkey + "\norigin other.example\n", file + ":3: the origin is not the name of the key"},
		{"log x\n", file + ":1: "},
	} {
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := runs(t, "add-log", "--dir", dir, "--logs", file)
		if (code == 0) != (tc.says == "") || !strings.Contains(stderr, tc.says) {
			t.Errorf("%q: exit code %d, says %q", tc.text, code, stderr)
		}
	}
	list, err := os.ReadFile(filepath.Join(dir, "logs.tlog-policy"))
	if err != nil || !strings.HasSuffix(string(list), "\nlog "+a.vkey+"\nlog "+b.vkey+"\n") {
		t.Errorf("%s, %v", list, err)
	}
}

// TestMetricNames: the names follow the rules of Prometheus.
func TestMetricNames(t *testing.T) {
	m := newMetrics()
	m.answered(endpointAdd, 200, 1)
	problems, err := testutil.GatherAndLint(prometheus.Gatherers{m.registry})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
