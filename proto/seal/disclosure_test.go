package seal_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/tag"
)

var update = flag.Bool("update", false, "write the vectors of disclosures")

const (
	family   = "log.example/id"
	received = 1_790_000_000
	cosigned = received + 5
)

var (
	logKey  = prototest.NewKey(family+"/2026", checkpoint.Ed25519, checkpoint.LogRole)
	witness = prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	alice   = leaf.Hash{0xa1}
	bob     = leaf.Hash{0xb0}
)

// Entries of the log that every test begins with.
const (
	eventAt       = 3
	eraseAlice    = 5
	eraseCarol    = 6
	eraseEvent    = 7 // the range [2, 4)
	eraseOthers   = 8 // the range [4, 5)
	eraseOfOther  = 9 // of Alice, in a leaf of another family
	notAnErasure  = 10
	eraseBefore   = 11 // the range [0, 3)
	worldSize     = 13
	policyOfWorld = "log %LOG%\nwitness w %WITNESS%\nquorum w\n"
)

// world is a log with one event of Alice and Bob, some erasures, and the policy that trusts it.
type world struct {
	event  leaf.Event
	lines  []seal.Line
	log    *prototest.Log
	policy string
}

// newWorld makes the log. The function given may change the event and its lines before they are sealed.
func newWorld(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{
		event: leaf.Event{Log: family, Source: "okta-prod", Received: received, Assurance: leaf.AssurancePulled, Keys: 1,
			Tags: []leaf.Tag{{Field: tag.EventID, Value: leaf.Hash{1}}, {Field: tag.Person, Value: alice},
				{Field: tag.Person, Value: bob}, {Field: tag.Actor, Value: alice}}},
		log:    prototest.NewLog(logKey.Name(), logKey),
		policy: strings.NewReplacer("%LOG%", logKey.VKey, "%WITNESS%", witness.VKey).Replace(policyOfWorld),
	}
	a, both := []uint8{0}, []uint8{0, 1}
	for _, f := range []seal.Field{
		{Path: "actor.id", Value: seal.String("00u1"), Owners: a},
		{Path: "actor.login", Value: seal.String("alice@acme.example"), Owners: a},
		{Path: "class.activity_id", Value: seal.Int(1)},
		{Path: "class.class_uid", Value: seal.Int(3002)},
		{Path: "class.schema", Value: seal.String("ocsf/1.9.0")},
		{Path: "mapper", Value: seal.String("okta/1")},
		{Path: "outcome.status", Value: seal.Enum(1)},
		{Path: "raw", Value: seal.RawOf([]byte(`{"actor":"alice"}`)), Owners: both},
		{Path: "raw_media_type", Value: seal.String("application/json"), Owners: both},
		{Path: "schema", Value: seal.String("idlog.event.v1")},
		{Path: "source.native_id", Value: seal.String("e-1"), Owners: both},
		{Path: "source.native_type", Value: seal.String("user.session.start")},
		{Path: "targets.0.principal.id", Value: seal.String("00u2"), Owners: []uint8{1}},
		{Path: "times.received", Value: seal.Time(received*1e9 + 999_999_999)},
	} {
		w.lines = append(w.lines, shown(f))
	}
	if change != nil {
		change(w)
	}
	var err error
	if w.event.Fields, err = seal.Digest(w.lines); err != nil {
		t.Fatal(err)
	}
	w.log.Fill(eventAt)
	w.log.Append(format(t, &w.event))
	w.log.Fill(eraseAlice)
	person := func(h leaf.Hash) []leaf.Tag {
		return []leaf.Tag{{Field: tag.Person, Value: h}, {Field: tag.Actor, Value: h}}
	}
	enrolment := []leaf.Hash{{7}}
	w.log.Append(
		format(t, &leaf.Erasure{Log: family, Enrolments: enrolment, Tags: person(alice)}),
		format(t, &leaf.Erasure{Log: family, Enrolments: enrolment, Tags: person(leaf.Hash{0xca})}),
		format(t, &leaf.Erasure{Log: family, From: 2, To: 4}),
		format(t, &leaf.Erasure{Log: family, From: 4, To: 5}),
		format(t, &leaf.Erasure{Log: "log.example/other", Enrolments: enrolment, Tags: person(alice)}),
		format(t, &leaf.Loss{Log: family, From: 0, To: 100}),
		format(t, &leaf.Erasure{Log: family, From: 0, To: eventAt}),
	)
	w.log.Fill(worldSize)
	return w
}

