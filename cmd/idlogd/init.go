package main

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

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/proto/ticket"
)

// initOptions are the flags of `idlogd init`.
type initOptions struct {
	dir           string
	family        string
	origin        string
	witnessPolicy string
	sources       []string
	mldsa         bool
}

func initCommand(env serve.Env) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:     "init --dir DIR --family FAMILY [--source NAME[=ISSUER]]...",
		Short:   "Make a new log: keys, folders, its first two entries and idlogd.yaml",
		Example: "  idlogd init --dir acme --family acme.example/id \\\n    --source okta=https://acme.okta.com --witness-policy witnesses.tlog-policy",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := initLog(cmd.Context(), o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s is initialised; its readers need %s\nserve it: idlogd serve --config %s\n",
				c.Logs[0].Origin, c.Logs[0].Policy, c.file)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder to make the log in (required)")
	f.StringVar(&o.family, "family", "", "name of the log family, such as acme.example/id")
	f.StringVar(&o.origin, "origin", "", "origin, family and shard; FAMILY/0 unless given")
	f.StringVar(&o.witnessPolicy, "witness-policy", "", "tlog-policy file with witness, group and quorum lines; none unless given")
	f.StringArrayVar(&o.sources, "source", nil, "a source NAME[=ISSUER] that callers on this machine may write to; again for more")
	f.BoolVar(&o.mldsa, "ml-dsa", false, "sign checkpoints with ML-DSA-44 as well as Ed25519")
	return cmd
}

// complete fills and judges the options.
func (o *initOptions) complete() error {
	if o.dir == "" {
		return serve.Usagef("--dir is missing: name the folder to make the log in")
	}
	if o.origin == "" && o.family != "" {
		o.origin = o.family + "/0"
	}
	if o.family == "" {
		i := strings.LastIndexByte(o.origin, '/')
		if i < 1 {
			return serve.Usagef("--family is missing: name the log, such as acme.example/id")
		}
		o.family = o.origin[:i]
	}
	return nil
}

// The names that init makes in its folder. idlogd.yaml comes last: while it is
// missing there is no log.
const (
	configName = "idlogd.yaml"
	vkeyName   = "log.vkey"
	policyName = "policy.tlog-policy"
)

var initNames = []string{configName, vkeyName, policyName, "keys", "log", "heads", "journal", "subjects"}

// initLog makes a log and returns its configuration as serve would read it.
//
// If we die within, some of the names exist and idlogd.yaml does not: serve
// says that nothing is initialised, and init refuses until they are removed,
// because a key that may have signed must not be replaced silently.
func initLog(ctx context.Context, o initOptions) (*config, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	for _, name := range initNames {
		if _, err := os.Lstat(filepath.Join(o.dir, name)); err == nil {
			return nil, &serve.ExitError{
				Code:   serve.CodeInit,
				Err:    fmt.Errorf("%s exists: init never changes what is there", filepath.Join(o.dir, name)),
				Remedy: fmt.Sprintf("idlogd serve --config %s, or init in another folder", filepath.Join(o.dir, configName)),
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking into %s: %w", o.dir, err)
		}
	}
	yamlBytes, err := initConfig(o)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(filepath.Join(o.dir, configName), yamlBytes)
	if err != nil {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: err}
	}
	keys, err := makeKeys(o, &c.Logs[0])
	if err != nil {
		return nil, err
	}
	witnesses, err := witnessLines(o.witnessPolicy)
	if err != nil {
		return nil, err
	}
	trusted, err := policyText(keys.vkeys, witnesses)
	if err != nil {
		return nil, err
	}
	// Everything that can be wrong with the options has been found; now write.
	if err := os.MkdirAll(filepath.Join(o.dir, "keys"), 0o700); err != nil {
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
	if err := writeNew(filepath.Join(o.dir, vkeyName), strings.Join(keys.vkeys, "\n")+"\n", 0o644); err != nil {
		return nil, err
	}
	if err := createLog(ctx, &c.Logs[0]); err != nil {
		return nil, err
	}
	// From here on there is a log.
	if err := writeNew(c.file, string(yamlBytes), 0o644); err != nil {
		return nil, err
	}
	return c, durable.SyncDir(o.dir)
}

// initConfig is the text of idlogd.yaml.
func initConfig(o initOptions) ([]byte, error) {
	l := logConfig{
		Family: o.family, Origin: o.origin,
		Dir: "log", Heads: "heads", Journal: "journal", Subjects: "subjects", Policy: policyName,
		Keys: keyConfig{Log: []string{"keys/log.key"}, Ticket: "keys/ticket.key", Master: "keys/master.key"},
	}
	if o.mldsa {
		l.Keys.Log = append(l.Keys.Log, "keys/log-mldsa.key")
	}
	for _, s := range o.sources {
		name, issuer, _ := strings.Cut(s, "=")
		l.Sources = append(l.Sources, sourceConfig{Name: name, Issuer: issuer, Principals: []string{"local"}})
	}
	c := config{Listen: listenConfig{GRPC: "127.0.0.1:7443", HTTP: "127.0.0.1:7480"}, Logs: []logConfig{l}}
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
func makeKeys(o initOptions, l *logConfig) (*newKeys, error) {
	k := &newKeys{private: make(map[string]string)}
	algs := []checkpoint.Alg{checkpoint.Ed25519, checkpoint.MLDSA44}
	for i, file := range l.Keys.Log {
		skey, vkey, err := checkpoint.GenerateKey(o.origin, algs[i], checkpoint.LogRole)
		if err != nil {
			return nil, fmt.Errorf("making the log key: %w", err)
		}
		k.private[file], k.vkeys = skey, append(k.vkeys, vkey)
	}
	skey, _, err := checkpoint.GenerateKey(ticket.KeyName(o.family), checkpoint.Ed25519, checkpoint.LogRole)
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

// policyText is the readers' policy, once it is one.
func policyText(vkeys []string, witnesses string) (string, error) {
	var text strings.Builder
	for _, v := range vkeys {
		text.WriteString("log " + v + "\n")
	}
	text.WriteString(witnesses)
	if _, err := policy.Parse([]byte(text.String())); err != nil {
		return "", serve.Usagef("making the policy: %w", err)
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
