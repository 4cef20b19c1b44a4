package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/proto/ticket"
)

// InitOptions say what log to make.
type InitOptions struct {
	// Dir is the folder to make it in.
	Dir string
	// Family and Origin are its names. One follows from the other: the origin is the family, "/" and a shard, 0 unless given.
	Family, Origin string
	// WitnessPolicy is a tlog-policy file whose witness, group and quorum lines are taken; none if empty.
	WitnessPolicy string
	// Sources are NAME or NAME=ISSUER, which callers on this machine may write to.
	Sources []string
	// MLDSA makes an ML-DSA-44 key as well, so that every checkpoint carries two lines.
	MLDSA bool
}

// complete fills and judges the options.
func (o *InitOptions) complete() error {
	if o.Dir == "" {
		return serve.Usagef("--dir is missing: name the folder to make the log in")
	}
	if o.Origin == "" && o.Family != "" {
		o.Origin = o.Family + "/0"
	}
	if o.Family == "" {
		i := strings.LastIndexByte(o.Origin, '/')
		if i < 1 {
			return serve.Usagef("--family is missing: name the log, such as acme.example/id")
		}
		o.Family = o.Origin[:i]
	}
	return nil
}

// The names that init makes in its folder. idlogd.yaml comes last: while it is
// missing there is no log.
const (
	// VKeyName is the file with the log's vkeys, one a line.
	VKeyName   = "log.vkey"
	policyName = "policy.tlog-policy"
)

var initNames = []string{config.Name, VKeyName, policyName, "keys", "log", "heads", "journal", "subjects"}

// Init makes a log and returns its configuration as serve would read it.
//
// If we die within, some of the names exist and idlogd.yaml does not: serve
// says that nothing is initialised, and init refuses until they are removed,
// because a key that may have signed must not be replaced silently.
func Init(ctx context.Context, o InitOptions) (*config.Config, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	for _, name := range initNames {
		if _, err := os.Lstat(filepath.Join(o.Dir, name)); err == nil {
			return nil, &serve.ExitError{
				Code:   serve.CodeInit,
				Err:    fmt.Errorf("%s exists: init never changes what is there", filepath.Join(o.Dir, name)),
				Remedy: fmt.Sprintf("idlogd serve --config %s, or init in another folder", filepath.Join(o.Dir, config.Name)),
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking into %s: %w", o.Dir, err)
		}
	}
	yamlBytes, err := initConfig(o)
	if err != nil {
		return nil, err
	}
	c, err := config.Parse(filepath.Join(o.Dir, config.Name), yamlBytes)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	keys, err := makeKeys(o, &c.Logs[0])
	if err != nil {
		return nil, err
	}
	witnesses, err := witnessLines(o.WitnessPolicy)
	if err != nil {
		return nil, err
	}
	trusted, err := PolicyText(keys.vkeys, witnesses)
	if err != nil {
		return nil, err
	}
	// Everything that can be wrong with the options has been found; now write.
	if err := os.MkdirAll(filepath.Join(o.Dir, "keys"), 0o700); err != nil {
		return nil, fmt.Errorf("making folders: %w", err)
	}
	for _, file := range slices.Sorted(maps.Keys(keys.private)) {
		if err := writeNew(file, keys.private[file]+"\n", 0o600); err != nil {
			return nil, err
		}
	}
	if err := writeNew(c.Logs[0].Policy, trusted, 0o644); err != nil {
		return nil, err
	}
	if err := writeNew(filepath.Join(o.Dir, VKeyName), strings.Join(keys.vkeys, "\n")+"\n", 0o644); err != nil {
		return nil, err
	}
	if err := create(ctx, &c.Logs[0]); err != nil {
		return nil, err
	}
	// From here on there is a log.
	if err := writeNew(c.File, string(yamlBytes), 0o644); err != nil {
		return nil, err
	}
	return c, durable.SyncDir(o.Dir)
}

// initConfig is the text of idlogd.yaml.
func initConfig(o InitOptions) ([]byte, error) {
	l := config.Log{
		Family: o.Family, Origin: o.Origin,
		Dir: "log", Heads: "heads", Journal: "journal", Subjects: "subjects", Policy: policyName,
		Keys: config.Keys{Log: []string{"keys/log.key"}, Ticket: "keys/ticket.key", Master: "keys/master.key"},
	}
	if o.MLDSA {
		l.Keys.Log = append(l.Keys.Log, "keys/log-mldsa.key")
	}
	for _, s := range o.Sources {
		name, issuer, _ := strings.Cut(s, "=")
		l.Sources = append(l.Sources, config.Source{Name: name, Issuer: issuer, Principals: []string{"local"}})
	}
	c := config.Config{Listen: config.Listen{GRPC: "127.0.0.1:7443", HTTP: "127.0.0.1:7480"}, Logs: []config.Log{l}}
	b, err := yaml.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return b, nil
}

// newKeys are keys that were made and not yet written.
type newKeys struct {
	private map[string]string // by file
	vkeys   []string          // of the log, in the order of their lines
}

// makeKeys makes the keys of the log and of its tickets.
func makeKeys(o InitOptions, l *config.Log) (*newKeys, error) {
	k := &newKeys{private: make(map[string]string)}
	algs := []checkpoint.Alg{checkpoint.Ed25519, checkpoint.MLDSA44}
	for i, file := range l.Keys.Log {
		skey, vkey, err := checkpoint.GenerateKey(o.Origin, algs[i], checkpoint.LogRole)
		if err != nil {
			return nil, fmt.Errorf("making the log key: %w", err)
		}
		k.private[file], k.vkeys = skey, append(k.vkeys, vkey)
	}
	skey, _, err := checkpoint.GenerateKey(ticket.KeyName(o.Family), checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		return nil, fmt.Errorf("making the ticket key: %w", err)
	}
	k.private[l.Keys.Ticket] = skey
	return k, nil
}

// witnessLines reads the witness, group and quorum lines of a policy file.
// Its log lines are dropped: the log that is being made has keys of its own.
func witnessLines(file string) (string, error) {
	if file == "" {
		return "quorum none\n", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the witness policy: %w", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "log" {
			kept.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	return kept.String(), nil
}

// PolicyText is the readers' policy of a log with these keys and these lines of
// witnesses, once it is one.
func PolicyText(vkeys []string, witnesses string) (string, error) {
	var text strings.Builder
	for _, v := range vkeys {
		text.WriteString("log " + v + "\n")
	}
	text.WriteString(witnesses)
	if _, err := policy.Parse([]byte(text.String())); err != nil {
		return "", program.WrongFile("policy", "the lines of the witnesses", len(vkeys), err)
	}
	return text.String(), nil
}

// writeNew writes a file that must not exist yet, durably.
func writeNew(file, text string, mode fs.FileMode) error {
	err := durable.Create(file, []byte(text), mode)
	if errors.Is(err, fs.ErrExist) {
		return &serve.ExitError{Code: serve.CodeInit, Err: fmt.Errorf("%s exists: init never changes what is there", file)}
	}
	return err
}
