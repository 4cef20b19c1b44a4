package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/log/vault"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/subject"
)

var (
	alice = subject.Identifier{Issuer: "https://acme.example", Format: "opaque", ID: "canary-alice"}
	bob   = subject.Email("canary-bob@acme.example")
)

func create(t testing.TB) (v *vault.Vault, dir string, m vault.Master) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "subjects")
	m, err := vault.CreateMaster(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.Create(dir, m); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, m), dir, m
}

func open(t testing.TB, dir string, m vault.Master) *vault.Vault {
	t.Helper()
	v, err := vault.Open(dir, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// crashed opens what a process that dies now would leave.
func crashed(t testing.TB, dir string, m vault.Master) *vault.Vault {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "subjects")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return open(t, copied, m)
}

func enrol(t testing.TB, v *vault.Vault, ids ...subject.Identifier) []*vault.Enrolment {
	t.Helper()
	made, err := v.Enrol("acme.example/id", 1763629200, ids)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestMaster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	made, err := vault.CreateMaster(file)
	if err != nil {
		t.Fatal(err)
	}
	read, err := vault.ReadMaster(file)
	if err != nil || read != made {
		t.Errorf("the key changed on its way, %v", err)
	}
	if _, err := vault.CreateMaster(file); !errors.Is(err, os.ErrExist) {
		t.Errorf("creating it again: %v", err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ReadMaster(file); err == nil {
		t.Error("a key that the group may read was read")
	}
	for _, text := range []string{"", "AAAA\n", "no base64\n"} {
		bad := filepath.Join(t.TempDir(), "bad.key")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.ReadMaster(bad); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	v, dir, m := create(t)
	other, err := vault.CreateMaster(filepath.Join(t.TempDir(), "other.key"))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "subjects")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(copied, other, nil); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("another master key: %v, want ErrCorrupt", err)
	}
	if _, err := vault.Open(filepath.Join(dir, "none"), m, nil); err == nil {
		t.Error("opened a vault that was never created")
	}
	if err := vault.Create(copied, m); !errors.Is(err, vault.ErrExists) {
		t.Errorf("creating it again: %v, want ErrExists", err)
	}
	if again := open(t, copied, m); again.VRF() != v.VRF() || again.Key(1, "okta") != v.Key(1, "okta") || again.Key(1, "okta") == v.Key(1, "auth0") {
		t.Error("the log's secrets are not what they were")
	}
}

func TestEnrol(t *testing.T) {
	v, dir, m := create(t)
	if e, err := v.Current(alice); e != nil || err != nil {
		t.Fatalf("enrolled before she was: %v, %v", e, err)
	}
	first := enrol(t, v, alice, bob)
	second := enrol(t, v, alice)
	for _, v := range []*vault.Vault{v, crashed(t, dir, m)} {
		all, err := v.All(alice)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]*vault.Enrolment{first[0], second[0]}, all); diff != "" {
			t.Errorf("enrolments of alice (-want +got):\n%s", diff)
		}
		now, err := v.Current(alice)
		if err != nil || now.Hash != second[0].Hash {
			t.Errorf("current %v, %v", now, err)
		}
	}
	if first[0].Secret == second[0].Secret || first[0].Handle == second[0].Handle {
		t.Error("the second enrolment has the secrets of the first")
	}
	for i, id := range []subject.Identifier{alice, bob} {
		l, err := leaf.Parse(first[i].Leaf)
		if err != nil {
			t.Fatal(err)
		}
		s := l.(*leaf.Subject)
		etag, err := subject.VerifyVRF(v.VRF(), id, first[i].Proof)
		if err != nil || s.Etags[0] != etag || *s.Commit != first[i].Handle.Commit() || leaf.HashOf(first[i].Leaf) != first[i].Hash {
			t.Errorf("the leaf of %v is not hers: %v", id, err)
		}
	}
	if _, err := v.Enrolment(leaf.Hash{1}); !errors.Is(err, vault.ErrLost) {
		t.Errorf("nobody: %v, want ErrLost", err)
	}
}

