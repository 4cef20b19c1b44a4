package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/witness"
)

// The directory of a witness. It is made by init, whole or not at all.
const (
	keyName   = "witness.key"      // private keys, one per line, mode 0600
	vkeyName  = "witness.vkey"     // public keys, one per line; for people, never read
	logsName  = "logs.tlog-policy" // lines log VKEY [URL]; add-log writes it, so may people
	stateName = "state"            // witness.Store
	indexName = "index"            // verify.Verifier: what can be built again
)

// initialise makes the directory under another name and renames it, so that a
// crash leaves no half of a witness under dir.
func initialise(dir, name, keyType string) (vkeys []string, err error) {
	algs := map[string][]checkpoint.Alg{
		"ed25519":   {checkpoint.Ed25519},
		"ml-dsa-44": {checkpoint.MLDSA44},
		"both":      {checkpoint.Ed25519, checkpoint.MLDSA44},
	}[keyType]
	if algs == nil {
		return nil, serve.Usagef("--key-type %q is not ed25519, ml-dsa-44 or both", keyType)
	}
	if !checkpoint.ValidName(name) {
		return nil, serve.Usagef("--name %q is no key name: 1 to 255 bytes without spaces and +", name)
	}
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, &serve.ExitError{Code: serve.CodeInit, Err: fmt.Errorf("initialising: %s exists", dir), Remedy: "name a directory that does not exist yet"}
	}
	var private string
	for _, alg := range algs {
		skey, vkey, err := checkpoint.GenerateKey(name, alg, checkpoint.WitnessRole)
		if err != nil {
			return nil, fmt.Errorf("initialising: %w", err)
		}
		private += skey + "\n"
		vkeys = append(vkeys, vkey)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".tmp-*") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("initialising: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("initialising: %w", err), os.RemoveAll(tmp))
		}
	}()
	if err := witness.CreateStore(filepath.Join(tmp, stateName)); err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(tmp, logsName), []byte("# Logs this witness cosigns for: log VKEY [URL]\n"), 0o644); err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(tmp, vkeyName), []byte(strings.Join(vkeys, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(tmp, keyName), []byte(private), 0o600); err != nil {
		return nil, err
	}
	// If we die here: dir does not exist, and its temporary twin can be removed.
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	// If we die here: the witness is there and its keys are in witness.vkey.
	return vkeys, nil
}

// notInitialised refuses a directory, creating nothing in it.
func notInitialised(dir string) error {
	return &serve.ExitError{
		Code:   serve.CodeInit,
		Err:    fmt.Errorf("%s is not the directory of a witness", dir),
		Remedy: "idlog-witness init --dir " + dir + " --name NAME",
	}
}

// readKeys returns the private keys. A file that others than its owner can read
// is refused: a key that may have been copied is not a witness's.
func readKeys(dir string) ([]string, error) {
	path := filepath.Join(dir, keyName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notInitialised(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, &serve.ExitError{
			Code:   serve.CodePermission,
			Err:    fmt.Errorf("reading keys: %s has mode %04o, so others than its owner may use it", path, mode),
			Remedy: "chmod 600 " + path,
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	return strings.Fields(string(b)), nil
}

func readLogs(dir string) (*witness.Logs, error) {
	path := filepath.Join(dir, logsName)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	l, err := witness.ParseLogs(b)
	if err != nil {
		return nil, inFile(path, err)
	}
	return l, nil
}

// inFile says in which line of which file a list is wrong.
func inFile(path string, err error) error {
	if e, ok := errors.AsType[*witness.ListError](err); ok {
		return fmt.Errorf("%s:%d: %w", path, e.Line, e.Reason)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// fromNetwork returns the log lines of a list as the operators of public
// witnesses share them, and whether it is one. Its entries are a line vkey and
// more that we need not know.
func fromNetwork(path string, b []byte) (lines string, ok bool, err error) {
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case !ok && (len(f) != 1 || f[0] != "logs/v0"):
			return "", false, nil
		case !ok:
			ok = true
		case f[0] == "vkey" && len(f) == 2:
			if _, err := witness.ParseLogs([]byte("log " + f[1])); err != nil {
				return "", true, fmt.Errorf("%s:%d: %w", path, n, errors.Unwrap(err))
			}
			lines += "log " + f[1] + "\n"
		case f[0] == "vkey":
			return "", true, fmt.Errorf("%s:%d: want: vkey <vkey>", path, n)
		case f[0] == "origin":
			vkey := strings.TrimSpace(lines[strings.LastIndex(strings.TrimSuffix(lines, "\n"), "\n")+1:])
			if name, _, _ := strings.Cut(strings.TrimPrefix(vkey, "log "), "+"); len(f) != 2 || name != f[1] {
				return "", true, fmt.Errorf("%s:%d: the origin is not the name of the key before it; this witness knows a log by the name of its key", path, n)
			}
		}
	}
	return lines, ok, nil
}

// addLogs adds a log from the arguments of the command, or those of a file. The
// new list is judged as a whole, as serve will, before it replaces the old one.
func addLogs(dir, file string, args []string) error {
	skeys, err := readKeys(dir)
	if err != nil {
		return err
	}
	add := "log " + strings.Join(args, " ") + "\n"
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("adding logs: %w", err)}
		}
		add = string(b)
		if lines, ok, err := fromNetwork(file, b); err != nil {
			return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("adding logs: %w", err)}
		} else if ok {
			add = lines
		}
		// Of a whole policy, such as a log hands to its readers, the log lines are wanted.
		if p, err := policy.Parse(b); err == nil {
			if len(p.Logs) == 0 {
				return serve.Usagef("adding logs: %s is a policy that names no log", file)
			}
			add = ""
			for _, l := range p.Logs {
				add += strings.TrimSpace("log "+l.VKey+" "+l.URL) + "\n"
			}
		}
	}
	if _, err := witness.ParseLogs([]byte(add)); err != nil {
		if file != "" {
			err = inFile(file, err)
		}
		return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("adding logs: %w", err)}
	}
	path := filepath.Join(dir, logsName)
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("adding logs: %w", err)
	}
	list := string(old)
	if list != "" && !strings.HasSuffix(list, "\n") {
		list += "\n"
	}
	known := make(map[string]bool)
	for _, f := range statements(list) {
		known[f[1]] = true
	}
	for _, f := range statements(add) {
		if !known[f[1]] {
			known[f[1]] = true
			list += strings.Join(f, " ") + "\n"
		}
	}
	logs, err := witness.ParseLogs([]byte(list))
	if err != nil {
		err = inFile(path, err)
	} else {
		_, err = witness.New(witness.Config{PrivateKeys: skeys, Logs: logs})
	}
	if err != nil {
		return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("adding logs: %w", err)}
	}
	if err := durable.Replace(path, []byte(list), 0o644); err != nil {
		return fmt.Errorf("adding logs: %w", err)
	}
	return nil
}

// statements returns the fields of each log line of a list.
func statements(list string) [][]string {
	var out [][]string
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "log" {
			out = append(out, f)
		}
	}
	return out
}
