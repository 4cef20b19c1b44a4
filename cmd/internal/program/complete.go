package program

import "github.com/spf13/cobra"

// Values completes a flag with these values.
func Values(cmd *cobra.Command, flag string, list ...string) { complete(cmd, flag, values(list...)) }

// Computed completes a flag with what f returns when it is asked.
func Computed(cmd *cobra.Command, flag string, f func() []string) {
	complete(cmd, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return f(), cobra.ShellCompDirectiveNoFileComp
	})
}

// Files completes a flag with the files of these extensions, without their dots.
func Files(cmd *cobra.Command, flag string, extensions ...string) {
	complete(cmd, flag, FileArgs(extensions...))
}

// FileArgs completes arguments with the files of these extensions.
func FileArgs(extensions ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return extensions, cobra.ShellCompDirectiveFilterFileExt
	}
}

// DirArgs completes arguments with folders.
func DirArgs() cobra.CompletionFunc { return dirs }

// byName completes flags that mean one thing in every program.
var byName = map[string]cobra.CompletionFunc{
	"config": FileArgs("yaml", "yml"),
	"policy": FileArgs("tlog-policy"), "trust": FileArgs("idlog-trust"), "witness-policy": FileArgs("tlog-policy"), "logs": FileArgs("tlog-policy", "txt"),
	"dir": dirs, "state": dirs, "heads": dirs, "receipts": dirs, "tickets": dirs,
	"tls-ca": FileArgs("pem", "crt"), "tls-cert": FileArgs("pem", "crt"), "tls-key": FileArgs("pem", "key"), "client-ca": FileArgs("pem", "crt"),
	"key-type": values("ed25519", "ml-dsa-44", "both"), "alg": values("ed25519", "ml-dsa-44"),
	"keep":   values("log", "journal", "subjects"),
	"server": values(), "timeout": values(),
}

// completeByName completes the flags of byName, where their command did not.
func completeByName(cmd *cobra.Command) {
	for name, f := range byName {
		if cmd.LocalFlags().Lookup(name) != nil {
			complete(cmd, name, f)
		}
	}
	for _, sub := range cmd.Commands() {
		completeByName(sub)
	}
}

func dirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func values(list ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// complete registers f, unless the flag has one. A flag that the command does not
// have is a mistake of the caller, which its tests see: nothing is completed.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(flag, f)
}
