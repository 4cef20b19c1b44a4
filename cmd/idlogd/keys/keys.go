// Package keys changes the keys with which a log signs its checkpoints, while
// its origin and its history stay: a new key is added, for a time the log signs
// with both, and when every reader has the new policy the old one is retired.
//
// It trusts the configuration and the files that it names. The log must not be
// served: a claim on it is held throughout.
//
// A change is several files, so what is to be done is written down first, in the
// log's folder. After a crash at any moment the log can be served, with the keys
// of before or of after, and Finish does the rest. Functions are called by one
// goroutine of one process at a time, which the claim takes care of.
//
// Specification: SPEC F33.
package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
)

// changeName is the file in the log's folder that says what is being changed:
//
//	idlog-keychange/v1
//	add|retire <vkey>
//	file <absolute name of the key file>
const (
	changeName  = "key-change"
	changeMagic = "idlog-keychange/v1"
	retired     = ".retired"
)

// Key is a key of a log.
type Key struct {
	VKey string
	File string // of the private key
}

// ID returns the key's ID in hex, by which people name it.
func (k Key) ID() string {
	_, rest, _ := strings.Cut(k.VKey, "+")
	id, _, _ := strings.Cut(rest, "+")
	return id
}

// Alg returns what the key signs with, as `idlogd key add --alg` has it.
func (k Key) Alg() string {
	if parsed, err := checkpoint.ParseVKey(k.VKey); err == nil && len(parsed.Public) > 32 {
		return "ml-dsa-44"
	}
	return "ed25519"
}

// Of returns the keys that the configuration gives a log, the primary first.
func Of(l *config.Log) ([]Key, error) {
	_, vkeys, err := l.Signers()
	if err != nil {
		return nil, err
	}
	list := make([]Key, len(vkeys))
	for i := range vkeys {
		list[i] = Key{vkeys[i], l.Keys.Log[i]}
	}
	return list, nil
}

// change is one change under way.
type change struct {
	verb string // add or retire
	key  Key
}

func (c change) format() []byte {
	return fmt.Appendf(nil, "%s\n%s %s\nfile %s\n", changeMagic, c.verb, c.key.VKey, c.key.File)
}

func parseChange(b []byte) (change, error) {
	lines := strings.Split(string(b), "\n")
	if len(lines) != 4 || lines[0] != changeMagic {
		return change{}, errors.New("it is not a change of keys")
	}
	var c change
	c.verb, c.key.VKey, _ = strings.Cut(lines[1], " ")
	c.key.File = strings.TrimPrefix(lines[2], "file ")
	if c.verb != "add" && c.verb != "retire" || !filepath.IsAbs(c.key.File) || !bytes.Equal(c.format(), b) {
		return change{}, errors.New("it is not a change of keys")
	}
	return c, nil
}

// editor changes the keys of one log that it has claimed.
type editor struct {
	file  string // of the configuration
	log   *config.Log
	claim *ilog.Claim
	keys  []Key
}

// open claims the log.
func open(file string, l *config.Log) (*editor, error) {
	list, err := Of(l)
	if err != nil {
		return nil, err
	}
	claim, err := ilog.ClaimLog(ilog.Config{Dir: l.Dir, Heads: l.Heads, Origin: l.Origin})
	if err != nil {
		return nil, err
	}
	return &editor{file: file, log: l, claim: claim, keys: list}, nil
}

func (e *editor) close() error { return e.claim.Close() }

func (e *editor) changeFile() string { return filepath.Join(e.log.Dir, changeName) }

// Add makes a new key for a log and returns it: from the next start on the log
// signs with it as well. The policy of the log gets its line. File is the
// configuration's.
func Add(file string, l *config.Log, alg checkpoint.Alg) (_ Key, err error) {
	e, err := open(file, l)
	if err != nil {
		return Key{}, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.idle(); err != nil {
		return Key{}, err
	}
	skey, vkey, err := checkpoint.GenerateKey(l.Origin, alg, checkpoint.LogRole)
	if err != nil {
		return Key{}, fmt.Errorf("making a key: %w", err)
	}
	k := Key{VKey: vkey}
	name := filepath.Join(filepath.Dir(e.keys[0].File), "log-"+k.ID()+".key")
	if k.File, err = filepath.Abs(name); err != nil {
		return Key{}, fmt.Errorf("making a key: %w", err)
	}
	if err := e.check(change{"add", k}); err != nil {
		return Key{}, err
	}
	// If we die after this there is a key file that nobody uses.
	if err := durable.Create(k.File, []byte(skey+"\n"), 0o600); err != nil {
		return Key{}, err
	}
	return k, e.begin(change{"add", k})
}

// Retire takes a key away from a log, named by its ID or its vkey, and returns
// it. Its file stays, under another name. The only key is not taken away, nor one
// without which nobody can verify what the log shows at present.
func Retire(file string, l *config.Log, which string) (_ Key, err error) {
	e, err := open(file, l)
	if err != nil {
		return Key{}, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.idle(); err != nil {
		return Key{}, err
	}
	at := slices.IndexFunc(e.keys, func(k Key) bool { return k.VKey == which || k.ID() == which })
	if at < 0 {
		return Key{}, &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("%s has no key %s", l.Origin, which), Remedy: "idlogd key list --config " + file}
	}
	k := e.keys[at]
	if len(e.keys) == 1 {
		return Key{}, &serve.ExitError{Code: serve.CodePermission, Err: fmt.Errorf("%s is the only key of %s: a log without a key can never publish again", which, l.Origin),
			Remedy: "idlogd key add --config " + file}
	}
	var rest []string
	for i := range e.keys {
		if i != at {
			rest = append(rest, e.keys[i].VKey)
		}
	}
	signed, err := e.claim.PublishedKeys(rest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Key{}, err
	}
	if err == nil && len(signed) < len(rest) {
		return Key{}, &serve.ExitError{Code: serve.CodePermission, Err: fmt.Errorf("what %s has published is not signed by all keys that would remain", l.Origin),
			Remedy: "serve the log until it has published with them, and let every reader and witness have the new policy first"}
	}
	if k.File, err = filepath.Abs(k.File); err != nil {
		return Key{}, fmt.Errorf("retiring a key: %w", err)
	}
	if err := e.check(change{"retire", k}); err != nil {
		return Key{}, err
	}
	return k, e.begin(change{"retire", k})
}

// Finish completes a change that a crash interrupted, and says which; empty if
// there was none.
func Finish(file string, l *config.Log) (what string, err error) {
	e, err := open(file, l)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	b, err := os.ReadFile(e.changeFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("reading a change of keys: %w", err)
	}
	c, err := parseChange(b)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", e.changeFile(), err)
	}
	return c.verb + " " + c.key.VKey, e.apply(c)
}

