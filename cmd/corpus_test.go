package cmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// corpus is where other people's events stand, beside the repository and never in it.
const corpus = "../../shared/corpus"

// corpusLines returns the lines of a file of the corpus.
func corpusLines(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: the corpus is not beside the repository: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// answered is the fate of one line, as `idlog submit --json` tells it.
type answered struct {
	Line      int
	ID        string
	Index     *int64
	Witnesses []struct{ Witness string }
	Reason    string
	Message   string
}

// idlog runs the command line with this log and its policy, and returns what it printed and its exit code.
func (s *site) idlog(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, "idlog"), args...)
	cmd.Env = append(os.Environ(), "IDLOG_SERVER="+s.server.addresses["grpc"], "IDLOG_POLICY="+s.path("log", "policy.tlog-policy"), "IDLOG_STATE="+s.path("state"))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// submit submits a file and returns the fate of each line.
func (s *site) submit(code int, file, source string, args ...string) map[int]answered {
	s.t.Helper()
	stdout, stderr, got := s.idlog(append([]string{"submit", file, "--source", source, "--json"}, args...)...)
	if got != code {
		s.t.Fatalf("submitting %s exited %d, not %d:\n%s", filepath.Base(file), got, code, stderr)
	}
	answers := make(map[int]answered)
	for text := range strings.Lines(stdout) {
		var a answered
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			s.t.Fatalf("%q: %v", text, err)
		}
		if _, twice := answers[a.Line]; twice {
			s.t.Errorf("%s: line %d is answered twice", filepath.Base(file), a.Line)
		}
		answers[a.Line] = a
	}
	return answers
}

// size is that of the published log.
func (s *site) size() int64 {
	s.t.Helper()
	stdout, stderr, code := s.idlog("checkpoint", "--json")
	var c struct{ Size int64 }
	if err := json.Unmarshal([]byte(stdout), &c); err != nil || code != 0 {
		s.t.Fatalf("reading the checkpoint: exit %d, %v\n%s", code, err, stderr)
	}
	return c.Size
}

// verified runs a command that shows one entry and returns what it shows. Without a server it is one that asks nobody.
func (s *site) verified(args ...string) (entry struct {
	Index     int64
	Kind      string
	Source    string
	Assurance string
	Verified  bool
	Event     struct {
		Source struct {
			NativeID string `json:"native_id"`
			Conflict string
		}
	}
}) {
	s.t.Helper()
	stdout, stderr, code := s.idlog(append(args, "--json")...)
	if err := json.Unmarshal([]byte(stdout), &entry); err != nil || code != 0 || !entry.Verified {
		s.t.Errorf("%s: exit %d, verified %v, %v\n%s", strings.Join(args, " "), code, entry.Verified, err, stderr)
	}
	return entry
}

// TestCorpus takes real providers' records the whole way: every line of them goes in, every receipt verifies from its file
// alone, every entry comes back verified, and a second run changes nothing.
func TestCorpus(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	corpusLines(t, "okta.ndjson") // or the test ends here
	bin := build(t)
	s := newSite(t, bin, bin, "okta=https://acme.okta.com", "auth0=https://acme.eu.auth0.com", "mixed=https://acme.okta.com")
	s.serve()
	for _, source := range []string{"okta", "auth0"} {
		t.Run(source, func(t *testing.T) {
			s := *s
			s.t = t
			s.takesAll(source, corpusLines(t, source+".ndjson"))
		})
	}
	t.Run("not events", func(t *testing.T) {
		s := *s
		s.t = t
		s.refusesAll(corpusLines(t, "okta-not-events.ndjson"))
	})
	t.Run("mixed", func(t *testing.T) {
		s := *s
		s.t = t
		s.takesTheGood(corpusLines(t, "okta.ndjson"), corpusLines(t, "okta-not-events.ndjson"))
	})
}

// conflict is the id of an event whose own was taken by another.
var conflict = regexp.MustCompile(`^(.+)!([0-9a-f]{8})$`)

