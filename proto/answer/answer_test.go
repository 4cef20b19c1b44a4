package answer_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/prototest"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

// TestMissing goes the way of one who makes an answer, step by step.
func TestMissing(t *testing.T) {
	w := newWorld(t)
	h := &answer.History{Log: family, Asks: []answer.Ask{ask(answer.OfSubject, carol), ask(answer.OfClass, "7")}, NoLinks: true}
	missing := func() *answer.Missing {
		t.Helper()
		m, err := h.Missing()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	add := func(queries []answer.Query) {
		for _, q := range queries {
			h.Add(w.log.IndexProof(w.at, w.size, nil, false, prototest.Query{Field: q.Field, Value: q.Value}).Answers[0])
		}
	}
	want := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	m := missing()
	want("at first", &answer.Missing{Queries: []answer.Query{{Field: mapfn.Keys, Whole: true, Entries: true}}}, m)
	add(m.Queries)

	// The epochs are known: which name the identifier has in each, and the keys of the class.
	class := func(epoch int64, source string) answer.Key {
		return answer.Key{Epoch: epoch, Field: tag.Class, Source: source}
	}
	m = missing()
	want("with the epochs", &answer.Missing{Subjects: []answer.Subject{{Identifier: carol, Epoch: 1}, {Identifier: carol, Epoch: 2}},
		Keys: []answer.Key{class(1, "github"), class(1, "okta"), class(2, "github"), class(2, "okta")}}, m)
	for _, k := range m.Keys {
		k.Key = key(k.Epoch, k.Field, k.Source)
		h.Keys = append(h.Keys, k)
	}
	w.prove(h, carol, 2)
	w.prove(h, carol, 1)
	etag := func(epoch int64) leaf.Hash {
		e, _, _ := vrf(epoch).Prove(carol)
		return e
	}
	enrolments := []answer.Query{{Field: mapfn.Enrolment, Value: etag(1), Whole: true, Entries: true}, {Field: mapfn.Enrolment, Value: etag(2), Whole: true, Entries: true}}
	slices.SortFunc(enrolments, func(a, b answer.Query) int { return bytes.Compare(a.Value[:], b.Value[:]) })
	m = missing()
	want("with the subjects", &answer.Missing{Queries: enrolments}, m)
	add(m.Queries)

	// The enrolments are known.
	first, again := w.hash(13), w.hash(16)
	m = missing()
	want("with the enrolments", &answer.Missing{Enrolments: []answer.Unopened{
		{Leaf: first, Identifier: carol, Epoch: 2, Commit: w.vault[first].handle.Commit()},
		{Leaf: again, Identifier: carol, Epoch: 2, Commit: w.vault[again].handle.Commit()}}}, m)
	h.Subjects[0].Enrolments = []answer.Enrolled{{Leaf: again, Handle: w.vault[again].handle}, {Leaf: first, Erased: true, ErasedAt: 15}}
	m = missing()
	want("with what became of them", &answer.Missing{Queries: []answer.Query{
		{Field: tag.Person, Value: tag.OfPerson(w.vault[again].handle.T, tag.Person), Entries: true},
		{Field: mapfn.Erasure, Value: first, Whole: true, Entries: true}}}, m)
	add(m.Queries)
	if m = missing(); !m.None() {
		t.Fatalf("nothing should be missing: %+v", m)
	}

	// Add puts answers where the index proof wants them.
	whole := w.answer(request{asks: h.Asks, noLinks: true})
	if diff := cmp.Diff(whole.Index.Answers, h.Index.Answers); diff != "" {
		t.Errorf("answers (-in order +as added):\n%s", diff)
	}
	h.Add(h.Index.Answers[1])
	if len(h.Index.Answers) != len(whole.Index.Answers) {
		t.Error("an answer that was there is there twice")
	}

	// What is false is no lack.
	h.Subjects[0].Enrolments[0].Handle.T[0] ^= 1
	if m, err := h.Missing(); err == nil {
		t.Errorf("a handle that opens nothing: %+v", m)
	}
	if _, err := (&answer.History{Log: family}).Missing(); err == nil {
		t.Error("no question lacks nothing")
	}
}

// TestTimes reads when an entry was logged, how often, and what is shown of it.
func TestTimes(t *testing.T) {
	w := newWorld(t)
	v, err := judge(t, file(t, w.answer(request{asks: []answer.Ask{ask(answer.OfSubject, alice)}, anchors: []int64{4, 5, 11, w.n}, fields: []int64{4, 10}})), trustFile, w.now())
	if err != nil {
		t.Fatal(err)
	}
	at := func(size int64) time.Time { return time.Unix(start+10*size, 0).UTC() }
	for i, want := range []answer.Event{
		{Index: 4, Repeats: []int64{7}, After: at(4), Before: at(5)},
		{Index: 6, After: at(5), Before: at(11)},
		{Index: 11, After: at(11), Before: at(w.n)},
		{Index: 12, After: at(11), Before: at(w.n)},
	} {
		e := v.Events[i]
		want.Hash, want.Leaf, want.Fields = w.hash(want.Index), e.Leaf, e.Fields
		if len(want.Repeats) == 0 {
			e.Repeats = nil
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
		if (e.Fields != nil) != (e.Index == 4) || e.Leaf == nil {
			t.Errorf("event %d: leaf %v, fields %v", i, e.Leaf, e.Fields)
		}
	}
	if diff := cmp.Diff(w.lines[4], v.Events[0].Fields); diff != "" {
		t.Error(diff)
	}
	var links []int64
	for _, l := range v.Links {
		links = append(links, l.Index)
		if (l.Fields != nil) != (l.Index == 10) {
			t.Errorf("link %d: fields %v", l.Index, l.Fields)
		}
	}
	if diff := cmp.Diff([]int64{10, 21, 22}, links); diff != "" {
		t.Errorf("statements of sameness: %s", diff)
	}
	if diff := cmp.Diff(answer.Moment{Size: w.n, Time: at(w.n)}, v.AsOf); diff != "" {
		t.Error(diff)
	}
	if got := v.Links[0].Fields[0].Value.Text(); got != "https://acme.example/hr" {
		t.Errorf("authority %s", got)
	}

	// A bare list says nothing of its entries but where they are.
	v, err = judge(t, file(t, w.answer(request{asks: ofClass.asks, bare: true, anchors: []int64{30}})), trustFile, w.now())
	if err != nil {
		t.Fatal(err)
	}
	if e := v.Events[0]; e.Leaf != nil || e.Hash != w.hash(4) || !e.After.IsZero() || !e.Before.Equal(at(30)) {
		t.Errorf("%+v", e)
	}
	// An erasure stands beneath the tags of the person, and is no event.
	erased := tag.OfPerson(w.vault[w.hash(13)].handle.T, tag.Person)
	v, err = judge(t, file(t, w.answer(request{asks: []answer.Ask{ask(answer.OfTag, leaf.Tag{Field: tag.Person, Value: erased})}})), trustFile, w.now())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{15}, v.Erasures); indexes(v) != "14" || diff != "" {
		t.Errorf("events %s: %s", indexes(v), diff)
	}
}

// TestStale is who says how old an answer is.
func TestStale(t *testing.T) {
	// Nothing was logged after the root leaf but itself: the checkpoint is as of now, and needs no archived one.
	w := newWorld(t)
	w.at = w.log.AppendRoot(w.size, 0)
	w.n, w.size = w.at, w.at+1
	v, err := judge(t, file(t, w.answer(request{asks: ofAlice.asks, anchors: []int64{}})), trustFile, w.now())
	if err != nil || v.AsOf.Size != w.size {
		t.Errorf("a quiet log: %v, %+v", err, v)
	}
	// Where nobody but the log says when, its own word counts.
	alone := trustFile[:strings.Index(trustFile, "group both")] + "quorum none\n"
	w = newWorld(t)
	h := w.answer(request{asks: ofAlice.asks, anchors: []int64{}})
	h.Index.Checkpoint = w.log.Note(w.size, 0)
	h.Index = w.log.IndexProof(w.at, w.size, h.Index.Checkpoint, true, func() (q []prototest.Query) {
		for _, a := range h.Index.Answers {
			q = append(q, prototest.Query{Field: a.Field, Value: a.Value})
		}
		return q
	}()...)
	for after, want := range map[time.Duration]string{0: "", 2 * time.Hour: "stale", -2 * time.Hour: "stale"} {
		v, err := judge(t, file(t, h), alone, w.now().Add(after))
		if refusal(err) != want {
			t.Errorf("%s after: %v", after, err)
		}
		if err == nil && strings.Contains(v.String(), "published by") {
			t.Errorf("nobody says when, and it says %s", v)
		}
	}
	// An archived checkpoint from before the log had all of its keys says when, too.
	h = w.answer(ofAlice)
	h.Anchors[1].Checkpoint = prototest.Note(w.log.Checkpoint(w.n), start+10*uint64(w.n), logPQ, witness, second)
	if v, err := judge(t, file(t, h), trustFile, w.now()); err != nil || v.AsOf.Size != w.n {
		t.Errorf("%v: %v", err, v)
	}
	// A shard that the file is not of is named.
	old := prototest.NewKey(family+"/2025", checkpoint.Ed25519, checkpoint.LogRole)
	shards := strings.NewReplacer("origin ", "origin "+family+"/2025\norigin ", "require ", "require "+old.VKey+"\nrequire ",
		"\n\n", "\n\nlog "+old.VKey+"\n").Replace(trustFile)
	v, err = judge(t, file(t, w.answer(ofAlice)), shards, w.now())
	if err != nil || !strings.HasSuffix(v.String(), "; it is of log.example/id/2026, and says nothing of log.example/id/2025") {
		t.Errorf("%v: %s", err, v)
	}
}

// TestSameness: of two identifiers the last statement that names enrolments of both counts, whichever enrolments these are.
func TestSameness(t *testing.T) {
	w := newWorld(t)
	identifiers := func() (ids []string) {
		t.Helper()
		v, err := judge(t, file(t, w.answer(ofCarol)), trustFile, w.now())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range v.Identifiers {
			ids = append(ids, i.Identifier.ID)
		}
		return ids
	}
	first, again, b := w.hash(13), w.hash(16), w.hash(3)
	for _, step := range []struct {
		state func()
		want  []string
	}{
		{func() {}, []string{"00u3"}},
		{func() { w.same(true, first, b) }, []string{"00u3", "00u2"}},
		{func() { w.same(false, again, b) }, []string{"00u3"}},
		{func() { w.same(true, again, w.hash(9)) }, []string{"00u3", "alice@acme.example", "00u1"}},
	} {
		step.state()
		w.close()
		if diff := cmp.Diff(step.want, identifiers()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestContinues(t *testing.T) {
	w := newWorld(t)
	asks := []answer.Ask{ask(answer.OfSubject, bob)}
	verdict := func(r request) *answer.Verdict {
		t.Helper()
		v, err := judge(t, file(t, w.answer(r)), trustFile, w.now())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := verdict(request{asks: asks})
	other := verdict(request{asks: ofAlice.asks})
	part := verdict(request{asks: asks, page: func(answer.Query, int64) (int64, int64) { return 0, 3 }})
	w.event(what{id: "late", epoch: 2, actor: bob})
	w.close()
	from := func(start int64) *answer.Verdict {
		return verdict(request{asks: asks, page: func(_ answer.Query, n int64) (int64, int64) {
			if start == n {
				return start, -1
			}
			return start, n - start
		}})
	}
	for _, start := range []int64{0, 5, 9} {
		v := from(start)
		if v.Complete != (start == 0) {
			t.Errorf("from %d: complete %v before it continues anything", start, v.Complete)
		}
		if err := v.Continues(first); err != nil {
			t.Errorf("from %d: %v", start, err)
		}
		if !v.Complete || v.Since != first.Root.N {
			t.Errorf("from %d: %s", start, v)
		}
	}
	v := from(9)
	if err := v.Continues(first); err != nil || indexes(v) != "30 32 33" ||
		!strings.HasPrefix(v.String(), "complete: 3 events among entries [0, 34)") || !strings.Contains(v.String(), "together with the earlier answer on the entries [0, 30)") {
		t.Errorf("%v: events %s: %s", err, indexes(v), v)
	}
	for name, refused := range map[string]func() error{
		"a gap":                    func() error { return from(10).Continues(first) },
		"another question":         func() error { return from(9).Continues(other) },
		"a part":                   func() error { return from(9).Continues(part) },
		"the later one before":     func() error { return first.Continues(from(9)) },
		"a page that ends earlier": func() error { return part.Continues(first) },
		"another list": func() error {
			lie := *first
			lie.Lists = slices.Clone(first.Lists)
			lie.Lists[0].Head.Root[0] ^= 1
			return from(9).Continues(&lie)
		},
		"a list that is gone": func() error {
			lie := *first
			lie.Lists = append(slices.Clone(first.Lists), answer.List{Tag: leaf.Tag{Field: 2}})
			return from(9).Continues(&lie)
		},
	} {
		if refused() == nil {
			t.Errorf("%s is continued", name)
		}
	}
}

// TestEveryByte: no byte of a history can be another one. Within the cosignature of the verifier it can, and then the answer
// is the operator's word. The index proof has its own such test, so here every eleventh of its bytes is enough.
func TestEveryByte(t *testing.T) {
	w := newWorld(t)
	good := file(t, w.answer(request{asks: []answer.Ask{ask(answer.OfClass, "300201"), ask(answer.OfActor, bob)},
		noLinks: true, anchors: []int64{w.n}, fields: []int64{5}}))
	trust := parseTrust(t, trustFile)
	if _, err := judge(t, good, trustFile, w.now()); err != nil {
		t.Fatal(err)
	}
	index, archived := bytes.Index(good, []byte("part index-proof")), bytes.Index(good, []byte("part checkpoint"))
	for i := 0; i < len(good); i++ {
		if index+30 < i && i < archived-300 && i%11 != 0 {
			continue
		}
		bad := slices.Clone(good)
		bad[i] ^= 1
		h, err := answer.Parse(bad)
		if err != nil {
			continue
		}
		v, err := h.Verify(trust, w.now())
		if err == nil && (v.Proven || i > archived) {
			t.Errorf("byte %d of %q may be %q: %s", i, good[max(0, i-20):i+1], bad[i], v)
		}
	}
	for name, bad := range map[string][]byte{"truncated": good[:len(good)-100], "padded": append(slices.Clone(good), good...)} {
		if _, err := answer.Parse(bad); err == nil {
			t.Errorf("%s, it is accepted", name)
		}
	}
}

func reformat(b []byte) ([]byte, error) {
	h, err := answer.Parse(b)
	if err != nil {
		return nil, err
	}
	return h.Format()
}

func TestVectors(t *testing.T) {
	w := newWorld(t)
	h := w.answer(request{asks: ofClass.asks, anchors: []int64{6}, fields: []int64{4}, bare: false})
	h.Index = w.log.IndexProof(w.at, w.size, w.note(w.size, true), false, prototest.Query{Field: 6})
	h.Keys = h.Keys[:2]
	h.Fields[0].Lines = h.Fields[0].Lines[:2]
	whole := string(file(t, h))
	parts := whole[strings.Index(whole, "part index-proof"):]
	index := parts[:strings.Index(parts, "part checkpoint")]
	archived := parts[len(index):strings.Index(parts, "part fields")]
	fields := parts[len(index)+len(archived):]
	keys := whole[strings.Index(whole, "key "):strings.Index(whole, "part ")]
	const head = "idlog-history/v1\nlog log.example/id\n"
	const source = "ask source okta\n"
	id := func(i subject.Identifier) string {
		b, err := i.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b64(b)
	}
	hash := b64(make([]byte, 32))
	other := b64(append(make([]byte, 31), 1))
	about := "subject " + id(alice) + " " + b64(make([]byte, 80)) + " "
	many := func(n int) (s string) {
		for i := range n {
			s += "ask class " + string(rune('1'+i)) + "\n"
		}
		return s
	}
	prototest.Vectors(t, "history.json", *update, []prototest.Case{
		prototest.Accept("a class, keys, an archived checkpoint, fields", whole),
		prototest.Accept("a source", head+source+index),
		prototest.Accept("every kind of ask", head+"ask subject "+id(alice)+"\nask actor "+id(mail)+"\n"+source+"ask event ZQ==\nask session cw==\nask class 0\nask target dA== aWQ=\nask tag 32767 "+hash+"\n"+index),
		prototest.Accept("eight asks", head+many(8)+index),
		prototest.Accept("a target without a type", head+"ask target  aWQ=\n"+index),
		prototest.Accept("a window", head+source+"window 0 9223372036854775807\n"+index),
		prototest.Accept("no links", head+source+"links none\n"+index),
		prototest.Accept("a window and no links", head+source+"window 3 4\nlinks none\n"+index),
		prototest.Accept("an identifier in two epochs", head+source+about+"1\nhandle "+hash+" "+hash+" "+other+"\n"+about+"2\nerased "+other+" 0\n"+index),
		prototest.Accept("fields without archived checkpoints", head+source+index+fields),
		prototest.Accept("an archived checkpoint without fields", head+source+index+archived),

		prototest.Refuse("empty", ""),
		prototest.Refuse("another version", strings.Replace(whole, "history/v1", "history/v2", 1)),
		prototest.Refuse("no log", "idlog-history/v1\n"+source+index),
		prototest.Refuse("a log of two words", "idlog-history/v1\nlog a b\n"+source+index),
		prototest.Refuse("no ask", head+index),
		prototest.Refuse("nine asks", head+many(9)+index),
		prototest.Refuse("an ask twice", head+source+source+index),
		prototest.Refuse("an unknown ask", head+"ask person okta\n"+index),
		prototest.Refuse("an ask for nothing", head+"ask source\n"+index),
		prototest.Refuse("a source in upper case", head+"ask source Okta\n"+index),
		prototest.Refuse("an identifier that is none", head+"ask subject AAAA\n"+index),
		prototest.Refuse("an event without an id", head+"ask event \n"+index),
		prototest.Refuse("a session that is not UTF-8", head+"ask session /w==\n"+index),
		prototest.Refuse("base64 with unused bits", head+"ask session cx==\n"+index),
		prototest.Refuse("a class with a leading zero", head+"ask class 01\n"+index),
		prototest.Refuse("a target without an id", head+"ask target dA== \n"+index),
		prototest.Refuse("a zero byte in the type of a target", head+"ask target AA== aWQ=\n"+index),
		prototest.Refuse("a tag of field 0", head+"ask tag 0 "+hash+"\n"+index),
		prototest.Refuse("a tag of the system", head+"ask tag 32768 "+hash+"\n"+index),
		prototest.Refuse("an empty window", head+source+"window 4 4\n"+index),
		prototest.Refuse("a window that ends before it begins", head+source+"window 4 3\n"+index),
		prototest.Refuse("two windows", head+source+"window 3 4\nwindow 3 4\n"+index),
		prototest.Refuse("links of another word", head+source+"links all\n"+index),
		prototest.Refuse("links before the window", head+source+"links none\nwindow 3 4\n"+index),
		prototest.Refuse("an identifier twice in an epoch", head+source+about+"1\n"+about+"1\n"+index),
		prototest.Refuse("epoch 0", head+source+about+"0\n"+index),
		prototest.Refuse("a VRF proof of 79 bytes", head+source+"subject "+id(alice)+" "+b64(make([]byte, 79))+" 1\n"+index),
		prototest.Refuse("a handle of nobody", head+source+"handle "+hash+" "+hash+" "+hash+"\n"+index),
		prototest.Refuse("an enrolment twice", head+source+about+"1\nerased "+hash+" 1\nerased "+hash+" 2\n"+index),
		prototest.Refuse("an enrolment of two identifiers", head+source+about+"1\nerased "+hash+" 1\n"+about+"2\nhandle "+hash+" "+hash+" "+hash+"\n"+index),
		prototest.Refuse("a key twice", head+source+"key 1 6 okta "+hash+"\nkey 1 6 okta "+hash+"\n"+index),
		prototest.Refuse("keys in another order", head+source+"key 1 6 okta "+hash+"\nkey 1 4 okta "+hash+"\n"+index),
		prototest.Refuse("a key before a subject", head+source+"key 1 6 okta "+hash+"\n"+about+"1\n"+index),
		prototest.Refuse("a key of no field", head+source+"key 1 0 okta "+hash+"\n"+index),
		prototest.Refuse("an unknown line", head+source+"limit 10\n"+index),
		prototest.Refuse("no index proof", head+source+keys),
		prototest.Refuse("two index proofs", head+source+index+index),
		prototest.Refuse("fields before the index proof", head+source+fields+index),
		prototest.Refuse("an index proof cut short", head+source+"part index-proof 20\n"+index[strings.Index(index, "\n")+1:][:20]+"\n"),
		prototest.Refuse("a checkpoint without a proof", head+source+index+archived[:strings.Index(archived, "part consistency")]),
		prototest.Refuse("a proof without a checkpoint", head+source+index+archived[strings.Index(archived, "part consistency"):]),
		prototest.Refuse("an archived checkpoint twice", head+source+index+archived+archived),
		prototest.Refuse("fields before the archived checkpoint", head+source+index+fields+archived),
		prototest.Refuse("fields twice", head+source+index+fields+fields),
		prototest.Refuse("fields of no lines", head+source+index+"part fields 10\nentry 4 0\n\n"),
		prototest.Refuse("fields of fewer lines", head+source+index+strings.Replace(fields, "entry 4 2", "entry 4 3", 1)),
		prototest.Refuse("fields of more lines", head+source+index+strings.Replace(fields, "entry 4 2", "entry 4 1", 1)),
		prototest.Refuse("a part of another length", strings.Replace(whole, "part fields ", "part fields 1", 1)),
		prototest.Refuse("cut short", whole[:len(whole)-1]),
		prototest.Refuse("padded", whole+"\n"),
		prototest.Refuse("carriage returns", strings.ReplaceAll(whole, "\n", "\r\n")),
	}, reformat)
}

// TestFormatRefuses: what Parse would refuse is not written.
func TestFormatRefuses(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*answer.History){
		"no ask":            func(h *answer.History) { h.Asks = nil },
		"no kind":           func(h *answer.History) { h.Asks = []answer.Ask{{}} },
		"no identifier":     func(h *answer.History) { h.Asks = []answer.Ask{{Kind: answer.OfSubject}} },
		"a class in words":  func(h *answer.History) { h.Asks = []answer.Ask{{Kind: answer.OfClass, Value: "sign-in"}} },
		"a line within":     func(h *answer.History) { h.Log += "\nask source okta" },
		"no index proof":    func(h *answer.History) { h.Index = nil },
		"keys in disorder":  func(h *answer.History) { slices.Reverse(h.Keys) },
		"anchors, likewise": func(h *answer.History) { slices.Reverse(h.Anchors) },
		"fields, likewise":  func(h *answer.History) { slices.Reverse(h.Fields) },
		"fields of none":    func(h *answer.History) { h.Fields[0].Lines = nil },
	} {
		h := w.answer(request{asks: slices.Clone(ofClass.asks), fields: []int64{4, 5}})
		change(h)
		if b, err := h.Format(); err == nil {
			t.Errorf("%s: written\n%s", name, b)
		}
	}
	if _, err := answer.Parse(make([]byte, answer.MaxFile+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file that is too large: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	w := newWorld(f)
	for _, r := range []request{{asks: linked.asks, fields: []int64{4, 10}}, {asks: ofClass.asks, bare: true, window: &answer.Window{From: 1, To: 9}}, ofCarol} {
		f.Add(file(f, w.answer(r)))
	}
	trust := parseTrust(f, trustFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := answer.Parse(b)
		if err != nil {
			return
		}
		if again, err := h.Format(); err != nil || !bytes.Equal(b, again) {
			t.Errorf("%v\n%q\n%q", err, b, again)
		}
		if v, err := h.Verify(trust, w.now()); err == nil && strings.ContainsFunc(v.String(), func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("a verdict that moves the cursor: %q", v)
		}
		if _, err := h.Missing(); err != nil {
			return
		}
	})
}
