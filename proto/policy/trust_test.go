package policy_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/proto/prototest"
)

const (
	family   = "log.example/id"
	previous = "log.example/id/2025"
)

var (
	oldKey = prototest.NewKey(previous, checkpoint.Ed25519, checkpoint.LogRole)

	trustPolicy = lines("log $log https://log.example/id/2026", "# kept", "log $logPQ", "log "+oldKey.VKey, "log $other",
		"witness alice $alice", "witness alice-pq $alicePQ", "witness bob $bob", "witness carol $carol",
		"group alices any alice alice-pq", "group q 2 alices bob carol", "quorum q")

	// trustHead is the lines before the policy.
	trustHead = lines("idlog-trust/v1", "log "+family, "require $log", "require $logPQ", "require "+oldKey.VKey,
		"verifier alice", "verifier alice-pq", "verifier carol", "verifiers 2",
		"maxlag 65536", "maxage 3600", "skew 60", "origin "+previous, "origin "+origin)

	trustFile = trustHead + "\n" + trustPolicy
)

// instead is the trust file with a part of it replaced, which must be there.
func instead(old, new string) string {
	old, new = strings.TrimSuffix(lines(old), "\n"), strings.TrimSuffix(lines(new), "\n")
	if !strings.Contains(trustFile, old) {
		panic("the trust file has no " + old)
	}
	return strings.Replace(trustFile, old, new, 1)
}

func TestTrustVectors(t *testing.T) {
	noVerifiers := instead("verifier alice\nverifier alice-pq\nverifier carol\nverifiers 2\n", "")
	prototest.Vectors(t, "trust.json", *update, []prototest.Case{
		prototest.Accept("keys, verifiers, two shards", trustFile),
		prototest.Accept("no verifiers", noVerifiers),
		prototest.Accept("one verifier of three", instead("verifiers 2", "verifiers 1")),
		prototest.Accept("another order of shards and keys", instead("require $log\nrequire $logPQ", "require $logPQ\nrequire $log")),
		prototest.Accept("no skew", instead("skew 60", "skew 0")),
		prototest.Accept("greatest numbers", instead("maxlag 65536\nmaxage 3600\nskew 60", "maxlag 9223372036854775807\nmaxage 4294967295\nskew 4294967295")),
		prototest.Accept("policy of another order, with white space", trustHead+"\n"+trustPolicy+"\n\t# end\n"),

		prototest.Refuse("empty", ""),
		prototest.Refuse("a policy", trustPolicy),
		prototest.Refuse("another version", instead("idlog-trust/v1", "idlog-trust/v2")),
		prototest.Refuse("no log", instead("log "+family+"\n", "")),
		prototest.Refuse("a name of a log with a space", instead("log "+family, "log log.example /id")),
		prototest.Refuse("no required key", instead("require $log\nrequire $logPQ\nrequire "+oldKey.VKey+"\n", "")),
		prototest.Refuse("a required key twice", instead("require $logPQ", "require $log")),
		prototest.Refuse("a required key of no origin", instead("require $logPQ", "require $logPQ\nrequire $other")),
		prototest.Refuse("a required key that the policy has not", instead("log $logPQ\nlog", "log")),
		prototest.Refuse("a witness's key as a required one", instead("require $logPQ", "require $bob")),
		prototest.Refuse("a required key that is no key", instead("require $logPQ", "require "+origin)),
		prototest.Refuse("an origin without a required key", instead("require "+oldKey.VKey+"\n", "")),
		prototest.Refuse("a verifier that the policy has not", instead("verifier carol", "verifier dave")),
		prototest.Refuse("a group as a verifier", instead("verifier carol", "verifier alices")),
		prototest.Refuse("a verifier's key", instead("verifier carol", "verifier $carol")),
		prototest.Refuse("a verifier twice", instead("verifier carol", "verifier alice")),
		prototest.Refuse("a verifier of two words", instead("verifier carol", "verifier carol x")),
		prototest.Refuse("a verifier of no word", instead("verifier carol", "verifier ")),
		prototest.Refuse("no number of verifiers", instead("verifiers 2\n", "")),
		prototest.Refuse("a number without verifiers", strings.Replace(noVerifiers, "maxlag", "verifiers 1\nmaxlag", 1)),
		prototest.Refuse("threshold 0", instead("verifiers 2", "verifiers 0")),
		prototest.Refuse("threshold above the verifiers", instead("verifiers 2", "verifiers 4")),
		prototest.Refuse("threshold above the operators", instead("verifiers 2", "verifiers 3")),
		prototest.Refuse("threshold with a leading zero", instead("verifiers 2", "verifiers 02")),
		prototest.Refuse("no maxlag", instead("maxlag 65536\n", "")),
		prototest.Refuse("maxlag 0", instead("maxlag 65536", "maxlag 0")),
		prototest.Refuse("maxlag of 2^63", instead("maxlag 65536", "maxlag 9223372036854775808")),
		prototest.Refuse("maxage 0", instead("maxage 3600", "maxage 0")),
		prototest.Refuse("maxage of 2^32 seconds", instead("maxage 3600", "maxage 4294967296")),
		prototest.Refuse("maxage with a unit", instead("maxage 3600", "maxage 1h")),
		prototest.Refuse("no skew line", instead("skew 60\n", "")),
		prototest.Refuse("negative skew", instead("skew 60", "skew -1")),
		prototest.Refuse("maxage before maxlag", instead("maxlag 65536\nmaxage 3600", "maxage 3600\nmaxlag 65536")),
		prototest.Refuse("no origin", instead("origin "+previous+"\norigin "+origin+"\n", "")),
		prototest.Refuse("an origin twice", instead("origin "+previous, "origin "+origin)),
		prototest.Refuse("an origin of another family", instead("origin "+previous, "origin log.example/other/2025")),
		prototest.Refuse("the family as an origin", instead("origin "+previous, "origin "+family)),
		prototest.Refuse("an origin without a shard", instead("origin "+previous, "origin "+family+"/")),
		prototest.Refuse("an origin below a shard", instead("origin "+previous, "origin "+previous+"/x")),
		prototest.Refuse("an unknown line", instead("skew 60", "skew 60\nmaxsize 1")),
		prototest.Refuse("a comment", instead("skew 60", "# skew\nskew 60")),
		prototest.Refuse("no empty line before the policy", trustHead+trustPolicy),
		prototest.Refuse("two empty lines and no policy", trustHead+"\n\n"),
		prototest.Refuse("no policy", trustHead+"\n"),
		prototest.Refuse("nothing after the origins", trustHead),
		prototest.Refuse("a policy without quorum", strings.TrimSuffix(trustFile, "quorum q\n")),
		prototest.Refuse("no final newline", strings.TrimSuffix(trustFile, "\n")),
		prototest.Refuse("carriage returns", strings.ReplaceAll(trustFile, "\n", "\r\n")),
	}, reformatTrust)
}

