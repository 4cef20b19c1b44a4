package read

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"idlog/client"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
	"idlog/proto/seal"
)

// Share is the command `idlog share`.
func Share(s *session.Session) *cobra.Command {
	var show, hide []string
	var out string
	cmd := &cobra.Command{
		Use:   "share INDEX|FILE --show PATH... [--hide PATH...] -o FILE",
		Short: "Save a disclosure that shows only the fields that you choose",
		Example: `  idlog share 42 --show 'class.*' --show outcome.status --show actor.id -o for-the-auditor.idlog-disclosure
  idlog share 42 --show actor --hide actor.email -o 42.idlog-disclosure
  idlog share receipts/42.idlog-disclosure --show source -o 42.idlog-disclosure   # offline`,
		Long: `Save a disclosure of an event that you may read, in which only the chosen fields are shown. All others are there by
their commitments alone, so that whoever gets the file sees what was left out, and can guess none of it.

A PATH names a field, or all that is below it; * stands for one segment. From a disclosure FILE that you have, it works
offline. "idlog verify" checks the result with the policy alone.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: program.FileArgs("idlog-disclosure"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(show) == 0 {
				return &serve.ExitError{Code: serve.CodeUsage, Err: errors.New("nothing is chosen to be shown"), Remedy: "--show PATH, such as --show 'class.*'"}
			}
			if out == "" {
				return serve.Usagef("-o FILE is missing: where shall the disclosure go?")
			}
			c, err := choose(show, hide)
			if err != nil {
				return serve.Usagef("%w", err)
			}
			d, lines, err := disclosed(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			return share(s, d, lines, c, out)
		},
	}
	cmd.Flags().StringArrayVar(&show, "show", nil, "field, or all below a path, to show; may be given again")
	cmd.Flags().StringArrayVar(&hide, "hide", nil, "what not to show of these; may be given again")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write")
	return cmd
}

// choice is which fields are shown.
type choice struct{ show, hide []pattern }

func choose(show, hide []string) (c choice, err error) {
	if c.show, err = parsePatterns(show); err != nil {
		return c, fmt.Errorf("--show %w", err)
	}
	if c.hide, err = parsePatterns(hide); err != nil {
		return c, fmt.Errorf("--hide %w", err)
	}
	return c, nil
}

// disclosed returns a verified disclosure and its lines with their commitments:
// of the entry at an index, from the server, or of a file.
func disclosed(ctx context.Context, s *session.Session, from string) (d *seal.Disclosure, lines []seal.Line, err error) {
	if index, err := parseIndex(from); err == nil {
		err := s.With(ctx, func(ctx context.Context, c *client.Client) error {
			e, err := c.Entry(ctx, index, client.Show{Fields: true})
			if err != nil {
				return err
			}
			if d, lines = e.Disclosure(), e.Lines; d == nil {
				return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("entry %d has no fields: only events have", index), Remedy: fmt.Sprintf("idlog prove %d -o FILE", index)}
			}
			return nil
		})
		return d, lines, err
	}
	p, _, err := s.Trusted()
	if err != nil {
		return nil, nil, err
	}
	b, err := session.ReadFile(from)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the disclosure: %w", err)
	}
	if d, err = seal.Parse(b); err != nil {
		return nil, nil, serve.Usagef("%s is neither an index nor a disclosure file: %w", from, err)
	}
	o, err := d.Verify(p)
	if _, lacks := errors.AsType[*policy.QuorumError](err); lacks {
		return nil, nil, err
	} else if err != nil {
		return nil, nil, &serve.ExitError{Code: serve.CodeVerification, Err: fmt.Errorf("%s: %w", from, err)}
	}
	return d, o.Lines, nil
}

// share writes the disclosure with only the chosen fields shown.
func share(s *session.Session, d *seal.Disclosure, lines []seal.Line, c choice, out string) error {
	used := make([]bool, len(c.show))
	var shown []string
	lines = slices.Clone(lines)
	for i := range lines {
		l := &lines[i]
		if l.State != seal.Shown {
			continue
		}
		chosen := false
		for n, p := range c.show {
			if p.match(l.Path) {
				chosen, used[n] = true, true
			}
		}
		if chosen && !matchAny(c.hide, l.Path) {
			shown = append(shown, l.Path)
		} else {
			l.State = seal.Withheld
		}
	}
	for n, p := range c.show {
		if !used[n] {
			return notShown(p, lines, d.Proof.Index)
		}
	}
	if len(shown) == 0 {
		return &serve.ExitError{Code: serve.CodeUsage, Err: errors.New("--hide leaves nothing to show"), Remedy: "--show what --hide does not name"}
	}
	b, err := (&seal.Disclosure{Lines: lines, Proof: d.Proof, Erasures: d.Erasures}).Format()
	if err != nil {
		return err
	}
	if slices.Contains(shown, "raw") {
		s.Note("raw is shown: whoever has the file can test a guess at all that the source delivered")
	}
	if err := durable.Replace(out, b, 0o600); err != nil {
		return err
	}
	if s.JSON {
		return s.Object(struct {
			Index    int64    `json:"index"`
			File     string   `json:"file"`
			Shown    []string `json:"shown"`
			Withheld int      `json:"withheld"`
		}{d.Proof.Index, out, shown, len(lines) - len(shown)})
	}
	return s.Text("%s\nshown      %s\nwithheld   %d of %d fields\n", out, strings.Join(shown, " "), len(lines)-len(shown), len(lines))
}

// notShown says why a pattern chose nothing.
func notShown(p pattern, lines []seal.Line, index int64) error {
	if slices.ContainsFunc(lines, func(l seal.Line) bool { return p.match(l.Path) }) {
		return &serve.ExitError{Code: serve.CodePermission, Err: fmt.Errorf("entry %d has the field %s, and it is not shown to you", index, p)}
	}
	return &serve.ExitError{Code: serve.CodeNotFound, Err: fmt.Errorf("entry %d has no field %s", index, p), Remedy: fmt.Sprintf("idlog get %d, which lists its fields", index)}
}
