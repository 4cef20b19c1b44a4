package cmd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// listed is what `go list -json` says of a package; Imports are direct, without those of its tests.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func goList(t *testing.T, args ...string) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	pkgs := make(map[string]listed)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
}

// under reports whether path is the package dir or lies below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// kernel packages check what crosses between parties. They also run in a browser, and a reviewer reads all of them.
var kernel = []string{"leaf", "tag", "mapfn", "trie", "seal", "subject", "checkpoint", "policy", "proof", "tile", "cosign", "ticket", "evidence", "answer", "internal/lines"}

// kernelMay is all that the kernel imports directly, besides itself and the standard library's pure packages.
var kernelMay = []string{
	"golang.org/x/mod/sumdb/note",
	"golang.org/x/mod/sumdb/tlog",
	"github.com/transparency-dev/merkle",
	"github.com/transparency-dev/formats",
	"filippo.io/mldsa",
	"filippo.io/mostly-harmless/vrf-r255",
}

// bare packages are too large for the kernel, but import what it may: whoever links one gets no network and no schemas
// with it. Their stores are beside them, and chosen by programs.
var bare = []string{"history"}

// walls says which of our folders must not reach which, however many steps away, and why.
var walls = []struct{ from, mustNot, because string }{
	{"idlog/proto", "idlog/log", "the protocol belongs to no party"},
	{"idlog/proto", "idlog/witness", "the protocol belongs to no party"},
	{"idlog/proto", "idlog/client", "the protocol belongs to no party"},
	{"idlog/log", "idlog/witness", "the witness is independent of the operator"},
	{"idlog/log", "idlog/client", "the operator does not check itself with the reader's code"},
	{"idlog/witness", "idlog/log", "the witness is independent of the operator"},
	{"idlog/witness", "idlog/client", "the witness needs no reader"},
	{"idlog/witness", "google.golang.org/grpc", "a witness speaks c2sp.org/tlog-witness over HTTP and nothing else"},
	{"idlog/witness", "google.golang.org/protobuf", "a witness sees checkpoints, not events"},
	{"idlog/witness", "github.com/cockroachdb/pebble", "a verifier of the index is handed its store"},
	{"idlog/client", "idlog/log", "a reader never links the operator"},
	{"idlog/client", "idlog/witness", "a reader only knows witnesses by their keys"},
	{"idlog/client", "github.com/transparency-dev/tessera", "a reader never links the operator's engine"},
	{"idlog/client/access", "google.golang.org/grpc", "who held what is a function of events that were verified"},
	{"idlog/client/monitor/index", "idlog/client/remote", "the index is handed its entries"},
	{"idlog/proto", "github.com/grpc-ecosystem/grpc-gateway", "JSON over HTTP is the operator's to offer"},
	{"idlog/log/source", "idlog/log/ingest", "a mapper is a pure function; it is handed no way in"},
	{"idlog/log/source", "idlog/log/journal", "a mapper is a pure function"},
	{"idlog/log/source", "google.golang.org/grpc", "a mapper is a pure function"},
	{"idlog/log/journal", "idlog/log/ingest", "nothing calls back into the write path"},
	{"idlog/log/vault", "idlog/log/ingest", "nothing calls back into the write path"},
	{"idlog/log/store", "idlog/log/ingest", "a store keeps bytes"},
	{"idlog/log/query", "idlog/log/serve", "what answers questions knows nothing of the wire"},
	{"idlog/log/ingest", "idlog/log/index", "nothing calls back into the write path"},
	{"idlog/log/index", "idlog/log/ingest", "the index follows what is published, as anybody may, and is handed one way in"},
	{"idlog/log/index", "idlog/log/vault", "the index is a function of the entries: it needs no secret"},
	{"idlog/log/follow", "idlog/log/index", "who follows a log knows nothing of those for whom it does"},
}

func TestImportWalls(t *testing.T) {
	pkgs := goList(t, "./...")
	for _, w := range walls {
		found := false
		for path, p := range pkgs {
			if !under(path, w.from) {
				continue
			}
			found = true
			for _, dep := range p.Deps {
				if under(dep, w.mustNot) {
					t.Errorf("%s reaches %s: %s", path, dep, w.because)
				}
			}
		}
		if !found {
			t.Errorf("wall names %s, which does not exist", w.from)
		}
	}
	for path, p := range pkgs {
		if !under(path, "idlog") {
			continue
		}
		if slices.Contains(p.Imports, "log") {
			t.Errorf("%s imports the standard log: use log/slog, and only at the edge", path)
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "idlog/cmd/") && !strings.HasPrefix(path, "idlog/cmd/") {
				t.Errorf("%s imports %s: programs are imported by nobody", path, imp)
			}
		}
	}
}

func TestKernelImports(t *testing.T) {
	pkgs := goList(t, "./proto/...")
	for _, name := range kernel {
		p, ok := pkgs["idlog/proto/"+name]
		if !ok {
			t.Errorf("kernel names proto/%s, which does not exist", name)
			continue
		}
		for _, imp := range p.Imports {
			if err := kernelImport(imp); err != nil {
				t.Errorf("proto/%s: %v", name, err)
			}
		}
	}
}

func TestBareImports(t *testing.T) {
	pkgs := goList(t, "./proto/...")
	for _, name := range bare {
		p, ok := pkgs["idlog/proto/"+name]
		if !ok {
			t.Errorf("bare names proto/%s, which does not exist", name)
			continue
		}
		for _, imp := range p.Imports {
			if err := kernelImport(imp); err != nil {
				t.Errorf("proto/%s: %v", name, err)
			}
		}
		for _, dep := range p.Deps {
			if under(dep, "net") || under(dep, "log") || under(dep, "google.golang.org") {
				t.Errorf("proto/%s reaches %s: an index is made from leaves, by whoever has them", name, dep)
			}
		}
	}
}

func kernelImport(imp string) error {
	first, _, _ := strings.Cut(imp, "/")
	switch {
	case first == "idlog":
		if rest, ok := strings.CutPrefix(imp, "idlog/proto/"); ok && slices.Contains(kernel, rest) {
			return nil
		}
	case strings.Contains(first, "."):
		if slices.ContainsFunc(kernelMay, func(may string) bool { return under(imp, may) }) {
			return nil
		}
	default:
		if !slices.ContainsFunc([]string{"net", "os", "log", "syscall", "plugin"}, func(no string) bool { return under(imp, no) }) {
			return nil
		}
	}
	return fmt.Errorf("imports %s: the kernel is pure and small, so that it runs in a browser and can be read whole", imp)
}

// TestDependencyFloors holds the versions below which a dependency has a known hole that matters here.
func TestDependencyFloors(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-print")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", out, nil)
	if err != nil {
		t.Fatal(err)
	}
	floors := map[string]string{
		"google.golang.org/grpc": "v1.82.1", // authorisation bypass by path, rapid reset
		"golang.org/x/mod":       "v0.40.0", // tile reader that skipped authentication
	}
	for _, r := range f.Require {
		if floor, ok := floors[r.Mod.Path]; ok {
			delete(floors, r.Mod.Path)
			if semver.Compare(r.Mod.Version, floor) < 0 {
				t.Errorf("%s is %s, below %s", r.Mod.Path, r.Mod.Version, floor)
			}
		}
		if strings.Contains(r.Mod.Path, "torchwood") {
			t.Errorf("%s: it requires a module that cannot be fetched", r.Mod.Path)
		}
	}
	for path := range floors {
		t.Errorf("%s is not required", path)
	}
}
