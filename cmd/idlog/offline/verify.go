package offline

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/report"
	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/cmd/internal/serve"
	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

// Verify is the command `idlog verify`.
func Verify(s *session.Session) *cobra.Command {
	var raw, leafFile string
	var j judging
	cmd := &cobra.Command{
		Use:   "verify FILE {-p POLICY | -t TRUST}",
		Short: "Verify a disclosure, history, proof, evidence or checkpoint file, offline",
		Example: `  idlog verify 42.idlog-disclosure -p policy.tlog-policy
  idlog verify 42.idlog-disclosure -p policy.tlog-policy --raw 42.json
  idlog verify alice.idlog-history -t acme.idlog-trust          # is that all there is of her?
  idlog verify alice-q4.idlog-history -t acme.idlog-trust --previous alice-q3.idlog-history
  idlog verify fork-0a1b.idlog-evidence -p policy.tlog-policy   # does it prove what it claims?`,
		Long: `Verify a file with the policy alone, whatever its name is: a disclosure (the fields that it shows are the event's), a
tlog-proof (the leaf is in the log), evidence (its parts show what it claims), or a checkpoint (the policy accepts it).

A history (nothing is left out of the answer) and an index proof are verified with a trust file, which also says who must vouch
for the index and how old an answer may be; --at judges an old one as of another time. With a policy alone they are at best
operator-attested, which ends with 7 unless --accept-attested is given.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: program.FileArgs("idlog-disclosure", "idlog-history", "tlog-proof", "tlog-index-proof", "idlog-evidence", "checkpoint"),
		RunE: func(_ *cobra.Command, args []string) error {
			p, sum, err := s.Trusted()
			if err != nil {
				return err
			}
			b, err := session.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("reading the file to verify: %w", err)
			}
			first, _, _ := bytes.Cut(b, []byte("\n"))
			switch {
			case string(first) == "idlog-disclosure/v1":
				return verifyDisclosure(s, p, sum, b, raw)
			case string(first) == "idlog-evidence/v1":
				return judge(s, p, b)
			case string(first) == "idlog-history/v1":
				return verifyHistory(s, b, j)
			case string(first) == "tlog-index-proof/v1":
				return verifyIndex(s, p, b, j)
			case raw != "":
				return serve.Usagef("--raw needs a disclosure file, which commits to the raw bytes")
			case strings.HasPrefix(string(first), "c2sp.org/tlog-proof@"):
				return verifyProof(s, p, sum, b, leafFile)
			}
			if _, _, err := checkpoint.Split(b); err == nil {
				return verifyCheckpoint(s, p, b)
			}
			return serve.Usagef("%s is no disclosure, history, proof, evidence or checkpoint: its first line says nothing of that kind", args[0])
		},
	}
	cmd.Flags().StringVar(&raw, "raw", "", "file with the raw bytes, to be held against the disclosure")
	cmd.Flags().StringVar(&leafFile, "leaf", "", "file with the leaf, where the tlog-proof does not hold it")
	cmd.Flags().StringVar(&j.previous, "previous", "", "earlier history that this one continues")
	cmd.Flags().StringVar(&j.at, "at", "", "judge how old a history is by this time, in place of now")
	cmd.Flags().BoolVar(&j.attested, "accept-attested", false, "accept that the operator alone says that nothing is missing")
	program.Files(cmd, "previous", "idlog-history")
	return cmd
}

func verifyDisclosure(s *session.Session, p *policy.Policy, sum [32]byte, b []byte, raw string) error {
	d, err := seal.Parse(b)
	if err != nil {
		return failed(err)
	}
	o, err := d.Verify(p)
	if err != nil {
		return failed(err)
	}
	if raw != "" {
		if err := verifyRaw(o, raw); err != nil {
			return err
		}
	}
	e := &report.Entry{Index: o.Index}
	e.Under(o.Checkpoint.Origin, o.Checkpoint.Size, o.Cosigned, sum)
	if err := e.Describe(o.Leaf, d.Proof.Extra, o.Lines); err != nil {
		return failed(err)
	}
	return verified(s, e)
}

// verifyRaw holds a file against what the disclosure commits to.
func verifyRaw(o *seal.Opened, file string) error {
	b, err := session.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the raw bytes: %w", err)
	}
	line := o.Field("raw")
	if line == nil || line.State != seal.Shown {
		return failed(errors.New("the disclosure does not show the field raw, so the raw bytes prove nothing"))
	}
	if err := line.Value.CheckRaw(b); err != nil {
		return failed(fmt.Errorf("%s: %w", file, err))
	}
	return nil
}

func verifyProof(s *session.Session, p *policy.Policy, sum [32]byte, b []byte, leafFile string) error {
	pr, err := proof.Parse(b)
	if err != nil {
		return failed(err)
	}
	bytes := pr.Extra
	if leafFile != "" {
		if bytes, err = session.ReadFile(leafFile); err != nil {
			return fmt.Errorf("reading the leaf: %w", err)
		}
	}
	if bytes == nil {
		return &serve.ExitError{Code: serve.CodeUsage, Err: errors.New("the proof does not hold the leaf that it is about"), Remedy: "--leaf FILE"}
	}
	l, err := leaf.Parse(bytes)
	if err != nil {
		return failed(err)
	}
	v, err := pr.Verify(p, leaf.HashOf(bytes))
	if err != nil {
		return failed(err)
	}
	// SPEC F38: "the leaf's log must equal the family of the checkpoint's origin".
	if family, named := leaf.LogOf(l); named && !ofFamily(v.Checkpoint.Origin, family) {
		return failed(fmt.Errorf("the leaf of log %s is in log %s", family, v.Checkpoint.Origin))
	}
	e := &report.Entry{Index: pr.Index}
	e.Under(v.Checkpoint.Origin, v.Checkpoint.Size, v.Cosignatures, sum)
	if err := e.Describe(l, bytes, nil); err != nil {
		return err
	}
	return verified(s, e)
}

func verifyCheckpoint(s *session.Session, p *policy.Policy, b []byte) error {
	v, err := p.Verify(b)
	if err != nil {
		return failed(err)
	}
	c := v.Checkpoint
	if s.JSON {
		return s.Object(report.Checkpoint{Origin: c.Origin, Size: c.Size, Root: c.Root[:], Witnesses: report.Witnesses(v.Cosignatures), Note: string(b)})
	}
	return s.Text("verified   checkpoint of %s, size %d, cosigned by %s\n", c.Origin, c.Size, report.Names(v.Cosignatures))
}

// verified prints what was verified; text ends with the verdict.
func verified(s *session.Session, e *report.Entry) error {
	if s.JSON {
		return s.Object(e)
	}
	if err := s.Entry(e); err != nil {
		return err
	}
	return s.Text("verified   entry %d of %s, under size %d\n", e.Index, e.Origin, e.Size)
}

// judge weighs an evidence file.
func judge(s *session.Session, p *policy.Policy, b []byte) error {
	ev, err := evidence.Parse(b)
	if err != nil {
		return failed(err)
	}
	v, err := evidence.Judge(ev, p)
	if errors.Is(err, evidence.ErrNotJudged) {
		return &serve.ExitError{Code: serve.CodeError, Err: err, Remedy: "a newer idlog"}
	}
	if err != nil {
		return failed(err)
	}
	if s.JSON {
		return s.Object(struct {
			Claim     string `json:"claim"`
			Proven    bool   `json:"proven"`
			Accused   string `json:"accused"`
			Statement string `json:"statement"`
		}{string(v.Claim), v.Proven, v.Accused, v.Statement})
	}
	verdict := "not proven"
	if v.Proven {
		verdict = "proven"
	}
	return s.Text("claim      %s\naccused    %s\nverdict    %s\n%s\n", v.Claim, report.Printable(v.Accused), verdict, v.Statement)
}

// failed says that a file does not verify; a lack of cosignatures alone, and age,
// have codes of their own.
func failed(err error) error {
	if _, ok := errors.AsType[*policy.QuorumError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*answer.StaleError](err); ok {
		return err
	}
	return &serve.ExitError{Code: serve.CodeVerification, Err: err}
}

// ofFamily reports whether an origin is that of a shard of the family.
func ofFamily(origin, family string) bool {
	shard, ok := strings.CutPrefix(origin, family+"/")
	return ok && shard != "" && !strings.Contains(shard, "/")
}
