package policy_test

import (
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/proto/prototest"
)

var update = flag.Bool("update", false, "write the vectors")

const origin = "log.example/id/2026"

var (
	logKey  = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	logPQ   = prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.LogRole)
	other   = prototest.NewKey("other.example", checkpoint.Ed25519, checkpoint.LogRole)
	alice   = prototest.NewKey("alice.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	alicePQ = prototest.NewKey("alice.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
	bob     = prototest.NewKey("bob.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	carol   = prototest.NewKey("carol.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
)

// lines writes a policy: $name stands for the vkey of a key above.
func lines(s ...string) string {
	r := strings.NewReplacer("$logPQ", logPQ.VKey, "$log", logKey.VKey, "$other", other.VKey, "$alicePQ", alicePQ.VKey,
		"$alice", alice.VKey, "$bob", bob.VKey, "$carol", carol.VKey)
	return r.Replace(strings.Join(s, "\n") + "\n")
}

var full = lines("log $log https://log.example/id/2026", "log $logPQ", "log $other",
	"witness alice $alice https://alice.example/", "witness alice-pq $alicePQ", "witness bob $bob", "witness carol $carol",
	"group alices any alice alice-pq", "group all3 2 alices bob carol", "quorum all3")

func cases() []prototest.Case {
	seed := logKey.Seed()
	logAsWitness := prototest.NewKeyFromSeed("w.example", checkpoint.Ed25519, checkpoint.WitnessRole, seed).VKey
	logPQAsWitness := prototest.NewKeyFromSeed("w.example", checkpoint.MLDSA44, checkpoint.WitnessRole, logPQ.Seed()).VKey
	logAgain := prototest.NewKeyFromSeed("log2.example", checkpoint.Ed25519, checkpoint.LogRole, seed).VKey
	bobAgain := prototest.NewKeyFromSeed("bob2.example", checkpoint.Ed25519, checkpoint.WitnessRole, bob.Seed()).VKey
	originWitness := prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.WitnessRole).VKey
	many := func(n int, f string) []string {
		var s []string
		for i := range n {
			k := prototest.NewKey(fmt.Sprintf("many%d.example", i), checkpoint.Ed25519, checkpoint.WitnessRole)
			s = append(s, strings.NewReplacer("#", fmt.Sprint(i), "$k", k.VKey).Replace(f))
		}
		return s
	}
	return []prototest.Case{
		prototest.Accept("logs, operators, groups", full),
		prototest.Accept("no witness", lines("log $log", "quorum none")),
		prototest.Accept("no log", lines("witness bob $bob", "quorum bob")),
		prototest.Accept("only a quorum", "quorum none\n"),
		prototest.Accept("one witness", lines("log $log", "witness bob $bob", "quorum bob")),
		prototest.Accept("comments and white space", lines("# a policy", "", " \t log\t$log  https://log.example/ \t", "\t# é", "quorum  none ")),
		prototest.Accept("definitions after the quorum", lines("witness bob $bob", "quorum bob", "log $log", "witness carol $carol")),
		prototest.Accept("keywords as names", lines("witness any $bob", "witness quorum $carol", "group all all any quorum", "quorum all")),
		prototest.Accept("name of opaque bytes", lines("witness b\xff $bob", "quorum b\xff")),
		prototest.Accept("64 witnesses", strings.Join(many(64, "witness w# $k"), "\n")+"\nquorum w0\n"),
		prototest.Accept("nested groups", lines("witness a $alice", "witness b $bob", "witness c $carol", "group x all a b", "group y any x c", "quorum y")),

		prototest.Refuse("empty", ""),
		prototest.Refuse("no quorum", lines("log $log")),
		prototest.Refuse("two quorums", lines("log $log", "quorum none", "quorum none")),
		prototest.Refuse("quorum without a name", lines("log $log", "quorum")),
		prototest.Refuse("quorum of two names", lines("witness b $bob", "quorum b none")),
		prototest.Refuse("quorum of an unknown name", lines("witness b $bob", "quorum c")),
		prototest.Refuse("quorum before its definition", lines("quorum b", "witness b $bob")),
		prototest.Refuse("no final newline", strings.TrimSuffix(full, "\n")),
		prototest.Refuse("carriage returns", strings.ReplaceAll(full, "\n", "\r\n")),
		prototest.Refuse("NUL", lines("log $log", "# \x00", "quorum none")),
		prototest.Refuse("delete", lines("log $log", "# \x7f", "quorum none")),
		prototest.Refuse("form feed between fields", lines("log\f$log", "quorum none")),
		prototest.Refuse("no-break space between fields", lines("log\u00a0$log", "quorum none")),
		prototest.Refuse("byte order mark", "\ufeff"+full),
		prototest.Refuse("unknown keyword", lines("log $log", "require bob", "quorum none")),
		prototest.Refuse("keyword in upper case", lines("LOG $log", "quorum none")),
		prototest.Refuse("comment after a statement", lines("log $log # ours, not theirs", "quorum none")),
		prototest.Refuse("log without key", lines("log", "quorum none")),
		prototest.Refuse("log with two URLs", lines("log $log a b", "quorum none")),
		prototest.Refuse("witness without key", lines("witness bob", "quorum none")),
		prototest.Refuse("witness with two URLs", lines("witness bob $bob a b", "quorum bob")),
		prototest.Refuse("vkey with another ID", lines("log "+strings.Replace(logKey.VKey, "+", "+0", 1)[:len(logKey.VKey)], "quorum none")),
		prototest.Refuse("witness of type 1", lines("witness o $other", "quorum o")),
		prototest.Refuse("log of type 4", lines("log $bob", "quorum none")),
		prototest.Refuse("a log twice", lines("log $log", "log $log", "quorum none")),
		prototest.Refuse("a log's key under two names", lines("log $log", "log "+logAgain, "quorum none")),
		prototest.Refuse("a witness's key under two names", lines("witness b $bob", "witness c "+bobAgain, "group g all b c", "quorum g")),
		prototest.Refuse("a witness twice", lines("witness b $bob", "witness c $bob", "group g any b c", "quorum g")),
		prototest.Refuse("the log's key as a witness", lines("log $log", "witness w "+logAsWitness, "quorum w")),
		prototest.Refuse("the log's key as a witness, the log after it", lines("witness w "+logAsWitness, "log $log", "quorum w")),
		prototest.Refuse("the log's ML-DSA-44 key as a witness", lines("log $logPQ", "witness w "+logPQAsWitness, "quorum w")),
		prototest.Refuse("the log's name as a witness", lines("log $log", "witness w "+originWitness, "quorum w")),
		prototest.Refuse("the log's name as a witness, the log after it", lines("witness w "+originWitness, "log $log", "quorum w")),
		prototest.Refuse("one operator twice in all", lines("witness a $alice", "witness b $alicePQ", "group g all a b", "quorum g")),
		prototest.Refuse("one operator twice in 2 of 3", lines("witness a $alice", "witness b $alicePQ", "witness c $bob", "group g 2 a b c", "quorum g")),
		prototest.Refuse("one operator in two groups", lines("witness a $alice", "witness b $alicePQ", "group x any a", "group y any b", "group z all x y", "quorum z")),
		prototest.Refuse("one operator in no group", lines("witness a $alice", "witness b $alicePQ", "quorum a")),
		prototest.Refuse("two names alike", lines("witness b $bob", "witness b $carol", "quorum b")),
		prototest.Refuse("group named as a witness", lines("witness b $bob", "group b any b", "quorum b")),
		prototest.Refuse("two groups alike", lines("witness b $bob", "witness c $carol", "group g any b", "group g any c", "quorum g")),
		prototest.Refuse("witness named none", lines("witness none $bob", "quorum none")),
		prototest.Refuse("group named none", lines("witness b $bob", "group none any b", "quorum none")),
		prototest.Refuse("none as a member", lines("witness b $bob", "group g any b none", "quorum g")),
		prototest.Refuse("empty group", lines("group g any", "quorum g")),
		prototest.Refuse("group that contains itself", lines("witness b $bob", "group g any b g", "quorum g")),
		prototest.Refuse("two groups that contain each other", lines("witness b $bob", "group g any b h", "group h any g", "quorum g")),
		prototest.Refuse("unknown member", lines("witness b $bob", "group g any b c", "quorum g")),
		prototest.Refuse("one member twice", lines("witness b $bob", "group g all b b", "quorum g")),
		prototest.Refuse("one member in two groups", lines("witness b $bob", "witness c $carol", "group g any b c", "group h any b g", "quorum h")),
		prototest.Refuse("threshold 0", lines("witness b $bob", "group g 0 b", "quorum g")),
		prototest.Refuse("threshold above the members", lines("witness b $bob", "group g 2 b", "quorum g")),
		prototest.Refuse("negative threshold", lines("witness b $bob", "group g -1 b", "quorum g")),
		prototest.Refuse("threshold with leading zero", lines("witness b $bob", "group g 01 b", "quorum g")),
		prototest.Refuse("threshold with plus", lines("witness b $bob", "group g +1 b", "quorum g")),
		prototest.Refuse("threshold in words", lines("witness b $bob", "group g most b", "quorum g")),
		prototest.Refuse("65 witnesses", strings.Join(many(65, "witness w# $k"), "\n")+"\nquorum w0\n"),
	}
}

