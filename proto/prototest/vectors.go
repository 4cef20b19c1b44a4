package prototest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// A Case is one vector: an input to a parser, and whether it is accepted.
type Case struct {
	Name   string `json:"name"`
	Accept bool   `json:"accept"`
	// Input is the input as text, or Bytes if that is not valid UTF-8, which
	// JSON writes in base64.
	Input string `json:"input,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

// Accept returns the case of an input that is well formed.
func Accept[T ~string | ~[]byte](name string, input T) Case {
	return newCase(name, true, string(input))
}

// Refuse returns the case of an input that is not.
func Refuse[T ~string | ~[]byte](name string, input T) Case {
	return newCase(name, false, string(input))
}

func newCase(name string, accept bool, input string) Case {
	if !utf8.ValidString(input) {
		return Case{Name: name, Accept: accept, Bytes: []byte(input)}
	}
	return Case{Name: name, Accept: accept, Input: input}
}

// Data returns the input, whichever way it is written.
func (c Case) Data() []byte {
	if c.Bytes != nil {
		return c.Bytes
	}
	return []byte(c.Input)
}

// Vectors runs parse on each case, and holds the cases to those in
// testdata/vectors/<file> at the top of the repository, where other languages
// read them; with update it writes them there. Parse returns what it read,
// written again, which must be the input.
func Vectors(t *testing.T, file string, update bool, cases []Case, parse func([]byte) ([]byte, error)) {
	t.Helper()
	seen := make(map[string]bool)
	for _, c := range cases {
		if seen[c.Name] {
			t.Errorf("%s: two cases of this name", c.Name)
		}
		seen[c.Name] = true
		again, err := parse(c.Data())
		switch {
		case c.Accept && err != nil:
			t.Errorf("%s: refused: %v", c.Name, err)
		case c.Accept && string(again) != string(c.Data()):
			t.Errorf("%s: written again it differs:\n%s", c.Name, again)
		case !c.Accept && err == nil:
			t.Errorf("%s: accepted", c.Name)
		}
	}
	want, err := json.MarshalIndent(cases, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	Golden(t, filepath.Join("..", "..", "testdata", "vectors", file), update, want)
}

// Golden holds what was made to a file in the repository, or with update writes
// it there.
func Golden(t *testing.T, path string, update bool, made []byte) {
	t.Helper()
	if update {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, made, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(made) {
		t.Errorf("%s is not what this test makes; if the change is meant, run the test with -update", path)
	}
}
