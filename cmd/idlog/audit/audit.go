// Package audit is the commands that watch a log as a whole, each in a file of
// its name.
package audit

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlog/client/audit"
	"idlog/client/remote"
	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/progress"
	"idlog/cmd/internal/serve"
	"idlog/proto/checkpoint"
)

// auditing is one run of the command.
type auditing struct {
	s      *session.Session
	heads  string
	known  []string
	older  []string
	bar    *progress.Line
	policy [32]byte // SHA-256 of the file
}

// Audit is the command `idlog audit`.
func Audit(s *session.Session) *cobra.Command {
	a := &auditing{s: s}
	cmd := &cobra.Command{
		Use:   "audit DIR|URL -p POLICY",
		Short: "Read a whole log and check all of it that anybody can check",
		Example: `  idlog audit https://log.example/id -p policy.tlog-policy
  idlog audit /srv/acme -p policy.tlog-policy            # the operator's own folder, also while it is served
  idlog audit copy/ -p policy.tlog-policy --json | jq .findings`,
		Long: `Read a whole log, from a folder or over HTTP, and hold all of it to its newest checkpoint: every archived
checkpoint (signatures, quorum, a prefix of the newest), every tile and bundle (hashed again to the root), every leaf
(grammar, family, keys announced before their use, received within the witnesses' times, one leaf an event).

It ends with 0 if nothing was found and with 3 if something was, which it names with what it means. Where signatures
contradict each other it writes an evidence file for "idlog verify". What the events say it cannot see, nor what
was never logged: that is for receipts and for "idlog share".`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: program.DirArgs(),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().StringVar(&a.heads, "heads", "", "folder of the checkpoint archive, where it is not beside the log's")
	cmd.Flags().StringArrayVar(&a.known, "checkpoint", nil, "file of a checkpoint that you kept, which the log must continue; may be given again")
	cmd.Flags().StringArrayVar(&a.older, "older-policy", nil, "policy of the time before the log changed its keys or witnesses; may be given again")
	program.Files(cmd, "checkpoint", "checkpoint")
	program.Files(cmd, "older-policy", "tlog-policy")
	return cmd
}

func (a *auditing) run(ctx context.Context, where string) error {
	p, sum, err := a.s.Trusted()
	if err != nil {
		return err
	}
	a.policy = sum
	state, err := a.s.Trust()
	if err != nil {
		return err
	}
	cfg := audit.Config{Policy: p, State: state}
	for _, file := range a.known {
		b, err := session.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the checkpoint that you kept: %w", err)
		}
		if _, _, err := checkpoint.Split(b); err != nil {
			return serve.Usagef("%s is no checkpoint: %w", file, err)
		}
		cfg.Known = append(cfg.Known, b)
	}
	for _, file := range a.older {
		p, _, err := session.ReadPolicy(file)
		if err != nil {
			return err
		}
		cfg.Older = append(cfg.Older, p)
	}
	if err := a.open(&cfg, where); err != nil {
		return err
	}
	a.bar = progress.New(a.s.Stderr)
	cfg.Progress = func(p audit.Progress) {
		if p.Findings > 0 {
			a.bar.Remark(fmt.Sprintf("%d findings", p.Findings))
		}
		a.bar.Show("entries", p.Entries, p.Size)
	}
	r, err := audit.Run(ctx, cfg)
	a.bar.Clear()
	if err != nil {
		return a.failed(err, where)
	}
	if err := a.tell(r); err != nil {
		return err
	}
	if !r.Holds() {
		return &serve.ExitError{Code: serve.CodeVerification, Err: fmt.Errorf("the log does not hold: %s", summary(r))}
	}
	return nil
}

// open finds the log that is named.
func (a *auditing) open(cfg *audit.Config, where string) error {
	if !strings.Contains(where, "://") {
		d, err := audit.Open(where, a.heads)
		if err != nil {
			return &serve.ExitError{Code: serve.CodeUsage, Err: err, Remedy: "the folder that idlogd init made, a copy of one, or the log's URL"}
		}
		cfg.Log = d
		return nil
	}
	conf, err := a.s.TLS()
	if err != nil {
		return err
	}
	site, err := remote.New(where, remote.Config{TLS: conf, Timeout: a.s.Timeout, Attempts: 5})
	if errors.Is(err, remote.ErrPlaintext) {
		return &serve.ExitError{Code: serve.CodeUsage, Err: fmt.Errorf("%s: %w", where, err), Remedy: "https"}
	} else if err != nil {
		return serve.Usagef("%q: %w", where, err)
	}
	cfg.Log, cfg.Workers = audit.Site{Site: site}, 16 // requests at once: what waits for a network does not use a core
	return nil
}

// failed says what to do about an audit that could not be done.
func (a *auditing) failed(err error, where string) error {
	if status, ok := errors.AsType[*remote.StatusError](err); ok {
		remedy := "again later, or ask the log's operator"
		if status.Code < 400 {
			remedy = "the URL that this one leads to"
		}
		return &serve.ExitError{Code: serve.CodeUnavailable, Err: err, Remedy: remedy}
	}
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &serve.ExitError{Code: serve.CodeNotFound, Err: err, Remedy: "whether " + where + " is where a log's checkpoint is"}
	case strings.Contains(where, "://") && unreachable(err):
		return &serve.ExitError{Code: serve.CodeUnavailable, Err: err, Remedy: "whether the URL is right and the log is running"}
	}
	return err
}