// TestVectors cannot ask that a policy is written as it was, because white space
// is free; it asks that writing it loses nothing and is stable.
func TestVectors(t *testing.T) {
	prototest.Vectors(t, "policy.json", *update, cases(), func(b []byte) ([]byte, error) {
		p, err := policy.Parse(b)
		if err != nil {
			return nil, err
		}
		return b, rewrite(p)
	})
}

func rewrite(p *policy.Policy) error {
	again, err := policy.Parse(p.Format())
	if err != nil {
		return fmt.Errorf("written again it is refused: %w", err)
	}
	if !slices.Equal(p.Logs, again.Logs) || !slices.Equal(p.Witnesses, again.Witnesses) ||
		!reflect.DeepEqual(p.Groups, again.Groups) || p.Quorum != again.Quorum {
		return fmt.Errorf("written again it differs:\n%s", p.Format())
	}
	return nil
}

func TestTooLarge(t *testing.T) {
	if _, err := policy.Parse([]byte(full + strings.Repeat("#\n", policy.MaxSize/2))); err == nil {
		t.Error("accepted")
	}
}

// TestErrors says where a policy is wrong, and what to write in its place.
func TestErrors(t *testing.T) {
	originWitness := prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.WitnessRole).VKey
	for name, tc := range map[string]struct {
		policy string
		line   int
		reason string
		remedy string
	}{
		"a log twice":          {lines("log $log", "", "log $log", "quorum none"), 3, "is already that of", "a key of its own"},
		"a log as witness":     {lines("log $log", "witness w "+originWitness, "quorum w"), 2, "has the name of a log", "other operators"},
		"one operator twice":   {lines("witness a $alice", "witness b $bob", "# comment", "witness c $alicePQ", "group g 2 a b c", "quorum g"), 4, "keys of one operator", "group <name> any a c"},
		"threshold 0":          {lines("witness b $bob", "group g 0 b", "quorum g"), 2, "not within 1 and 1", "quorum none"},
		"a role":               {lines("log $bob", "quorum none"), 1, "not one for its role", "key generate"},
		"a keyword":            {lines("log $log", "LOG $log", "quorum none"), 2, "unknown keyword", "small letters"},
		"an unknown member":    {lines("witness b $bob", "group g any b c", "quorum g"), 2, "not defined before", "above"},
		"a member twice":       {lines("witness b $bob", "group g any b", "group h any b", "quorum g"), 3, "already one of group g", "one group"},
		"an unknown quorum":    {lines("quorum b", "witness b $bob"), 1, "not defined before", "above"},
		"two quorums":          {lines("quorum none", "quorum none"), 2, "second quorum", "one quorum line"},
		"no quorum":            {lines("log $log"), 0, "no quorum", "quorum none"},
		"no newline":           {"quorum none", 0, "newline", "newline"},
		"control characters":   {"quorum\rnone\n", 1, "control character", ""},
		"too many words":       {lines("log $log a b"), 1, "want: log", ""},
		"a key that is no key": {lines("log x"), 1, "key", ""},
	} {
		_, err := policy.Parse([]byte(tc.policy))
		e, ok := errors.AsType[*policy.SyntaxError](err)
		if !ok || e.Line != tc.line || !strings.Contains(e.Error(), tc.reason) || !strings.Contains(e.Remedy, tc.remedy) || tc.remedy == "" && e.Remedy != "" {
			t.Errorf("%s: %v, remedy %q", name, err, e.Remedy)
		}
	}
}

