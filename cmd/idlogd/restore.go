package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlogd/config"
	"idlog/cmd/idlogd/instance"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	"idlog/log/backup"
)

func restoreCommand(env serve.Env) *cobra.Command {
	var flags configFlags
	var family, from string
	var keep []string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "restore --config FILE --from DIR [--keep PART]...",
		Short: "Put a log back from a backup, to nothing less than what it had signed",
		Long: `Restore puts back what a log has lost: its log, journal and subjects folders, or
those of them that are not kept. The configuration, the keys, the policy and the
heads folder must be there: they are in no backup (but a copy of configuration
and policy, for reading, is in state-*/public).

Nothing is replaced: a folder must be missing or empty, else say --keep, or move
it away. Before anything is touched the whole backup is verified, and held
against the heads, which know what the log has signed. Entries that were signed
after the backup come out of the journal: the one that is kept, or that of the
backup. If they are in neither, nothing is done, and the command says which are
missing. So keep a journal that survived.

A restore that did not end leaves folders that serve refuses; run it again. At
its end the log is opened and checked as at every start.

If the heads folder is lost as well, nobody here knows what the log has signed.
Its witnesses do: idlogd recover-heads asks them, before the restore.`,
		Example: "  idlogd restore --config acme/idlogd.yaml --from /backup/acme\n  idlogd restore --config acme/idlogd.yaml --from /backup/acme --keep journal --keep subjects",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return serve.Usagef("--from is missing: name the folder of the backup")
			}
			var parts []backup.Part
			for _, k := range keep {
				p := backup.Part(k)
				if p != backup.PartLog && p != backup.PartJournal && p != backup.PartSubjects {
					return serve.Usagef("--keep %s: the parts are log, journal and subjects", k)
				}
				parts = append(parts, p)
			}
			_, l, err := flags.log(env, family)
			if err != nil {
				return err
			}
			return refused(restore(cmd.Context(), env, l, from, parts, dryRun, asJSON))
		},
	}
	flags.add(cmd, env)
	cmd.Flags().StringVar(&family, "log", "", "log family; the first unless given")
	cmd.Flags().StringVar(&from, "from", "", "folder of the backup (required)")
	cmd.Flags().StringArrayVar(&keep, "keep", nil, "keep a part that survived: log, journal or subjects; again for more")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be restored and what is lost, and do nothing")
	return cmd
}

func restore(ctx context.Context, env serve.Env, l *config.Log, from string, keep []backup.Part, dryRun, asJSON bool) (err error) {
	quiet := slog.New(slog.DiscardHandler)
	instance.Quiet(quiet)
	target, err := instance.Target(l, keep)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(from)
	if err != nil {
		return fmt.Errorf("finding the folder: %w", err)
	}
	bar := progress.New(env.Stderr)
	defer bar.Clear()
	plan, err := backup.Prepare(ctx, target, dir, bar.Show)
	if err != nil {
		return err
	}
	bar.Clear()
	if asJSON {
		err = json.NewEncoder(env.Stdout).Encode(map[string]any{
			"restores": plan.Restored, "origin": plan.Manifest.Origin, "backup_size": plan.Manifest.Size, "size": plan.Size, "signed": plan.Signed,
			"lost_payloads_from": plan.LostPayloads[0], "lost_payloads_below": plan.LostPayloads[1], "lost_persons": plan.LostPersons,
		})
	} else {
		_, err = fmt.Fprint(env.Stdout, describe(plan, dryRun))
	}
	if err != nil || dryRun {
		return errors.Join(err, plan.Close())
	}
	if err := errors.Join(plan.Run(ctx), plan.Close()); err != nil {
		return err
	}
	bar.Clear()
	// The same checks as at every start.
	in, err := instance.Open(ctx, l, instance.Options{Logger: quiet})
	if err != nil {
		return err
	}
	size, standing := in.Log.Integrated(), in.Log.ReadOnly()
	if err := in.Close(); err != nil {
		return err
	}
	if asJSON {
		return nil
	}
	_, err = fmt.Fprintf(env.Stdout, "%s has %d entries, passes the checks of a start, and may be served\n", l.Origin, size)
	if err == nil && standing != nil {
		_, err = fmt.Fprintf(env.Stdout, "it takes nothing in yet: %v\nwhen the cause is known and gone: idlogd clear-refusal\n", standing)
	}
	return err
}

// describe says what a plan gives.
func describe(p *backup.Plan, dryRun bool) string {
	var b strings.Builder
	verb := "restoring"
	if dryRun {
		verb = "would restore"
	}
	names := make([]string, len(p.Restored))
	for i, part := range p.Restored {
		names[i] = string(part)
	}
	fmt.Fprintf(&b, "%s %s of %s to %d entries, of which %d were signed\n", verb, strings.Join(names, ", "), p.Manifest.Origin, p.Size, p.Signed)
	if p.Size > p.Manifest.Size && strings.Contains(strings.Join(names, " "), string(backup.PartLog)) {
		fmt.Fprintf(&b, "entries %d to %d come from the journal\n", p.Manifest.Size, p.Size-1)
	}
	if p.LostPayloads[0] < p.LostPayloads[1] {
		fmt.Fprintf(&b, "lost: what opens the events among entries %d to %d, unless they waited in the journal already; and events with a ticket that are not in the log\n",
			p.LostPayloads[0], p.LostPayloads[1]-1)
	}
	if p.LostPersons > 0 {
		fmt.Fprintf(&b, "lost: the secrets of up to %d persons who were enrolled after the backup; events that concern them stay closed\n", p.LostPersons)
	}
	return b.String()
}
