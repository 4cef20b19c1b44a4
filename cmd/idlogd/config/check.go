package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// at is an error about the value at path, such as "logs.0.sources.1.name".
func (c *Config) at(path, format string, args ...any) error {
	if from, ok := c.origin[path]; ok && !strings.HasPrefix(from, c.File+":") {
		return fmt.Errorf("%s: %s: %s", from, path, fmt.Sprintf(format, args...))
	}
	return fmt.Errorf("%s:%d: %s: %s", c.File, lineOf(c.root, strings.Split(path, ".")), path, fmt.Sprintf(format, args...))
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
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return c.at("log_level", "%q is no level; use debug, info, warn or error", c.LogLevel)
	}
	if !slices.Contains([]string{"auto", "json", "text"}, c.LogFormat) {
		return c.at("log_format", "%q is no format; use auto, json or text", c.LogFormat)
	}
	if c.ShutdownTimeout < 0 || c.ShutdownTimeout > time.Hour {
		return c.at("shutdown_timeout", "%v is out of range; use 0s to 1h0m0s", c.ShutdownTimeout)
	}
	if err := c.checkLimits(); err != nil {
		return err
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

func (c *Config) checkLimits() error {
	l := &c.Limits
	for _, b := range []struct {
		name        string
		total, each int64
	}{{"calls", l.Calls, l.CallsEach}, {"streams", l.Streams, l.StreamsEach}, {"bytes", int64(l.Bytes), int64(l.BytesEach)}} {
		if b.total < 1 {
			return c.at("limits."+b.name, "out of range; use 1 or more")
		}
		if b.each < 1 || b.each > b.total {
			return c.at("limits."+b.name+"_each", "out of range; use 1 to the limit of all, limits.%s", b.name)
		}
	}
	if l.EventsPerSecond < 0 {
		return c.at("limits.events_per_second", "%d is out of range; use 0, which is no limit, or more", l.EventsPerSecond)
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
	folders := []struct{ name, value string }{
		{"dir", l.Dir}, {"heads", l.Heads}, {"journal", l.Journal}, {"subjects", l.Subjects},
	}
	if l.Index.Dir != "" {
		folders = append(folders, struct{ name, value string }{"index.dir", l.Index.Dir})
	}
	for _, f := range folders {
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
	}{{"ack_timeout", l.AckTimeout, time.Minute}, {"min_interval", l.MinInterval, time.Hour}, {"republish", l.Republish, 24 * time.Hour}, {"max_verified_lag", l.MaxVerifiedLag, 24 * time.Hour}, {"index.interval", l.Index.Interval, time.Hour}} {
		if d.value < 0 || d.value > d.most {
			return c.at(at+d.name, "%v is out of range; use 0s to %v", d.value, d.most)
		}
	}
	if d := l.TicketDeadline; d < time.Second || d > 24*time.Hour || d%time.Second != 0 {
		return c.at(at+"ticket_deadline", "%v is out of range; use whole seconds, 1s to 24h", d)
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
		for list, names := range map[string][]string{"principals.": s.Principals, "readers.": s.Readers} {
			if j := slices.Index(names, ""); j >= 0 {
				return c.at(at+list+strconv.Itoa(j), "empty; name a certificate's holder, or \"local\"")
			}
		}
	}
	return nil
}

// fileKeys are the settings that name a file or a folder.
var fileKeys = map[string]bool{
	"cert": true, "key": true, "client_ca": true, "dir": true, "heads": true, "journal": true, "subjects": true, "policy": true,
	"verifiers": true, "ticket": true, "master": true,
}

// resolve makes every file name independent of where the process stands.
func (c *Config) resolve(dir string) {
	names := []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA}
	for i := range c.Logs {
		l := &c.Logs[i]
		names = append(names, &l.Dir, &l.Index.Dir, &l.Heads, &l.Journal, &l.Subjects, &l.Policy, &l.Verifiers, &l.Keys.Ticket, &l.Keys.Master)
		for j := range l.Keys.Log {
			names = append(names, &l.Keys.Log[j])
		}
	}
	for _, n := range names {
		if *n != "" {
			*n = absolute(dir, *n)
		}
	}
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
