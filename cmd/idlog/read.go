package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/client/trust"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

func (g *globals) getCommand() *cobra.Command {
	var receipt, out, raw string
	var noVerify bool
	cmd := &cobra.Command{
		Use:   "get INDEX | get --receipt FILE",
		Short: "Fetch an entry, verify it and show it",
		Example: `  idlog get 42
  idlog get 42 -o 42.idlog-disclosure --raw 42.json   # to be verified offline
  idlog get --receipt receipts/42.idlog-disclosure     # is it still there?`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := g.entryOf(args, receipt)
			if err != nil {
				return err
			}
			return g.get(cmd, index, noVerify, out, raw)
		},
	}
	cmd.Flags().StringVar(&receipt, "receipt", "", "disclosure or tlog-proof file whose entry to fetch")
	cmd.Flags().StringVarP(&out, "output", "o", "", "save a disclosure file, with every field that is shown")
	cmd.Flags().StringVar(&raw, "raw", "", "save the raw bytes that the source delivered")
	cmd.Flags().BoolVar(&noVerify, "no-verify", false, "show what the server says, unchecked")
	return cmd
}

// entryOf returns the index that the arguments name.
func (g *globals) entryOf(args []string, receipt string) (int64, error) {
	if (len(args) == 1) == (receipt != "") {
		return 0, serve.Usagef("one of INDEX and --receipt FILE is needed")
	}
	if receipt == "" {
		return parseIndex(args[0])
	}
	b, err := readFile(receipt)
	if err != nil {
		return 0, fmt.Errorf("reading the receipt: %w", err)
	}
	if d, err := seal.Parse(b); err == nil {
		return d.Proof.Index, nil
	}
	p, err := proof.Parse(b)
	if err != nil {
		return 0, serve.Usagef("%s is neither a disclosure nor a tlog-proof", receipt)
	}
	return p.Index, nil
}

func parseIndex(s string) (int64, error) {
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil || i < 0 {
		return 0, serve.Usagef("%q is not the index of an entry", s)
	}
	return i, nil
}

func (g *globals) get(cmd *cobra.Command, index int64, noVerify bool, out, raw string) error {
	c, err := g.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := g.within(cmd.Context())
	defer cancel()
	show := client.Show{Fields: true, Raw: raw != ""}
	if noVerify {
		if out != "" {
			return serve.Usagef("--no-verify and -o: a disclosure that was not verified is not written")
		}
		u, err := c.FetchUnverified(ctx, index, show)
		if err != nil {
			return err
		}
		return g.unverified(u, raw)
	}
	e, err := c.Entry(ctx, index, show)
	if r, ok := errors.AsType[*client.Refused](err); ok && closed(r.Reason) && out == "" && raw == "" {
		fmt.Fprintf(g.env.Stderr, "idlog: the fields of entry %d are not shown: %v\n", index, err)
		e, err = c.Entry(ctx, index, client.Show{})
	}
	if err != nil {
		return err
	}
	if err := g.saveEntry(e, out, raw); err != nil {
		return err
	}
	s, err := g.entry(e)
	if err != nil {
		return err
	}
	if g.json {
		return g.printJSON(s)
	}
	return g.text(s)
}

// closed reports whether a refusal is about the fields of an entry, whose leaf
// can still be shown and proven.
func closed(r logv1.Reason) bool {
	return r == logv1.Reason_REASON_OPENING_LOST || r == logv1.Reason_REASON_SUBJECT_ERASED
}

func (g *globals) saveEntry(e *client.Entry, out, raw string) error {
	if out != "" {
		d := e.Disclosure()
		if d == nil {
			return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("entry %d shows no fields to save", e.Index),
				Remedy: fmt.Sprintf("idlog prove %d -o FILE", e.Index)}
		}
		b, err := d.Format()
		if err != nil {
			return err
		}
		if err := durable.Replace(out, b, 0o600); err != nil {
			return err
		}
	}
	if raw != "" {
		if e.Raw == nil {
			return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("entry %d has no raw bytes, or the server does not show them", e.Index)}
		}
		return durable.Replace(raw, e.Raw, 0o600)
	}
	return nil
}

