package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

// What a maker of a trust file writes where nobody says otherwise.
const (
	DefaultMaxLag = 65536
	DefaultMaxAge = time.Hour
	DefaultSkew   = time.Minute
)

const (
	// MaxTrust is the largest trust file in bytes that ParseTrust reads.
	MaxTrust = MaxSize + 256<<10

	trustHeader = "idlog-trust/v1"
	// maxSeconds bounds an age and a skew, so that no sum of times overflows: some 136 years.
	maxSeconds = 1<<32 - 1
	maxLines   = 256 // of each keyword of a trust file
)

// Trust is a trust file, SPEC 2.8: a policy, and what a policy has no place for. It says which keys of a log must all have
// signed, whose statement that the index is true is asked for, how old an answer may be, and which shards the log family
// has. It must not be changed after ParseTrust, and may then be used concurrently.
type Trust struct {
	Log string // family
	// Require are the log keys of which all that are named as a checkpoint's origin must have signed it. Each is a log key
	// of Policy, each origin has at least one.
	Require []string
	// Verifiers are names of witnesses of Policy that verify the index (SPEC 2.14), of which Threshold must have cosigned for
	// an answer to count as proven. Several keys of one operator count once. Both are empty if no verifier is known.
	Verifiers []string
	Threshold int
	// MaxLag is how many entries a checkpoint may have that the index behind an answer does not cover. At least 1, as the
	// root leaf is one.
	MaxLag int64
	// MaxAge is how old an answer may be, and Skew by how much clocks may differ. Whole seconds; MaxAge is at least one.
	MaxAge, Skew time.Duration
	Origins      []string // shards, oldest first
	// Policy is asked for its quorum. One of its log keys alone is not enough for a Trust.
	Policy *Policy
}

// ParseTrust reads a trust file. Every error is a [*SyntaxError], whose line is that of the file, also within the policy.
func ParseTrust(b []byte) (*Trust, error) {
	s := trustParser{rest: string(b)}
	if err := s.parse(len(b)); err != nil {
		err.of = "trust file"
		return nil, err
	}
	return &s.t, nil
}

// Format writes the file; the policy in it is written as it was read. What ParseTrust would refuse is an error.
func (t *Trust) Format() ([]byte, error) {
	b := fmt.Appendf(nil, "%s\nlog %s\n", trustHeader, t.Log)
	words := func(keyword string, all []string) {
		for _, w := range all {
			b = fmt.Appendf(b, "%s %s\n", keyword, w)
		}
	}
	words("require", t.Require)
	words("verifier", t.Verifiers)
	if t.Threshold != 0 {
		b = fmt.Appendf(b, "verifiers %d\n", t.Threshold)
	}
	b = fmt.Appendf(b, "maxlag %d\nmaxage %d\nskew %d\n", t.MaxLag, t.MaxAge/time.Second, t.Skew/time.Second)
	words("origin", t.Origins)
	b = append(b, '\n')
	if t.Policy != nil {
		b = append(b, t.Policy.text...)
	}
	if t.MaxAge%time.Second != 0 || t.Skew%time.Second != 0 {
		return nil, errors.New("formatting trust file: maxage and skew are not whole seconds")
	}
	again, err := ParseTrust(b)
	if err != nil {
		return nil, fmt.Errorf("formatting trust file: %w", err)
	}
	// A word might hold lines of its own.
	if again.Log != t.Log || !slices.Equal(again.Require, t.Require) || !slices.Equal(again.Verifiers, t.Verifiers) || !slices.Equal(again.Origins, t.Origins) {
		return nil, errors.New("formatting trust file: a line feed in a word")
	}
	return b, nil
}

