package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"idlog/proto/checkpoint"
)

const (
	// MaxSize is the largest policy in bytes that Parse reads.
	MaxSize = 512 << 10
	// maxOf bounds each of logs, witnesses and groups. The specification asks
	// for at least 32.
	maxOf = 64
)

// A SyntaxError says what is wrong with a policy or a trust file, where, and what to do.
type SyntaxError struct {
	Line   int // counted from 1; 0 if it concerns the file as a whole
	Reason string
	Remedy string // what to write in its place, where that can be said

	of string // what the lines are counted in; empty for a policy
}

func (e *SyntaxError) Error() string {
	of := cmp.Or(e.of, "policy")
	if e.Line == 0 {
		return fmt.Sprintf("parsing %s: %s", of, e.Reason)
	}
	return fmt.Sprintf("parsing %s: line %d: %s", of, e.Line, e.Reason)
}

// parser is the state of one Parse.
type parser struct {
	p      *Policy
	public map[string]string // raw key bytes -> what bears them
	parent map[string]string // witness or group -> the group it is a member of
	line   int
	lineOf map[string]int // witness -> its line
}

// Parse reads a policy. Every error is a [*SyntaxError].
func Parse(b []byte) (*Policy, error) {
	s := parser{
		p:      &Policy{keys: make(map[keyID]*key), groups: make(map[string]Group), operator: make(map[string]string)},
		public: make(map[string]string),
		parent: make(map[string]string),
		lineOf: make(map[string]int),
	}
	if err := s.parse(b); err != nil {
		return nil, err
	}
	s.p.text = string(b)
	return s.p, nil
}

func (s *parser) parse(b []byte) error {
	if len(b) > MaxSize {
		return s.errorf("more than %d bytes", MaxSize)
	}
	body, ok := strings.CutSuffix(string(b), "\n")
	if !ok {
		return s.fix("a newline at its end", "does not end with a newline")
	}
	for line := range strings.SplitSeq(body, "\n") {
		s.line++
		// SPEC: tlog-policy, Character set: tab and newline are the only controls.
		for _, c := range []byte(line) {
			if c < 0x20 && c != '\t' || c == 0x7f {
				return s.errorf("control character %#02x", c)
			}
		}
		f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if err := s.statement(f[0], f[1:]); err != nil {
			return err
		}
	}
	s.line = 0
	if s.p.Quorum == "" {
		return s.fix("a last line: quorum <name of a witness or group>, or quorum none if no witness is asked for", "no quorum")
	}
	return s.roles()
}

func (s *parser) statement(keyword string, args []string) error {
	switch keyword {
	case "log":
		return s.log(args)
	case "witness":
		return s.witness(args)
	case "group":
		return s.group(args)
	case "quorum":
		return s.quorum(args)
	}
	return s.fix("log, witness, group or quorum, in small letters; a comment begins its own line with #", "unknown keyword %.32q", keyword)
}

func (s *parser) log(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return s.errorf("want: log <vkey> [<url>]")
	}
	if len(s.p.Logs) == maxOf {
		return s.errorf("more than %d logs", maxOf)
	}
	k, err := s.key(args[0], checkpoint.LogRole, "")
	if err != nil {
		return err
	}
	s.p.Logs = append(s.p.Logs, LogKey{VKey: args[0], Origin: k.Name, URL: optional(args, 1)})
	return nil
}

func (s *parser) witness(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return s.errorf("want: witness <name> <vkey> [<url>]")
	}
	if len(s.p.Witnesses) == maxOf {
		return s.errorf("more than %d witnesses", maxOf)
	}
	name := args[0]
	if err := s.define(name); err != nil {
		return err
	}
	k, err := s.key(args[1], checkpoint.WitnessRole, name)
	if err != nil {
		return err
	}
	s.p.operator[name] = k.Name
	s.lineOf[name] = s.line
	s.p.Witnesses = append(s.p.Witnesses, Witness{Name: name, VKey: args[1], URL: optional(args, 2)})
	return nil
}

// key checks a key of either role and adds it: its type must be one for the
// role, and neither its bytes nor its name and ID may be there already. Bytes
// are compared without the type, so that the Ed25519 key of a log does not
// return as the type 4 key of a witness.
func (s *parser) key(vkey string, role checkpoint.Role, witness string) (checkpoint.Key, error) {
	k, err := checkpoint.ParseVKey(vkey)
	if err != nil {
		return k, s.errorf("%v", err)
	}
	what := "log " + k.Name
	if role == checkpoint.WitnessRole {
		what = "witness " + witness
	}
	if !k.Serves(role) {
		return k, s.fix("a key of this role: idlog key generate --type log or --type witness makes one", "type of the key of %s is not one for its role", what)
	}
	if other, ok := s.public[string(k.Public)]; ok {
		return k, s.fix("a key of its own for each: who holds one key is one party, and counts once", "public key of %s is already that of %s", what, other)
	}
	id := keyID{k.Name, k.ID}
	if s.p.keys[id] != nil {
		return k, s.errorf("another key has the name and key ID %s+%08x", k.Name, k.ID)
	}
	v, err := checkpoint.NewVerifier(vkey)
	if err != nil {
		return k, s.errorf("%v", err)
	}
	s.public[string(k.Public)] = what
	s.p.keys[id] = &key{vkey: vkey, witness: witness, verifier: v}
	return k, nil
}