func reformatTrust(b []byte) ([]byte, error) {
	t, err := policy.ParseTrust(b)
	if err != nil {
		return nil, err
	}
	return t.Format()
}

// TestTrustErrors says where a trust file is wrong, and what to write in its place.
func TestTrustErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		file           string
		line           int
		reason, remedy string
	}{
		"another file":                     {trustPolicy, 1, "idlog-trust/v1", "idlog trust add"},
		"lines out of order":               {instead("maxlag 65536\nmaxage 3600", "maxage 3600\nmaxlag 65536"), 10, "want: maxlag", "in their order"},
		"a required key of no origin":      {instead("require $logPQ", "require $logPQ\nrequire $other"), 5, "is named as no origin", "origin other.example"},
		"a required key not in the policy": {instead("log $logPQ\nlog", "log"), 4, "no log key of the policy", "in the policy"},
		"an origin without a key":          {instead("require "+oldKey.VKey+"\n", ""), 12, "whoever has any key", "a log key of this origin"},
		"an origin of another family":      {instead("origin "+previous, "origin log.example/other/2025"), 13, "no shard of log log.example/id", "origin log.example/id/<"},
		"an origin twice":                  {instead("origin "+previous, "origin "+origin), 14, "twice", "once"},
		"a verifier not in the policy":     {instead("verifier carol", "verifier dave"), 8, "dave is no witness of the policy", "witness dave <vkey>"},
		"verifiers that count once":        {instead("verifiers 2", "verifiers 3"), 9, "verifiers 3 of 2 operators", "1 to 2"},
		"threshold 0":                      {instead("verifiers 2", "verifiers 0"), 9, "not within 1 and 3", "1 to 3"},
		"no threshold":                     {instead("verifiers 2\n", ""), 9, "no line verifiers", "verifiers 1"},
		"a wrong line of the policy":       {instead("group q 2 alices bob carol", "group q 4 alices bob carol"), 26, "threshold", "quorum none"},
		"a policy without quorum":          {strings.TrimSuffix(trustFile, "quorum q\n"), 0, "no quorum", "quorum none"},
	} {
		_, err := policy.ParseTrust([]byte(tc.file))
		e, ok := errors.AsType[*policy.SyntaxError](err)
		if !ok || e.Line != tc.line || !strings.HasPrefix(e.Error(), "parsing trust file: ") || !strings.Contains(e.Error(), tc.reason) ||
			!strings.Contains(e.Remedy, tc.remedy) {
			t.Errorf("%s: %v, remedy %q", name, err, e.Remedy)
		}
	}
	if _, err := policy.ParseTrust(append([]byte(trustFile), bytes.Repeat([]byte("#\n"), policy.MaxTrust/2)...)); err == nil {
		t.Error("a file above the greatest size is accepted")
	}
}