func (s *site) takesAll(source string, lines []string) {
	t := s.t
	file, receipts := filepath.Join(corpus, source+".ndjson"), filepath.Join(t.TempDir(), "receipts")
	args := []string{"--format", source, "--issuer", "https://acme.example"}
	first := s.submit(0, file, source, append(args, "--receipts", receipts)...)
	size := s.size()

	line, ids, conflicts := make(map[int64]int), make(map[string]bool), 0
	for i := range lines {
		a := first[i+1]
		if a.Index == nil {
			t.Fatalf("line %d: %+v", i+1, a)
		}
		if len(a.Witnesses) < 2 {
			t.Errorf("line %d: cosigned by %v, and the quorum is two", i+1, a.Witnesses)
		}
		line[*a.Index], ids[a.ID] = i+1, true
	}
	for _, index := range slices.Sorted(maps.Keys(line)) {
		a := first[line[index]]
		offline := s.verified("verify", filepath.Join(receipts, fmt.Sprintf("%d.idlog-disclosure", index)), "--server", "127.0.0.1:1")
		online := s.verified("get", fmt.Sprint(index))
		if diff := cmp.Diff(offline, online); diff != "" {
			t.Errorf("entry %d (-receipt +log):\n%s", index, diff)
		}
		if online.Index != index || online.Source != source || online.Assurance != "unauthenticated" || online.Event.Source.NativeID != a.ID {
			t.Errorf("line %d: %+v is not %+v", a.Line, online, a)
		}
		var of string
		if m := conflict.FindStringSubmatch(a.ID); m != nil {
			of = m[1]
			conflicts++
			if !ids[of] {
				t.Errorf("line %d: %s conflicts with nothing", a.Line, a.ID)
			}
		}
		if online.Event.Source.Conflict != of {
			t.Errorf("line %d: %s says that it conflicts with %q", a.Line, a.ID, online.Event.Source.Conflict)
		}
	}
	if n := receiptsIn(t, receipts); n != len(line) {
		t.Errorf("%d receipts of %d entries", n, len(line))
	}

	second := s.submit(0, file, source, args...)
	indexes := func(answers map[int]answered) map[int]string {
		m := make(map[int]string)
		for n, a := range answers {
			m[n] = fmt.Sprint(*a.Index, " ", a.ID)
		}
		return m
	}
	if diff := cmp.Diff(indexes(first), indexes(second)); diff != "" {
		t.Errorf("indexes of the first and the second run:\n%s", diff)
	}
	for i := size; i < s.size(); i++ { // a root of the index may still have come for the first run
		if kind := s.verified("get", fmt.Sprint(i)).Kind; kind != "root" {
			t.Errorf("the second run logged entry %d, kind %s", i, kind)
		}
	}
	t.Logf("%d lines, %d entries, %d conflicts", len(lines), len(line), conflicts)
}

func receiptsIn(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.idlog-disclosure"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func (s *site) refusesAll(lines []string) {
	t := s.t
	size := s.size()
	_, stderr, code := s.idlog("submit", filepath.Join(corpus, "okta-not-events.ndjson"), "--source", "okta", "--format", "okta")
	if code != 1 {
		t.Errorf("exit code %d, not 1", code)
	}
	for i := range lines {
		reason := regexp.MustCompile(fmt.Sprintf(`(?m)^idlog: line %d: .*not an event.*: \S.*$`, i+1))
		if !reason.MatchString(stderr) {
			t.Errorf("line %d is not refused with a reason:\n%s", i+1, stderr)
		}
	}
	if now := s.size(); now != size {
		t.Errorf("the log grew by %d", now-size)
	}
}

// takesTheGood submits a file in which every event is followed by a row that is none.
func (s *site) takesTheGood(good, bad []string) {
	t := s.t
	var text strings.Builder
	for i := range good {
		fmt.Fprintf(&text, "%s\n%s\n", good[i], bad[i%len(bad)])
	}
	file := filepath.Join(t.TempDir(), "mixed.ndjson")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	answers := s.submit(1, file, "mixed", "--format", "okta")
	for n := 1; n <= 2*len(good); n++ {
		a := answers[n]
		if n%2 == 1 && a.Index == nil {
			t.Errorf("line %d is an event and was not logged: %+v", n, a)
		}
		if n%2 == 0 && (a.Index != nil || a.Reason != "NOT_AN_EVENT" || a.Message == "") {
			t.Errorf("line %d is no event: %+v", n, a)
		}
	}
}
