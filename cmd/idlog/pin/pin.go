// Package pin is the commands that begin trust in a log: making a trust file, and reading one.
//
// A policy comes from somebody; the first look at it is the only moment at which a wrong one costs nothing. So a trust
// file is written after the witnesses that it names were asked whether they know this log, and as one history.
package pin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/durable"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/policy"
)

// Command is `idlog trust`.
func Command(s *session.Session) *cobra.Command {
	return program.Group("trust", "Make and read trust files: what an answer is judged by", add(s), show(s))
}

// adding is one run of `trust add`.
type adding struct {
	s *session.Session

	out, verifiers, url string
	maxLag              int64
	maxAge, skew        time.Duration
	unchecked, anyKey   bool
}

func add(s *session.Session) *cobra.Command {
	a := &adding{s: s}
	cmd := &cobra.Command{
		Use:   "add -p POLICY -o FILE",
		Short: "Make a trust file, after asking the witnesses whether they know this log",
		Example: `  idlog trust add -p policy.tlog-policy --verifiers verifiers.tlog-policy -o acme.idlog-trust
  idlog trust show acme.idlog-trust         # compare the words over the phone`,
		Long: `Make a trust file: the policy, all log keys of it as required ones, the cosigners that verify the index, and how old an
answer may be.

Before it is written, the newest checkpoints of at least two witnesses of the policy are fetched and compared: each must be
signed by the log and cosigned by that witness, and all must be of one history. A fork is kept as evidence, and ends it with 3.
--unchecked goes without, for a policy of fewer witnesses or none that can be asked.

A file of verifiers is a tlog-policy that names them and how many must have cosigned. Without one no answer is ever proven:
what the log says about its index is then its operator's word.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVarP(&a.out, "output", "o", "", "the trust file; it must not exist")
	f.StringVar(&a.verifiers, "verifiers", "", "tlog-policy of the cosigners that verify the index, and their quorum")
	f.Int64Var(&a.maxLag, "max-lag", policy.DefaultMaxLag, "how many entries a checkpoint may have that the index does not cover")
	f.DurationVar(&a.maxAge, "max-age", policy.DefaultMaxAge, "how old an answer may be, in whole seconds")
	f.DurationVar(&a.skew, "skew", policy.DefaultSkew, "by how much clocks may differ, in whole seconds")
	f.BoolVar(&a.anyKey, "any-key", false, "one of several log keys suffices, as in the policy")
	f.StringVar(&a.url, "url", "", "where the log is published, if the policy does not say: to compare trees of two sizes")
	f.BoolVar(&a.unchecked, "unchecked", false, "ask no witness")
	program.Files(cmd, "output", "idlog-trust")
	program.Files(cmd, "verifiers", "tlog-policy")
	return cmd
}

func (a *adding) run(ctx context.Context) error {
	if a.out == "" {
		return serve.Usagef("-o FILE is needed: where the trust file goes")
	}
	p, _, err := a.s.Trusted()
	if err != nil {
		return err
	}
	t, err := a.trust(p)
	if err != nil {
		return err
	}
	b, err := t.Format()
	if err != nil {
		return serve.Usagef("%w", err)
	}
	if !a.unchecked {
		ctx, cancel := a.s.Within(ctx)
		defer cancel()
		if err := a.compare(ctx, t); err != nil {
			return err
		}
	}
	if err := durable.Create(a.out, b, 0o644); errors.Is(err, fs.ErrExist) {
		return &serve.ExitError{Code: serve.CodeInit, Err: err, Remedy: "another -o FILE: trust is never overwritten"}
	} else if err != nil {
		return err
	}
	return print(a.s, t, b)
}

// trust puts the file together.
func (a *adding) trust(p *policy.Policy) (*policy.Trust, error) {
	family := a.s.Log
	if families := session.Families(p); family == "" && len(families) == 1 {
		family = families[0]
	} else if !slices.Contains(families, family) {
		return nil, &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("--log %q is no log of the policy, which has %d", family, len(families)),
			Remedy: "--log " + strings.Join(families, ", or ")}
	}
	var err error
	t := &policy.Trust{Log: family, MaxLag: a.maxLag, MaxAge: a.maxAge, Skew: a.skew}
	for _, l := range p.Logs {
		if !strings.HasPrefix(l.Origin, family+"/") {
			continue
		}
		if !slices.Contains(t.Origins, l.Origin) {
			t.Origins = append(t.Origins, l.Origin)
		}
		first := !slices.ContainsFunc(t.Require, func(vkey string) bool { return strings.HasPrefix(vkey, l.Origin+"+") })
		if first || !a.anyKey {
			t.Require = append(t.Require, l.VKey)
		}
	}
	text := p.Format()
	if a.verifiers != "" {
		v, _, err := session.ReadPolicy(a.verifiers)
		if err != nil {
			return nil, err
		}
		if t.Threshold, err = threshold(v); err != nil {
			return nil, serve.Usagef("%s: %w", a.verifiers, err)
		}
		var lines strings.Builder
		for _, w := range v.Witnesses {
			t.Verifiers = append(t.Verifiers, w.Name)
			if !slices.ContainsFunc(p.Witnesses, func(o policy.Witness) bool { return o.VKey == w.VKey }) {
				fmt.Fprintln(&lines, strings.TrimRight("witness "+w.Name+" "+w.VKey+" "+w.URL, " "))
			}
		}
		text = append([]byte(lines.String()), text...)
	}
	if t.Policy, err = policy.Parse(text); err != nil {
		return nil, serve.Usagef("the policy together with %s: %w", a.verifiers, err)
	}
	return t, nil
}

// threshold is how many of its witnesses a policy of verifiers asks for: a trust file has no groups of them.
func threshold(v *policy.Policy) (int, error) {
	if len(v.Witnesses) == 1 && v.Quorum == v.Witnesses[0].Name {
		return 1, nil
	}
	for _, g := range v.Groups {
		if g.Name == v.Quorum && len(g.Members) == len(v.Witnesses) {
			return g.Threshold, nil
		}
	}
	return 0, errors.New("the quorum is not one group of all verifiers, as a trust file has it")
}

// words writes a hash so that two people can compare it by ear: each word is 16 bits, as proquints have it
// (arXiv 0901.4016).
func words(sum [sha256.Size]byte) string {
	const consonants, vowels = "bdfghjklmnprstvz", "aiou"
	all := make([]string, 0, len(sum)/2)
	for i := 0; i < len(sum); i += 2 {
		n := uint(sum[i])<<8 | uint(sum[i+1])
		all = append(all, string([]byte{consonants[n>>12&15], vowels[n>>10&3], consonants[n>>6&15], vowels[n>>4&3], consonants[n&15]}))
	}
	return strings.Join(all, " ")
}