func parseTrust(t testing.TB, file string) *policy.Trust {
	t.Helper()
	trust, err := policy.ParseTrust([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// TestTrustFormatRefuses: a maker that forgot something is told so, and writes no file that nobody can read.
func TestTrustFormatRefuses(t *testing.T) {
	whole := parseTrust(t, trustFile)
	made := policy.Trust{Log: whole.Log, Require: whole.Require, Verifiers: whole.Verifiers, Threshold: whole.Threshold,
		MaxLag: policy.DefaultMaxLag, MaxAge: policy.DefaultMaxAge, Skew: policy.DefaultSkew, Origins: whole.Origins, Policy: whole.Policy}
	if b, err := made.Format(); err != nil || string(b) != trustFile {
		t.Errorf("a file of the defaults: %v\n%s", err, b)
	}
	for name, change := range map[string]func(*policy.Trust){
		"no policy":          func(t *policy.Trust) { t.Policy = nil },
		"no maxlag":          func(t *policy.Trust) { t.MaxLag = 0 },
		"no maxage":          func(t *policy.Trust) { t.MaxAge = 0 },
		"part of a second":   func(t *policy.Trust) { t.Skew += time.Millisecond },
		"no threshold":       func(t *policy.Trust) { t.Threshold = 0 },
		"negative threshold": func(t *policy.Trust) { t.Threshold = -1 },
		"a line within":      func(t *policy.Trust) { t.Log, t.Require = t.Log+"\nrequire "+t.Require[0], t.Require[1:] },
	} {
		bad := made
		change(&bad)
		if b, err := bad.Format(); err == nil {
			t.Errorf("%s: written\n%s", name, b)
		}
	}
}

func TestTrustVerify(t *testing.T) {
	trust := parseTrust(t, trustFile)
	now, old, stranger := newLog(logKey, logPQ), prototest.NewLog(previous, oldKey), prototest.NewLog("other.example", other)
	old.Fill(9)
	stranger.Fill(9)
	for name, tc := range map[string]struct {
		note      []byte
		verifiers string
		proven    bool
	}{
		"two operators":                {now.Note(9, 1000, alice, carol), "alice carol", true},
		"two keys of one":              {now.Note(9, 1000, alice, alicePQ, bob), "alice alice-pq", false},
		"all":                          {now.Note(9, 1000, alice, alicePQ, bob, carol), "alice alice-pq carol", true},
		"a witness that verifies none": {now.Note(9, 1000, bob, carol), "carol", false},
		"the shard before":             {old.Note(9, 1000, carol, alicePQ), "alice-pq carol", true},
	} {
		v, verifiers, err := trust.Verify(tc.note)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(verifiers, " "); got != tc.verifiers || trust.Proven(verifiers) != tc.proven {
			t.Errorf("%s: verifiers %q, proven %v", name, got, trust.Proven(verifiers))
		}
		if v.Checkpoint.Size != 9 {
			t.Errorf("%s: size %d", name, v.Checkpoint.Size)
		}
	}
	for name, note := range map[string][]byte{
		"one of two required keys":     newLog(logKey).Note(9, 1000, alice, carol),
		"the other":                    newLog(logPQ).Note(9, 1000, alice, carol),
		"a log that is informative":    stranger.Note(9, 1000, alice, carol),
		"a key of another shard":       prototest.Note(now.Checkpoint(9), 1000, oldKey, alice, carol),
		"a new shard under an old key": prototest.Note(checkpoint.Checkpoint{Origin: previous, Size: 9}, 1000, logKey, logPQ, alice, carol),
	} {
		if _, _, err := trust.Verify(note); !errors.Is(err, policy.ErrNotSigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := trust.Verify(now.Note(9, 1000, carol)); err == nil {
		t.Error("a checkpoint without a quorum is accepted")
	} else if _, ok := errors.AsType[*policy.QuorumError](err); !ok {
		t.Errorf("without a quorum: %v", err)
	}
	if trust.Proven([]string{"bob", "dave", "carol", "carol"}) {
		t.Error("witnesses that are no verifiers prove something")
	}
	none := parseTrust(t, instead("verifier alice\nverifier alice-pq\nverifier carol\nverifiers 2\n", ""))
	_, verifiers, err := none.Verify(now.Note(9, 1000, alice, carol))
	if err != nil || none.Proven(verifiers) {
		t.Errorf("without verifiers: %v, proven %v", err, none.Proven(verifiers))
	}
	if diff := cmp.Diff([]string(nil), verifiers); diff != "" {
		t.Error(diff)
	}
}

func FuzzTrust(f *testing.F) {
	f.Add([]byte(trustFile))
	f.Add([]byte(trustHead + "\nquorum none\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := policy.ParseTrust(b)
		if err != nil {
			return
		}
		again, err := trust.Format()
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%v\n%q\n%q", err, b, again)
		}
	})
}
