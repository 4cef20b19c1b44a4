package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/instance"
	"idlog/cmd/internal/serve"
	ilog "idlog/log"
)

func recoverHeadsCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var family string
	var without []string
	cmd := &cobra.Command{
		Use:   "recover-heads --config FILE",
		Short: "Make lost heads anew out of what the log's witnesses have seen",
		Long: `The heads folder knows what a log has signed, and a log without it must not go
on. If it is lost, its witnesses know: nobody got a signature but through them.
The command asks each, and makes heads whose high-water mark is the largest tree
that any of them has cosigned. If the log's folder is there, it must have all
that they have seen; if that is lost too, recover the heads first, then restore.

Every witness of the policy must answer. One that is gone for good is named; those
that are must not be a quorum. The archive of checkpoints begins anew: readers
that ask for older ones are told that there are none.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, l, err := flags.log(env, family)
			if err != nil {
				return err
			}
			conf, err := instance.LogConfig(l, without)
			if err != nil {
				return err
			}
			hwm, err := ilog.RecoverHeads(cmd.Context(), conf, time.Now())
			if logs := (*ilog.RefusedError)(nil); errors.As(err, &logs) {
				return &serve.ExitError{Code: serve.CodeError, Err: fmt.Errorf("%s: %s", logs.File, logs.Problem), Remedy: logs.Remedy}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s has signed %d entries, as its witnesses say; start it, or restore it first: idlogd serve --config %s\n", l.Origin, hwm.Size, c.File)
			return err
		},
	}
	flags.add(cmd, env)
	cmd.Flags().StringVar(&family, "log", "", "log family; the first unless given")
	cmd.Flags().StringSliceVar(&without, "without-witness", nil, "go on without the word of this witness, which is gone")
	return cmd
}