// Verify is [Policy.Verify] for a checkpoint of one of the shards that all required keys of its origin have signed. It also
// returns which of the verifiers have cosigned, in the order of the file: [Trust.Proven] says whether they suffice. Errors
// are those of Policy.Verify; a missing required key, and another origin, are [ErrNotSigned].
func (t *Trust) Verify(note []byte) (v *Verified, verifiers []string, err error) {
	if v, err = t.Policy.Verify(note); err != nil {
		return nil, nil, err
	}
	c := v.Checkpoint
	if !slices.Contains(t.Origins, c.Origin) {
		return nil, nil, fmt.Errorf("verifying checkpoint %s %d: it is of no origin of the trust file: %w", c.Origin, c.Size, ErrNotSigned)
	}
	for _, vkey := range t.Require {
		if nameOf(vkey) == c.Origin && !slices.Contains(v.LogKeys, vkey) {
			return nil, nil, fmt.Errorf("verifying checkpoint %s %d: the signature by %s lacks, which the trust file requires: %w",
				c.Origin, c.Size, vkey, ErrNotSigned)
		}
	}
	for _, name := range t.Verifiers {
		if slices.ContainsFunc(v.Cosignatures, func(cs Cosignature) bool { return cs.Witness == name }) {
			verifiers = append(verifiers, name)
		}
	}
	return v, verifiers, nil
}

// Proven reports whether these verifiers, by their names in the policy, are as many as the file asks for. It is false if
// the file names none: then nobody but the operator says that the index is true.
func (t *Trust) Proven(verifiers []string) bool {
	operators := make(map[string]bool)
	for _, name := range verifiers {
		if slices.Contains(t.Verifiers, name) {
			operators[t.Policy.operator[name]] = true
		}
	}
	return t.Threshold > 0 && len(operators) >= t.Threshold
}

// nameOf returns the name of a vkey that was parsed.
func nameOf(vkey string) string {
	name, _, _ := strings.Cut(vkey, "+")
	return name
}

type trustParser struct {
	t    Trust
	rest string
	line int // of text, counted from 1
	text string
	// lineOf finds the line of a required key, a verifier, "verifiers" or an origin, to say where it is wrong.
	lineOf map[string]int
}

