package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/keys"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
)

func keyCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var family string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Change the keys with which a log signs its checkpoints",
		Long: `A log changes its key in three steps, under the same origin and with the same
history:

  idlogd key add       from its next start the log signs with both keys, and its
                       policy file names both
  (hand the policy to every reader, and the new key to every witness:
  idlog-witness add-log --dir W --logs FILE)
  idlogd key retire    from its next start it signs with the new one alone

Until the last step readers with the old policy verify as before. After it they
are told to get the new one; what they know of the log stays with its origin.
Keep the old policy beside old receipts: they are signed by the old key. A log
may sign with several keys for good, such as an ML-DSA-44 key beside Ed25519.
The log must not be served meanwhile.

Two keys do not change this way. The ticket key stands in the first entry of the
log, so a new one needs a new shard under a new origin. The master key seals
every payload and every person's secret by itself: it is kept, not rotated. If
it has leaked, what it opened has leaked too; begin a new log under a new one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.add(cmd, env)
	cmd.PersistentFlags().StringVar(&family, "log", "", "log family; the first unless given")
	pick := func() (*config.Config, *config.Log, error) { return flags.log(env, family) }
	cmd.AddCommand(keyListCommand(env, pick), keyAddCommand(env, pick), keyRetireCommand(env, pick), keyFinishCommand(env, pick))
	return cmd
}

// picker returns the log that the flags name, and its configuration.
type picker func() (*config.Config, *config.Log, error)

func keyListCommand(env serve.Env, pick picker) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys that a log signs with, the primary first",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, l, err := pick()
			if err != nil {
				return err
			}
			list, err := keys.Of(l)
			if err != nil {
				return err
			}
			for _, k := range list {
				if asJSON {
					err = json.NewEncoder(env.Stdout).Encode(map[string]string{"id": k.ID(), "alg": k.Alg(), "vkey": k.VKey, "file": k.File})
				} else {
					_, err = fmt.Fprintf(env.Stdout, "%s  %-9s  %s\n", k.ID(), k.Alg(), k.File)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	return cmd
}

func keyAddCommand(env serve.Env, pick picker) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "add [--alg ed25519|ml-dsa-44]",
		Short: "Make a key, with which the log signs as well from its next start",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			alg := checkpoint.Ed25519
			switch name {
			case "ed25519":
			case "ml-dsa-44":
				alg = checkpoint.MLDSA44
			default:
				return serve.Usagef("--alg %s: the algorithms are ed25519 and ml-dsa-44", name)
			}
			c, l, err := pick()
			if err != nil {
				return err
			}
			k, err := keys.Add(c.File, l, alg)
			if err != nil {
				return refused(err)
			}
			_, err = fmt.Fprintf(env.Stdout, "%s signs with %s as well from its next start; its private key is %s\n"+
				"hand %s to every reader and witness before you retire another key\n", l.Origin, k.ID(), k.File, l.Policy)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "alg", "ed25519", "algorithm of the key: ed25519 or ml-dsa-44")
	return cmd
}

func keyRetireCommand(env serve.Env, pick picker) *cobra.Command {
	return &cobra.Command{
		Use:   "retire KEY",
		Short: "Sign no more with a key, named by its ID or its vkey",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return serve.Usagef("want one argument: the ID of a key, as idlogd key list prints it")
			}
			c, l, err := pick()
			if err != nil {
				return err
			}
			k, err := keys.Retire(c.File, l, args[0])
			if err != nil {
				return refused(err)
			}
			_, err = fmt.Fprintf(env.Stdout, "%s does not sign with %s any more; its private key is %s.retired\n"+
				"destroy it once no reader trusts it; readers of older receipts keep the policy that they have\n", l.Origin, k.ID(), k.File)
			return err
		},
	}
}

func keyFinishCommand(env serve.Env, pick picker) *cobra.Command {
	return &cobra.Command{
		Use:   "finish",
		Short: "Complete a change that was interrupted",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, l, err := pick()
			if err != nil {
				return err
			}
			what, err := keys.Finish(c.File, l)
			if err != nil {
				return refused(err)
			}
			if what == "" {
				return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("no change of keys of %s was interrupted", l.Origin)}
			}
			_, err = fmt.Fprintf(env.Stdout, "finished: %s\n", what)
			return err
		},
	}
}
