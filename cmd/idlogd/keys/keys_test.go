package keys_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/idlogd/keys"
	"idlog/proto/checkpoint"
)

const family = "acme.example/id"

// site is a log that was initialised.
type site struct {
	t   *testing.T
	dir string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// template is a log that was initialised once: making one sets the logger of the whole process.
var template string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "idlogd-keys-")
		if err == nil {
			defer os.RemoveAll(dir)
			template = filepath.Join(dir, "acme")
			_, err = instance.Init(context.Background(), instance.InitOptions{Dir: template, Family: family, Sources: []string{"app"}})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t, filepath.Join(t.TempDir(), "acme")}
	if out, err := exec.Command("cp", "-a", template, s.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// A person has been here: what they wrote stays.
	b, err := os.ReadFile(s.file())
	must(t, err)
	must(t, os.WriteFile(s.file(), []byte("# our log\n"+strings.Replace(string(b), "keys:\n", "keys: # 0600\n", 1)), 0o640))
	must(t, os.Chmod(s.file(), 0o640))
	return s
}

func (s *site) file() string { return filepath.Join(s.dir, config.Name) }

func (s *site) log() *config.Log {
	s.t.Helper()
	c, err := config.Read(s.file())
	must(s.t, err)
	return &c.Logs[0]
}

// vkeys are those that the configuration, the policy, log.vkey and the identity name.
func (s *site) vkeys() (list [4][]string) {
	s.t.Helper()
	l := s.log()
	_, conf, err := l.Signers()
	must(s.t, err)
	list[0] = conf
	p, err := config.ReadPolicy(l.Policy)
	must(s.t, err)
	for _, k := range p.Logs {
		list[1] = append(list[1], k.VKey)
	}
	b, err := os.ReadFile(filepath.Join(s.dir, instance.VKeyName))
	must(s.t, err)
	list[2] = strings.Fields(string(b))
	b, err = os.ReadFile(filepath.Join(l.Dir, "identity"))
	must(s.t, err)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "vkey "); ok {
			list[3] = append(list[3], strings.TrimSpace(v))
		}
	}
	return list
}

func (s *site) want(vkeys ...string) {
	s.t.Helper()
	if diff := cmp.Diff([4][]string{vkeys, vkeys, vkeys, vkeys}, s.vkeys()); diff != "" {
		s.t.Errorf("configuration, policy, log.vkey and identity name other keys:\n%s", diff)
	}
}

// opens says that the log can be served.
func (s *site) opens() {
	s.t.Helper()
	in, err := instance.OpenStores(s.t.Context(), s.log(), slog.New(slog.DiscardHandler))
	must(s.t, err)
	must(s.t, in.Close())
}

func TestAddAndRetire(t *testing.T) {
	s := newSite(t)
	first, err := keys.Of(s.log())
	must(t, err)
	s.want(first[0].VKey)
	if _, err := keys.Retire(s.file(), s.log(), first[0].ID()); err == nil || !strings.Contains(err.Error(), "is the only key") {
		t.Errorf("the only key: %v", err)
	}
	second, err := keys.Add(s.file(), s.log(), checkpoint.MLDSA44)
	must(t, err)
	s.want(first[0].VKey, second.VKey)
	s.opens()
	if info, err := os.Stat(second.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the new key file: %v, %v", info, err)
	}
	b, err := os.ReadFile(s.file())
	must(t, err)
	if info, _ := os.Stat(s.file()); info.Mode().Perm() != 0o640 || !strings.Contains(string(b), "# our log\n") || !strings.Contains(string(b), "# 0600\n") {
		t.Errorf("the configuration has lost its mode or its comments:\n%s", b)
	}
	if !strings.Contains(string(b), "- keys/"+filepath.Base(second.File)+"\n") {
		t.Errorf("the key is not named relative to the file:\n%s", b)
	}
	if _, err := keys.Retire(s.file(), s.log(), "00000000"); err == nil || !strings.Contains(err.Error(), "has no key 00000000") {
		t.Errorf("an unknown key: %v", err)
	}
	// Nothing is published yet, so nobody misses the old key.
	gone, err := keys.Retire(s.file(), s.log(), first[0].VKey)
	must(t, err)
	s.want(second.VKey)
	s.opens()
	if _, err := os.Stat(gone.File + ".retired"); err != nil {
		t.Error(err)
	}
}