func parse(t *testing.T, s ...string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(lines(s...)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newLog(keys ...prototest.Key) *prototest.Log {
	l := prototest.NewLog(origin, keys...)
	l.Fill(9)
	return l
}

func TestVerify(t *testing.T) {
	p, err := policy.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(logKey)
	c := l.Checkpoint(9)
	// sign takes keys and their times: the log at 0, one witness a second after the other.
	sign := func(keys ...prototest.Key) []byte {
		var sigs []checkpoint.Signature
		for i, k := range keys {
			sigs = append(sigs, k.Sign(c.Format(), uint64(1000+i)))
		}
		return checkpoint.Join(c.Format(), sigs...)
	}
	stranger := prototest.NewKey("stranger.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	impostor := prototest.NewKeyFromSeed("bob.example", checkpoint.Ed25519, checkpoint.WitnessRole, [32]byte{1})
	tests := []struct {
		name      string
		note      []byte
		witnesses string // those found, in the policy's order
		oldest    int64
	}{
		{"two operators", sign(logKey, alice, bob), "alice bob", 1001},
		{"log of two keys", sign(logPQ, logKey, alice, bob), "alice bob", 1002},
		{"ML-DSA-44 only", sign(logPQ, alicePQ, carol), "alice-pq carol", 1001},
		{"three operators, the newest two count", sign(logKey, alice, bob, carol), "alice bob carol", 1002},
		{"one operator's two keys and another", sign(logKey, alice, alicePQ, bob), "alice alice-pq bob", 1002},
		{"unknown lines are ignored", sign(stranger, logKey, impostor, other, alice, bob), "alice bob", 1004},
		{"repeated lines", sign(logKey, alice, bob, alice, bob), "alice bob", 1001},
		{"any order", sign(bob, alice, logKey), "alice bob", 1000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, err := p.Verify(test.note)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, v.Checkpoint); diff != "" {
				t.Error(diff)
			}
			var names []string
			for _, cs := range v.Cosignatures {
				names = append(names, cs.Witness)
			}
			if got := strings.Join(names, " "); got != test.witnesses {
				t.Errorf("witnesses %q, want %q", got, test.witnesses)
			}
			if v.Oldest().Unix() != test.oldest {
				t.Errorf("oldest %v, want %d", v.Oldest().Unix(), test.oldest)
			}
		})
	}
	v, err := p.Verify(sign(logPQ, alice, bob, logKey))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{logKey.VKey, logPQ.VKey}, v.LogKeys); diff != "" {
		t.Error(diff)
	}
	want := []policy.Cosignature{{"alice", "alice.example", time.Unix(1001, 0).UTC()}, {"bob", "bob.example", time.Unix(1002, 0).UTC()}}
	if diff := cmp.Diff(want, v.Cosignatures); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyLacksQuorum(t *testing.T) {
	p, err := policy.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(logKey)
	timeless := l.Note(9, 1000, alice)
	timeless = append(timeless, bob.Sign(l.Checkpoint(9).Format(), 0).Line()...)
	for name, test := range map[string]struct {
		note []byte
		have []string
	}{
		"no witness":              {l.Note(9, 1000), nil},
		"one":                     {l.Note(9, 1000, bob), []string{"bob"}},
		"one twice":               {l.Note(9, 1000, bob, bob), []string{"bob"}},
		"one operator's two keys": {l.Note(9, 1000, alice, alicePQ), []string{"alice", "alice-pq"}},
		"a second without a time": {timeless, []string{"alice"}},
		"a log's other key":       {l.Note(9, 1000, bob, logPQ), []string{"bob"}},
	} {
		_, err := p.Verify(test.note)
		q, ok := errors.AsType[*policy.QuorumError](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(&policy.QuorumError{Origin: origin, Size: 9, Have: test.have, Want: "all3"}, q); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	p := parse(t, "log $log", "log $other", "witness bob $bob", "quorum bob")
	l := newLog(logKey)
	c := l.Checkpoint(9)
	good := l.Note(9, 1000, bob)
	if _, err := p.Verify(good); err != nil {
		t.Fatal(err)
	}
	theirs := prototest.NewLog("other.example", other)
	theirs.Fill(9)
	cut := func(s checkpoint.Signature) checkpoint.Signature {
		s.Bytes = s.Bytes[:len(s.Bytes)-1]
		return s
	}
	// The impostor has the name and the key ID of the log, as 2^32 work finds.
	impostor := checkpoint.Signature{Name: origin, ID: logKey.Sign(c.Format(), 0).ID, Bytes: other.Sign(c.Format(), 0).Bytes}
	for name, test := range map[string]struct {
		note     []byte
		unsigned bool // the error is ErrNotSigned
	}{
		"witness alone":                     {checkpoint.Join(c.Format(), bob.Sign(c.Format(), 1)), true},
		"another log's signature":           {checkpoint.Join(c.Format(), other.Sign(c.Format(), 1), bob.Sign(c.Format(), 1)), true},
		"another log's name by our key":     {checkpoint.Join(theirs.Checkpoint(9).Format(), logKey.Sign(theirs.Checkpoint(9).Format(), 1), bob.Sign(theirs.Checkpoint(9).Format(), 1)), true},
		"a key that the policy has not":     {prototest.Note(c, 1, logPQ, bob), true},
		"a false key of the same ID":        {checkpoint.Join(c.Format(), impostor, bob.Sign(c.Format(), 1)), false},
		"a false one beside the true":       {checkpoint.Join(c.Format(), logKey.Sign(c.Format(), 1), impostor, bob.Sign(c.Format(), 1)), false},
		"the log's of another size":         {checkpoint.Join(c.Format(), logKey.Sign(l.Checkpoint(8).Format(), 1), bob.Sign(c.Format(), 1)), false},
		"the witness's of another size":     {checkpoint.Join(c.Format(), logKey.Sign(c.Format(), 1), bob.Sign(l.Checkpoint(8).Format(), 1)), false},
		"a true and a false of one witness": {checkpoint.Join(c.Format(), logKey.Sign(c.Format(), 1), bob.Sign(c.Format(), 1), bob.Sign(l.Checkpoint(8).Format(), 1)), false},
		"a signature cut short":             {checkpoint.Join(c.Format(), logKey.Sign(c.Format(), 1), cut(bob.Sign(c.Format(), 1))), false},
		"no checkpoint":                     {checkpoint.Join([]byte("a\nb\n"), bob.Sign(c.Format(), 1)), false},
		"no note":                           {c.Format(), false},
	} {
		_, err := p.Verify(test.note)
		if err == nil || errors.Is(err, policy.ErrNotSigned) != test.unsigned {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok := errors.AsType[*policy.QuorumError](err); ok {
			t.Errorf("%s: only the quorum is said to lack", name)
		}
	}
}

// TestVerifyEveryByte changes each byte of a note: it is refused, or it lost
// something the policy did not ask for.
func TestVerifyEveryByte(t *testing.T) {
	p := parse(t, "log $log", "witness bob $bob", "quorum bob")
	note := newLog(logKey).Note(9, 1000, bob)
	for i := range note {
		for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
			note[i] ^= bit
			if _, err := p.Verify(note); err == nil {
				t.Errorf("verifies with bit %#02x of byte %d changed", bit, i)
			}
			note[i] ^= bit
		}
	}
}

func TestQuorumNone(t *testing.T) {
	p := parse(t, "log $log", "witness bob $bob", "quorum none")
	v, err := p.Verify(newLog(logKey).Note(9, 1000, bob))
	if err != nil {
		t.Fatal(err)
	}
	if !v.Oldest().IsZero() || len(v.Cosignatures) != 1 {
		t.Errorf("oldest %v, cosignatures %v", v.Oldest(), v.Cosignatures)
	}
	if _, err := p.Verify(newLog(logPQ).Note(9, 1000, bob)); !errors.Is(err, policy.ErrNotSigned) {
		t.Errorf("without the log's signature: %v", err)
	}
}

// TestOldest holds that one lying witness of 2 of 3 moves the time neither way.
func TestOldest(t *testing.T) {
	p := parse(t, "log $log", "witness a $alice", "witness b $bob", "witness c $carol", "group g 2 a b c", "quorum g")
	text := newLog(logKey).Checkpoint(9).Format()
	for _, lie := range []uint64{1, 1 << 62} {
		v, err := p.Verify(checkpoint.Join(text, logKey.Sign(text, 0), alice.Sign(text, 1000), bob.Sign(text, 1001), carol.Sign(text, lie)))
		if err != nil {
			t.Fatal(err)
		}
		if at := v.Oldest().Unix(); at != 1000 && at != 1001 {
			t.Errorf("with a cosignature of time %d the oldest is %d", lie, at)
		}
	}
}

func TestSatisfied(t *testing.T) {
	p, err := policy.Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		names string
		want  bool
	}{
		{"", false}, {"alice", false}, {"alice alice-pq", false}, {"alice bob", true}, {"alice-pq carol", true},
		{"bob carol", true}, {"alices bob", false}, {"bob all3", false}, {"bob nobody", false},
	} {
		have := make(map[string]bool)
		for _, n := range strings.Fields(test.names) {
			have[n] = true
		}
		if got := p.Satisfied(have); got != test.want {
			t.Errorf("%q: %v", test.names, got)
		}
	}
	if !parse(t, "quorum none").Satisfied(nil) {
		t.Error("none is not satisfied by nobody")
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases() {
		if len(c.Data()) < 16<<10 {
			f.Add(c.Data())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := policy.Parse(b)
		if err != nil {
			return
		}
		if err := rewrite(p); err != nil {
			t.Error(err)
		}
		p.Satisfied(map[string]bool{"bob": true})
	})
}
