package offline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
)

// Key is the command `idlog key`.
func Key(s *session.Session) *cobra.Command {
	return program.Group("key", "Make and show the keys of logs and witnesses", keyGenerate(s), keyShow(s))
}

func keyGenerate(s *session.Session) *cobra.Command {
	var name, kind, alg, out string
	cmd := &cobra.Command{
		Use:     "generate --name NAME -o FILE",
		Short:   "Make a private key in a new file, and print its public one",
		Example: "  idlog key generate --name witness.example --type witness -o witness.key",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if name == "" || out == "" {
				return serve.Usagef("--name and -o are both needed")
			}
			role, ok := map[string]checkpoint.Role{"log": checkpoint.LogRole, "witness": checkpoint.WitnessRole}[kind]
			if !ok {
				return serve.Usagef("--type is log or witness, not %q", kind)
			}
			algorithm, ok := map[string]checkpoint.Alg{"ed25519": checkpoint.Ed25519, "ml-dsa-44": checkpoint.MLDSA44}[alg]
			if !ok {
				return serve.Usagef("--alg is ed25519 or ml-dsa-44, not %q", alg)
			}
			skey, vkey, err := checkpoint.GenerateKey(name, algorithm, role)
			if err != nil {
				return serve.Usagef("%w", err)
			}
			if err := durable.Create(out, []byte(skey+"\n"), 0o600); errors.Is(err, fs.ErrExist) {
				return &serve.ExitError{Code: serve.CodeInit, Err: err, Remedy: "another -o FILE: a key is never overwritten"}
			} else if err != nil {
				return err
			}
			return printKey(s, vkey)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the key: a log's origin, a witness' operator")
	cmd.Flags().StringVar(&kind, "type", "log", "log or witness")
	cmd.Flags().StringVar(&alg, "alg", "ed25519", "ed25519 or ml-dsa-44")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file for the private key, mode 0600; it must not exist")
	program.Values(cmd, "type", "log", "witness")
	return cmd
}

func keyShow(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:               "show FILE",
		Short:             "Print the public key of a private one",
		Example:           "  idlog key show witness.key > witness.vkey",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: program.FileArgs("key"),
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				return &serve.ExitError{Code: serve.CodePermission, Err: fmt.Errorf("%s can be read by others", args[0]),
					Remedy: "chmod 600 " + args[0]}
			}
			b, err := session.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("reading the key: %w", err)
			}
			vkey, err := checkpoint.VKey(strings.TrimSuffix(string(b), "\n"))
			if err != nil {
				return serve.Usagef("%s: %w", args[0], err)
			}
			return printKey(s, vkey)
		},
	}
}

func printKey(s *session.Session, vkey string) error {
	if s.JSON {
		return s.Object(struct {
			VKey string `json:"vkey"`
		}{vkey})
	}
	_, err := fmt.Fprintln(s.Stdout, vkey)
	return err
}