func (s *trustParser) fix(remedy, format string, args ...any) *SyntaxError {
	return &SyntaxError{Line: s.line, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

// next goes to the next line. At the end text is empty, as it is on an empty line.
func (s *trustParser) next() {
	s.text, s.rest, _ = strings.Cut(s.rest, "\n")
	s.line++
}

func (s *trustParser) parse(size int) *SyntaxError {
	if size > MaxTrust {
		return s.fix("", "more than %d bytes", MaxTrust)
	}
	s.lineOf = make(map[string]int)
	if s.next(); s.text != trustHeader {
		return s.fix("a file that idlog trust add has written", "first line is not %s", trustHeader)
	}
	s.next()
	steps := []func() *SyntaxError{
		s.log,
		func() *SyntaxError { return s.words("require", 1, &s.t.Require) },
		func() *SyntaxError { return s.words("verifier", 0, &s.t.Verifiers) },
		s.threshold,
		func() *SyntaxError { return s.num("maxlag", 1, 1<<63-1, &s.t.MaxLag) },
		func() *SyntaxError { return s.seconds("maxage", 1, &s.t.MaxAge) },
		func() *SyntaxError { return s.seconds("skew", 0, &s.t.Skew) },
		func() *SyntaxError { return s.words("origin", 1, &s.t.Origins) },
		s.policy,
		s.agree,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// value returns what follows the keyword on the present line.
func (s *trustParser) value(keyword string) (string, *SyntaxError) {
	v, ok := strings.CutPrefix(s.text, keyword+" ")
	if !ok {
		return "", s.fix("the lines in their order: log, require, verifier, verifiers, maxlag, maxage, skew, origin, an empty line, a policy",
			"want: %s <value>, not %.64q", keyword, s.text)
	}
	return v, nil
}

func (s *trustParser) log() *SyntaxError {
	v, err := s.value("log")
	if err != nil {
		return err
	}
	if !leaf.ValidName(v) {
		return s.fix("the family that the log's leaves name", "log %.64q is not 1 to 128 letters, digits and - . _ / :", v)
	}
	s.t.Log = v
	s.next()
	return nil
}

// words reads at least so many lines of a keyword, each of one word, none twice.
func (s *trustParser) words(keyword string, least int, into *[]string) *SyntaxError {
	for len(*into) < least || strings.HasPrefix(s.text, keyword+" ") {
		v, err := s.value(keyword)
		switch {
		case err != nil:
			return err
		case v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < 0x21 || r > 0x7e }):
			return s.fix("", "%s %.64q is not one word of printable ASCII", keyword, v)
		case slices.Contains(*into, v):
			return s.fix("each once", "%s %.64s stands there twice", keyword, v)
		case len(*into) == maxLines:
			return s.fix("", "more than %d lines %s", maxLines, keyword)
		}
		*into = append(*into, v)
		s.lineOf[keyword+" "+v] = s.line
		s.next()
	}
	return nil
}

func (s *trustParser) threshold() *SyntaxError {
	switch has := strings.HasPrefix(s.text, "verifiers "); {
	case !has && len(s.t.Verifiers) > 0:
		return s.fix("verifiers 1, or how many of them must have cosigned", "no line verifiers after the verifier lines")
	case !has:
		return nil
	case len(s.t.Verifiers) == 0:
		return s.fix("a line verifier <name> for each, or no line verifiers", "verifiers without a verifier")
	}
	var n int64
	s.lineOf["verifiers"] = s.line
	if err := s.num("verifiers", 1, int64(len(s.t.Verifiers)), &n); err != nil {
		return err
	}
	s.t.Threshold = int(n)
	return nil
}

func (s *trustParser) num(keyword string, least, most int64, into *int64) *SyntaxError {
	v, err := s.value(keyword)
	if err != nil {
		return err
	}
	n, bad := checkpoint.ParseSize(v)
	if bad != nil || n < least || n > most {
		return s.fix(fmt.Sprintf("a number from %d to %d", least, most), "%s %.24q is not within %d and %d", keyword, v, least, most)
	}
	*into = n
	s.next()
	return nil
}

func (s *trustParser) seconds(keyword string, least int64, into *time.Duration) *SyntaxError {
	var n int64
	err := s.num(keyword, least, maxSeconds, &n)
	*into = time.Duration(n) * time.Second
	return err
}

func (s *trustParser) policy() *SyntaxError {
	if s.text != "" || s.rest == "" {
		return s.fix("an empty line, then the policy", "no policy after the origins")
	}
	p, err := Parse([]byte(s.rest))
	if e, ok := errors.AsType[*SyntaxError](err); ok {
		if e.Line > 0 {
			e.Line += s.line
		}
		return e
	}
	s.t.Policy = p
	return nil
}

// agree holds the lines to one another and to the policy.
func (s *trustParser) agree() *SyntaxError {
	t := &s.t
	for _, o := range t.Origins {
		s.line = s.lineOf["origin "+o]
		if !leaf.InFamily(o, t.Log) || !leaf.ValidName(o) {
			return s.fix("origin "+t.Log+"/<name of the shard>", "origin %.160s is no shard of log %s", o, t.Log)
		}
		if !slices.ContainsFunc(t.Require, func(vkey string) bool { return nameOf(vkey) == o }) {
			return s.fix("require <a log key of this origin>", "no required key is named as origin %s: whoever has any key could sign for it", o)
		}
	}
	for _, vkey := range t.Require {
		s.line = s.lineOf["require "+vkey]
		if !slices.Contains(t.Origins, nameOf(vkey)) {
			return s.fix("origin "+nameOf(vkey)+", or no such key", "required key %.160s is named as no origin", vkey)
		}
		if !slices.ContainsFunc(t.Policy.Logs, func(l LogKey) bool { return l.VKey == vkey }) {
			return s.fix("log "+vkey+" in the policy", "required key %.160s is no log key of the policy", vkey)
		}
	}
	operators := make(map[string]bool)
	for _, name := range t.Verifiers {
		op, ok := t.Policy.operator[name]
		if !ok {
			s.line = s.lineOf["verifier "+name]
			return s.fix("witness "+name+" <vkey> in the policy, or no such verifier", "verifier %.64s is no witness of the policy", name)
		}
		operators[op] = true
	}
	if t.Threshold > len(operators) {
		s.line = s.lineOf["verifiers"]
		return s.fix(fmt.Sprintf("a number from 1 to %d", len(operators)), "verifiers %d of %d operators: the keys of one count once",
			t.Threshold, len(operators))
	}
	return nil
}
