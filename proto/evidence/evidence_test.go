package evidence_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"

	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/tile"
)

var update = flag.Bool("update", false, "write the vectors")

const (
	family = "log.example/id"
	origin = family + "/2026"
	at     = 1_800_000_000
)

var (
	logKey  = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	logPQ   = prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.LogRole)
	other   = prototest.NewKey("other.example/id/2026", checkpoint.Ed25519, checkpoint.LogRole)
	witness = prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	second  = prototest.NewKey("second.example", checkpoint.MLDSA44, checkpoint.WitnessRole)

	policyText = "log " + logKey.VKey + "\nlog " + logPQ.VKey + "\nlog " + other.VKey +
		"\nwitness w " + witness.VKey + "\nwitness s " + second.VKey + "\ngroup both all w s\nquorum both\n"
)

func reformat(b []byte) ([]byte, error) {
	e, err := evidence.Parse(b)
	if err != nil {
		return nil, err
	}
	return e.Format()
}

func TestVectors(t *testing.T) {
	const head = "idlog-evidence/v1\nclaim fork\n"
	const part = "part checkpoint 3\none\n"
	prototest.Vectors(t, "evidence.json", *update, []prototest.Case{
		prototest.Accept("one part", head+part),
		prototest.Accept("sixteen parts", head+strings.Repeat(part, 16)),
		prototest.Accept("every claim: rollback", strings.Replace(head, "fork", "rollback", 1)+part),
		prototest.Accept("every claim: bad-root", strings.Replace(head, "fork", "bad-root", 1)+part),
		prototest.Accept("every claim: omission", strings.Replace(head, "fork", "omission", 1)+part),
		prototest.Accept("every claim: addition", strings.Replace(head, "fork", "addition", 1)+part),
		prototest.Accept("every claim: bad-tag", strings.Replace(head, "fork", "bad-tag", 1)+part),
		prototest.Accept("every claim: duplicate", strings.Replace(head, "fork", "duplicate", 1)+part),
		prototest.Accept("every claim: broken-promise", strings.Replace(head, "fork", "broken-promise", 1)+part),
		prototest.Accept("every claim: witness-fork", strings.Replace(head, "fork", "witness-fork", 1)+part),
		prototest.Accept("every claim: receipt-mismatch", strings.Replace(head, "fork", "receipt-mismatch", 1)+part),
		prototest.Accept("every type", head+"part checkpoint 1\na\npart proof 1\na\npart disclosure 1\na\npart leaf 1\na\npart ticket 1\na\n"+
			"part index-proof 1\na\npart consistency 1\na\npart submission 1\na\n"),
		prototest.Accept("part that looks like a part", head+"part leaf 16\n"+"\npart leaf 2\nxx\n"+"\n"),
		prototest.Accept("part of any bytes", head+"part leaf 3\n\x00\xff\r\n"),

		prototest.Refuse("empty", ""),
		prototest.Refuse("header alone", "idlog-evidence/v1\n"),
		prototest.Refuse("no parts", head),
		prototest.Refuse("other version", strings.Replace(head, "v1", "v2", 1)+part),
		prototest.Refuse("unknown claim", strings.Replace(head, "fork", "spoon", 1)+part),
		prototest.Refuse("claim with a space after it", strings.Replace(head, "fork", "fork ", 1)+part),
		prototest.Refuse("two claims", "idlog-evidence/v1\nclaim fork\nclaim fork\n"+part),
		prototest.Refuse("carriage returns", strings.ReplaceAll(head+part, "\n", "\r\n")),
		prototest.Refuse("unknown type", head+"part checkpoints 3\none\n"),
		prototest.Refuse("no length", head+"part checkpoint\none\n"),
		prototest.Refuse("length 0", head+"part checkpoint 0\n\n"),
		prototest.Refuse("length with leading zero", head+"part checkpoint 03\none\n"),
		prototest.Refuse("length with plus", head+"part checkpoint +3\none\n"),
		prototest.Refuse("negative length", head+"part checkpoint -3\none\n"),
		prototest.Refuse("length 2^63", head+"part checkpoint 9223372036854775808\none\n"),
		prototest.Refuse("length 2^63-1", head+"part checkpoint 9223372036854775807\none\n"),
		prototest.Refuse("length too small", head+"part checkpoint 2\none\n"),
		prototest.Refuse("length too large", head+"part checkpoint 4\none\n"),
		prototest.Refuse("no newline after the part", head+"part checkpoint 3\none"),
		prototest.Refuse("two newlines after the part", head+part+"\n"),
		prototest.Refuse("text after the parts", head+part+"end\n"),
		prototest.Refuse("seventeen parts", head+strings.Repeat(part, 17)),
	}, reformat)
}