// What the first version kept of a person has no name, and is read as before.
func TestNameless(t *testing.T) {
	v, _, _ := create(t)
	e := enrol(t, v, alice)[0]
	if e.Identifier != alice {
		t.Errorf("it is the enrolment of %v", e.Identifier)
	}
	b := append([]byte{1}, e.Secret[:]...)
	b = append(append(b, e.Handle.Opening[:]...), e.Handle.T[:]...)
	b = append(append(b, 0, 0, 0, 0, 0, 0, 0, 1), e.Proof...)
	old, err := vault.ParseEnrolment(append(b, e.Leaf...))
	if err != nil {
		t.Fatal(err)
	}
	want := *e
	want.Identifier = subject.Identifier{}
	if diff := cmp.Diff(&want, old); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b[0] = 2 // the leaf begins with no identifier
	if _, err := vault.ParseEnrolment(append(b, e.Leaf...)); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// The same words open the same, and no others do.
func TestStatementOpening(t *testing.T) {
	v, dir, m := create(t)
	other, _, _ := create(t)
	at := time.Unix(1763629200, 0)
	first := v.StatementOpening(at, []byte("a"))
	if crashed(t, dir, m).StatementOpening(at.Add(1), []byte("a")).Seed(nil) != first.Seed(nil) {
		t.Error("said again, it opens otherwise")
	}
	if v.StatementOpening(at, []byte("b")).Seed(nil) == first.Seed(nil) || other.StatementOpening(at, []byte("a")).Seed(nil) == first.Seed(nil) {
		t.Error("other words, or another vault, open the same")
	}
}

func fields() []seal.Field {
	return []seal.Field{
		{Path: "actor.id", Value: seal.String("canary-alice"), Owners: []uint8{1}},
		{Path: "class.class_uid", Value: seal.Int(3002)},
		{Path: "raw", Value: seal.RawOf([]byte("canary raw")), Owners: []uint8{0, 1}},
		{Path: "targets.0.principal.id", Value: seal.String("canary-bob"), Owners: []uint8{0}},
		{Path: "times.received", Value: seal.Time(1)},
	}
}

func TestSeal(t *testing.T) {
	v, dir, m := create(t)
	e := enrol(t, v, alice, bob)
	key, received := leaf.Hash{7}, time.Unix(1763629200, 5)
	o := vault.NewOpening(received, []vault.Owner{{Position: 1, Enrolment: e[0]}, {Position: 0, Enrolment: e[1]}})
	payload, raw, err := v.Seal(key, o, fields(), []byte("canary raw"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(payload, []byte("canary")) || bytes.Contains(raw, []byte("canary")) {
		t.Error("the payload holds a value in clear")
	}
	v = crashed(t, dir, m)
	opened, got, err := v.Fields(key, payload)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.Received.Equal(received) || opened.All() != o.All() || len(opened.Seeds) != 4 {
		t.Errorf("opening %v", opened)
	}
	for _, f := range fields() {
		if opened.Seed(f.Owners) != o.Seed(f.Owners) {
			t.Errorf("%s: another seed", f.Path)
		}
	}
	for i := range got {
		if len(got[i].Owners) == 0 {
			got[i].Owners = nil
		}
	}
	want := fields()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	b, err := v.Raw(key, opened, raw)
	if err != nil || string(b) != "canary raw" {
		t.Errorf("raw %q, %v", b, err)
	}
	if _, err := v.Raw(key, opened, nil); !errors.Is(err, vault.ErrLost) {
		t.Errorf("no raw: %v, want ErrLost", err)
	}
	if _, err := v.Open(key, nil); !errors.Is(err, vault.ErrLost) {
		t.Errorf("no payload: %v, want ErrLost", err)
	}
	if _, err := v.Open(leaf.Hash{8}, payload); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("payload of another event: %v, want ErrCorrupt", err)
	}
	// Every byte counts, and every byte is needed.
	for i := range payload {
		bad := bytes.Clone(payload)
		bad[i] ^= 0x80
		if _, _, err := v.Fields(key, bad); err == nil {
			t.Fatalf("a payload with byte %d changed was opened", i)
		}
		if _, _, err := v.Fields(key, payload[:i]); err == nil && i > 0 {
			if _, got, _ := v.Fields(key, payload[:i]); len(got) == len(want) {
				t.Fatalf("a payload of %d bytes was opened", i)
			}
		}
	}
	// A vault without these persons.
	other, _, _ := create(t)
	if _, err := other.Open(key, payload); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("another vault: %v, want ErrCorrupt", err)
	}
	empty := filepath.Join(t.TempDir(), "subjects")
	if err := vault.Create(empty, m); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, empty, m).Open(key, payload); !errors.Is(err, vault.ErrLost) {
		t.Errorf("a vault that lost its persons: %v, want ErrLost", err)
	}
}

func TestNothingInClear(t *testing.T) {
	v, dir, _ := create(t)
	e := enrol(t, v, alice, bob)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		for _, s := range [][]byte{[]byte("canary"), e[0].Secret[:], e[0].Handle.T[:], e[1].Handle.Opening[:]} {
			if bytes.Contains(b, s) {
				t.Errorf("%s holds %q in clear", name, s)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkSeal(b *testing.B) {
	v, _, _ := create(b)
	e := enrol(b, v, alice, bob)
	f := fields()
	for b.Loop() {
		o := vault.NewOpening(time.Now(), []vault.Owner{{Position: 1, Enrolment: e[0]}, {Position: 0, Enrolment: e[1]}})
		if _, _, err := v.Seal(leaf.Hash{7}, o, f, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// A bit that flips in the journal of the database is told, also where the
// database takes what follows for torn: the persons there were enrolled.
func TestDamagedJournal(t *testing.T) {
	v, dir, m := create(t)
	const persons = 20
	id := func(i int) subject.Identifier { return subject.Email(fmt.Sprintf("p%d@acme.example", i)) }
	for i := range persons {
		if _, err := v.Enrol("log.example", 5, []subject.Identifier{id(i)}); err != nil {
			t.Fatal(err)
		}
	}
	journals, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("journals %v, %v", journals, err)
	}
	whole, err := os.ReadFile(journals[0])
	if err != nil || len(whole) < 5000 {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for _, at := range []int{3, 8, 200, 2500, len(whole) / 2, len(whole) - 100} {
		copied := filepath.Join(t.TempDir(), "subjects")
		damaged := bytes.Clone(whole)
		damaged[at] ^= 4
		if err := errors.Join(os.CopyFS(copied, os.DirFS(dir)), os.WriteFile(filepath.Join(copied, filepath.Base(journals[0])), damaged, 0o600)); err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(copied, m, nil)
		if err != nil {
			continue
		}
		for i := range persons {
			if e, err := v.Current(id(i)); err != nil || e == nil {
				t.Errorf("a bit of byte %d: opened without person %d, %v", at, i, err)
				break
			}
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	again := crashed(t, dir, m)
	if e, err := again.Current(id(persons - 1)); err != nil || e == nil {
		t.Errorf("the last person is %v, %v", e, err)
	}
}
