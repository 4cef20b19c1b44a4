package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"idlog/client/rules"
)

// Rule names a rule that a finding is about: one of package rules, or one of these.
type Rule = rules.Rule

// The rules that only who reads the whole log can judge.
const (
	Signature Rule = "signature" // tree heads are signed by the log, and by nobody falsely
	Quorum    Rule = "quorum"    // what was published was cosigned as the policy asks
	Fork      Rule = "fork"      // every tree head is a prefix of the newest
	Rollback  Rule = "rollback"  // what was seen before is still there
	Root      Rule = "root"      // the entries give the root that was signed
	Tile      Rule = "tile"      // stored tiles are the hashes of what lies under them
	Missing   Rule = "missing"   // every file of the tree is there
	Archive   Rule = "archive"   // the archive of checkpoints can be read
)

var meanings = map[Rule]string{
	Signature: "What is not signed, or falsely, was put there by somebody who does not have the key; or the log had other keys then, which an older policy has.",
	Quorum:    "The log published a tree that the witnesses of this policy had not all seen; an older policy may have asked for others.",
	Fork:      "The log signed two histories: what was shown to one reader was not shown to another.",
	Rollback:  "This reader has seen more of the log than is here: it may be an old copy, or a log that takes something back.",
	Root:      "The entries are not those that the log signed for: something was changed, added or taken away since.",
	Tile:      "A reader who takes proofs from this file will find that they do not hold. The entries themselves may be whole.",
	Missing:   "Nobody can read or prove this part of the log any more.",
	Archive:   "Old checkpoints are lost or damaged, and with them the proof of when something was logged.",
}

// Meaning says in a sentence why a finding of a rule matters.
func Meaning(r Rule) string { return cmp.Or(meanings[r], r.Meaning()) }

// A Finding is something in a log that must not be.
type Finding struct {
	Rule    Rule   `json:"rule"`
	Where   string `json:"where"`           // "entry 5", "checkpoint 34", or a file
	Entry   *int64 `json:"entry,omitempty"` // where it is about one
	Problem string `json:"problem"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Where, f.Rule, f.Problem) }

// findings collects what the parts of an audit find, in bounded memory.
type findings struct {
	mu     sync.Mutex // guards the rest
	list   []Finding
	counts map[Rule]int64
	total  int64
	notes  map[string]*noted
}

// noted is something worth a line, with its first examples.
type noted struct {
	n     int64
	first []string
}

func newFindings() *findings {
	return &findings{counts: make(map[Rule]int64), notes: make(map[string]*noted)}
}

func (f *findings) add(r Rule, where, format string, args ...any) {
	f.put(Finding{Rule: r, Where: where, Problem: fmt.Sprintf(format, args...)})
}

func (f *findings) entry(found []rules.Finding) {
	for _, e := range found {
		f.put(Finding{Rule: e.Rule, Where: fmt.Sprintf("entry %d", e.Index), Entry: &e.Index, Problem: e.Problem})
	}
}

func (f *findings) put(found Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total++
	if f.counts[found.Rule]++; f.counts[found.Rule] <= MaxFindings {
		f.list = append(f.list, found)
	}
}

func (f *findings) count() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// note remembers an example of something that accuses nobody.
func (f *findings) note(what, example string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.notes[what]
	if n == nil {
		n = new(noted)
		f.notes[what] = n
	}
	if n.n++; n.n <= 5 {
		n.first = append(n.first, example)
	}
}

// report puts all into the report, in an order that does not depend on which
// goroutine was first.
func (f *findings) report(r *Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Counts = f.counts
	r.Findings = f.list
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		x, y := int64(-1), int64(-1)
		if a.Entry != nil {
			x = *a.Entry
		}
		if b.Entry != nil {
			y = *b.Entry
		}
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.Rule, b.Rule))
	})
	for what, n := range f.notes {
		slices.Sort(n.first)
		line := fmt.Sprintf("%s: %s", what, strings.Join(n.first, ", "))
		if rest := n.n - int64(len(n.first)); rest > 0 {
			line += fmt.Sprintf(" and %d more", rest)
		}
		r.Notes = append(r.Notes, line)
	}
	slices.Sort(r.Notes)
}
