package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/control"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	ilog "idlog/log"
	"idlog/log/backup"
)

func backupCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var family, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup --config FILE --to DIR",
		Short: "Copy a log to a folder, while it is served or not, and verify the copy",
		Long: `Backup copies a log's tiles, journal and sealed secrets to a folder, and reads
the copy back: every file by its hash, every entry up to the signed root. If the
log is served, its server makes the copy meanwhile, as its own user; if not, the
command does. The folder is new, empty, or has a backup of the same log, which
then gets what is new. If a backup does not end, the folder has the one before
it, and the next one completes it.

Two things are not in a backup, on purpose. The private keys: keep them apart,
best offline. The heads folder: it is what keeps a restored log from signing a
second history, and a copy of it that is older than the log is worse than none.
Keep it on a disk of its own that is mirrored, not backed up.

What does not change any more, such as full segments of the journal, is linked
where the folder is on the same disk, and copied where it is not. A link is no
second copy: take the folder to another disk from there.`,
		Example: "  idlogd backup --config acme/idlogd.yaml --to /backup/acme\n  idlogd backup verify /backup/acme",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return serve.Usagef("--to is missing: name the folder of the backup")
			}
			c, l, err := flags.log(env, family)
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(to)
			if err != nil {
				return fmt.Errorf("finding the folder: %w", err)
			}
			for _, own := range []string{l.Dir, l.Heads, l.Journal, l.Subjects} {
				if own, err := filepath.Abs(own); err == nil && (dir == own || strings.HasPrefix(dir, own+"/")) {
					return serve.Usagef("--to %s: it lies in %s, which is of the log itself; name a folder elsewhere", to, own)
				}
			}
			bar := progress.New(env.Stderr)
			defer bar.Clear()
			if err := makeBackup(cmd.Context(), c, l, dir, bar.Show); err != nil {
				return refused(err)
			}
			return verifyBackup(cmd.Context(), env, bar, dir, asJSON)
		},
	}
	flags.add(cmd, env)
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringVar(&family, "log", "", "log family; the first unless given")
	cmd.Flags().StringVar(&to, "to", "", "folder of the backup: new, empty, or of this log (required)")
	cmd.AddCommand(&cobra.Command{
		Use:   "verify DIR",
		Short: "Read a backup: each file by its hash, each entry up to the signed root",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return serve.Usagef("want one argument: the folder of the backup")
			}
			bar := progress.New(env.Stderr)
			defer bar.Clear()
			return verifyBackup(cmd.Context(), env, bar, args[0], asJSON)
		},
	})
	return cmd
}

// makeBackup has the server make a backup or, if there is none, makes it.
func makeBackup(ctx context.Context, c *config.Config, l *config.Log, dir string, show backup.Progress) error {
	if err := control.Backup(ctx, l.Dir, dir, show); !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	instance.Quiet(quiet)
	in, err := instance.OpenStores(ctx, l, quiet)
	if err != nil {
		return err
	}
	_, err = backup.Make(ctx, in.Source(c.File), dir, time.Now(), show)
	return errors.Join(err, in.Close())
}

// verifyBackup verifies a backup and says what it is.
func verifyBackup(ctx context.Context, env serve.Env, bar *progress.Line, dir string, asJSON bool) error {
	m, err := backup.Verify(ctx, dir, bar.Show)
	bar.Clear()
	if err != nil {
		return refused(err)
	}
	if asJSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]any{
			"dir": dir, "origin": m.Origin, "vkeys": m.VKeys, "time": m.Time, "generation": m.Generation,
			"size": m.Size, "root": m.Root[:], "cursor": m.Cursor, "files": len(m.Files), "bytes": m.Bytes(),
		})
	}
	_, err = fmt.Fprintf(env.Stdout, "%s: %s, %d entries, journal up to %d, %d files of %d bytes, made %s: verified\n",
		dir, m.Origin, m.Size, m.Cursor, len(m.Files), m.Bytes(), m.Time.Format(time.RFC3339))
	return err
}

// refused gives what a backup, a restore or the log refused its exit code.
func refused(err error) error {
	var ours *backup.RefusedError
	var logs *ilog.RefusedError
	switch {
	case errors.As(err, &ours):
		code := serve.CodeError
		if ours.Damaged {
			code = serve.CodeVerification
		} else if ours.Exists {
			code = serve.CodeInit
		}
		return &serve.ExitError{Code: code, Err: fmt.Errorf("%s: %s", ours.File, ours.Problem), Remedy: ours.Remedy}
	case errors.As(err, &logs):
		return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%s: %s", logs.File, logs.Problem), Remedy: logs.Remedy}
	case errors.Is(err, ilog.ErrNotInitialised):
		return &serve.ExitError{Code: serve.CodeInit, Err: err}
	}
	return err
}

// log reads the configuration and returns one log of it: of a family, or the first.
func (c *configFlags) log(env serve.Env, family string) (*config.Config, *config.Log, error) {
	conf, err := c.read(env)
	if err != nil {
		return nil, nil, err
	}
	for i := range conf.Logs {
		if family == "" || conf.Logs[i].Family == family {
			return conf, &conf.Logs[i], nil
		}
	}
	return nil, nil, &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("%s has no log of family %q", conf.File, family)}
}
