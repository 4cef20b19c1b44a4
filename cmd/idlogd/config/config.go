// Package config is the configuration of idlogd: the file, its defaults and
// checks, and the key and policy files that it names.
//
// It trusts whoever may write the file, and believes nothing in it: what is
// wrong is refused with file, line and remedy before anything is opened. It
// only reads, so a crash changes nothing. Its functions may be called from any
// goroutine; a Config is its caller's.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"idlog/cmd/internal/serve"
)

// Name is what init calls the file.
const Name = "idlogd.yaml"

// Config is the file of `idlogd serve`, and its comments are the manual. A key
// that is not here is refused. Names of files and folders are relative to the
// folder of the file.
type Config struct {
	Listen Listen `yaml:"listen"`
	// TLS of both listeners. Without it they are plaintext, and then only on a loopback address.
	TLS TLS `yaml:"tls,omitempty"`
	// Reflection lets tools such as grpcurl ask for the schema. Default true.
	Reflection *bool `yaml:"reflection,omitempty"`
	// Logs this process serves, one per tenant. Requests that name no family mean the first.
	Logs []Log `yaml:"logs"`

	root yaml.Node // where each value stands in the file, for errors
	// File is the name under which it was read.
	File string `yaml:"-"`
}

// Listen is the addresses.
type Listen struct {
	GRPC string `yaml:"grpc"` // host:port of the API; port 0 takes a free one
	HTTP string `yaml:"http"` // host:port of the tiles, checkpoint and archive
}

// TLS names PEM files.
type TLS struct {
	Cert     string `yaml:"cert"`      // PEM chain of the server
	Key      string `yaml:"key"`       // PEM key of the server
	ClientCA string `yaml:"client_ca"` // PEM; clients must have a certificate of these
}

// Log is one log.
type Log struct {
	// Family is the name that leaves carry and requests may name, such as "acme.example/id".
	Family string `yaml:"family"`
	// Origin is the name of this shard in its checkpoints and vkeys: family, "/" and a shard.
	Origin string `yaml:"origin"`
	// Dir is the log itself: tiles and what is published.
	Dir string `yaml:"dir"`
	// Heads is the folder of the signed tree heads, which guard Dir. It must not lie in Dir, better not on its disk,
	// and never go into the same backup.
	Heads string `yaml:"heads"`
	// Journal is the folder of pending leaves and encrypted payloads.
	Journal string `yaml:"journal"`
	// Subjects is the folder of the persons' secrets.
	Subjects string `yaml:"subjects"`
	Keys     Keys   `yaml:"keys"`
	// Policy is the tlog-policy file with this log's keys, its witnesses and their quorum.
	Policy string `yaml:"policy"`
	// Sources that may write. A source that is new here gets its tag keys at the next start.
	Sources []Source `yaml:"sources"`
	// AckTimeout is how long a call waits for the witness quorum before it is given a ticket. Default 10s.
	AckTimeout time.Duration `yaml:"ack_timeout,omitempty"`
	// MaxBacklog is how many events may wait for the quorum; beyond it calls are refused. Default 65536.
	MaxBacklog int64 `yaml:"max_backlog,omitempty"`
	// MinInterval between two checkpoints; 0, the default, publishes each batch at once. Seconds where public
	// witnesses ask for it.
	MinInterval time.Duration `yaml:"min_interval,omitempty"`
	// Republish an idle log this often, with fresh cosignatures. Default 1m; keep it below a third of what readers
	// accept as fresh.
	Republish time.Duration `yaml:"republish,omitempty"`
}

// Keys names key files. Each is refused if others than its owner can read it.
type Keys struct {
	// Log keys, one per file: an Ed25519 key and, when wanted, an ML-DSA-44 key. Every checkpoint carries a line of each.
	Log []string `yaml:"log"`
	// Ticket signs promises to log and nothing else.
	Ticket string `yaml:"ticket"`
	// Master encrypts payloads and persons' secrets. Lost, everything stays closed for ever.
	Master string `yaml:"master"`
}

