package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/instance"
	"idlog/cmd/internal/serve"
)

func initCommand(env serve.Env) *cobra.Command {
	var o instance.InitOptions
	cmd := &cobra.Command{
		Use:     "init --dir DIR --family FAMILY [--source NAME[=ISSUER]]...",
		Short:   "Make a new log: keys, folders, its first two entries and idlogd.yaml",
		Example: "  idlogd init --dir acme --family acme.example/id \\\n    --source okta=https://acme.okta.com --witness-policy witnesses.tlog-policy",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := instance.Init(cmd.Context(), o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s is initialised; its readers need %s\nserve it: idlogd serve --config %s\n",
				c.Logs[0].Origin, c.Logs[0].Policy, c.File)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "folder to make the log in (required)")
	f.StringVar(&o.Family, "family", "", "name of the log family, such as acme.example/id")
	f.StringVar(&o.Origin, "origin", "", "origin, family and shard; FAMILY/0 unless given")
	f.StringVar(&o.WitnessPolicy, "witness-policy", "", "tlog-policy file with witness, group and quorum lines; none unless given")
	f.StringArrayVar(&o.Sources, "source", nil, "a source NAME[=ISSUER] that callers on this machine may write to; again for more")
	f.BoolVar(&o.MLDSA, "ml-dsa", false, "sign checkpoints with ML-DSA-44 as well as Ed25519")
	return cmd
}
