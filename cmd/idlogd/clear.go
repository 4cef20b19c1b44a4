package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"idlog/cmd/internal/serve"
	ilog "idlog/log"
)

func clearRefusalCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var family string
	cmd := &cobra.Command{
		Use:   "clear-refusal --config FILE",
		Short: "Let a log sign again after it refused to, once you know why it did",
		Long: `A log that found its disk inconsistent with what it had signed refuses to sign,
also after a restart, and serves reads only. The refusal file in the heads
folder says what it found. Look into that first: clearing it does not mend the
disk, and a log that signs two histories has lost its readers for ever. The
service must not be running.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := flags.read(env)
			if err != nil {
				return err
			}
			for _, l := range c.Logs {
				if family != "" && l.Family != family {
					continue
				}
				err := ilog.ClearRefusal(l.Heads, time.Now())
				if errors.Is(err, fs.ErrNotExist) {
					return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("%s refuses nothing", l.Family)}
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.Stdout, "%s may sign again; start it: idlogd serve --config %s\n", l.Family, c.File)
				return err
			}
			return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("%s has no log of family %q", c.File, family)}
		},
	}
	flags.add(cmd, env)
	cmd.Flags().StringVar(&family, "log", "", "log family; the first unless given")
	return cmd
}
