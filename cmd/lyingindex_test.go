package cmd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"idlog/proto/evidence"
	"idlog/proto/proof"
	"idlog/proto/tile"
)

// indexLies are what the operator does that is built with the tag `cheat`: the first event after it begins is Ada's, the next
// one Bob's.
var indexLies = []struct {
	name      string
	does      string
	proven    bool // the verifier's evidence convinces by itself
	code      int  // of idlog history, when the operator answers by what nobody verified
	omission  bool // and what can be shown then
	addition  bool
	statement string
}{
	{name: "index-omit", does: "leaves Ada's event out of her list", code: 7, omission: true, statement: "has another root than its accuser came to"},
	{name: "index-add", does: "has Bob's event in Ada's list", code: 3, addition: true, statement: "has another root than its accuser came to"},
	{name: "index-move", does: "has Bob's event in Ada's list in place of hers", code: 3, omission: true, addition: true, statement: "has another root than its accuser came to"},
	{name: "index-two-roots", does: "logs a true root and one that leaves Ada's event out", proven: true, code: 7, omission: true, statement: "is another root of the same"},
}

// TestLyingIndex runs operators whose index lies about one posting, or who log two roots of one size. From then on there is no
// verified checkpoint, nothing that rests on the lie is taken by a reader who asks for a verifier, and each who looks has
// evidence.
func TestLyingIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin, honest := build(t, "cheat"), build(t)
	for _, lie := range indexLies {
		t.Run(lie.name, func(t *testing.T) {
			s := newIndexSite(t, bin, honest)
			s.submit("ada-1", "ada", "bob-1", "bob")
			s.await("an answer that is complete", func() bool {
				said, _, code := s.history(s.trust)
				return code == 0 && strings.HasPrefix(last(said), "complete: 1 event among")
			})

			// The lie begins.
			s.server.kill()
			t.Setenv("IDLOG_CHEAT", lie.name)
			s.serve()
			s.submit("ada-2", "ada", "bob-2", "bob")
			s.await("the verifier refuses the log", func() bool { return strings.Contains(s.page("/"), "refused for ever: the root leaf at ") })
			s.await("the log is told", func() bool { return s.refused() > 0 })
			at := s.judged(s.verifierEvidence(), evidence.BadRoot, lie.proven, lie.statement)
			verified := s.verified()
			if verified == 0 || verified > at {
				t.Fatalf("a checkpoint of size %d is verified, and the root leaf at %d is false", verified, at)
			}

			// It goes on, and the verifier is killed. Neither gets it out.
			s.submit("ada-3", "ada", "bob-3", "bob")
			s.verifier.kill()
			s.startVerifier()
			s.await("the verifier refuses still", func() bool { return strings.Contains(s.page("/"), "refused for ever: the root leaf at ") })
			before := s.refused()
			s.submit("ada-4", "ada", "bob-4", "bob")
			s.await("the verifier was asked again", func() bool { return s.refused() > before })
			if now := s.verified(); now != verified {
				t.Errorf("the verified checkpoint went from size %d to %d", verified, now)
			}

			// What is answered is as of before the lie, and soon too old.
			if said, _, code := s.history(s.trust, "--json"); code != 0 || s.until(said) > at {
				t.Errorf("history ends with %d and speaks of the lie at %d: %s", code, at, said)
			}
			s.await("the answer is stale", func() bool { _, _, code := s.history(s.strict); return code == 8 })

			// Who computes the index finds it.
			said, complaint, code := s.idlog("monitor", "http://"+s.server.addresses["http"], "--index", "--interval", "100ms")
			found := regexp.MustCompile(`(?m)  contradiction  bad-root  .*  evidence (\S+)$`).FindStringSubmatch(said)
			if code != 3 || found == nil {
				t.Fatalf("idlog monitor ends with %d:\n%s%s", code, said, complaint)
			}
			s.judged(found[1], evidence.BadRoot, lie.proven, lie.statement)

			// The liar does not contradict itself.
			s.await("the liar's index has gone on", func() bool { return s.metric("idlog_index_size_entries", "") > at+2 })
			if err := s.indexRuns(); err != nil {
				t.Fatal(err)
			}

			// The operator answers by what nobody verified, and by the index as it is: it needs to lie no more.
			if err := s.server.cmd.Process.Signal(syscall.SIGTERM); err != nil || s.server.wait() != 0 {
				t.Fatalf("ending idlogd: %v: %s", err, s.server.said())
			}
			t.Setenv("IDLOGD_LOGS_0_VERIFIERS", "")
			t.Setenv("IDLOG_CHEAT", "")
			s.serve()
			s.await("an answer under what is published", func() bool {
				said, complaint, code = s.history(s.trust, "--json")
				return code == 3 || code == 7 && s.until(said) > at
			})
			if code != lie.code {
				t.Fatalf("history ends with %d, not %d: %s%s", code, lie.code, said, complaint)
			}
			if lie.addition {
				s.judged(s.accused(complaint, "addition"), evidence.Addition, true, "does not belong into it")
			}
			_, complaint, code = s.idlog("submit", s.path("ada-2.ndjson"), "--source", testSource, "--self-monitor")
			if !lie.omission {
				if code != 0 {
					t.Errorf("idlog submit --self-monitor ends with %d: %s", code, complaint)
				}
				return
			}
			if code != 3 {
				t.Errorf("idlog submit --self-monitor ends with %d: %s", code, complaint)
			}
			s.judged(s.accused(complaint, "omission"), evidence.Omission, true, "is not there")
		})
	}
}

