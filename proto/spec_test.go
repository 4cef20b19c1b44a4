// Package proto_test holds SPEC.md and THREATS.md to the repository: what they name as holding their rules is there, and
// the hash labels are the same in SPEC.md and in the code.
package proto_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// outside are the folders of packages that hold rules of the protocol and are not in proto.
var outside = map[string]string{
	"audit":   "../client/audit",
	"auth0":   "../log/source/auth0",
	"client":  "../client",
	"cmd":     "../cmd",
	"heads":   "../log/heads",
	"index":   "../log/index",
	"ingest":  "../log/ingest",
	"journal": "../log/journal",
	"log":     "../log",
	"monitor": "../client/monitor",
	"okta":    "../log/source/okta",
	"quorum":  "../log/quorum",
	"rules":   "../client/rules",
	"serve":   "../log/serve",
	"source":  "../log/source",
	"trust":   "../client/trust",
	"verify":  "../witness/verify",
	"witness": "../witness",
}

// namesTests reports every test and script that the page names and that does not exist.
func namesTests(t *testing.T, page string) {
	t.Helper()
	text := read(t, page)
	for _, cited := range regexp.MustCompile(`\b(\w+)\.((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(text, -1) {
		dir, elsewhere := outside[cited[1]]
		if !elsewhere {
			dir = cited[1]
		}
		if !strings.Contains(read(t, filepath.Join(dir, "*_test.go")), "func "+cited[2]+"(") {
			t.Errorf("%s names %s, which does not exist", page, cited[0])
		}
	}
	for _, cited := range regexp.MustCompile(`testdata/scripts/\w+\.txtar`).FindAllString(text, -1) {
		if _, err := os.Stat(filepath.Join("..", cited)); err != nil {
			t.Errorf("%s names %s: %v", page, cited, err)
		}
	}
}

func TestThreatsNameWhatHoldsThem(t *testing.T) {
	namesTests(t, "THREATS.md")
	for _, row := range strings.Split(read(t, "THREATS.md"), "\n") {
		held := strings.Contains(row, ".Test") || strings.Contains(row, "testdata/scripts/")
		if strings.HasPrefix(row, "| to ") && !held {
			t.Errorf("no test holds %s", row)
		}
	}
}

func TestSpecNamesWhatExists(t *testing.T) {
	namesTests(t, "SPEC.md")
	spec := read(t, "SPEC.md")
	for _, cited := range regexp.MustCompile(`([a-z-]+(?:\\\*)?)\.json`).FindAllStringSubmatch(spec, -1) {
		pattern := strings.ReplaceAll(cited[1], `\*`, "*") + ".json"
		if found, err := filepath.Glob(filepath.Join("../testdata/vectors", pattern)); err != nil || (len(found) == 0 && pattern != "x.json") {
			t.Errorf("SPEC.md names %s, which does not exist: %v", pattern, err)
		}
	}
	// A quoted name after disclosure-verify.json begins or ends the name of one of its entries.
	judged := read(t, "../testdata/vectors/disclosure-verify.json")
	for _, group := range regexp.MustCompile(`\[disclosure-verify\.json: ([^\]]*)\]`).FindAllStringSubmatch(spec, -1) {
		for _, name := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(group[1], -1) {
			want := `"name": "` + strings.TrimSuffix(name[1], "...")
			if strings.HasPrefix(name[1], "...") {
				want = strings.TrimPrefix(name[1], "...") + `",`
			}
			if !strings.Contains(judged, want) {
				t.Errorf("disclosure-verify.json has no %q", name[1])
			}
		}
	}
}

func TestLabels(t *testing.T) {
	labels := func(text string, pattern string) []string {
		set := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			set[m[1]] = true
		}
		return slices.Sorted(maps.Keys(set))
	}
	want := labels(read(t, "SPEC.md"), `"(idlog/[a-z]+/v1)"`)
	var code string
	for _, dir := range []string{"leaf", "mapfn", "seal", "tag", "subject"} {
		code += read(t, dir+"/*.go")
	}
	if diff := cmp.Diff(want, labels(code, `"(idlog/[a-z]+/v1)\\x00"`)); diff != "" {
		t.Errorf("labels of SPEC.md and of the code (-spec +code):\n%s", diff)
	}
}