// Interrupted reports whether a change of a log's keys is not complete. The log
// can be served all the same.
func Interrupted(l *config.Log) bool {
	_, err := os.Lstat(filepath.Join(l.Dir, changeName))
	return err == nil
}

// idle refuses while another change is not complete.
func (e *editor) idle() error {
	if Interrupted(e.log) {
		return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("a change of keys was interrupted: %s", e.changeFile()), Remedy: "idlogd key finish --config " + e.file}
	}
	return nil
}

// check finds out what would be wrong with the files, before any is written.
func (e *editor) check(c change) error {
	if _, err := e.policy(c); err != nil {
		return err
	}
	_, err := e.config(c)
	return err
}

// begin writes down what is to be done, and does it.
func (e *editor) begin(c change) error {
	// If we die before this, nothing has changed; after it, Finish goes on.
	if err := durable.Replace(e.changeFile(), c.format(), 0o600); err != nil {
		return err
	}
	return e.apply(c)
}

// apply changes the files, in an order in which the log can be served after
// each. What is done already is left.
func (e *editor) apply(c change) error {
	steps := []func(change) error{e.setPolicy, e.setVKeys, e.setIdentity, e.setConfig}
	if c.verb == "retire" {
		steps = []func(change) error{e.setConfig, e.setIdentity, e.setPolicy, e.setVKeys, e.setAside}
	}
	for _, step := range steps {
		// If we die between two steps the configuration's keys are in the identity, and the log opens.
		if err := step(c); err != nil {
			return err
		}
	}
	if err := os.Remove(e.changeFile()); err != nil {
		return fmt.Errorf("ending a change of keys: %w", err)
	}
	return durable.SyncDir(e.log.Dir)
}

// after returns the keys that the log has then.
func (e *editor) after(c change) []Key {
	var list []Key
	for _, k := range e.keys {
		if k.VKey != c.key.VKey {
			list = append(list, k)
		}
	}
	if c.verb == "add" {
		list = append(list, c.key)
	}
	return list
}

func (e *editor) vkeys(c change) []string {
	var list []string
	for _, k := range e.after(c) {
		list = append(list, k.VKey)
	}
	return list
}

// policy is the text of the policy then: the new key's line stands behind the
// last one of this log and has its address.
func (e *editor) policy(c change) ([]byte, error) {
	b, err := os.ReadFile(e.log.Policy)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	var lines []string
	last, address := -1, ""
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "log" && f[1] == c.key.VKey {
			continue
		}
		lines = append(lines, line)
		if len(f) >= 2 && f[0] == "log" && strings.HasPrefix(f[1], e.log.Origin+"+") {
			last, address = len(lines), strings.Join(f[2:], " ")
		}
	}
	if c.verb == "add" {
		line := strings.TrimSuffix("log "+c.key.VKey+" "+address, " ") + "\n"
		lines = slices.Insert(lines, max(last, 0), line)
	}
	text := []byte(strings.Join(lines, ""))
	if _, err := policy.Parse(text); err != nil {
		return nil, serve.Usagef("changing %s: %w", e.log.Policy, err)
	}
	return text, nil
}

func (e *editor) setPolicy(c change) error {
	text, err := e.policy(c)
	if err != nil {
		return err
	}
	return replace(e.log.Policy, text)
}

// setVKeys renews the file that init wrote beside the configuration for people.
func (e *editor) setVKeys(c change) error {
	name := filepath.Join(filepath.Dir(e.file), instance.VKeyName)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return replace(name, []byte(strings.Join(e.vkeys(c), "\n")+"\n"))
}

func (e *editor) setIdentity(c change) error { return e.claim.SetKeys(e.vkeys(c)) }

func (e *editor) config(c change) ([]byte, error) {
	var files []string
	for _, k := range e.after(c) {
		files = append(files, k.File)
	}
	return config.WithLogKeys(e.file, e.log.Family, files)
}

func (e *editor) setConfig(c change) error {
	text, err := e.config(c)
	if err != nil {
		return err
	}
	return replace(e.file, text)
}

// setAside renames the file of a retired key.
func (e *editor) setAside(c change) error {
	err := os.Rename(c.key.File, c.key.File+retired)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // done
	}
	if err != nil {
		return fmt.Errorf("setting a key aside: %w", err)
	}
	return durable.SyncDir(filepath.Dir(c.key.File))
}

// replace writes a file that exists, with the mode that it has.
func replace(name string, text []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return durable.Replace(name, text, info.Mode().Perm())
}