// Source is one source of a log.
type Source struct {
	// Name of the source instance: 1 to 64 of a-z, 0-9, ".", "_" and "-".
	Name string `yaml:"name"`
	// Issuer of the identifiers in its events, for connectors of this process whose events do not name it. Callers
	// name it themselves.
	Issuer string `yaml:"issuer,omitempty"`
	// Principals that may write: the URI, DNS name or common name of a client certificate, or "local" for plaintext
	// callers on this machine. Nobody else is let in.
	Principals []string `yaml:"principals"`
}

// withDefaults fills what may be left out.
func (c *Config) withDefaults() {
	if c.Reflection == nil {
		yes := true
		c.Reflection = &yes
	}
	for i := range c.Logs {
		l := &c.Logs[i]
		if l.AckTimeout == 0 {
			l.AckTimeout = 10 * time.Second
		}
		if l.MaxBacklog == 0 {
			l.MaxBacklog = 65536
		}
		if l.Republish == 0 {
			l.Republish = time.Minute
		}
	}
}

// Read reads and judges a file. Every error is a *serve.ExitError or one of the
// file system, and names file, line and field and what to do; a missing file says
// how to make one.
func Read(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &serve.ExitError{
			Code:   serve.CodeInit,
			Err:    fmt.Errorf("no log is initialised here: %s does not exist", file),
			Remedy: fmt.Sprintf("idlogd init --dir %s --family example.com/id --source NAME", filepath.Dir(file)),
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(file, b)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	return c, nil
}

// Parse judges the text of a file. Names of files and folders in it become
// independent of where the process stands. Its error says what is wrong and where.
func Parse(file string, b []byte) (*Config, error) {
	c := &Config{File: file}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the file is empty", file)
	} else if err != nil {
		return nil, yamlError(file, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document; keep the first", file)
	}
	if err := yaml.Unmarshal(b, &c.root); err != nil {
		return nil, yamlError(file, err)
	}
	c.withDefaults()
	c.resolve(filepath.Dir(file))
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
)

// yamlError says what the decoder met as file:line: text, one line per finding.
func yamlError(file string, err error) error {
	texts := []string{err.Error()}
	var many *yaml.TypeError
	if errors.As(err, &many) {
		texts = many.Errors
	}
	for i, text := range texts {
		m := yamlLine.FindStringSubmatch(text)
		if m == nil {
			texts[i] = file + ": " + text
			continue
		}
		if u := yamlUnknown.FindStringSubmatch(m[2]); u != nil {
			m[2] = u[1] + ": no such setting; `idlogd config print` shows them all"
		}
		texts[i] = file + ":" + m[1] + ": " + m[2]
	}
	return errors.New(strings.Join(texts, "\n"))
}

// at is an error about the value at path, such as "logs.0.sources.1.name".
func (c *Config) at(path, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %s", c.File, lineOf(&c.root, strings.Split(path, ".")), path, fmt.Sprintf(format, args...))
}

// lineOf finds the line of the deepest part of path that is in the file.
func lineOf(n *yaml.Node, path []string) int {
	line := 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, part := range path {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == part {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(part); err == nil && i < len(n.Content) {
				line, next = n.Content[i].Line, n.Content[i]
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

var (
	goodName   = regexp.MustCompile(`^[A-Za-z0-9._/:-]{1,128}$`)
	goodSource = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
)

// check judges what the types cannot.
func (c *Config) check() error {
	if c.Listen.GRPC == "" {
		return c.at("listen.grpc", "missing; give host:port, such as 127.0.0.1:7443")
	}
	if c.Listen.HTTP == "" {
		return c.at("listen.http", "missing; give host:port, such as 127.0.0.1:7480")
	}
	if t := c.TLS; (t.Cert == "") != (t.Key == "") || t.ClientCA != "" && t.Cert == "" {
		return c.at("tls", "cert, key and client_ca belong together; give all or none")
	}
	if len(c.Logs) == 0 {
		return c.at("logs", "no log is listed; `idlogd init` writes one")
	}
	used := make(map[string]string) // folder or family, to the path that named it
	for i := range c.Logs {
		if err := c.checkLog("logs."+strconv.Itoa(i)+".", &c.Logs[i], used); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkLog(at string, l *Log, used map[string]string) error {
	if !goodName.MatchString(l.Family) {
		return c.at(at+"family", "%q is not a name; use 1 to 128 of letters, digits and . _ / : -", l.Family)
	}
	if shard, ok := strings.CutPrefix(l.Origin, l.Family+"/"); !ok || !goodName.MatchString(l.Origin) || shard == "" || strings.Contains(shard, "/") {
		return c.at(at+"origin", "%q is not the family and a shard; use %q", l.Origin, l.Family+"/0")
	}
	if other, twice := used["family "+l.Family]; twice {
		return c.at(at+"family", "already used by %s; each log has a family of its own", other)
	}
	used["family "+l.Family] = at + "family"
	for _, f := range []struct{ name, value string }{
		{"dir", l.Dir}, {"heads", l.Heads}, {"journal", l.Journal}, {"subjects", l.Subjects},
	} {
		if f.value == "" {
			return c.at(at+f.name, "missing; name a folder")
		}
		clean := filepath.Clean(f.value)
		for folder, other := range used {
			if folder == clean || strings.HasPrefix(clean, folder+"/") || strings.HasPrefix(folder, clean+"/") {
				return c.at(at+f.name, "%q overlaps %s; each needs a folder of its own", f.value, other)
			}
		}
		used[clean] = at + f.name
	}
	for _, f := range []struct{ name, value string }{
		{"policy", l.Policy}, {"keys.ticket", l.Keys.Ticket}, {"keys.master", l.Keys.Master},
	} {
		if f.value == "" {
			return c.at(at+f.name, "missing; name a file")
		}
	}
	if len(l.Keys.Log) == 0 {
		return c.at(at+"keys.log", "missing; name the file of a log key")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		most  time.Duration
	}{{"ack_timeout", l.AckTimeout, time.Minute}, {"min_interval", l.MinInterval, time.Hour}, {"republish", l.Republish, 24 * time.Hour}} {
		if d.value < 0 || d.value > d.most {
			return c.at(at+d.name, "%v is out of range; use 0s to %v", d.value, d.most)
		}
	}
	if l.MaxBacklog < 1 {
		return c.at(at+"max_backlog", "%d is out of range; use 1 or more", l.MaxBacklog)
	}
	return c.checkSources(at+"sources.", l.Sources)
}

func (c *Config) checkSources(at string, sources []Source) error {
	names := make(map[string]bool)
	for i, s := range sources {
		at := at + strconv.Itoa(i) + "."
		switch {
		case !goodSource.MatchString(s.Name):
			return c.at(at+"name", "%q is not a source name; use 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first", s.Name)
		case names[s.Name]:
			return c.at(at+"name", "%q is listed twice", s.Name)
		case len(s.Issuer) > 256:
			return c.at(at+"issuer", "longer than 256 bytes")
		}
		names[s.Name] = true
		for j, p := range s.Principals {
			if p == "" {
				return c.at(at+"principals."+strconv.Itoa(j), "empty; name a certificate's holder, or \"local\"")
			}
		}
	}
	return nil
}

// resolve makes every file name independent of where the process stands.
func (c *Config) resolve(dir string) {
	names := []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA}
	for i := range c.Logs {
		l := &c.Logs[i]
		names = append(names, &l.Dir, &l.Heads, &l.Journal, &l.Subjects, &l.Policy, &l.Keys.Ticket, &l.Keys.Master)
		for j := range l.Keys.Log {
			names = append(names, &l.Keys.Log[j])
		}
	}
	for _, n := range names {
		if *n != "" && !filepath.IsAbs(*n) {
			*n = filepath.Join(dir, *n)
		}
	}
}
