package pin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/proto/policy"
)

func show(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:               "show FILE",
		Short:             "Read a trust file strictly, and say what it asks for",
		Example:           "  idlog trust show acme.idlog-trust",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: program.FileArgs("idlog-trust"),
		RunE: func(_ *cobra.Command, args []string) error {
			t, b, err := session.ReadTrust(args[0])
			if err != nil {
				return err
			}
			return print(s, t, b)
		},
	}
}

// trustJSON is what `trust show --json` prints.
type trustJSON struct {
	Log       string   `json:"log"`
	Origins   []string `json:"origins"`
	Require   []string `json:"require"`
	Witnesses []string `json:"witnesses"`
	Quorum    string   `json:"quorum"`
	Verifiers []string `json:"verifiers"`
	Threshold int      `json:"threshold"`
	MaxLag    int64    `json:"max_lag"`
	MaxAge    float64  `json:"max_age_seconds"`
	Skew      float64  `json:"skew_seconds"`
	SHA256    string   `json:"sha256"`
	Words     string   `json:"words"`
}

// print writes a trust file, whose bytes are b, for people or for programs.
func print(s *session.Session, t *policy.Trust, b []byte) error {
	sum := sha256.Sum256(b)
	out := trustJSON{Log: t.Log, Origins: t.Origins, Require: t.Require, Quorum: t.Policy.Quorum,
		Verifiers: t.Verifiers, Threshold: t.Threshold, MaxLag: t.MaxLag, MaxAge: t.MaxAge.Seconds(), Skew: t.Skew.Seconds(),
		SHA256: hex.EncodeToString(sum[:]), Words: words(sum)}
	for _, w := range t.Policy.Witnesses {
		out.Witnesses = append(out.Witnesses, w.Name)
	}
	if s.JSON {
		return s.Object(out)
	}
	var text strings.Builder
	line := func(word, format string, args ...any) {
		fmt.Fprintf(&text, "%-9s %s\n", word, fmt.Sprintf(format, args...))
	}
	line("log", "%s", t.Log)
	for _, o := range t.Origins {
		line("origin", "%s", o)
	}
	for _, k := range t.Require {
		line("require", "%s", k)
	}
	line("quorum", "%s, of %s", t.Policy.Quorum, strings.Join(out.Witnesses, ", "))
	if t.Threshold > 0 {
		line("verifiers", "%d of %s", t.Threshold, strings.Join(t.Verifiers, ", "))
	} else {
		line("verifiers", "none: that an answer is complete is the operator's word")
	}
	line("answers", "at most %s and %d entries old, clocks within %s", t.MaxAge, t.MaxLag, t.Skew)
	line("sha256", "%s", out.SHA256)
	line("words", "%s", out.Words)
	return s.Text("%s", text.String())
}
