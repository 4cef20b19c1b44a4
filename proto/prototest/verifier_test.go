package prototest_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
)

var update = flag.Bool("update", false, "write the receipts")

// A receipt is one vector of testdata/vectors/receipts: a file, the policy it is judged by, and the verdict of every
// verifier there is.
type receipt struct {
	Name   string `json:"name"`
	File   string `json:"file"`   // in the same directory
	Policy string `json:"policy"` // likewise
	Accept bool   `json:"accept"`
	// Verdict is what a verifier prints of a receipt that it accepts.
	Verdict []string `json:"verdict,omitempty"`

	file, policy []byte
}

// TestSecondVerifier holds two verifiers that share no code to one another: each receipt gets the same verdict from
// proto/ and from testdata/verifier/verify.py.
func TestSecondVerifier(t *testing.T) {
	receipts := makeReceipts(t)
	writeReceipts(t, receipts)
	python := findPython(t)
	for _, r := range receipts {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			verdict, err := judge(r)
			if (err == nil) != r.Accept {
				t.Errorf("proto/: want accept %v: %v", r.Accept, err)
			}
			if python == "" {
				return
			}
			dir := filepath.Join("..", "..", "testdata", "vectors", "receipts")
			out, code := run(t, python, filepath.Join(dir, r.File), filepath.Join(dir, r.Policy))
			if want := map[bool]int{true: 0, false: 3}[r.Accept]; code != want {
				t.Fatalf("verify.py: exit %d, want %d: %s", code, want, out)
			}
			if want := strings.Join(verdict, "\n") + "\n"; r.Accept && out != want {
				t.Errorf("verify.py says\n%s\nproto/ says\n%s", out, want)
			}
		})
	}
}

// TestSecondVerifierVectors runs the second verifier over the vectors of the formats that it reads.
func TestSecondVerifierVectors(t *testing.T) {
	python := findPython(t)
	if python == "" {
		return
	}
	if out, code := run(t, python, "--vectors", filepath.Join("..", "..", "testdata", "vectors")); code != 0 {
		t.Errorf("verify.py: exit %d:\n%s", code, out)
	}
}

// findPython returns the interpreter, or an empty string after saying loudly what goes untested.
func findPython(t *testing.T) string {
	python, err := exec.LookPath("python3")
	if err != nil {
		fmt.Fprintf(os.Stderr, "\n*** NO python3: %s DOES NOT RUN THE SECOND VERIFIER ***\n\n", t.Name())
		t.Log("no python3: only proto/ was held to the receipts")
		return ""
	}
	return python
}

func run(t *testing.T, python string, args ...string) (out string, code int) {
	t.Helper()
	script := filepath.Join("..", "..", "testdata", "verifier", "verify.py")
	cmd := exec.CommandContext(t.Context(), python, append([]string{script}, args...)...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b), 0
}

// judge is the verdict of proto/, in the words of the second verifier.
func judge(r receipt) ([]string, error) {
	p, err := policy.Parse(r.policy)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(r.File, ".tlog-proof") {
		return judgeProof(r.file, p)
	}
	d, err := seal.Parse(r.file)
	if err != nil {
		return nil, err
	}
	o, err := d.Verify(p)
	if err != nil {
		return nil, err
	}
	v, err := p.Verify(d.Proof.Checkpoint)
	if err != nil {
		return nil, err
	}
	out := words(o.Leaf, o.Index, v)
	for _, l := range o.Lines {
		out = append(out, fmt.Sprintf("field %s %s", l.Path, l.State))
	}
	return out, nil
}

func judgeProof(b []byte, p *policy.Policy) ([]string, error) {
	pr, err := proof.Parse(b)
	if err != nil {
		return nil, err
	}
	l, err := leaf.Parse(pr.Extra)
	if err != nil {
		return nil, err
	}
	event, ok := l.(*leaf.Event)
	if !ok {
		return nil, errors.New("leaf is not an event")
	}
	v, err := pr.Verify(p, leaf.HashOf(pr.Extra))
	if err != nil {
		return nil, err
	}
	if shard, ok := strings.CutPrefix(v.Checkpoint.Origin, event.Log+"/"); !ok || shard == "" || strings.Contains(shard, "/") {
		return nil, errors.New("leaf is of another log")
	}
	return words(event, pr.Index, v), nil
}

func words(e *leaf.Event, index int64, v *policy.Verified) []string {
	out := []string{"verified", fmt.Sprintf("log %s size %d", v.Checkpoint.Origin, v.Checkpoint.Size),
		fmt.Sprintf("entry %d source %s received %d", index, e.Source, e.Received)}
	for _, c := range v.Cosignatures {
		out = append(out, fmt.Sprintf("witness %s at %d", c.Witness, c.Time.Unix()))
	}
	if v.Oldest().IsZero() {
		return append(out, "since -")
	}
	return append(out, fmt.Sprintf("since %d", v.Oldest().Unix()))
}

// writeReceipts holds the files in the repository to what this test makes, or with -update writes them.
func writeReceipts(t *testing.T, receipts []receipt) {
	dir := filepath.Join("..", "..", "testdata", "vectors", "receipts")
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	known := map[string]bool{"index.json": true}
	for i, r := range receipts {
		known[r.File], known[r.Policy] = true, true
		prototest.Golden(t, filepath.Join(dir, r.File), *update, r.file)
		prototest.Golden(t, filepath.Join(dir, r.Policy), *update, r.policy)
		if r.Accept {
			receipts[i].Verdict, _ = judge(r)
		}
	}
	index, err := json.MarshalIndent(receipts, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, filepath.Join(dir, "index.json"), *update, append(index, '\n'))
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("%s is no receipt that this test makes", f.Name())
		}
	}
}