// TestIndexSlips runs an honest operator whose index comes to a false root, as by a flipped bit: its second computation, or the
// verifier that it asks, has another one, and it logs none. It says so, also after a restart, and the log goes on.
func TestIndexSlips(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin, honest := build(t, "cheat"), build(t)
	for _, asks := range []bool{true, false} {
		t.Run(fmt.Sprintf("asks a verifier %t", asks), func(t *testing.T) {
			s := newIndexSite(t, bin, honest)
			s.submit("ada-1", "ada")
			s.await("it is indexed", func() bool { return s.metric("idlog_verified_tree_size_entries", "") > 0 })
			s.server.kill()
			if !asks {
				t.Setenv("IDLOGD_LOGS_0_VERIFIERS", "")
			}
			t.Setenv("IDLOG_CHEAT", "index-slip")
			s.serve()
			s.submit("ada-2", "ada")
			s.await("the index is stopped", func() bool { return s.metric("idlog_index_stopped", "") == 1 })
			reason := "a second computation has other roots"
			if asks {
				reason = "verifier v1 has other roots"
			}
			if said := s.server.said(); !strings.Contains(said, reason) {
				t.Errorf("idlogd does not say %q: %s", reason, said)
			}
			t.Setenv("IDLOG_CHEAT", "")
			s.server.kill()
			s.serve()
			s.submit("ada-3", "ada")
			if s.metric("idlog_index_stopped", "") != 1 {
				t.Error("the index runs again")
			}
			if err := rootsAreRight(s.all()); err != nil {
				t.Error(err)
			}
		})
	}
}

// indexSite is a site with a verifier of the index.
type indexSite struct {
	*site
	honest        string
	verifier      *process
	starts        int
	trust, strict string // files; of the second, answers may be a second old
	state         int
}

func newIndexSite(t *testing.T, bin, honest string) *indexSite {
	t.Helper()
	t.Setenv("IDLOG_CHEAT", "")
	s := &indexSite{site: newSite(t, bin, honest), honest: honest}
	witness := filepath.Join(honest, "idlog-witness")
	vkey := run(t, witness, "init", "--dir", s.path("v1"), "--name", "v1.example", "--key-type", "ed25519")
	s.startVerifier()
	verifiers := s.path("verifiers.tlog-policy")
	s.write(verifiers, fmt.Sprintf("witness v1 %s http://%s\nquorum v1\n", strings.TrimSpace(vkey), s.verifier.addresses["http"]))
	t.Setenv("IDLOGD_LOGS_0_VERIFIERS", verifiers)
	t.Setenv("IDLOGD_LOGS_0_REPUBLISH", "1s")
	s.serve()
	s.listen = s.server.addresses["http"]
	log := strings.TrimSpace(string(s.file(s.path("log", "log.vkey"))))
	run(t, witness, "add-log", "--dir", s.path("v1"), log, "http://"+s.listen)
	if err := s.verifier.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name *string
		age  string
	}{{&s.trust, "1h"}, {&s.strict, "1s"}} {
		*f.name = s.path("acme." + f.age + ".idlog-trust")
		if _, complaint, code := s.idlog("trust", "add", "--unchecked", "--verifiers", verifiers, "--max-age", f.age, "-o", *f.name); code != 0 {
			t.Fatalf("idlog trust add ends with %d: %s", code, complaint)
		}
	}
	return s
}

// startVerifier starts it where it was before.
func (s *indexSite) startVerifier() {
	s.t.Helper()
	listen := "127.0.0.1:0"
	if s.verifier != nil {
		listen = s.verifier.addresses["http"]
	}
	s.starts++
	s.verifier = spawn(s.t, "verifier", s.path(fmt.Sprintf("v1.%d.ready", s.starts)), filepath.Join(s.honest, "idlog-witness"),
		"serve", "--dir", s.path("v1"), "--verify-index", "--listen", listen)
}

func (s *indexSite) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *indexSite) file(name string) []byte {
	s.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *indexSite) await(what string, holds func() bool) {
	s.t.Helper()
	if err := until(func() (bool, error) { return holds(), nil }); err != nil {
		s.t.Fatalf("waiting until %s: %v\nidlogd said: %s\nthe verifier said: %s", what, err, s.server.said(), s.verifier.said())
	}
}

// idlog is everybody's, not the one of the lying operator.
func (s *indexSite) idlog(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	everybody := *s.site
	everybody.bin = s.honest
	return everybody.idlog(args...)
}