func shown(f seal.Field) seal.Line {
	seed := seal.Seed(leaf.Hash{0x5e}, make([]leaf.Hash, len(f.Owners)))
	salt := seal.Salt(seed, f.Path)
	return seal.Line{Path: f.Path, Owners: f.Owners, State: seal.Shown, Salt: salt, Value: f.Value,
		Commitment: seal.Commitment(salt, f.Path, f.Value)}
}

func format(t testing.TB, l leaf.Leaf) []byte {
	t.Helper()
	b, err := l.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) proof(index int64) proof.Proof {
	return w.log.Proof(index, worldSize, w.log.Note(worldSize, cosigned, witness))
}

func (w *world) disclosure() *seal.Disclosure {
	return &seal.Disclosure{Lines: slices.Clone(w.lines), Proof: w.proof(eventAt)}
}

func (w *world) line(path string) *seal.Line {
	for i := range w.lines {
		if w.lines[i].Path == path {
			return &w.lines[i]
		}
	}
	panic("no line " + path)
}

func (w *world) verify(t testing.TB, d *seal.Disclosure) (*seal.Opened, error) {
	t.Helper()
	p, err := policy.Parse([]byte(w.policy))
	if err != nil {
		t.Fatal(err)
	}
	return d.Verify(p)
}

func find(d *seal.Disclosure, path string) *seal.Line {
	for i := range d.Lines {
		if d.Lines[i].Path == path {
			return &d.Lines[i]
		}
	}
	panic("no line " + path)
}

func TestVerify(t *testing.T) {
	w := newWorld(t, nil)
	o, err := w.verify(t, w.disclosure())
	if err != nil {
		t.Fatal(err)
	}
	want := &seal.Opened{Leaf: &w.event, Index: eventAt, Checkpoint: w.log.Checkpoint(worldSize),
		Cosigned: []policy.Cosignature{{Witness: "w", Operator: "witness.example", Time: time.Unix(cosigned, 0).UTC()}},
		Oldest:   time.Unix(cosigned, 0).UTC(), Lines: w.lines}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("Verify (-want +got):\n%s", diff)
	}
	if got := o.Field("actor.login").Value.Text(); got != "alice@acme.example" {
		t.Errorf("actor.login is %q", got)
	}
	if o.Field("actor.lo") != nil {
		t.Error("a field that is not there was found")
	}
	if err := o.Field("raw").Value.CheckRaw([]byte(`{"actor":"alice"}`)); err != nil {
		t.Error(err)
	}
}

