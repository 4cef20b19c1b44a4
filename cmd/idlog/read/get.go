package read

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

// Get is the command `idlog get`.
func Get(s *session.Session) *cobra.Command {
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
			index, err := entryOf(args, receipt)
			if err != nil {
				return err
			}
			return s.With(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if noVerify {
					return getUnverified(ctx, s, c, index, out, raw)
				}
				return get(ctx, s, c, index, out, raw)
			})
		},
	}
	cmd.Flags().StringVar(&receipt, "receipt", "", "disclosure or tlog-proof file whose entry to fetch")
	cmd.Flags().StringVarP(&out, "output", "o", "", "save a disclosure file, with every field that is shown")
	cmd.Flags().StringVar(&raw, "raw", "", "save the raw bytes that the source delivered")
	cmd.Flags().BoolVar(&noVerify, "no-verify", false, "show what the server says, unchecked")
	program.Files(cmd, "receipt", "idlog-disclosure", "tlog-proof")
	return cmd
}

// entryOf returns the index that the arguments name.
func entryOf(args []string, receipt string) (int64, error) {
	if (len(args) == 1) == (receipt != "") {
		return 0, serve.Usagef("one of INDEX and --receipt FILE is needed")
	}
	if receipt == "" {
		return parseIndex(args[0])
	}
	b, err := session.ReadFile(receipt)
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

func get(ctx context.Context, s *session.Session, c *client.Client, index int64, out, raw string) error {
	e, err := c.Entry(ctx, index, client.Show{Fields: true, Raw: raw != ""})
	if r, ok := errors.AsType[*client.Refused](err); ok && closed(r.Reason) && out == "" && raw == "" {
		s.Note("the fields of entry %d are not shown: %v", index, err)
		e, err = c.Entry(ctx, index, client.Show{})
	}
	if err != nil {
		return err
	}
	if err := save(e, out, raw); err != nil {
		return err
	}
	shown, err := describe(s, e)
	if err != nil {
		return err
	}
	return s.Entry(shown)
}

// closed reports whether a refusal is about the fields of an entry, whose leaf
// can still be shown and proven.
func closed(r logv1.Reason) bool {
	return r == logv1.Reason_REASON_OPENING_LOST || r == logv1.Reason_REASON_SUBJECT_ERASED
}

// save writes the files that were asked for.
func save(e *client.Entry, out, raw string) error {
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

// describe is a verified entry as it is shown.
func describe(s *session.Session, e *client.Entry) (*report.Entry, error) {
	_, sum, err := s.Trusted()
	if err != nil {
		return nil, err
	}
	return report.EntryOf(e, sum)
}

// getUnverified shows what nobody checked; it says so in every form.
func getUnverified(ctx context.Context, s *session.Session, c *client.Client, index int64, out, raw string) error {
	if out != "" {
		return serve.Usagef("--no-verify and -o: a disclosure that was not verified is not written")
	}
	u, err := c.FetchUnverified(ctx, index, client.Show{Fields: true, Raw: raw != ""})
	if err != nil {
		return err
	}
	l, err := leaf.Parse(u.Leaf)
	if err != nil {
		s.Note("the entry is no leaf: %v", err)
	}
	var lines []seal.Line
	if len(u.Disclosure) > 0 {
		if lines, _, err = seal.ParseLines(u.Disclosure); err != nil {
			s.Note("the fields cannot be read: %v", err)
		}
	}
	shown := &report.Entry{Index: u.Index}
	if err := shown.Describe(l, u.Leaf, lines); err != nil {
		return err
	}
	if raw != "" {
		if err := durable.Replace(raw, u.Raw, 0o600); err != nil {
			return err
		}
	}
	return s.Entry(shown)
}
