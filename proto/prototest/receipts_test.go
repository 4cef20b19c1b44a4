package prototest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/seal"
)

// This file makes the receipts. Keys, times and leaves are fixed, so the files are too.

const (
	receiptFamily   = "log.example/id"
	receiptOrigin   = receiptFamily + "/2026"
	receiptReceived = 1_790_000_000
	receiptCosigned = receiptReceived + 5
	receiptAt       = 7 // the event's entry
	receiptSize     = 13
)

var (
	receiptLog     = prototest.NewKey(receiptOrigin, checkpoint.Ed25519, checkpoint.LogRole)
	receiptLogPQ   = prototest.NewKey(receiptOrigin, checkpoint.MLDSA44, checkpoint.LogRole)
	receiptOther   = prototest.NewKey("other.example/id/2026", checkpoint.Ed25519, checkpoint.LogRole)
	receiptAlice   = prototest.NewKey("alice.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	receiptAlicePQ = prototest.NewKey("alice.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
	receiptBob     = prototest.NewKey("bob.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	receiptCarol   = prototest.NewKey("carol.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
	receiptDora    = prototest.NewKey("döra.example", checkpoint.Ed25519, checkpoint.WitnessRole)
)

// policies by name; the file of each is <name>.tlog-policy.
var receiptPolicies = map[string]string{
	"one":    "log $log\nwitness alice $alice\nquorum alice\n",
	"pq":     "log $logPQ\nwitness carol $carol\nquorum carol\n",
	"none":   "log $log\nquorum none\n",
	"two":    "# two of three operators, one of which has two keys\nlog $log https://log.example/\nlog $logPQ\nlog $other\n\nwitness alice $alice https://alice.example/\nwitness alice-pq $alicePQ\nwitness bob $bob\nwitness\tcarol $carol\ngroup alices any alice alice-pq\ngroup operators 2 alices bob carol\nquorum operators\n",
	"nested": "log $log\nwitness alice $alice\nwitness bob $bob\nwitness döra $dora\ngroup x any alice bob\ngroup y all x döra\nquorum y\n",

	// What no verifier may take for a policy.
	"log-as-witness":     "log $log\nwitness self $logAsWitness\nquorum self\n",
	"log-type-1-witness": "log $log\nwitness self $other\nquorum self\n",
	"log-name-witness":   "log $log\nwitness self $logNamed\nquorum self\n",
	"operator-twice":     "log $log\nwitness alice $alice\nwitness alice-pq $alicePQ\ngroup both all alice alice-pq\nquorum both\n",
	"witness-as-log":     "log $alice\nquorum none\n",
	"threshold-0":        "log $log\nwitness alice $alice\ngroup g 0 alice\nquorum g\n",
	"no-quorum":          "log $log\nwitness alice $alice\n",
	"crlf":               "log $log\r\nwitness alice $alice\r\nquorum alice\r\n",
}

func receiptPolicy(name string) []byte {
	return []byte(strings.NewReplacer("$logAsWitness", prototest.NewKeyFromSeed("self.example", checkpoint.Ed25519, checkpoint.WitnessRole, receiptLog.Seed()).VKey,
		"$logNamed", prototest.NewKey(receiptOrigin, checkpoint.MLDSA44, checkpoint.WitnessRole).VKey,
		"$logPQ", receiptLogPQ.VKey, "$log", receiptLog.VKey, "$other", receiptOther.VKey, "$alicePQ", receiptAlicePQ.VKey,
		"$alice", receiptAlice.VKey, "$bob", receiptBob.VKey, "$carol", receiptCarol.VKey, "$dora", receiptDora.VKey).Replace(receiptPolicies[name]))
}

// world is a log with one event. Its functions write without checking, as a liar would.
type world struct {
	t     *testing.T
	event leaf.Event
	lines []seal.Line
	log   *prototest.Log
	at    int64
	size  int64
}

func newWorld(t *testing.T, keys ...prototest.Key) *world {
	w := &world{t: t, at: receiptAt, size: receiptSize, log: prototest.NewLog(receiptOrigin, keys...),
		event: leaf.Event{Log: receiptFamily, Source: "okta-prod", Received: receiptReceived, Assurance: leaf.AssurancePulled, Keys: 1,
			Tags: []leaf.Tag{{Field: 1, Value: leaf.Hash{1}}, {Field: 2, Value: leaf.Hash{0xa1}}, {Field: 2, Value: leaf.Hash{0xb0}}, {Field: 3, Value: leaf.Hash{0xa1}}}}}
	for _, f := range []seal.Field{
		{Path: "actor.login", Value: seal.String("alice@acme.example"), Owners: []uint8{0}},
		{Path: "class.activity_id", Value: seal.Int(1)},
		{Path: "class.class_uid", Value: seal.Int(3002)},
		{Path: "class.schema", Value: seal.String("ocsf/1.9.0")},
		{Path: "mapper", Value: seal.String("okta/1")},
		{Path: "outcome.reason", Value: seal.String("Grüße → 😀\u001b[31m"), Owners: []uint8{0, 1}},
		{Path: "outcome.status", Value: seal.Enum(2)},
		{Path: "raw", Value: seal.RawOf([]byte("{}")), Owners: []uint8{0, 1}},
		{Path: "raw_media_type", Value: seal.String("application/json"), Owners: []uint8{0, 1}},
		{Path: "schema", Value: seal.String("idlog.event.v1")},
		{Path: "source.native_id", Value: seal.String("e-1"), Owners: []uint8{0, 1}},
		{Path: "source.native_type", Value: seal.String("user.session.start")},
		{Path: "targets.0.id", Value: seal.String("00u2"), Owners: []uint8{1}},
		{Path: "times.received", Value: seal.Time(receiptReceived*1e9 + 1)},
	} {
		w.lines = append(w.lines, shownLine(f))
	}
	return w
}

func shownLine(f seal.Field) seal.Line {
	salt := sha256.Sum256([]byte("salt of " + f.Path))
	return seal.Line{Path: f.Path, Owners: f.Owners, State: seal.Shown, Salt: salt, Value: f.Value, Commitment: seal.Commitment(salt, f.Path, f.Value)}
}

func (w *world) line(path string) *seal.Line {
	i := slices.IndexFunc(w.lines, func(l seal.Line) bool { return l.Path == path })
	return &w.lines[i]
}

// publish seals the lines as they are and fills the log.
func (w *world) publish() *world {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint16([]byte("idlog/fields/v1\x00"), uint16(len(w.lines))))
	for _, l := range w.lines {
		b := append(binary.BigEndian.AppendUint16(nil, uint16(len(l.Path))), l.Path...)
		b = append(append(b, byte(len(l.Owners))), l.Owners...)
		h.Write(append(b, l.Commitment[:]...))
	}
	w.event.Fields = leaf.Hash(h.Sum(nil))
	b, err := w.event.Format()
	if err != nil {
		w.t.Fatal(err)
	}
	w.log.Fill(w.at)
	w.log.Append(b)
	w.log.Fill(w.size)
	return w
}

func (w *world) note(witnesses ...prototest.Key) []byte {
	return w.log.Note(w.size, receiptCosigned, witnesses...)
}

// proof is the receipt without its fields.
func (w *world) proof(note []byte) []byte { return w.proofOf(w.at, note) }

func (w *world) proofOf(index int64, note []byte) []byte {
	b, err := w.log.Proof(index, w.size, note).Format()
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) disclosure(proofs ...[]byte) []byte {
	b := []byte("idlog-disclosure/v1\n")
	for _, l := range w.lines {
		owners := "-"
		if len(l.Owners) > 0 {
			owners = strings.Trim(strings.ReplaceAll(fmt.Sprint(l.Owners), " ", ","), "[]")
		}
		b = fmt.Appendf(b, "%s %s %s ", l.Path, owners, l.State)
		switch l.State {
		case seal.Shown:
			b = fmt.Appendf(b, "%s %s\n", to64(l.Salt[:]), to64(l.Value))
		case seal.Erased:
			b = fmt.Appendf(b, "%s %d\n", to64(l.Commitment[:]), l.ErasedAt)
		default:
			b = fmt.Appendf(b, "%s\n", to64(l.Commitment[:]))
		}
	}
	for _, p := range proofs {
		b = append(append(b, '\n'), p...)
	}
	return b
}

func to64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// ledger collects the receipts.
type ledger struct {
	t        *testing.T
	receipts []receipt
}

var unsafeInFiles = regexp.MustCompile(`[^A-Za-z0-9._]+`)

func (l *ledger) add(accept bool, name, policyName, ext string, file []byte) {
	l.t.Helper()
	slug := strings.Trim(unsafeInFiles.ReplaceAllString(name, "-"), "-")
	l.receipts = append(l.receipts, receipt{Name: name, File: slug + ext, Policy: policyName + ".tlog-policy", Accept: accept,
		file: file, policy: receiptPolicy(policyName)})
}

func (l *ledger) accept(name, policyName string, file []byte) {
	l.t.Helper()
	l.add(true, name, policyName, ".idlog-disclosure", file)
}

func (l *ledger) refuse(name, policyName string, file []byte) {
	l.t.Helper()
	l.add(false, name, policyName, ".idlog-disclosure", file)
}

func makeReceipts(t *testing.T) []receipt {
	l := &ledger{t: t}
	acceptedReceipts(l)
	otherQuorums(l)
	alteredReceipts(l)
	wrongSignatures(l)
	wrongEvents(l)
	wrongPlaces(l)
	return l.receipts
}

func acceptedReceipts(l *ledger) {
	w := newWorld(l.t, receiptLog).publish()
	plain := w.proof(w.note(receiptAlice))
	l.accept("one witness", "one", w.disclosure(plain))
	l.accept("no witness", "none", w.disclosure(w.proof(w.note())))
	l.add(true, "proof alone", "one", ".tlog-proof", plain)

	pq := newWorld(l.t, receiptLogPQ).publish()
	l.accept("ML-DSA-44 log and witness", "pq", pq.disclosure(pq.proof(pq.note(receiptCarol))))
	l.add(true, "proof alone, ML-DSA-44", "pq", ".tlog-proof", pq.proof(pq.note(receiptCarol)))

	both := newWorld(l.t, receiptLog, receiptLogPQ).publish()
	l.accept("two log keys, two of three operators", "two", both.disclosure(both.proof(both.note(receiptBob, receiptCarol))))
	l.accept("two log keys, four witness keys", "two", both.disclosure(both.proof(both.note(receiptBob, receiptCarol, receiptAlicePQ, receiptAlice))))
	l.accept("nested groups, a name beyond ASCII", "nested", w.disclosure(w.proof(w.note(receiptDora, receiptBob))))

	text := w.log.Checkpoint(w.size).Format()
	times := checkpoint.Join(text, receiptLog.Sign(text, 0), receiptAlice.Sign(text, 1<<40), receiptBob.Sign(text, 1), receiptCarol.Sign(text, 1<<62))
	l.accept("cosigned at different times", "two", w.disclosure(w.proof(times)))
	stranger := prototest.NewKey("stranger.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	impostor := prototest.NewKeyFromSeed("alice.example", checkpoint.Ed25519, checkpoint.WitnessRole, [32]byte{1})
	l.accept("unknown and repeated signatures", "one", w.disclosure(w.proof(w.note(stranger, receiptAlice, impostor, receiptAlice, receiptOther))))
	l.accept("an unknown key that signed falsely", "one", w.disclosure(w.proof(append(w.note(receiptAlice), stranger.Sign(w.log.Checkpoint(2).Format(), 1).Line()...))))

	extended := w.log.Checkpoint(w.size)
	extended.Extensions = []string{"an extension", "another one"}
	l.accept("extension lines", "one", w.disclosure(w.proof(prototest.Note(extended, receiptCosigned, receiptLog, receiptAlice))))

	for _, place := range []struct{ at, size int64 }{{0, 1}, {0, 2}, {1, 2}, {4, 5}, {63, 64}, {64, 65}, {12345, 70_000}, {69_999, 70_000}} {
		w := newWorld(l.t, receiptLog)
		w.at, w.size = place.at, place.size
		w.publish()
		l.accept(fmt.Sprintf("entry %d of %d", place.at, place.size), "one", w.disclosure(w.proof(w.note(receiptAlice))))
	}

	for i := range w.lines {
		w.lines[i].State = seal.Withheld
	}
	l.accept("all withheld", "one", w.disclosure(plain))
	for i := range w.lines {
		if i%2 == 0 {
			w.lines[i].State = seal.Shown
		}
	}
	l.accept("some withheld", "one", w.disclosure(plain))

	long := newWorld(l.t, receiptLog)
	for i := range 300 {
		long.lines = append(long.lines, shownLine(seal.Field{Path: fmt.Sprintf("extra.%d.value", i), Value: seal.String(strings.Repeat("x", i))}))
	}
	slices.SortFunc(long.lines, func(a, b seal.Line) int { return strings.Compare(a.Path, b.Path) })
	long.publish()
	l.accept("many fields", "one", long.disclosure(long.proof(long.note(receiptAlice))))

	erased := newWorld(l.t, receiptLog).publish()
	first := erased.log.Append(
		formatLeaf(l.t, &leaf.Erasure{Log: receiptFamily, Enrolments: []leaf.Hash{{1}}, Tags: []leaf.Tag{{Field: 2, Value: leaf.Hash{0xa1}}}}),
		formatLeaf(l.t, &leaf.Erasure{Log: receiptFamily, Enrolments: []leaf.Hash{{1}}, Tags: []leaf.Tag{{Field: 2, Value: leaf.Hash{0xcc}}}}))
	erased.size = first + 2
	for path, at := range map[string]int64{"actor.login": first, "targets.0.id": first, "raw": first + 1, "outcome.reason": first + 2} {
		erased.line(path).State, erased.line(path).ErasedAt = seal.Erased, at
	}
	note := erased.note(receiptAlice)
	l.accept("erased, proven and not", "one", erased.disclosure(erased.proof(note), erased.proofOf(first, note), erased.proofOf(first+1, note)))
}

func formatLeaf(t *testing.T, l leaf.Leaf) []byte {
	b, err := l.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func otherQuorums(l *ledger) {
	w := newWorld(l.t, receiptLog).publish()
	text := w.log.Checkpoint(w.size).Format()
	l.refuse("quorum: no witness", "one", w.disclosure(w.proof(w.note())))
	l.refuse("quorum: another witness", "one", w.disclosure(w.proof(w.note(receiptBob))))
	l.refuse("quorum: one of two", "two", w.disclosure(w.proof(w.note(receiptBob))))
	l.refuse("quorum: one of two, twice", "two", w.disclosure(w.proof(w.note(receiptBob, receiptBob))))
	l.refuse("quorum: one operator's two keys", "two", w.disclosure(w.proof(w.note(receiptAlice, receiptAlicePQ))))
	l.refuse("quorum: half of nested groups", "nested", w.disclosure(w.proof(w.note(receiptAlice, receiptBob))))
	l.refuse("quorum: a witness without a time", "one", w.disclosure(w.proof(checkpoint.Join(text, receiptLog.Sign(text, 0), receiptAlice.Sign(text, 0)))))
	l.refuse("quorum: a time of 2^63", "one", w.disclosure(w.proof(checkpoint.Join(text, receiptLog.Sign(text, 0), receiptAlice.Sign(text, 1<<63)))))
	good := w.disclosure(w.proof(w.note(receiptAlice, receiptAlicePQ)))
	for _, name := range []string{"log-type-1-witness", "log-name-witness", "operator-twice", "witness-as-log", "threshold-0", "no-quorum", "crlf"} {
		l.refuse("policy: "+name, name, good)
	}
	self := prototest.NewKeyFromSeed("self.example", checkpoint.Ed25519, checkpoint.WitnessRole, receiptLog.Seed())
	l.refuse("policy: the log witnesses itself", "log-as-witness", w.disclosure(w.proof(w.note(self))))
}

// alteredReceipts changes a good receipt in one place.
func alteredReceipts(l *ledger) {
	w := newWorld(l.t, receiptLog).publish()
	w.line("mapper").State = seal.Withheld
	pr := w.log.Proof(w.at, w.size, w.note(receiptAlice))
	good := string(w.disclosure(w.proof(pr.Checkpoint)))
	swap := func(name, old, new string) {
		l.t.Helper()
		if !strings.Contains(good, old) || old == new {
			l.t.Fatalf("%s: nothing to change", name)
		}
		l.refuse("altered: "+name, "one", []byte(strings.Replace(good, old, new, 1)))
	}
	// flip changes the last byte that some base64 stands for, and twin a bit of it that stands for nothing.
	flip := func(b []byte) (old, new string) {
		other := bytes.Clone(b)
		other[len(b)-1] ^= 1
		return to64(b), to64(other)
	}
	twin := func(b []byte) (old, new string) {
		s := []byte(to64(b))
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		s[len(s)-2] = digits[strings.IndexByte(digits, s[len(s)-2])+1]
		return to64(b), string(s)
	}
	both := func(name string, b []byte) {
		l.t.Helper()
		old, new := flip(b)
		swap(name+" flipped", old, new)
		if len(b)%3 == 2 {
			old, new = twin(b)
			swap(name+" in other base64", old, new)
		}
	}
	salt, value, c := w.line("schema").Salt, w.line("schema").Value, w.line("mapper").Commitment
	root := w.log.Checkpoint(w.size).Root
	both("salt", salt[:])
	both("value", value)
	both("commitment", c[:])
	swap("leaf", to64(pr.Extra), to64(bytes.Replace(pr.Extra, []byte("keys 1"), []byte("keys 2"), 1)))
	both("proof hash", pr.Hashes[1][:])
	both("root", root[:])
	swap("version", "idlog-disclosure/v1", "idlog-disclosure/v2")
	swap("proof version", "tlog-proof@v1", "tlog-proof@v2")
	swap("path", "actor.login 0", "actor.email 0")
	swap("owner", "actor.login 0", "actor.login 1")
	swap("owner added", "actor.login 0", "actor.login 0,1")
	swap("owner with leading zero", "actor.login 0", "actor.login 00")
	swap("owners in other order", "raw 0,1", "raw 1,0")
	swap("owners none", "actor.login 0", "actor.login -")
	swap("state", "mapper - withheld", "mapper - hidden")
	swap("space at the end", "\nindex", " \nindex")
	swap("index", "index 7", "index 6")
	swap("index with leading zero", "index 7", "index 07")
	swap("index with plus", "index 7", "index +7")
	swap("index at the size", "index 7", "index 13")
	swap("origin", "\n\nlog.example", "\n\nlog.exampel")
	swap("size", "\n13\n", "\n12\n")
	swap("size with leading zero", "\n13\n", "\n013\n")
	swap("checkpoint gone", good[strings.Index(good, "\n\n"+receiptOrigin)+1:], "")
	swap("proof gone", good[strings.Index(good, "\n\n")+1:], "")
	swap("empty line between fields and proof gone", "\n\nc2sp", "\nc2sp")
	l.refuse("altered: CRLF", "one", []byte(strings.ReplaceAll(good, "\n", "\r\n")))
	l.refuse("altered: a line after it", "one", []byte(good+"end\n"))
	l.refuse("altered: an empty line after it", "one", []byte(good+"\n"))
	l.refuse("altered: no newline at the end", "one", []byte(strings.TrimSuffix(good, "\n")))
	l.refuse("altered: byte order mark", "one", []byte("\ufeff"+good))
	l.refuse("altered: empty file", "one", nil)
	line := good[strings.Index(good, "class.schema"):strings.Index(good, "mapper")]
	swap("line gone", line, "")
	swap("line twice", line, line+line)
	swap("lines in other order", line+good[strings.Index(good, "mapper"):strings.Index(good, "outcome.reason")],
		good[strings.Index(good, "mapper"):strings.Index(good, "outcome.reason")]+line)
	hash := to64(pr.Hashes[0][:]) + "\n"
	swap("proof hash gone", hash, "")
	swap("proof hash twice", hash, hash+hash)
	swap("64 proof hashes", hash, strings.Repeat(hash, 61))
	l.add(false, "altered: a disclosure named as a proof", "one", ".tlog-proof", []byte(good))
	l.add(false, "altered: proof without its leaf", "one", ".tlog-proof", []byte(strings.Replace(string(w.proof(pr.Checkpoint)), "extra "+to64(pr.Extra)+"\n", "", 1)))
}

// wrongSignatures has every part in its form, and signatures that are not of this text by this key.
func wrongSignatures(l *ledger) {
	w := newWorld(l.t, receiptLog).publish()
	c := w.log.Checkpoint(w.size)
	text := c.Format()
	with := func(sigs ...checkpoint.Signature) []byte {
		return w.disclosure(w.proof(checkpoint.Join(text, sigs...)))
	}
	log, alice, carol := receiptLog.Sign(text, 0), receiptAlice.Sign(text, receiptCosigned), receiptCarol.Sign(text, receiptCosigned)
	change := func(s checkpoint.Signature, f func(b []byte) []byte) checkpoint.Signature {
		s.Bytes = f(bytes.Clone(s.Bytes))
		return s
	}
	flip := func(s checkpoint.Signature, at int) checkpoint.Signature {
		return change(s, func(b []byte) []byte { b[at] ^= 1; return b })
	}
	l.refuse("signature: no log", "one", with(alice))
	l.refuse("signature: log flipped", "one", with(flip(log, 0), alice))
	l.refuse("signature: log's S flipped", "one", with(flip(log, 32), alice))
	l.refuse("signature: witness flipped", "one", with(log, flip(alice, 8)))
	l.refuse("signature: witness at another time", "one", with(log, flip(alice, 7)))
	l.refuse("signature: witness cut short", "one", with(log, change(alice, func(b []byte) []byte { return b[:len(b)-1] })))
	l.refuse("signature: witness with a byte more", "one", with(log, change(alice, func(b []byte) []byte { return append(b, 0) })))
	l.refuse("signature: witness of another size", "one", with(log, receiptAlice.Sign(w.log.Checkpoint(5).Format(), 1)))
	l.refuse("signature: witness without cosignature/v1", "one", with(log, checkpoint.Signature{Name: alice.Name, ID: alice.ID,
		Bytes: append(alice.Bytes[:8:8], prototest.NewKeyFromSeed("x", checkpoint.Ed25519, checkpoint.LogRole, receiptAlice.Seed()).Sign(text, 0).Bytes...)}))
	l.refuse("signature: a true and a false one of the witness", "one", with(log, alice, flip(alice, 70)))
	l.refuse("signature: another key of the log's name and ID", "one", with(checkpoint.Signature{Name: log.Name, ID: log.ID, Bytes: receiptOther.Sign(text, 0).Bytes}, alice))
	l.refuse("signature: another key ID", "one", with(log, checkpoint.Signature{Name: alice.Name, ID: alice.ID ^ 1, Bytes: alice.Bytes}))
	l.refuse("signature: another log's key", "two", with(receiptOther.Sign(text, 0), alice, receiptBob.Sign(text, 1)))
	l.refuse("signature: S and the order of the group", "one", with(change(log, malleate), alice))
	l.refuse("signature: 65 of them", "one", good65(w.disclosure(w.proof(w.note(receiptAlice))), receiptBob.Sign(text, 1)))

	pq := newWorld(l.t, receiptLogPQ).publish()
	withPQ := func(sigs ...checkpoint.Signature) []byte {
		return pq.disclosure(pq.proof(checkpoint.Join(text, sigs...)))
	}
	logPQ := receiptLogPQ.Sign(text, receiptCosigned)
	const challenge, response, hint = 8, 8 + 32, 8 + 32 + 4*576
	l.refuse("ML-DSA-44: log's challenge flipped", "pq", withPQ(flip(logPQ, challenge), carol))
	l.refuse("ML-DSA-44: log's response flipped", "pq", withPQ(flip(logPQ, response+100), carol))
	l.refuse("ML-DSA-44: log's hint flipped", "pq", withPQ(flip(logPQ, hint), carol))
	l.refuse("ML-DSA-44: log's hint padded", "pq", withPQ(change(logPQ, func(b []byte) []byte { b[hint+79] ^= 0xff; return b }), carol))
	l.refuse("ML-DSA-44: log's hints counted otherwise", "pq", withPQ(change(logPQ, func(b []byte) []byte { b[len(b)-1]++; return b }), carol))
	l.refuse("ML-DSA-44: response out of bounds", "pq", withPQ(change(logPQ, func(b []byte) []byte { clear(b[response : response+9]); return b }), carol))
	l.refuse("ML-DSA-44: witness at another time", "pq", withPQ(logPQ, flip(carol, 7)))
	l.refuse("ML-DSA-44: witness under another name", "pq", withPQ(logPQ, checkpoint.Signature{Name: carol.Name, ID: carol.ID,
		Bytes: prototest.NewKeyFromSeed("caro1.example", checkpoint.MLDSA44, checkpoint.WitnessRole, receiptCarol.Seed()).Sign(text, receiptCosigned).Bytes}))
	l.refuse("ML-DSA-44: the log's by the witness", "pq", withPQ(checkpoint.Signature{Name: logPQ.Name, ID: logPQ.ID, Bytes: carol.Bytes}, carol))
	l.refuse("ML-DSA-44: cut short", "pq", withPQ(logPQ, change(carol, func(b []byte) []byte { return b[:len(b)-1] })))
}

// malleate adds the order of the group to S: the same equation holds, and RFC 8032 refuses it.
func malleate(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := bytes.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return append(sig[:32:32], sum...)
}

func good65(receipt []byte, s checkpoint.Signature) []byte {
	return append(receipt, bytes.Repeat(s.Line(), 63)...)
}

// wrongEvents has leaves that commit to what is shown, which is no event.
func wrongEvents(l *ledger) {
	check := func(name string, change func(*world)) {
		w := newWorld(l.t, receiptLog)
		change(w)
		w.publish()
		l.refuse("event: "+name, "one", w.disclosure(w.proof(w.note(receiptAlice))))
	}
	set := func(path string, v seal.Value) func(*world) {
		return func(w *world) {
			*w.line(path) = shownLine(seal.Field{Path: path, Value: v, Owners: w.line(path).Owners})
		}
	}
	insert := func(after string, lines ...seal.Line) func(*world) {
		return func(w *world) {
			i := slices.IndexFunc(w.lines, func(l seal.Line) bool { return l.Path == after })
			w.lines = slices.Insert(w.lines, i+1, lines...)
		}
	}
	hidden := shownLine(seal.Field{Path: "outcome.status", Value: seal.Enum(1)})
	hidden.State = seal.Withheld
	check("a twin path, withheld", insert("outcome.status", hidden))
	check("a twin path, shown", insert("outcome.status", shownLine(seal.Field{Path: "outcome.status", Value: seal.Enum(2)})))
	check("descending paths", insert("schema", shownLine(seal.Field{Path: "raw_a", Value: seal.Bool(true)})))
	check("a path in capitals", insert("actor.login", shownLine(seal.Field{Path: "actor.loginX", Value: seal.Bool(true)})))
	check("an index with leading zero", insert("actor.login", shownLine(seal.Field{Path: "changes.01", Value: seal.Bool(true)})))
	check("an empty segment", insert("actor.login", shownLine(seal.Field{Path: "actor.login.", Value: seal.Bool(true)})))
	for _, path := range []string{"class.schema", "mapper", "schema", "source.native_id", "times.received", "raw_media_type"} {
		check(path+" missing", func(w *world) {
			w.lines = slices.DeleteFunc(w.lines, func(l seal.Line) bool { return l.Path == path })
		})
	}
	check("another schema", set("schema", seal.String("idlog.event.v2")))
	check("class_uid as text", set("class.class_uid", seal.String("3002")))
	check("a number with leading zero", set("class.class_uid", seal.Value("i03002")))
	check("minus zero", set("class.class_uid", seal.Value("i-0")))
	check("a number of 2^63", set("class.class_uid", seal.Value("i9223372036854775808")))
	check("a negative enum", set("outcome.status", seal.Value("e-1")))
	check("text that is not UTF-8", set("mapper", seal.Value("s\xff")))
	check("a surrogate in text", set("mapper", seal.Value("s\xed\xa0\x80")))
	check("a value of no kind", set("outcome.reason", seal.Value("q")))
	check("an empty value", set("outcome.reason", seal.Value("")))
	check("raw as bytes", set("raw", seal.Bytes([]byte("{}"))))
	check("a hash elsewhere than at raw", set("outcome.reason", seal.RawOf([]byte("{}"))))
	check("received in another second", set("times.received", seal.Time((receiptReceived+1)*1e9)))
	check("an owner that is nobody", func(w *world) { w.line("actor.login").Owners = []uint8{2} })
	check("a wrong digest", func(w *world) { w.line("mapper").Commitment[0] ^= 1 })
}

// wrongPlaces has true parts that do not belong together.
func wrongPlaces(l *ledger) {
	foreign := newWorld(l.t, receiptLog)
	foreign.event.Log = "other.example/id"
	foreign.publish()
	l.refuse("place: a leaf of another family", "one", foreign.disclosure(foreign.proof(foreign.note(receiptAlice))))
	l.add(false, "place: a leaf of another family, proof alone", "one", ".tlog-proof", foreign.proof(foreign.note(receiptAlice)))
	whole := newWorld(l.t, receiptLog)
	whole.event.Log = receiptOrigin
	whole.publish()
	l.refuse("place: a leaf that names the shard", "one", whole.disclosure(whole.proof(whole.note(receiptAlice))))

	w := newWorld(l.t, receiptLog).publish()
	note := w.note(receiptAlice)
	l.refuse("place: the proof of another entry", "one", w.disclosure(w.proofOf(3, note)))
	l.add(false, "place: an entry that is no leaf of ours", "one", ".tlog-proof", w.proofOf(3, note))
	absent := w.log.Proof(3, w.size, note)
	absent.Extra = w.log.Leaves[w.at]
	b, err := absent.Format()
	if err != nil {
		l.t.Fatal(err)
	}
	l.refuse("place: the leaf at another entry", "one", w.disclosure(b))
	l.refuse("place: the checkpoint of another size", "one", w.disclosure(w.proof(w.log.Note(12, receiptCosigned, receiptAlice))))

	erasure := newWorld(l.t, receiptLog).publish()
	at := erasure.log.Append(formatLeaf(l.t, &leaf.Erasure{Log: receiptFamily, From: 0, To: 9}))
	erasure.size = at + 1
	note = erasure.note(receiptAlice)
	l.refuse("place: the proof of an erasure", "one", erasure.disclosure(erasure.proofOf(at, note)))
	l.refuse("place: one erasure twice", "one", erasure.disclosure(erasure.proof(note), erasure.proofOf(at, note), erasure.proofOf(at, note)))
	l.refuse("place: an erasure without its leaf", "one", erasure.disclosure(erasure.proof(note),
		bytes.Replace(erasure.proofOf(at, note), []byte("extra "+to64(erasure.log.Leaves[at])+"\n"), nil, 1)))
	tagged := newWorld(l.t, receiptLog).publish()
	bad := tagged.log.Leaves[tagged.at]
	for name, change := range map[string][]byte{
		"tags in other order": bytes.Replace(bad, []byte("tag 3 "), []byte("tag 1 "), 1),
		"field 0":             bytes.Replace(bad, []byte("tag 1 "), []byte("tag 0 "), 1),
		"unknown assurance":   bytes.Replace(bad, []byte("pulled"), []byte("Pulled"), 1),
		"epoch 0":             bytes.Replace(bad, []byte("keys 1"), []byte("keys 0"), 1),
		"another version":     bytes.Replace(bad, []byte("/v1"), []byte("/v2"), 1),
		"a source in capital": bytes.Replace(bad, []byte("okta"), []byte("Okta"), 1),
		"a line more":         append(bytes.Clone(bad), "tags none\n"...),
		"no newline":          bad[:len(bad)-1],
	} {
		w := newWorld(l.t, receiptLog)
		w.log.Fill(w.at)
		w.log.Append(change)
		w.log.Fill(w.size)
		l.add(false, "leaf: "+name, "one", ".tlog-proof", w.proof(w.note(receiptAlice)))
	}
	slices.SortStableFunc(l.receipts, func(a, b receipt) int {
		switch leafA, leafB := strings.HasPrefix(a.Name, "leaf: "), strings.HasPrefix(b.Name, "leaf: "); {
		case leafA && leafB:
			return strings.Compare(a.Name, b.Name)
		case leafA:
			return 1
		case leafB:
			return -1
		}
		return 0
	})
}