// submit submits events, each an id and who acted.
func (s *indexSite) submit(events ...string) {
	s.t.Helper()
	var lines strings.Builder
	for i := 0; i < len(events); i += 2 {
		fmt.Fprintln(&lines, strings.Replace(eventJSON(events[i]), `"id":"ada"`, fmt.Sprintf(`"id":%q`, events[i+1]), 1))
	}
	file := s.path(events[0] + ".ndjson")
	s.write(file, lines.String())
	if _, complaint, code := s.idlog("submit", file, "--source", testSource); code != 0 {
		s.t.Fatalf("submitting %v ends with %d: %s", events, code, complaint)
	}
}

// all is every entry that is published.
func (s *indexSite) all() (entries []tile.Entry) {
	s.t.Helper()
	note, err := s.fetch(s.t.Context(), "checkpoint")
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.accepted(s.t, note).Checkpoint
	for e, err := range tile.NewReader(c, s.fetch).Entries(s.t.Context(), 0, c.Size) {
		if err != nil {
			s.t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// history asks for Ada, as somebody who has seen nothing of the log before.
func (s *indexSite) history(trust string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	s.state++
	return s.idlog(append([]string{"history", "--subject", "https://acme.example#ada", "-t", trust, "--state", s.path(fmt.Sprintf("reader.%d", s.state))}, args...)...)
}

// until is the N of a history that was printed as JSON.
func (s *indexSite) until(said string) int64 {
	s.t.Helper()
	var v struct{ To int64 }
	if err := json.Unmarshal([]byte(last(said)), &v); err != nil {
		s.t.Fatalf("%q: %v", said, err)
	}
	return v.To
}

// last is the last line.
func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if strings.Contains(l, " among entries ") {
			return strings.Join(lines[i:], "\n")
		}
	}
	return lines[len(lines)-1]
}

// page is one of the verifier's.
func (s *indexSite) page(path string) string {
	return s.get("http://" + s.verifier.addresses["http"] + path)
}

func (s *indexSite) get(url string) string {
	res, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// refused is how often the verifier told the log that it refuses it.
func (s *indexSite) refused() int64 {
	return s.metric("idlog_verifier_requests_total", `,outcome="refused",verifier="v1"`)
}

// metric is what the log's server counts.
func (s *indexSite) metric(name, labels string) (n int64) {
	m := regexp.MustCompile(`(?m)^` + name + `\{log="` + family + `"` + labels + `\} (\d+)$`).FindStringSubmatch(s.get("http://" + s.server.addresses["admin"] + "/metrics"))
	if m != nil {
		fmt.Sscan(m[1], &n)
	}
	return n
}

// verified is the size that the log serves as verified.
func (s *indexSite) verified() int64 {
	s.t.Helper()
	note, err := s.fetch(s.t.Context(), "verified/checkpoint")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.accepted(s.t, note).Checkpoint.Size
}

// verifierEvidence is what the verifier kept and shows.
func (s *indexSite) verifierEvidence() string {
	s.t.Helper()
	var status struct {
		Logs []struct{ Contradictions []struct{ Path string } }
	}
	if err := json.Unmarshal([]byte(s.page("/status.json")), &status); err != nil || len(status.Logs) != 1 || len(status.Logs[0].Contradictions) != 1 {
		s.t.Fatalf("the verifier shows %+v, %v", status, err)
	}
	file := s.path("verifier.idlog-evidence")
	s.write(file, s.page(status.Logs[0].Contradictions[0].Path))
	return file
}

// judged has idlog verify judge a file, and returns the index of the last entry that is proven in it.
func (s *indexSite) judged(file string, claim evidence.Claim, proven bool, statement string) (at int64) {
	s.t.Helper()
	said, complaint, code := s.idlog("verify", file, "--json")
	var v struct {
		Claim, Accused, Statement string
		Proven                    bool
	}
	if err := json.Unmarshal([]byte(said), &v); code != 0 || err != nil {
		s.t.Fatalf("idlog verify ends with %d: %s%s", code, said, complaint)
	}
	if v.Claim != string(claim) || v.Proven != proven || !strings.HasPrefix(v.Accused, family+"/") || !strings.Contains(v.Statement, statement) {
		s.t.Errorf("idlog verify says %+v, want %s, proven %t, %q", v, claim, proven, statement)
	}
	e, err := evidence.Parse(s.file(file))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, part := range e.Parts {
		if part.Type == evidence.Proof {
			p, err := proof.Parse(part.Data)
			if err != nil {
				s.t.Fatal(err)
			}
			at = max(at, p.Index)
		}
	}
	s.t.Logf("%s: %s (%d bytes)", claim, v.Statement, len(s.file(file)))
	return at
}

// accused is the file of evidence that a complaint names.
func (s *indexSite) accused(complaint, claim string) string {
	s.t.Helper()
	name := regexp.MustCompile(`evidence: (\S+/` + claim + `-\w+\.idlog-evidence)`).FindStringSubmatch(complaint)
	if name == nil {
		s.t.Fatalf("no evidence of %s: %s", claim, complaint)
	}
	return name[1]
}