func TestNotWhileServed(t *testing.T) {
	s := newSite(t)
	in, err := instance.OpenStores(t.Context(), s.log(), slog.New(slog.DiscardHandler))
	must(t, err)
	defer in.Close()
	before := s.tree()
	if _, err := keys.Add(s.file(), s.log(), checkpoint.Ed25519); err == nil || !strings.Contains(err.Error(), "the log is open already") {
		t.Errorf("adding: %v", err)
	}
	if _, err := keys.Retire(s.file(), s.log(), "00000000"); err == nil || !strings.Contains(err.Error(), "the log is open already") {
		t.Errorf("retiring: %v", err)
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// A file that would become wrong is found before any is written.
func TestNothingIsHalfDone(t *testing.T) {
	s := newSite(t)
	b, err := os.ReadFile(s.log().Policy)
	must(t, err)
	must(t, os.WriteFile(s.log().Policy, append(b, "quorum twice\n"...), 0o600))
	before := s.tree()
	if _, err := keys.Add(s.file(), s.log(), checkpoint.Ed25519); err == nil {
		t.Error("a policy that is none was extended")
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// tree is the files of the site but those of the databases.
func (s *site) tree() map[string]string {
	s.t.Helper()
	files := make(map[string]string)
	must(s.t, filepath.WalkDir(s.dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == "journal" || e.Name() == "subjects" || e.Name() == "heads" || e.Name() == "tiles" || e.Name() == "control") {
			return fs.SkipDir
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, s.dir+"/")] = string(b)
		return err
	}))
	return files
}

// put makes the tree anew.
func (s *site) put(files map[string]string) {
	s.t.Helper()
	for name := range s.tree() {
		if _, ok := files[name]; !ok {
			must(s.t, os.Remove(filepath.Join(s.dir, name)))
		}
	}
	for name, text := range files {
		must(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
}

// TestInterrupted is a crash after each step of a change: the log opens, no other change begins, and Finish leads to where
// the change would have.
func TestInterrupted(t *testing.T) {
	s := newSite(t)
	first, err := keys.Of(s.log())
	must(t, err)
	one := s.tree()
	second, err := keys.Add(s.file(), s.log(), checkpoint.Ed25519)
	must(t, err)
	two := s.tree()
	old, err := keys.Retire(s.file(), s.log(), first[0].ID())
	must(t, err)
	three := s.tree()

	rel := func(file string) string { return strings.TrimPrefix(file, s.dir+"/") }
	for _, c := range []struct {
		verb          string
		key           keys.Key
		before, after map[string]string
		steps         []string
	}{
		{"add", second, one, two, []string{rel(second.File), "policy.tlog-policy", "log.vkey", "log/identity", config.Name}},
		{"retire", old, two, three, []string{config.Name, "log/identity", "policy.tlog-policy", "log.vkey", "keys/log.key.retired"}},
	} {
		for done := range len(c.steps) + 1 {
			if c.verb == "add" && done == 0 {
				continue // the key file comes before the change is written down
			}
			t.Run(fmt.Sprintf("%s, %d steps", c.verb, done), func(t *testing.T) {
				files := make(map[string]string)
				for name, text := range c.before {
					files[name] = text
				}
				for _, name := range c.steps[:done] {
					files[name] = c.after[name]
				}
				if slices.Contains(c.steps[:done], "keys/log.key.retired") {
					delete(files, "keys/log.key")
				}
				files["log/key-change"] = fmt.Sprintf("idlog-keychange/v1\n%s %s\nfile %s\n", c.verb, c.key.VKey, c.key.File)
				s := &site{t, s.dir}
				s.put(files)
				s.opens()
				if !keys.Interrupted(s.log()) {
					t.Error("nobody is told")
				}
				if _, err := keys.Add(s.file(), s.log(), checkpoint.Ed25519); err == nil || !strings.Contains(err.Error(), "was interrupted") {
					t.Errorf("another change began: %v", err)
				}
				what, err := keys.Finish(s.file(), s.log())
				must(t, err)
				if what != c.verb+" "+c.key.VKey {
					t.Errorf("it finished %q", what)
				}
				if diff := cmp.Diff(c.after, s.tree()); diff != "" {
					t.Errorf("it does not end where the change does:\n%s", diff)
				}
				s.opens()
				if what, err := keys.Finish(s.file(), s.log()); what != "" || err != nil || keys.Interrupted(s.log()) {
					t.Errorf("finishing again: %q, %v", what, err)
				}
			})
		}
	}
}

func TestRefusedChangeFiles(t *testing.T) {
	s := newSite(t)
	good := "idlog-keychange/v1\nadd acme.example/id/0+00000000+AAAA\nfile /k\n"
	for _, text := range []string{"", good[1:], good + "\n", strings.Replace(good, "add", "steal", 1), strings.Replace(good, "/k", "k", 1), strings.Replace(good, "file", "from", 1)} {
		must(t, os.WriteFile(filepath.Join(s.log().Dir, "key-change"), []byte(text), 0o600))
		if _, err := keys.Finish(s.file(), s.log()); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
