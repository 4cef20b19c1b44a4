package vault_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"idlog/log/vault"
	eventv1 "idlog/proto/idlog/event/v1"
)

// schema returns every path that an event may have, with the index 0 or 499.
func schema(m protoreflect.MessageDescriptor, prefix string) []string {
	var paths []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		names := []string{prefix + string(f.Name())}
		if f.IsList() {
			names = []string{names[0] + ".0", names[0] + ".499"}
		}
		for _, name := range names {
			if f.Message() == nil || f.Message().FullName() == "google.protobuf.Timestamp" {
				paths = append(paths, name)
			} else {
				paths = append(paths, schema(f.Message(), name+".")...)
			}
		}
	}
	return paths
}

// Every path of the schema has a number. One that is new goes to the end of the
// list.
func TestPathsAreKnown(t *testing.T) {
	paths := schema((*eventv1.Event)(nil).ProtoReflect().Descriptor(), "")
	if len(paths) < 100 || !slices.Contains(paths, "targets.0.principal.id") || !slices.Contains(paths, "raw_masked.499") {
		t.Fatalf("paths of the schema: %v", paths)
	}
	for _, p := range paths {
		b := vault.AppendPath(nil, p)
		if len(b) > 3 {
			t.Errorf("%s is spelled out", p)
		}
		if got, rest := vault.Path(b); got != p || len(rest) != 0 {
			t.Errorf("%s comes back as %q", p, got)
		}
	}
	// The numbers are on disk.
	for p, want := range map[string]string{"schema": "\x01", "mapper": "\x02", "targets.7.principal.tenant": "\x33\x07", "submitter_signature": "\x6c"} {
		if got := vault.AppendPath(nil, p); string(got) != want {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"actor.id", "targets.0.principal.id", "extra.255.name", "hops.00.issuer", "act.#.id", "a.b.1.2.3", "changes..path", "0", "targets.99999.id", strings.Repeat("x.", 100)} {
		f.Add(p, []byte("rest"))
	}
	f.Fuzz(func(t *testing.T, path string, rest []byte) {
		if path == "" {
			return
		}
		got, left := vault.Path(append(vault.AppendPath(nil, path), rest...))
		if got != path || !bytes.Equal(left, rest) {
			t.Errorf("%q comes back as %q before %q", path, got, left)
		}
		vault.Path(rest) // whatever it is
	})
}
