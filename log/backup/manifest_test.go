package backup_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log/backup"
	"idlog/proto/leaf"
)

func manifest() *backup.Manifest {
	return &backup.Manifest{
		Origin: "acme.example/id/0", VKeys: []string{"acme.example/id/0+12345678+AAAA"},
		Time: time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC), Generation: 3, Size: 12, Root: leaf.Hash{1}, Cursor: 14,
		Files: []backup.File{
			{Path: "state-3/journal/000012.sst", Size: 1, Sum: sha256.Sum256([]byte("x"))},
			{Path: "tiles/tile/0/000.p/12", Size: 384, Sum: leaf.Hash{2}},
			{Path: "tiles/tile/entries/000.p/12", Size: 0, Sum: leaf.Hash{3}},
		},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	want := manifest()
	got, err := backup.ParseManifest(want.Format())
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Bytes() != 385 {
		t.Errorf("its files have %d bytes", got.Bytes())
	}
}

func TestRefusedManifests(t *testing.T) {
	good := string(manifest().Format())
	// resum gives a text the sum of its lines, so that only what it says is at fault.
	resum := func(text string) string {
		body, _, _ := strings.Cut(text, "sum ")
		return body + fmt.Sprintf("sum %x\n", sha256.Sum256([]byte(body)))
	}
	for name, text := range map[string]string{
		"empty":              "",
		"another version":    resum(strings.Replace(good, "/v1", "/v2", 1)),
		"cut":                good[:len(good)-10],
		"no sum":             good[:strings.Index(good, "sum ")],
		"a changed byte":     strings.Replace(good, "size 12", "size 13", 1),
		"bytes after":        good + "\n",
		"no origin":          resum(strings.Replace(good, "origin acme.example/id/0\n", "", 1)),
		"an impossible name": resum(strings.Replace(good, "origin acme.example/id/0\n", "origin a+b\n", 1)),
		"no key":             resum(strings.Replace(good, "vkey acme.example/id/0+12345678+AAAA\n", "", 1)),
		"size 0":             resum(strings.Replace(good, "\nsize 12", "\nsize 0", 1)),
		"a journal behind":   resum(strings.Replace(good, "cursor 14", "cursor 11", 1)),
		"generation 0":       resum(strings.Replace(good, "generation 3", "generation 0", 1)),
		"a signed number":    resum(strings.Replace(good, "\nsize 12", "\nsize +12", 1)),
		"another zone":       resum(strings.Replace(good, "08:30:00Z", "08:30:00+01:00", 1)),
		"too few files":      resum(strings.Replace(good, "files 3", "files 4", 1)),
		"a file twice":       resum(strings.Replace(good, "entries/000.p/12", "0/000.p/12", 1)),
		"out of order":       resum(strings.Replace(good, "state-3/journal", "tiles/tile/1", 1)),
		"a path upwards":     resum(strings.Replace(good, "0/000.p", "../../000.p", 1)),
		"an absolute path":   resum(strings.Replace(good, "tiles/tile/0", "/etc/tiles", 1)),
		"a hidden file":      resum(strings.Replace(good, "tiles/tile/0/000", "tiles/tile/0/.000", 1)),
		"a short sum":        resum(strings.Replace(good, strings.Repeat("0", 10)+" tiles", " tiles", 1)),
		"a long path":        resum(strings.Replace(good, "000.p/12", strings.Repeat("9", 300), 1)),
	} {
		if text == good {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := backup.ParseManifest([]byte(text)); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest().Format())
	f.Add([]byte("idlog-backup/v1\norigin x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := backup.ParseManifest(b)
		if err != nil {
			return
		}
		if string(m.Format()) != string(b) {
			t.Errorf("%q is accepted and written otherwise", b)
		}
		for _, file := range m.Files {
			if strings.Contains(file.Path, "..") && strings.Contains(file.Path, "/../") || strings.HasPrefix(file.Path, "/") {
				t.Errorf("path %q", file.Path)
			}
		}
	})
}
