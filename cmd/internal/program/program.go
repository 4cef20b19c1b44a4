// Package program is what the command lines of all programs have in common: how
// they are run, help with examples first, wrong arguments as errors of usage,
// and the commands version, completion and man.
//
// It decides nothing and keeps nothing but the files that man writes. A command
// line belongs to one goroutine.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"idlog/cmd/internal/serve"
)

// Run adds to root the commands that every program has, and executes it in
// env. Errors of usage have serve.CodeUsage and name the help that says more;
// all others are those of the commands.
func Run(ctx context.Context, root *cobra.Command, env serve.Env) error {
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SilenceErrors, root.SilenceUsage, root.DisableAutoGenTag = true, true, true
	root.Version = serve.Version()
	root.SetHelpTemplate(help)
	root.SetUsageTemplate(usage)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return wrong(cmd, err) })
	if root.RunE == nil {
		root.RunE = showHelp
	}
	root.AddCommand(versionCommand(), completionCommand(root.Name()), manCommand(root.Name()))
	strict(root)
	completeByName(root)
	return root.ExecuteContext(ctx)
}

// Group returns a command that only holds others; without one it prints its help.
func Group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: showHelp}
	cmd.AddCommand(subs...)
	return cmd
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// wrong makes an error one of usage.
func wrong(cmd *cobra.Command, err error) error {
	if _, ok := errors.AsType[*serve.ExitError](err); ok {
		return err
	}
	return &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: cmd.CommandPath() + " --help"}
}

// strict makes every wrong argument an error of usage. A command with others
// below it takes no arguments, so there an argument is an unknown command.
func strict(cmd *cobra.Command) {
	judge := cmd.Args
	if cmd.HasSubCommands() || judge == nil {
		judge = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return fmt.Errorf("%s has no command %q; do you mean %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
			}
			return fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
		}
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := judge(cmd, args); err != nil {
			return wrong(cmd, err)
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print what this program was built from", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f := cmd.Flag("json"); f != nil && f.Value.String() == "true" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					Program string `json:"program"`
					Version string `json:"version"`
					Go      string `json:"go"`
				}{cmd.Root().Name(), serve.Version(), runtime.Version()})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", cmd.Root().Name(), serve.Version(), runtime.Version())
			return err
		},
	}
}

func completionCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|pwsh", Short: "Print the script by which a shell completes commands, flags and values",
		Example: strings.ReplaceAll(`  source <(NAME completion bash)   # bash needs its package bash-completion as well
  NAME completion zsh > "${fpath[1]}/_NAME"
  NAME completion fish > ~/.config/fish/completions/NAME.fish
  NAME completion pwsh | Out-String | Invoke-Expression`, "NAME", name),
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"bash", "zsh", "fish", "pwsh"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "pwsh", "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return serve.Usagef("there is completion for bash, zsh, fish and pwsh, not for %q", args[0])
		},
	}
}

func manCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write a manual page for each command into a folder",
		Example: fmt.Sprintf("  %s man /usr/local/share/man/man1 && man %s", name, name),
		Args:    cobra.ExactArgs(1), ValidArgsFunction: dirs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			head := &doc.GenManHeader{Section: "1", Source: name + " " + serve.Version(), Manual: name}
			if err := doc.GenManTree(cmd.Root(), head, args[0]); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			return nil
		},
	}
}

// Help fits one screen: what it is, examples, then the rest. The flags of every
// command are in the help of the program alone.
const (
	help = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

	usage = `{{if .HasExample}}Examples:
{{.Example}}

{{end}}Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command: {{.Root.CommandPath}} --help{{end}}
`
)