func (s *parser) group(args []string) error {
	if len(args) < 3 {
		return s.errorf("want: group <name> all|any|<k> <name>...")
	}
	if len(s.p.Groups) == maxOf {
		return s.errorf("more than %d groups", maxOf)
	}
	g := Group{Name: args[0], Members: args[2:]}
	if err := s.define(g.Name); err != nil {
		return err
	}
	switch args[1] {
	case "all":
		g.Threshold = len(g.Members)
	case "any":
		g.Threshold = 1
	default:
		k, err := strconv.Atoi(args[1])
		if err != nil || strconv.Itoa(k) != args[1] || k < 1 || k > len(g.Members) {
			return s.fix(fmt.Sprintf("any, all, or a number from 1 to %d; to ask for no witness: quorum none", len(g.Members)),
				"threshold %.24q is not within 1 and %d", args[1], len(g.Members))
		}
		g.Threshold = k
	}
	for _, m := range g.Members {
		// SPEC: tlog-policy: only names of preceding lines, each in one group at
		// most. So there are no cycles, and no witness counts twice.
		if !s.defined(m) {
			return s.fix("its witness or group line above this one", "member %.64q is not defined before this line", m)
		}
		if other, ok := s.parent[m]; ok {
			return s.fix("each witness and group in one group: it would count twice", "member %s is already one of group %s", m, other)
		}
		s.parent[m] = g.Name
	}
	s.p.groups[g.Name] = g
	s.p.Groups = append(s.p.Groups, g)
	return nil
}

func (s *parser) quorum(args []string) error {
	if len(args) != 1 {
		return s.errorf("want: quorum <name>")
	}
	if s.p.Quorum != "" {
		return s.fix("one quorum line; a group asks for several witnesses", "a second quorum")
	}
	if args[0] != "none" && !s.defined(args[0]) {
		return s.fix("its witness or group line above this one", "quorum %.64q is not defined before this line", args[0])
	}
	s.p.Quorum = args[0]
	return nil
}

// roles checks what no single line shows: no witness bears the name of a log,
// and the keys of one operator are in one group of threshold one.
func (s *parser) roles() error {
	first := make(map[string]string) // operator -> its first witness
	for _, w := range s.p.Witnesses {
		s.line = s.lineOf[w.Name]
		op := s.p.operator[w.Name]
		if slices.ContainsFunc(s.p.Logs, func(l LogKey) bool { return l.Origin == op }) {
			return s.fix("witnesses of other operators: a log that is its own witness vouches for nothing", "witness %s has the name of a log, %s", w.Name, op)
		}
		other, ok := first[op]
		if !ok {
			first[op] = w.Name
			continue
		}
		parent := s.parent[w.Name]
		if parent == "" || parent != s.parent[other] || s.p.groups[parent].Threshold != 1 {
			return s.fix(fmt.Sprintf("group <name> any %s %s, and that group in their place: one operator counts once", other, w.Name),
				"witnesses %s and %s are keys of one operator, %s, and not in one group with any", other, w.Name, op)
		}
	}
	return nil
}

// define takes a name for a witness or a group, which share one name space.
func (s *parser) define(name string) error {
	if name == "none" {
		return s.errorf("the name none is reserved")
	}
	if s.defined(name) {
		return s.errorf("name %.64q is already defined", name)
	}
	return nil
}

func (s *parser) defined(name string) bool {
	_, group := s.p.groups[name]
	_, witness := s.p.operator[name]
	return group || witness
}

func (s *parser) errorf(format string, args ...any) error {
	return &SyntaxError{Line: s.line, Reason: fmt.Sprintf(format, args...)}
}

// fix is errorf with what to do.
func (s *parser) fix(remedy, format string, args ...any) error {
	return &SyntaxError{Line: s.line, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

func optional(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// Format writes the policy in one canonical way: logs, witnesses, groups,
// quorum, one space between fields, no comments. Parsing the result gives an
// equal policy.
func (p *Policy) Format() []byte {
	var b []byte
	line := func(fields ...string) {
		b = append(b, strings.TrimSuffix(strings.Join(fields, " "), " ")...)
		b = append(b, '\n')
	}
	for _, l := range p.Logs {
		line("log", l.VKey, l.URL)
	}
	for _, w := range p.Witnesses {
		line("witness", w.Name, w.VKey, w.URL)
	}
	for _, g := range p.Groups {
		threshold := strconv.Itoa(g.Threshold)
		switch {
		case g.Threshold == 1:
			threshold = "any"
		case g.Threshold == len(g.Members):
			threshold = "all"
		}
		line(append([]string{"group", g.Name, threshold}, g.Members...)...)
	}
	line("quorum", p.Quorum)
	return b
}