// event returns the bytes of an event leaf.
func event(t *testing.T, change func(*leaf.Event)) []byte {
	t.Helper()
	e := &leaf.Event{Log: family, Source: "okta-prod", Received: at, Assurance: leaf.AssurancePulled, Keys: 1,
		Fields: [32]byte{1}, Tags: []leaf.Tag{{Field: 1, Value: [32]byte{2}}, {Field: 2, Value: [32]byte{3}}}}
	if change != nil {
		change(e)
	}
	b, err := e.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// logs are an honest log, and one of the same keys that differs from entry 5 on.
func logs() (honest, lying *prototest.Log) {
	honest, lying = prototest.NewLog(origin, logKey), prototest.NewLog(origin, logPQ)
	honest.Fill(5)
	lying.Fill(5)
	honest.Append([]byte("true"))
	lying.Append([]byte("false"))
	honest.Fill(300)
	lying.Fill(300)
	return honest, lying
}

// ranges writes the consistency part of a log.
func ranges(t *testing.T, l *prototest.Log, n, m int64) evidence.Part {
	t.Helper()
	r := tile.NewReader(l.Checkpoint(m), prototest.Fetch(l.Resources(m)))
	hashes, err := r.Ranges(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Hashes(hashes...)
}

// proofPart writes the consistency proof of a log as a part.
func proofPart(t *testing.T, l *prototest.Log, n, m int64) evidence.Part {
	t.Helper()
	return evidence.Hashes(l.Consistency(n, m)...)
}

// verdict is one vector: a file, the policy it is judged by, and the verdict.
type verdict struct {
	Name    string `json:"name"`
	Policy  string `json:"policy"`
	File    []byte `json:"file"`
	Judged  bool   `json:"judged"` // the file shows what it claims
	Proven  bool   `json:"proven"`
	Accused string `json:"accused,omitempty"`
}

func verdicts(t *testing.T) []verdict {
	honest, lying := logs()
	cp := func(note []byte) evidence.Part { return evidence.Part{Type: evidence.Checkpoint, Data: note} }
	var vs []verdict
	add := func(name string, claim evidence.Claim, proven bool, accused string, parts ...evidence.Part) {
		t.Helper()
		b, err := (&evidence.Evidence{Claim: claim, Parts: parts}).Format()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vs = append(vs, verdict{name, policyText, b, accused != "", proven, accused})
	}
	a, b := cp(honest.Note(300, at)), cp(lying.Note(300, at))
	add("fork of one size", evidence.Fork, true, origin, a, b)
	add("fork of one size, with witnesses", evidence.Fork, true, origin, cp(honest.Note(300, at, witness)), cp(lying.Note(300, at, second)))
	add("fork: one checkpoint twice", evidence.Fork, false, "", a, a)
	add("fork: one tree under two keys", evidence.Fork, false, "", a, cp(prototest.Note(honest.Checkpoint(300), at, logPQ)))
	add("fork: two sizes and no hashes", evidence.Fork, false, "", cp(honest.Note(299, at)), b)
	stranger := prototest.NewLog("other.example/id/2026", other)
	stranger.Fill(300)
	add("fork: two logs", evidence.Fork, false, "", a, cp(stranger.Note(300, at)))
	add("fork: the second not signed by its log", evidence.Fork, false, "", a, cp(prototest.Note(lying.Checkpoint(300), at, witness)))
	add("fork: the second signed by another log", evidence.Fork, false, "", a, cp(prototest.Note(lying.Checkpoint(300), at, other)))
	forged := honest.Note(300, at)
	text, sigs, err := checkpoint.Split(forged)
	if err != nil {
		t.Fatal(err)
	}
	add("fork: the second with the first's signature", evidence.Fork, false, "", a,
		cp(checkpoint.Join([]byte(strings.Replace(string(text), "\n300\n", "\n301\n", 1)), sigs...)))
	add("fork: a part too many", evidence.Fork, false, "", a, b, b)
	add("fork: a part too few", evidence.Fork, false, "", a)
	for _, n := range []int64{6, 7, 8, 128, 255, 256, 257, 299} {
		add(fmt.Sprintf("fork of sizes %d and 300", n), evidence.Fork, true, origin, cp(honest.Note(n, at)), b, ranges(t, lying, n, 300))
	}
	add("fork: the second continues the first", evidence.Fork, false, "", cp(honest.Note(5, at)), b, ranges(t, lying, 5, 300))
	add("fork: hashes of the other tree", evidence.Fork, false, "", cp(honest.Note(8, at)), b, ranges(t, honest, 8, 300))
	add("fork: hashes of other sizes", evidence.Fork, false, "", cp(honest.Note(8, at)), b, ranges(t, lying, 9, 300))
	altered := ranges(t, lying, 8, 300)
	altered.Data = bytes.Replace(altered.Data, altered.Data[:1], []byte("/"), 1)
	add("fork: a hash altered", evidence.Fork, false, "", cp(honest.Note(8, at)), b, altered)
	// A witness has the proof that came with the second checkpoint, and nothing else.
	for _, n := range []int64{6, 7, 255, 257, 299} {
		add(fmt.Sprintf("fork of sizes %d and 300 by the log's own proof", n), evidence.Fork, true, origin, cp(honest.Note(n, at)), b, proofPart(t, lying, n, 300))
	}
	add("fork: a proof from a power of two lacks the first root", evidence.Fork, false, "", cp(honest.Note(256, at)), b, proofPart(t, lying, 256, 300))
	led := func(n int64, from *prototest.Log) evidence.Part {
		root := from.Checkpoint(n).Root
		p := proofPart(t, lying, n, 300)
		p.Data = append([]byte(hashText(root)+"\n"), p.Data...)
		return p
	}
	for _, n := range []int64{7, 8, 256} {
		add(fmt.Sprintf("fork of sizes %d and 300 by the log's own proof and the root it leads from", n), evidence.Fork, true, origin, cp(honest.Note(n, at)), b, led(n, lying))
	}
	add("fork: a root that is the first one", evidence.Fork, false, "", cp(honest.Note(256, at)), b, led(256, honest))
	add("fork: a root of nothing", evidence.Fork, false, "", cp(honest.Note(256, at)), b, led(256, stranger))
	add("fork: a proof that the second continues the first, and its root", evidence.Fork, false, "", cp(honest.Note(4, at)), b, led(4, lying))
	add("fork: a proof that the second continues the first", evidence.Fork, false, "", cp(honest.Note(5, at)), b, proofPart(t, lying, 5, 300))
	add("fork: a proof of the other tree", evidence.Fork, false, "", cp(honest.Note(7, at)), b, proofPart(t, honest, 7, 300))
	add("fork: a proof of other sizes", evidence.Fork, false, "", cp(honest.Note(7, at)), b, proofPart(t, lying, 6, 300))
	unended := proofPart(t, lying, 7, 300)
	unended.Data = unended.Data[:len(unended.Data)-1]
	add("fork: a proof without its last newline", evidence.Fork, false, "", cp(honest.Note(7, at)), b, unended)
	add("fork: sizes descend", evidence.Fork, false, "", b, cp(honest.Note(8, at)), ranges(t, lying, 8, 300))

	add("rollback", evidence.Rollback, false, origin, a, cp(honest.Note(20, at)))
	add("rollback: sizes ascend", evidence.Rollback, false, "", cp(honest.Note(20, at)), a)
	add("rollback: not signed", evidence.Rollback, false, "", a, cp(prototest.Note(honest.Checkpoint(20), at, witness)))

	add("witness-fork", evidence.WitnessFork, true, witness.Name(), cp(honest.Note(300, at, witness)), cp(lying.Note(300, at, witness, second)))
	add("witness-fork without the log's signature", evidence.WitnessFork, true, second.Name(),
		cp(prototest.Note(honest.Checkpoint(300), at, second)), cp(prototest.Note(lying.Checkpoint(300), at, second)))
	add("witness-fork: one witness each", evidence.WitnessFork, false, "", cp(honest.Note(300, at, witness)), cp(lying.Note(300, at, second)))
	add("witness-fork: one tree at two times", evidence.WitnessFork, false, "", cp(honest.Note(300, at, witness)), cp(honest.Note(300, at+1, witness)))
	add("witness-fork: two sizes", evidence.WitnessFork, false, "", cp(honest.Note(299, at, witness)), cp(lying.Note(300, at, witness)))
	add("witness-fork: by the log alone", evidence.WitnessFork, false, "", a, b)
	impostor := prototest.NewKeyFromSeed(witness.Name(), checkpoint.Ed25519, checkpoint.WitnessRole, [32]byte{1})
	add("witness-fork: another key of the name", evidence.WitnessFork, false, "", cp(honest.Note(300, at, witness)), cp(lying.Note(300, at, impostor)))

	one := event(t, nil)
	proofs := func(l *prototest.Log, leaves ...[]byte) []evidence.Part {
		first := l.Append(leaves...)
		size := int64(len(l.Leaves))
		var ps []evidence.Part
		for i := range leaves {
			b, err := l.Proof(first+int64(i), size, l.Note(size, at)).Format()
			if err != nil {
				t.Fatal(err)
			}
			ps = append(ps, evidence.Part{Type: evidence.Proof, Data: b})
		}
		return ps
	}
	dup := func(change func(*leaf.Event)) []evidence.Part { return proofs(honest, one, event(t, change)) }
	add("duplicate event id", evidence.Duplicate, true, family, dup(func(e *leaf.Event) { e.Fields = [32]byte{9} })...)
	add("duplicate fields", evidence.Duplicate, true, family, dup(func(e *leaf.Event) { e.Received++; e.Tags = nil })...)
	add("duplicate: the same bytes", evidence.Duplicate, false, "", dup(nil)...)
	add("duplicate: nothing in common", evidence.Duplicate, false, "", dup(func(e *leaf.Event) { e.Fields = [32]byte{9}; e.Tags[0].Value = [32]byte{9} })...)
	add("duplicate: one person in common", evidence.Duplicate, false, "", dup(func(e *leaf.Event) { e.Fields = [32]byte{9}; e.Tags = e.Tags[1:] })...)
	add("duplicate: one id of two sources", evidence.Duplicate, false, "", dup(func(e *leaf.Event) { e.Fields = [32]byte{9}; e.Source = "entra" })...)
	add("duplicate: the second is no event", evidence.Duplicate, false, "", proofs(honest, one, []byte("nobody's"))...)
	add("duplicate in the tree of another log", evidence.Duplicate, false, "", proofs(stranger, one, event(t, func(e *leaf.Event) { e.Received++ }))...)
	swapped := dup(func(e *leaf.Event) { e.Received += 2 })
	swapped[1].Data = bytes.Replace(swapped[1].Data, []byte(base64.StdEncoding.EncodeToString(event(t, func(e *leaf.Event) { e.Received += 2 }))),
		[]byte(base64.StdEncoding.EncodeToString(event(t, func(e *leaf.Event) { e.Received += 3 }))), 1)
	add("duplicate: a leaf that is not included", evidence.Duplicate, false, "", swapped...)

	sent := evidence.Part{Type: evidence.Submission, Data: []byte("what was sent")}
	add("receipt-mismatch", evidence.ReceiptMismatch, false, origin, proofs(honest, one)[0], sent)
	add("receipt-mismatch of a disclosure", evidence.ReceiptMismatch, false, origin, disclosed(t, honest), sent)
	add("receipt-mismatch: another's disclosure", evidence.ReceiptMismatch, false, "", disclosed(t, stranger), sent)
	add("receipt-mismatch: no submission", evidence.ReceiptMismatch, false, "", proofs(honest, one)[0])
	promises(t, add)
	badRoots(t, add)
	add("omission", evidence.Omission, false, "", a)
	return vs
}

// disclosed appends an event to a log and returns its disclosure, cosigned by both witnesses.
func disclosed(t *testing.T, l *prototest.Log) evidence.Part {
	t.Helper()
	var lines []seal.Line
	for _, f := range []seal.Field{
		{Path: "class.activity_id", Value: seal.Int(1)}, {Path: "class.class_uid", Value: seal.Int(3002)},
		{Path: "class.schema", Value: seal.String("ocsf/1.9.0")}, {Path: "mapper", Value: seal.String("okta/1")},
		{Path: "outcome.status", Value: seal.Enum(1)}, {Path: "schema", Value: seal.String(seal.Schema)},
		{Path: "source.native_id", Value: seal.String("e-1")}, {Path: "source.native_type", Value: seal.String("user.session.start")},
		{Path: "times.received", Value: seal.Time(at * 1e9)},
	} {
		lines = append(lines, seal.Line{Path: f.Path, State: seal.Shown, Value: f.Value, Commitment: seal.Commitment([32]byte{}, f.Path, f.Value)})
	}
	digest, err := seal.Digest(lines)
	if err != nil {
		t.Fatal(err)
	}
	index := l.Append(event(t, func(e *leaf.Event) { e.Fields = digest }))
	d := seal.Disclosure{Lines: lines, Proof: l.Proof(index, index+1, l.Note(index+1, at, witness, second))}
	b, err := d.Format()
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Part{Type: evidence.Disclosure, Data: b}
}

func TestJudge(t *testing.T) {
	p, err := policy.Parse([]byte(policyText))
	if err != nil {
		t.Fatal(err)
	}
	vs := verdicts(t)
	for _, want := range vs {
		e, err := evidence.Parse(want.File)
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		got, err := evidence.Judge(e, p)
		if (err == nil) != want.Judged || got.Proven != want.Proven || got.Accused != want.Accused {
			t.Errorf("%s: %+v, %v", want.Name, got, err)
		}
		if err == nil && (got.Statement == "" || got.Claim != e.Claim) {
			t.Errorf("%s: says nothing: %+v", want.Name, got)
		}
		if unknown := e.Claim == evidence.Omission; errors.Is(err, evidence.ErrNotJudged) != unknown {
			t.Errorf("%s: %v", want.Name, err)
		}
	}
	b, err := json.MarshalIndent(vs, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, "../../testdata/vectors/evidence-verdicts.json", *update, append(b, '\n'))
}

// TestJudgeByOtherKeys holds that nobody is accused by signatures of keys that
// the judge does not know.
func TestJudgeByOtherKeys(t *testing.T) {
	p, err := policy.Parse([]byte("log " + other.VKey + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts(t) {
		e, err := evidence.Parse(v.File)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := evidence.Judge(e, p); err == nil {
			t.Errorf("%s: %+v", v.Name, got)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	good := evidence.Part{Type: evidence.Leaf, Data: []byte("x")}
	for name, e := range map[string]evidence.Evidence{
		"no parts":     {Claim: evidence.Fork},
		"no claim":     {Parts: []evidence.Part{good}},
		"two lines":    {Claim: "fork\nclaim fork", Parts: []evidence.Part{good}},
		"empty part":   {Claim: evidence.Fork, Parts: []evidence.Part{{Type: evidence.Leaf}}},
		"unknown type": {Claim: evidence.Fork, Parts: []evidence.Part{{Type: "leaf 1\nx\npart leaf", Data: []byte("x")}}},
		"large":        {Claim: evidence.Fork, Parts: []evidence.Part{{Type: evidence.Leaf, Data: make([]byte, evidence.MaxFile)}}},
	} {
		if _, err := e.Format(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("idlog-evidence/v1\nclaim fork\npart checkpoint 3\none\npart leaf 1\n\n\n"))
	p, err := policy.Parse([]byte(policyText))
	if err != nil {
		f.Fatal(err)
	}
	honest, lying := logs()
	b, err := (&evidence.Evidence{Claim: evidence.Fork, Parts: []evidence.Part{
		{Type: evidence.Checkpoint, Data: honest.Note(300, at)}, {Type: evidence.Checkpoint, Data: lying.Note(300, at)}}}).Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := evidence.Parse(b)
		if err != nil {
			return
		}
		if again, err := e.Format(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("written again it differs (%v):\n%q\n%q", err, b, again)
		}
		_, _ = evidence.Judge(e, p)
	})
}
