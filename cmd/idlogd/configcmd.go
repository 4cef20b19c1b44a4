package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/internal/serve"
	"idlog/log/vault"
	"idlog/proto/ticket"
)

// configFlags are the flags with which a command finds its configuration: the file, and what stands in place of its settings.
type configFlags struct {
	file string
	set  []string
	// named are flags of settings of their own, by path.
	named map[string]string
	cmd   *cobra.Command
}

// add gives a command, and those below it, the flags --config and --set.
func (c *configFlags) add(cmd *cobra.Command, env serve.Env) {
	c.cmd = cmd
	f := cmd.PersistentFlags()
	f.StringVar(&c.file, "config", config.FileIn(env.Environ), "configuration file, as idlogd init writes it; also $IDLOGD_CONFIG")
	f.StringArrayVar(&c.set, "set", nil, "a setting PATH=VALUE in place of the file's, such as logs.0.ack_timeout=5s; again for more")
}

// alias gives a command a flag for one setting.
func (c *configFlags) alias(name, path, usage string) {
	if c.named == nil {
		c.named = make(map[string]string)
	}
	c.named[name] = path
	c.cmd.Flags().String(name, "", usage)
}

// read reads the configuration: flags before the environment before the file before defaults.
func (c *configFlags) read(env serve.Env) (*config.Config, error) {
	settings, err := config.Environ(env.Environ)
	if err != nil {
		return nil, err
	}
	for _, s := range c.set {
		setting, err := config.ParseSetting(s, "--set")
		if err != nil {
			return nil, err
		}
		settings = append(settings, setting)
	}
	for name, path := range c.named {
		if f := c.cmd.Flags().Lookup(name); f.Changed {
			settings = append(settings, config.Setting{Path: path, Value: f.Value.String(), From: "--" + name})
		}
	}
	return config.Read(c.file, settings...)
}

func configCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var effective bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Judge a configuration, print it as it takes effect, or print the manual of all settings",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.add(cmd, env)
	printed := &cobra.Command{
		Use:     "print [--effective]",
		Short:   "Print the settings that somebody made, or all that take effect, each with where it comes from",
		Example: "  idlogd config print --effective --config acme/idlogd.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := flags.read(env)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(env.Stdout, c.Print(effective))
			return err
		},
	}
	printed.Flags().BoolVar(&effective, "effective", false, "defaults too")
	cmd.AddCommand(printed,
		&cobra.Command{
			Use:   "check",
			Short: "Read the configuration, its keys, certificates and policies, and change nothing",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				c, err := flags.read(env)
				if err == nil {
					err = checkFiles(c)
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.Stdout, "%s: %d log(s), nothing to complain of\n", c.File, len(c.Logs))
				return err
			},
		},
		&cobra.Command{
			Use:   "manual",
			Short: "Print every setting with its default and meaning, as a table in Markdown",
			Args:  noArgs,
			RunE: func(*cobra.Command, []string) error {
				text, err := config.Manual()
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(env.Stdout, text)
				return err
			},
		},
		&cobra.Command{
			Use:     "schema",
			Short:   "Print a JSON Schema of the configuration, for editors",
			Example: "  idlogd config schema > idlogd.schema.json   # then, in idlogd.yaml:\n  # yaml-language-server: $schema=idlogd.schema.json",
			Args:    noArgs,
			RunE: func(*cobra.Command, []string) error {
				b, err := config.Schema()
				if err != nil {
					return err
				}
				_, err = env.Stdout.Write(b)
				return err
			},
		})
	return cmd
}

// checkFiles reads all that a configuration names and that reading does not change.
func checkFiles(c *config.Config) error {
	conf, err := (serve.TLSFiles{Cert: c.TLS.Cert, Key: c.TLS.Key, ClientCA: c.TLS.ClientCA}).Config()
	if err != nil {
		return err
	}
	for _, addr := range []string{c.Listen.GRPC, c.Listen.HTTP, c.Listen.Admin} {
		if err := serve.CheckListen(addr, conf); err != nil {
			return err
		}
	}
	for i := range c.Logs {
		l := &c.Logs[i]
		_, vkeys, err := l.Signers()
		if err != nil {
			return err
		}
		if _, _, err := config.ReadSigner(l.Keys.Ticket, ticket.KeyName(l.Family)); err != nil {
			return err
		}
		if _, err := config.ReadSecret(l.Keys.Master); err != nil {
			return err
		}
		if _, err := vault.ReadMaster(l.Keys.Master); err != nil {
			return err
		}
		p, err := config.ReadPolicy(l.Policy)
		if err != nil {
			return err
		}
		for _, k := range p.Logs {
			if k.Origin == l.Origin && !slices.Contains(vkeys, k.VKey) {
				return serve.Usagef("%s: the line of %s has a key that is not among keys.log of the configuration", l.Policy, l.Origin)
			}
		}
	}
	return nil
}