// entry describes a verified entry.
func (g *globals) entry(e *client.Entry) (*shown, error) {
	_, sum, err := g.trusted()
	if err != nil {
		return nil, err
	}
	s := &shown{Index: e.Index}
	s.under(e.Checkpoint.Checkpoint.Origin, e.Checkpoint.Checkpoint.Size, e.Checkpoint.Cosignatures, sum)
	return s, s.describe(e.Leaf, e.Bytes, e.Lines)
}

// unverified shows what nobody checked; it says so in every form.
func (g *globals) unverified(u *client.Unverified, raw string) error {
	s := &shown{Index: u.Index}
	l, err := leaf.Parse(u.Leaf)
	if err != nil {
		fmt.Fprintf(g.env.Stderr, "idlog: the entry is no leaf: %v\n", err)
	}
	var lines []seal.Line
	if len(u.Disclosure) > 0 {
		if lines, _, err = seal.ParseLines(u.Disclosure); err != nil {
			fmt.Fprintf(g.env.Stderr, "idlog: the fields cannot be read: %v\n", err)
		}
	}
	if err := s.describe(l, u.Leaf, lines); err != nil {
		return err
	}
	if raw != "" {
		if err := durable.Replace(raw, u.Raw, 0o600); err != nil {
			return err
		}
	}
	if g.json {
		return g.printJSON(s)
	}
	return g.text(s)
}

func (g *globals) watchCommand() *cobra.Command {
	var from, count int64
	var fields bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the log, verifying every entry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if from < 0 {
				ctx, cancel := g.within(cmd.Context())
				defer cancel()
				cp, err := c.Checkpoint(ctx)
				if err != nil {
					return err
				}
				from = cp.Checkpoint.Size
			}
			for e, err := range c.Watch(cmd.Context(), from, client.Show{Fields: fields}) {
				if err != nil {
					return err
				}
				if err := g.watched(e); err != nil {
					return err
				}
				if count--; count == 0 {
					return nil
				}
			}
			return nil
		},
	}
	cmd.Flags().Int64Var(&from, "from", -1, "index to begin at; the end of the log unless given")
	cmd.Flags().Int64Var(&count, "count", 0, "stop after so many entries; 0 goes on for ever")
	cmd.Flags().BoolVar(&fields, "fields", false, "show the fields of the events as well")
	return cmd
}

func (g *globals) watched(e *client.Entry) error {
	s, err := g.entry(e)
	if err != nil {
		return err
	}
	if g.json {
		return g.printJSON(s)
	}
	if s.Source == "" {
		return g.printText("%d  %s\n", s.Index, s.Kind)
	}
	if err := g.printText("%d  %s  %s  %s  %s\n", s.Index, s.Kind, s.Source, s.Received.Format("2006-01-02T15:04:05Z"), s.Assurance); err != nil {
		return err
	}
	if s.Event != nil {
		return g.printText("%s", s.Event)
	}
	return nil
}

func (g *globals) checkpointCommand() *cobra.Command {
	var follow bool
	var out string
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Fetch the newest checkpoint, verify it and print it as it is signed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if follow {
				for cp, err := range c.WatchCheckpoints(cmd.Context()) {
					if err != nil {
						return err
					}
					if err := g.checkpoint(cp, ""); err != nil {
						return err
					}
				}
				return nil
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			cp, err := c.Checkpoint(ctx)
			if err != nil {
				return err
			}
			return g.checkpoint(cp, out)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "print each newer one as well")
	cmd.Flags().StringVarP(&out, "output", "o", "", "save it in a file in place of printing it")
	return cmd
}