// TestOpenLines opens lines against a leaf that somebody else has proven: as Verify does, but no erasure is proven.
func TestOpenLines(t *testing.T) {
	w := newWorld(t, nil)
	d := w.disclosure()
	o, err := w.verify(t, d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := seal.OpenLines(o.Leaf, d.Lines)
	if diff := cmp.Diff(o.Lines, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	find(d, "actor.login").State, find(d, "actor.login").ErasedAt = seal.Erased, 7
	find(d, "actor.login").Commitment = o.Field("actor.login").Commitment
	got, err = seal.OpenLines(o.Leaf, d.Lines)
	if i := slices.IndexFunc(got, func(l seal.Line) bool { return l.Path == "actor.login" }); err != nil || got[i].State != seal.Withheld || got[i].ErasedAt != 0 {
		t.Errorf("%v, %+v", err, got)
	}
	find(d, "actor.login").Commitment[0] ^= 1
	if _, err := seal.OpenLines(o.Leaf, d.Lines); err == nil {
		t.Error("another commitment is accepted")
	}
}

// TestEveryByte: no byte of a disclosure can be another one.
func TestEveryByte(t *testing.T) {
	w := newWorld(t, nil)
	d := w.disclosure()
	find(d, "actor.login").State = seal.Withheld
	good, err := d.Format()
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1
		d, err := seal.Parse(bad)
		if err != nil {
			continue
		}
		if _, err := w.verify(t, d); err == nil {
			t.Errorf("byte %d of %q may be %q", i, good[max(0, i-20):i+1], bad[i])
		}
	}
}

// judgement is one entry of testdata/vectors/disclosure-verify.json: a file, the policy it is held to, and either
// that it is refused or the states of its fields.
type judgement struct {
	Name   string            `json:"name"`
	Accept bool              `json:"accept"`
	Policy string            `json:"policy"`
	Input  string            `json:"input"`
	States map[string]string `json:"states,omitempty"` // of the fields that are not shown
}

// TestJudgements is the attacks of a discloser, each held to Verify and written down for other languages.
func TestJudgements(t *testing.T) {
	var all []judgement
	record := func(name string, w *world, d *seal.Disclosure, accept bool) *seal.Opened {
		b, err := d.Format()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// What was written is judged, not what was meant.
		if d, err = seal.Parse(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o, err := w.verify(t, d)
		if (err == nil) != accept {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		j := judgement{Name: name, Accept: accept, Policy: w.policy, Input: string(b)}
		if accept {
			j.States = make(map[string]string)
			for _, l := range o.Lines {
				if l.State != seal.Shown {
					j.States[l.Path] = l.State.String()
				}
			}
		}
		all = append(all, j)
		return o
	}
	sealed(t, record)
	altered(t, record)
	erasures(t, record)
	otherLogs(t, record)

	want, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../testdata/vectors/disclosure-verify.json"
	if *update {
		if err := os.WriteFile(file, append(want, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want)+"\n", string(got)); diff != "" {
		t.Errorf("vectors are not those of the test; run with -update (-want +got):\n%s", diff)
	}
}

type recorder func(name string, w *world, d *seal.Disclosure, accept bool) *seal.Opened

// sealed is events that their own operator sealed wrongly: the leaf commits to what is shown.
func sealed(t *testing.T, record recorder) {
	check := func(name string, accept bool, change func(*world)) {
		w := newWorld(t, change)
		record(name, w, w.disclosure(), accept)
	}
	drop := func(path string) func(*world) {
		return func(w *world) {
			w.lines = slices.DeleteFunc(w.lines, func(l seal.Line) bool { return l.Path == path })
		}
	}
	set := func(path string, v seal.Value) func(*world) {
		return func(w *world) {
			l := w.line(path)
			*l = shown(seal.Field{Path: path, Value: v, Owners: l.Owners})
		}
	}
	check("all shown", true, nil)
	for _, path := range []string{"class.activity_id", "class.class_uid", "class.schema", "mapper", "outcome.status",
		"schema", "source.native_id", "source.native_type", "times.received"} {
		check("mandatory "+path+" missing", false, drop(path))
		check(path+" of another kind", false, set(path, seal.Bytes([]byte("1"))))
	}
	check("raw without its media type", false, drop("raw_media_type"))
	check("media type without raw", true, drop("raw"))
	check("raw in full", false, set("raw", seal.Bytes([]byte("{}"))))
	check("a hash that is not raw", false, set("actor.login", seal.RawOf([]byte("alice"))))
	check("another schema", false, set("schema", seal.String("idlog.event.v2")))
	check("received at the start of its second", true, set("times.received", seal.Time(received*1e9)))
	check("received a nanosecond too early", false, set("times.received", seal.Time(received*1e9-1)))
	check("received a second too late", false, set("times.received", seal.Time((received+1)*1e9)))
	check("received before 1970", false, func(w *world) {
		w.event.Received = 0
		set("times.received", seal.Time(-1))(w)
	})
	check("owner that no tag names", false, func(w *world) { w.line("actor.id").Owners = []uint8{0, 2} })
	check("owners without persons", false, func(w *world) { w.event.Tags = nil })
	check("another family", false, func(w *world) { w.event.Log = "log.example/other" })
	check("family without a shard", false, func(w *world) { w.event.Log = family + "/2026" })
	check("half the family", false, func(w *world) { w.event.Log = "log.example" })
}

// altered is disclosures of a good leaf that say something else.
func altered(t *testing.T, record recorder) {
	w := newWorld(t, nil)
	check := func(name string, accept bool, change func(*seal.Disclosure)) {
		d := w.disclosure()
		change(d)
		record(name, w, d, accept)
	}
	check("some withheld", true, func(d *seal.Disclosure) {
		find(d, "actor.login").State = seal.Withheld
		find(d, "schema").State = seal.Withheld
		find(d, "times.received").State = seal.Withheld
	})
	check("all withheld", true, func(d *seal.Disclosure) {
		for i := range d.Lines {
			d.Lines[i].State = seal.Withheld
		}
	})
	check("value changed", false, func(d *seal.Disclosure) { find(d, "actor.login").Value = seal.String("mallory@acme.example") })
	check("kind changed", false, func(d *seal.Disclosure) { find(d, "class.activity_id").Value = seal.String("1") })
	check("salt changed", false, func(d *seal.Disclosure) { find(d, "actor.login").Salt[0] ^= 1 })
	check("commitment changed", false, func(d *seal.Disclosure) {
		l := find(d, "actor.login")
		l.State, l.Commitment[0] = seal.Withheld, l.Commitment[0]^1
	})
	check("path changed", false, func(d *seal.Disclosure) { find(d, "actor.login").Path = "actor.logim" })
	check("owners changed", false, func(d *seal.Disclosure) { find(d, "actor.login").Owners = []uint8{0, 1} })
	check("owners dropped", false, func(d *seal.Disclosure) { find(d, "actor.login").Owners = nil })
	check("line dropped", false, func(d *seal.Disclosure) { d.Lines = d.Lines[1:] })
	check("line added", false, func(d *seal.Disclosure) {
		d.Lines = append(d.Lines, shown(seal.Field{Path: "z", Value: seal.Int(0)}))
	})
	check("leaf of another event", false, func(d *seal.Disclosure) {
		e := w.event
		e.Received++
		d.Proof.Extra = format(t, &e)
	})
	check("another index", false, func(d *seal.Disclosure) { d.Proof.Index = 4 })
	check("leaf is not an event", false, func(d *seal.Disclosure) { d.Proof = w.proof(eraseAlice) })
	check("leaf is none of ours", false, func(d *seal.Disclosure) { d.Proof = w.proof(0) })
	check("not cosigned", false, func(d *seal.Disclosure) {
		d.Proof.Checkpoint = w.log.Note(worldSize, cosigned)
		p, _ := policy.Parse([]byte(w.policy))
		if _, err := d.Verify(p); err == nil {
			t.Error("verified without a quorum")
		} else if _, ok := errors.AsType[*policy.QuorumError](err); !ok {
			t.Errorf("without a quorum: %v", err)
		}
	})
	check("not signed by the log", false, func(d *seal.Disclosure) {
		d.Proof.Checkpoint = prototest.Note(w.log.Checkpoint(worldSize), cosigned, witness)
	})
}

// erasures is claims that a field was erased. None is believed without the leaf that did it.
func erasures(t *testing.T, record recorder) {
	w := newWorld(t, nil)
	for _, c := range []struct {
		name   string
		path   string
		at     int64
		proofs []int64
		want   seal.State
	}{
		{"erased with its owner", "actor.login", eraseAlice, []int64{eraseAlice}, seal.Erased},
		{"erased with one of two owners", "raw", eraseAlice, []int64{eraseAlice}, seal.Erased},
		{"erased among several proofs", "actor.login", eraseAlice, []int64{eraseAlice, eraseCarol, eraseEvent}, seal.Erased},
		{"erased with a range", "actor.login", eraseEvent, []int64{eraseEvent}, seal.Erased},
		{"neutral field erased with a range", "outcome.status", eraseEvent, []int64{eraseEvent}, seal.Erased},
		{"erasure without its leaf", "actor.login", eraseAlice, nil, seal.Withheld},
		{"erasure with another leaf", "actor.login", eraseAlice, []int64{eraseCarol}, seal.Withheld},
		{"erasure of somebody else", "actor.login", eraseCarol, []int64{eraseCarol}, seal.Withheld},
		{"erasure of another's field", "targets.0.principal.id", eraseAlice, []int64{eraseAlice}, seal.Withheld},
		{"erasure of a neutral field", "outcome.status", eraseAlice, []int64{eraseAlice}, seal.Withheld},
		{"erasure of a later range", "actor.login", eraseOthers, []int64{eraseOthers}, seal.Withheld},
		{"erasure of an earlier range", "actor.login", eraseBefore, []int64{eraseBefore}, seal.Withheld},
		{"erasure of another family", "actor.login", eraseOfOther, []int64{eraseOfOther}, seal.Withheld},
		{"loss is not erasure", "actor.login", notAnErasure, []int64{notAnErasure}, seal.Withheld},
		{"erasure that is no leaf", "actor.login", 0, []int64{0}, seal.Withheld},
	} {
		d := w.disclosure()
		l := find(d, c.path)
		l.State, l.ErasedAt = seal.Erased, c.at
		for _, i := range c.proofs {
			d.Erasures = append(d.Erasures, w.proof(i))
		}
		o := record(c.name, w, d, true)
		if o == nil {
			continue
		}
		got := o.Field(c.path)
		if got.State != c.want {
			t.Errorf("%s: %v, want %v", c.name, got.State, c.want)
		}
		if want := map[seal.State]int64{seal.Erased: c.at}[c.want]; got.ErasedAt != want {
			t.Errorf("%s: erased at %d, want %d", c.name, got.ErasedAt, want)
		}
	}
	uncosigned := w.disclosure()
	l := find(uncosigned, "actor.login")
	l.State, l.ErasedAt = seal.Erased, eraseAlice
	p := w.proof(eraseAlice)
	p.Checkpoint = w.log.Note(worldSize, cosigned)
	uncosigned.Erasures = []proof.Proof{p}
	if o := record("erasure under a checkpoint without quorum", w, uncosigned, true); o != nil && o.Field("actor.login").State != seal.Withheld {
		t.Error("an erasure without a quorum was believed")
	}
	absent := w.disclosure()
	l = find(absent, "actor.login")
	l.State, l.ErasedAt = seal.Erased, eraseAlice
	p = w.proof(eraseAlice)
	p.Index = eraseAlice
	p.Extra = format(t, &leaf.Erasure{Log: family, From: 0, To: 100})
	absent.Erasures = []proof.Proof{p}
	if o := record("erasure leaf that is not in the log", w, absent, true); o != nil && o.Field("actor.login").State != seal.Withheld {
		t.Error("an erasure leaf that is not in the log was believed")
	}
}

// otherLogs is erasures in another log that the policy trusts. Persons are the family's and can be erased in a later
// shard; a range counts the entries of its own shard; other families erase nothing of ours.
func otherLogs(t *testing.T, record recorder) {
	tags := []leaf.Tag{{Field: tag.Person, Value: alice}}
	for _, c := range []struct {
		name   string
		origin string
		leaf   leaf.Erasure
		want   seal.State
	}{
		{"erased with its owner in the next shard", family + "/2027",
			leaf.Erasure{Log: family, Enrolments: []leaf.Hash{{7}}, Tags: tags}, seal.Erased},
		{"range of the next shard", family + "/2027",
			leaf.Erasure{Log: family, From: 2, To: 4}, seal.Withheld},
		{"erasure in a log of another family", "log.example/other/2026",
			leaf.Erasure{Log: "log.example/other", Enrolments: []leaf.Hash{{7}}, Tags: tags}, seal.Withheld},
		{"erasure of our family in a log of another", "log.example/other/2026",
			leaf.Erasure{Log: family, Enrolments: []leaf.Hash{{7}}, Tags: tags}, seal.Withheld},
	} {
		w := newWorld(t, nil)
		key := prototest.NewKey(c.origin, checkpoint.Ed25519, checkpoint.LogRole)
		other := prototest.NewLog(c.origin, key)
		other.Append(format(t, &c.leaf))
		w.policy = "log " + key.VKey + "\n" + w.policy
		d := w.disclosure()
		l := find(d, "actor.login")
		l.State, l.ErasedAt = seal.Erased, 0
		d.Erasures = []proof.Proof{other.Proof(0, 1, other.Note(1, cosigned, witness))}
		if o := record(c.name, w, d, true); o != nil && o.Field("actor.login").State != c.want {
			t.Errorf("%s: %v, want %v", c.name, o.Field("actor.login").State, c.want)
		}
	}
}

// TestTwin: one path, two values, neighbours in the leaf. A reader shown either would see a good digest if order
// were not strict, so no part of the package lets it pass.
func TestTwin(t *testing.T) {
	w := newWorld(t, nil)
	d := w.disclosure()
	twin := shown(seal.Field{Path: "actor.login", Value: seal.String("mallory"), Owners: []uint8{0}})
	twin.State = seal.Withheld
	d.Lines = slices.Insert(d.Lines, 2, twin)
	if _, err := seal.Digest(d.Lines); err == nil {
		t.Error("Digest took a path twice")
	}
	if _, err := d.Format(); err == nil {
		t.Error("Format took a path twice")
	}
	if _, err := w.verify(t, d); err == nil {
		t.Error("Verify took a path twice")
	}
}
