package offline

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"idlog/cmd/idlog/session"
	"idlog/cmd/internal/program"
	"idlog/proto/checkpoint"
)

// Policy is the command `idlog policy`.
func Policy(s *session.Session) *cobra.Command {
	return program.Group("policy", "Read policies", &cobra.Command{
		Use:               "check FILE",
		Short:             "Read a tlog-policy strictly and say what it asks for",
		Example:           "  idlog policy check policy.tlog-policy",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: program.FileArgs("tlog-policy"),
		RunE:              func(_ *cobra.Command, args []string) error { return policyCheck(s, args[0]) },
	})
}

// policyJSON is what `policy check --json` prints.
type policyJSON struct {
	SHA256    string      `json:"sha256"`
	Logs      []keyJSON   `json:"logs"`
	Witnesses []keyJSON   `json:"witnesses"`
	Groups    []groupJSON `json:"groups"`
	Quorum    string      `json:"quorum"`
}

type keyJSON struct {
	Name string `json:"name,omitempty"`
	Key  string `json:"key"`
	Alg  string `json:"alg"`
	URL  string `json:"url,omitempty"`
}

type groupJSON struct {
	Name      string   `json:"name"`
	Threshold int      `json:"threshold"`
	Members   []string `json:"members"`
}

func policyCheck(s *session.Session, file string) error {
	p, sum, err := session.ReadPolicy(file)
	if err != nil {
		return err
	}
	out := policyJSON{SHA256: hex.EncodeToString(sum[:]), Quorum: p.Quorum}
	for _, l := range p.Logs {
		out.Logs = append(out.Logs, keyJSON{Key: l.VKey, Alg: algOf(l.VKey), Name: l.Origin, URL: l.URL})
	}
	for _, w := range p.Witnesses {
		out.Witnesses = append(out.Witnesses, keyJSON{Name: w.Name, Key: w.VKey, Alg: algOf(w.VKey), URL: w.URL})
	}
	for _, gr := range p.Groups {
		out.Groups = append(out.Groups, groupJSON(gr))
	}
	if s.JSON {
		return s.Object(out)
	}
	for _, l := range out.Logs {
		fmt.Fprintf(s.Stdout, "log      %s  %s\n", l.Name, l.Alg)
	}
	for _, w := range out.Witnesses {
		fmt.Fprintln(s.Stdout, strings.TrimRight(fmt.Sprintf("witness  %s  %s  %s", w.Name, w.Alg, w.URL), " "))
	}
	for _, gr := range out.Groups {
		fmt.Fprintf(s.Stdout, "group    %s  %d of %s\n", gr.Name, gr.Threshold, strings.Join(gr.Members, ", "))
	}
	fmt.Fprintf(s.Stdout, "quorum   %s\n", out.Quorum)
	if out.Quorum == "none" {
		s.Note("this policy asks for no witness: the log could show everybody something else")
	}
	_, err = fmt.Fprintf(s.Stdout, "sha256   %s\n", out.SHA256)
	return err
}

// algOf names the algorithm of a key that the policy has accepted.
func algOf(vkey string) string {
	k, err := checkpoint.ParseVKey(vkey)
	if err == nil && k.Alg == checkpoint.MLDSA44 {
		return "ml-dsa-44"
	}
	return "ed25519"
}