// outcome is a report as JSON.
type outcome struct {
	Origin      string           `json:"origin"`
	Size        int64            `json:"size"`
	Root        []byte           `json:"root"`
	Witnesses   []report.Witness `json:"witnesses"`
	Policy      string           `json:"policy_sha256"`
	Holds       bool             `json:"holds"`
	Checkpoints int64            `json:"checkpoints"`
	Heads       int64            `json:"heads_not_archived"`
	First       *time.Time       `json:"first_checkpoint,omitempty"`
	Last        *time.Time       `json:"last_checkpoint,omitempty"`
	Entries     int64            `json:"entries"`
	Bytes       int64            `json:"bytes"`
	Kinds       map[string]int64 `json:"kinds"`
	Persons     int64            `json:"persons"`
	Repeats     int64            `json:"repeats"`
	Tiles       int64            `json:"files_compared"`
	Seconds     float64          `json:"seconds"`
	Findings    []finding        `json:"findings"`
	Counts      map[string]int64 `json:"counts"`
	Notes       []string         `json:"notes"`
	Evidence    []accusation     `json:"evidence"`
}

type finding struct {
	audit.Finding
	Meaning string `json:"meaning"`
}

type accusation struct {
	Claim     string `json:"claim"`
	Proven    bool   `json:"proven"`
	Accused   string `json:"accused"`
	Statement string `json:"statement"`
	File      string `json:"file"`
}

func (a *auditing) tell(r *audit.Report) error {
	if !a.s.JSON {
		return a.s.Text("%s", a.text(r))
	}
	c := r.Newest.Checkpoint
	o := outcome{
		Origin: c.Origin, Size: c.Size, Root: c.Root[:], Witnesses: report.Witnesses(r.Newest.Cosignatures),
		Policy: hex.EncodeToString(a.policy[:]), Holds: r.Holds(),
		Checkpoints: r.Checkpoints, Heads: r.Heads, Entries: r.Entries, Bytes: r.Bytes, Kinds: r.Kinds, Persons: r.Persons,
		Repeats: r.Repeats, Tiles: r.Tiles, Seconds: r.Took.Seconds(), Findings: []finding{}, Counts: make(map[string]int64),
		Notes: append([]string{}, r.Notes...), Evidence: []accusation{},
	}
	if !r.First.IsZero() {
		o.First, o.Last = &r.First, &r.Last
	}
	for _, f := range r.Findings {
		o.Findings = append(o.Findings, finding{f, audit.Meaning(f.Rule)})
	}
	for rule, n := range r.Counts {
		o.Counts[string(rule)] = n
	}
	for _, e := range r.Evidence {
		o.Evidence = append(o.Evidence, accusation{string(e.Verdict.Claim), e.Verdict.Proven, e.Verdict.Accused, e.Verdict.Statement, e.File})
	}
	return a.s.Object(o)
}

// text is a report for people: what was read, then what was found.
func (a *auditing) text(r *audit.Report) string {
	var b strings.Builder
	c := r.Newest.Checkpoint
	fmt.Fprintf(&b, "origin       %s\nsize         %d, root %s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	for _, w := range r.Newest.Cosignatures {
		fmt.Fprintf(&b, "witness      %s at %s\n", report.Printable(w.Witness), w.Time.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "policy       sha256 %s\n", hex.EncodeToString(a.policy[:]))
	fmt.Fprintf(&b, "checkpoints  %d archived", r.Checkpoints)
	if !r.First.IsZero() {
		fmt.Fprintf(&b, ", %s to %s", r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "; %d more heads\nentries      %d (%s), %d bytes, %d repeated\n", r.Heads, r.Entries, kinds(r), r.Bytes, r.Repeats)
	fmt.Fprintf(&b, "persons      %d handles, by which events name them\n", r.Persons)
	fmt.Fprintf(&b, "files        %d compared\ntook         %s, %.0f entries/s\n", r.Tiles, r.Took.Round(time.Millisecond), float64(r.Entries)/r.Took.Seconds())
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note         %s\n", n)
	}
	for i, f := range r.Findings {
		fmt.Fprintf(&b, "\nFINDING      %s: %s\n             %s\n", f.Where, f.Rule, f.Problem)
		if i+1 == len(r.Findings) || r.Findings[i+1].Rule != f.Rule {
			fmt.Fprintf(&b, "             %s\n", audit.Meaning(f.Rule))
		}
	}
	for _, e := range r.Evidence {
		verdict := "not proven"
		if e.Verdict.Proven {
			verdict = "proven"
		}
		fmt.Fprintf(&b, "\nevidence     %s\n             %s, %s: %s\n", e.File, e.Verdict.Claim, verdict, e.Verdict.Statement)
	}
	if r.Holds() {
		b.WriteString("verdict      the log holds\n")
	} else {
		fmt.Fprintf(&b, "\nverdict      the log does NOT hold: %s\n", summary(r))
	}
	return b.String()
}

func kinds(r *audit.Report) string {
	var list []string
	for kind, n := range r.Kinds {
		list = append(list, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// summary counts the findings by their rules.
func summary(r *audit.Report) string {
	var list []string
	for rule, n := range r.Counts {
		list = append(list, fmt.Sprintf("%d %s", n, rule))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// unreachable reports whether a request got no answer, or not all of one.
func unreachable(err error) bool {
	var u interface{ Timeout() bool } // *url.Error
	return errors.As(err, &u) || errors.Is(err, io.ErrUnexpectedEOF)
}