// checkpointJSON is a verified checkpoint.
type checkpointJSON struct {
	Origin    string        `json:"origin"`
	Size      int64         `json:"size"`
	Root      []byte        `json:"root"`
	Witnesses []witnessJSON `json:"witnesses"`
	Note      string        `json:"checkpoint"`
}

func (g *globals) checkpoint(cp *client.Checkpoint, out string) error {
	if out != "" {
		return durable.Replace(out, cp.Note, 0o644)
	}
	if g.json {
		return g.printJSON(describeCheckpoint(cp))
	}
	return g.printText("%s", cp.Note)
}

func describeCheckpoint(cp *client.Checkpoint) checkpointJSON {
	c := cp.Checkpoint
	return checkpointJSON{c.Origin, c.Size, c.Root[:], cosigners(cp.Cosignatures), string(cp.Note)}
}

func (g *globals) proveCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "prove INDEX -o FILE",
		Short:   "Save a tlog-proof of an entry, for anyone with the policy to verify offline",
		Example: "  idlog prove 42 -o 42.tlog-proof && idlog verify 42.tlog-proof -p policy.tlog-policy",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := parseIndex(args[0])
			if err != nil {
				return err
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			e, err := c.Entry(ctx, index, client.Show{})
			if err != nil {
				return err
			}
			b, err := e.Proof().Format()
			if err != nil {
				return err
			}
			if out == "" {
				return g.printText("%s", b)
			}
			return durable.Replace(out, b, 0o644)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write; standard output unless given")
	return cmd
}

func (g *globals) consistencyCommand() *cobra.Command {
	var from int64
	cmd := &cobra.Command{
		Use:   "consistency FILE | consistency --from SIZE",
		Short: "Verify that the log continues an older checkpoint",
		Example: `  idlog consistency yesterday.checkpoint
  idlog consistency --from 1200   # the one of this size that this machine saw last`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (from >= 0) {
				return serve.Usagef("one of FILE, an older checkpoint, and --from SIZE is needed")
			}
			old, err := g.older(args, from)
			if err != nil {
				return err
			}
			c, err := g.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			a, b, err := c.Consistency(ctx, old)
			if err != nil {
				return err
			}
			if g.json {
				return g.printJSON(struct {
					From checkpointJSON `json:"from"`
					To   checkpointJSON `json:"to"`
				}{describeCheckpoint(a), describeCheckpoint(b)})
			}
			return g.printText("%s: size %d continues size %d; cosigned by %s\n",
				b.Checkpoint.Origin, b.Checkpoint.Size, a.Checkpoint.Size, names(b.Cosignatures))
		},
	}
	cmd.Flags().Int64Var(&from, "from", -1, "size of the checkpoint that this machine saw last")
	return cmd
}

// older returns the note of an older checkpoint: a file's, or the one of that
// size in the state. A size alone proves nothing: its root must be known.
func (g *globals) older(args []string, from int64) ([]byte, error) {
	if len(args) == 1 {
		b, err := readFile(args[0])
		if err != nil {
			return nil, fmt.Errorf("reading the older checkpoint: %w", err)
		}
		if _, _, err := checkpoint.Split(b); err != nil {
			return nil, serve.Usagef("%s is no checkpoint: %w", args[0], err)
		}
		return b, nil
	}
	p, _, err := g.trusted()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(g.state); err != nil {
		return nil, unknownSize(from)
	}
	state, err := trust.Open(g.state)
	if err != nil {
		return nil, err
	}
	for _, l := range p.Logs {
		seen, ok, err := state.Seen(l.Origin)
		if err != nil {
			return nil, err
		}
		if ok && seen.Size == from {
			return seen.Note, nil
		}
	}
	return nil, unknownSize(from)
}

func unknownSize(size int64) error {
	return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("no checkpoint of size %d is remembered here", size),
		Remedy: "idlog consistency FILE, with a checkpoint that you kept"}
}
