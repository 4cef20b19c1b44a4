package source_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlog/log/source"
	"idlog/log/source/auth0"
	"idlog/log/source/okta"
	"idlog/proto/event"
)

// corpus returns the lines of a file of other people's events, which stay beside the repository.
func corpus(t *testing.T, name string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "corpus", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("skipped: the corpus is not beside the repository: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

func TestCorpus(t *testing.T) {
	for _, c := range []struct {
		file   string
		mapper source.Mapper
		lines  int
	}{
		{"okta.ndjson", okta.Mapper, 41},
		{"auth0.ndjson", auth0.Mapper, 28},
	} {
		t.Run(c.file, func(t *testing.T) {
			lines := corpus(t, c.file)
			if len(lines) != c.lines {
				t.Errorf("%d lines, want %d", len(lines), c.lines)
			}
			for i, line := range lines {
				for _, issuer := range []string{"", "https://issuer.example"} {
					events, err := c.mapper.Map(line, source.Config{Issuer: issuer})
					if err != nil || len(events) != 1 {
						t.Fatalf("line %d: %d events, %v", i+1, len(events), err)
					}
					e := events[0]
					if err := event.Check(e); err != nil {
						t.Errorf("line %d: %v", i+1, err)
					}
					if _, err := event.NewRoll(e); err != nil {
						t.Errorf("line %d: %v", i+1, err)
					}
					event.Stamp(e, time.Unix(1763629200, 0))
					if _, err := event.Fields(e); err != nil {
						t.Errorf("line %d: %v", i+1, err)
					}
				}
			}
		})
	}
}

func TestCorpusOfOtherRows(t *testing.T) {
	lines := corpus(t, "okta-not-events.ndjson")
	if len(lines) != 20 {
		t.Errorf("%d lines, want 20", len(lines))
	}
	for i, line := range lines {
		events, err := okta.Mapper.Map(line, source.Config{})
		var not *source.NotAnEvent
		if len(events) != 0 || !errors.As(err, &not) || not.Reason == "" {
			t.Errorf("line %d: %d events, %v", i+1, len(events), err)
		}
	}
}

// A mapper is given what another provider wrote more often than one would think.
func TestMappersRefuseEachOther(t *testing.T) {
	for file, mapper := range map[string]source.Mapper{"okta.ndjson": auth0.Mapper, "auth0.ndjson": okta.Mapper} {
		for i, line := range corpus(t, file) {
			var not *source.NotAnEvent
			if events, err := mapper.Map(line, source.Config{}); len(events) != 0 || !errors.As(err, &not) {
				t.Errorf("%s line %d: %s took it", file, i+1, mapper.Name())
			}
		}
	}
}
