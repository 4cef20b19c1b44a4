package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	"idlog/proto/policy"
)

// ReadSecret reads a key file and refuses one that others can read.
func ReadSecret(file string) (string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &serve.ExitError{
			Code:   serve.CodeInit,
			Err:    fmt.Errorf("the key file %s is missing", file),
			Remedy: "put it back from where it is kept; a log cannot go on under another key",
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading a key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", &serve.ExitError{
			Code:   serve.CodePermission,
			Err:    fmt.Errorf("the key file %s can be read by others (mode %#o)", file, info.Mode().Perm()),
			Remedy: "chmod 600 " + file,
		}
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrPermission) {
		return "", &serve.ExitError{
			Code: serve.CodePermission, Err: fmt.Errorf("reading a key: %w", err),
			Remedy: "run as the user whose file it is, or give it to this one",
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading a key: %w", err)
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// ReadSigner reads a private key whose name must be name, and its vkey.
func ReadSigner(file, name string) (s note.Signer, vkey string, err error) {
	skey, err := ReadSecret(file)
	if err != nil {
		return nil, "", err
	}
	if s, err = checkpoint.NewSigner(skey); err == nil {
		vkey, err = checkpoint.VKey(skey)
	}
	if err != nil {
		return nil, "", serve.Usagef("reading the key %s: %w", file, err)
	}
	if s.Name() != name {
		return nil, "", serve.Usagef("the key %s is that of %q and not of %q", file, s.Name(), name)
	}
	return s, vkey, nil
}

// Signers reads the log keys, in the order of their lines in checkpoints.
func (l *Log) Signers() (signers []note.Signer, vkeys []string, err error) {
	for _, file := range l.Keys.Log {
		s, vkey, err := ReadSigner(file, l.Origin)
		if err != nil {
			return nil, nil, err
		}
		signers, vkeys = append(signers, s), append(vkeys, vkey)
	}
	return signers, vkeys, nil
}

// ReadPolicy reads the policy of a log.
func ReadPolicy(file string) (*policy.Policy, error) { return readPolicy("policy", file) }

// ReadVerifiers reads the policy of its index verifiers; nil if it has none.
func (l *Log) ReadVerifiers() (*policy.Policy, error) {
	if l.Verifiers == "" {
		return nil, nil
	}
	return readPolicy("verifiers", l.Verifiers)
}

func readPolicy(setting, file string) (*policy.Policy, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, &serve.ExitError{
			Code: serve.CodeUsage, Err: fmt.Errorf("reading the policy: %w", err),
			Remedy: "the setting logs.N." + setting + ": a file that is there, and that this user may read",
		}
	}
	return program.ParsePolicy(file, b)
}
