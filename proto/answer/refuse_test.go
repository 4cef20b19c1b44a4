package answer_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"idlog/proto/answer"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/trie"
)

// judgement is one entry of testdata/vectors/history-verify.json: a file, the time at which it is read, and either the
// verdict or why there is none. The trust file is that of the whole vector.
type judgement struct {
	Name string `json:"name"`
	// Refusal is empty if there is a verdict, else "incomplete", "stale", "quorum" or, for what is false or does not belong
	// there, "refused".
	Refusal string `json:"refusal,omitempty"`
	Verdict string `json:"verdict,omitempty"`
	Now     int64  `json:"now"` // seconds since 1970
	Input   string `json:"input"`
}

func refusal(err error) string {
	incomplete, stale, quorum := new(answer.IncompleteError), new(answer.StaleError), new(policy.QuorumError)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &incomplete):
		return "incomplete"
	case errors.As(err, &stale):
		return "stale"
	case errors.As(err, &quorum):
		return "quorum"
	}
	return "refused"
}

// attack is what somebody makes of a good file.
type attack struct {
	name string
	of   request
	do   func(w *world, h *answer.History)
	want string // refusal
	says string
}

var (
	ofAlice = request{asks: []answer.Ask{ask(answer.OfSubject, alice)}, noLinks: true}
	linked  = request{asks: []answer.Ask{ask(answer.OfSubject, alice)}}
	ofCarol = request{asks: []answer.Ask{ask(answer.OfSubject, carol)}}
	ofClass = request{asks: []answer.Ask{ask(answer.OfClass, "300201")}}
)

func byIdentifier(id subject.Identifier) func(answer.Subject) bool {
	return func(s answer.Subject) bool { return s.Identifier == id }
}

// without drops the answers that a condition is true of.
func without(h *answer.History, drop func(field uint16, n int) bool) {
	counts := make(map[uint16]int)
	kept := h.Index.Answers[:0]
	for _, a := range h.Index.Answers {
		n := counts[a.Field]
		counts[a.Field]++
		if !drop(a.Field, n) {
			kept = append(kept, a)
		}
	}
	h.Index.Answers = kept
}

// rebuild proves the same queries again, and others.
func rebuild(w *world, h *answer.History, more ...prototest.Query) {
	var queries []prototest.Query
	for _, a := range h.Index.Answers {
		queries = append(queries, prototest.Query{Field: a.Field, Value: a.Value})
	}
	queries = append(queries, more...)
	slices.SortFunc(queries, func(a, b prototest.Query) int {
		if a.Field != b.Field {
			return int(a.Field) - int(b.Field)
		}
		return strings.Compare(string(a.Value[:]), string(b.Value[:]))
	})
	verified := strings.Contains(string(h.Index.Checkpoint), verifier.Name())
	h.Index = w.log.IndexProof(w.at, w.size, w.note(w.size, verified), h.Index.Strict, queries...)
}

var attacks = []attack{
	{"another question", ofAlice, func(w *world, h *answer.History) { h.Asks[0].Identifier = bob }, "incomplete", `"00u2" is called in epoch 1`},
	{"an ask more", ofAlice, func(w *world, h *answer.History) { h.Asks = append(h.Asks, ask(answer.OfSession, "s1")) }, "incomplete", "key 4 of source github for epoch 1 is not shown"},
	{"of another log", ofAlice, func(w *world, h *answer.History) { h.Log = "log.example/other" }, "refused", "the trust file of " + family},

	{"the epochs are not answered", ofAlice, func(w *world, h *answer.History) {
		without(h, func(f uint16, _ int) bool { return f == mapfn.Keys })
		rebuild(w, h)
	}, "incomplete", "does not answer for the key epochs"},
	{"an epoch is missing", ofAlice, func(w *world, h *answer.History) {
		h.Subjects = slices.DeleteFunc(h.Subjects, func(s answer.Subject) bool { return s.Identifier == alice && s.Epoch == 2 })
	}, "incomplete", `"00u1" is called in epoch 2`},
	{"enrolments are not answered", ofAlice, func(w *world, h *answer.History) {
		without(h, func(f uint16, n int) bool { return f == mapfn.Enrolment && n == 1 })
		rebuild(w, h)
	}, "incomplete", "does not answer for the enrolments"},
	{"enrolments are a page", ofAlice, func(w *world, h *answer.History) {
		for i, a := range h.Index.Answers {
			if a.Field == mapfn.Enrolment && a.List != nil {
				p := w.log.IndexProof(w.at, w.size, nil, false, prototest.Query{Field: a.Field, Value: a.Value, Start: 1})
				h.Index.Answers[i] = p.Answers[0]
				h.Index.Answers[i].List.Entries = h.Index.Answers[i].List.Entries[:len(h.Index.Answers[i].List.Page.Postings)]
			}
		}
		var queries []prototest.Query
		for _, a := range h.Index.Answers {
			q := prototest.Query{Field: a.Field, Value: a.Value}
			if a.List != nil {
				q.Start = a.List.Page.Start
			}
			queries = append(queries, q)
		}
		h.Index = w.log.IndexProof(w.at, w.size, w.note(w.size, true), true, queries...)
	}, "incomplete", "is not whole"},
	{"an enrolment is not given", ofAlice, func(w *world, h *answer.History) {
		for _, a := range h.Index.Answers {
			if a.Field == mapfn.Enrolment && a.List != nil {
				a.List.Entries[0] = nil
			}
		}
	}, "incomplete", "is not given"},
	{"an enrolment is neither opened nor erased", ofAlice, func(w *world, h *answer.History) { h.Subjects[0].Enrolments = nil }, "incomplete", "is neither opened nor erased"},
	{"an erased enrolment is hidden", ofCarol, func(w *world, h *answer.History) {
		i := slices.IndexFunc(h.Subjects, func(s answer.Subject) bool { return len(s.Enrolments) == 2 })
		h.Subjects[i].Enrolments = slices.DeleteFunc(h.Subjects[i].Enrolments, func(e answer.Enrolled) bool { return e.Erased })
	}, "incomplete", "is neither opened nor erased"},
	{"an enrolment is said to be erased", ofAlice, func(w *world, h *answer.History) {
		e := &h.Subjects[0].Enrolments[0]
		*e = answer.Enrolled{Leaf: e.Leaf, Erased: true, ErasedAt: 15}
		without(h, func(f uint16, _ int) bool { return f == tag.Person })
		w.refit(h)
	}, "incomplete", "said to be erased at entry 15"},
	{"an enrolment is erased elsewhere", ofCarol, func(w *world, h *answer.History) {
		for i := range h.Subjects {
			for j, e := range h.Subjects[i].Enrolments {
				if e.Erased {
					h.Subjects[i].Enrolments[j].ErasedAt = 20
				}
			}
		}
	}, "incomplete", "said to be erased at entry 20"},
	{"another opening", ofAlice, func(w *world, h *answer.History) { h.Subjects[0].Enrolments[0].Handle.Opening[0] ^= 1 }, "refused", "does not open"},
	{"another handle", ofAlice, func(w *world, h *answer.History) {
		_, s := w.enrolment(bob)
		h.Subjects[0].Enrolments[0].Handle = s.handle
	}, "refused", "does not open"},
	{"a handle of nobody's", ofAlice, func(w *world, h *answer.History) { h.Subjects[0].Enrolments[0].Leaf[0] ^= 1 }, "refused", "is no enrolment of"},
	{"a false VRF proof", ofAlice, func(w *world, h *answer.History) { h.Subjects[0].Proof[79] ^= 1 }, "refused", "verifying etag"},
	{"a VRF proof of another", ofAlice, func(w *world, h *answer.History) {
		_, h.Subjects[0].Proof, _ = vrf(1).Prove(bob)
	}, "refused", "verifying etag"},
	{"a VRF proof of another epoch", ofAlice, func(w *world, h *answer.History) { h.Subjects[0].Epoch = 3 - h.Subjects[0].Epoch }, "refused", "an identifier twice"},
	{"an epoch that nobody announced", ofAlice, func(w *world, h *answer.History) { h.Subjects[1].Epoch = 3 }, "refused", "no epoch 3"},

	{"statements of sameness are not answered", linked, func(w *world, h *answer.History) {
		without(h, func(f uint16, n int) bool { return f == mapfn.Link && n == 0 })
		rebuild(w, h)
	}, "incomplete", "does not answer for the statements of sameness"},
	{"a link to an identifier that the file does not name", linked, func(w *world, h *answer.History) {
		h.Subjects = slices.DeleteFunc(h.Subjects, byIdentifier(mail))
		w.refit(h)
	}, "incomplete", "linked to enrolment"},
	{"a linked enrolment that nobody knows is hidden", request{asks: []answer.Ask{ask(answer.OfSubject, bob)}}, func(w *world, h *answer.History) {
		for i := range h.Subjects {
			h.Subjects[i].Enrolments = slices.DeleteFunc(h.Subjects[i].Enrolments, func(e answer.Enrolled) bool { return e.Erased })
		}
		w.refit(h)
	}, "incomplete", "linked to enrolment"},
	{"the links are not to be followed, and are", linked, func(w *world, h *answer.History) { h.NoLinks = true }, "refused", "neither asked for nor linked"},
	{"a stranger", linked, func(w *world, h *answer.History) {
		w.prove(h, erin, 1)
		etag, _, _ := vrf(1).Prove(erin)
		rebuild(w, h, prototest.Query{Field: mapfn.Enrolment, Value: etag})
	}, "refused", "neither asked for nor linked"},

	{"a key is not shown", ofClass, func(w *world, h *answer.History) { h.Keys = h.Keys[1:] }, "incomplete", "key 6 of source github for epoch 1 is not shown"},
	{"a false key", ofClass, func(w *world, h *answer.History) { h.Keys[0].Key[0] ^= 1 }, "refused", "not the one that the log has announced"},
	{"the key of another epoch", ofClass, func(w *world, h *answer.History) { h.Keys[0].Key = h.Keys[2].Key }, "refused", "not the one that the log has announced"},
	{"a key too many", ofClass, func(w *world, h *answer.History) {
		h.Keys = append(h.Keys, answer.Key{Epoch: 3, Field: tag.Class, Source: "okta"})
	}, "refused", "epoch 3 is not asked for"},
	{"a key of a source that is not asked for", request{asks: []answer.Ask{ask(answer.OfClass, "300201"), ask(answer.OfSource, "okta")}}, func(w *world, h *answer.History) {
		h.Keys = slices.Insert(h.Keys, 0, answer.Key{Epoch: 1, Field: tag.Class, Source: "github", Key: key(1, tag.Class, "github")})
	}, "refused", "source github for epoch 1 is not asked for"},
	{"a list is not answered", ofClass, func(w *world, h *answer.History) {
		without(h, func(f uint16, n int) bool { return f == tag.Class && n == 2 })
		rebuild(w, h)
	}, "incomplete", "does not answer for the tag 6"},
	{"a list too many", ofClass, func(w *world, h *answer.History) {
		rebuild(w, h, prototest.Query{Field: tag.Class, Value: key(1, tag.Class, "okta").Tag([]byte("1"))})
	}, "refused", "is answered and not asked for"},
	{"the roots of the index too", ofClass, func(w *world, h *answer.History) { rebuild(w, h, prototest.Query{Field: mapfn.Root}) }, "refused", "is answered and not asked for"},
	{"a conjunction without entries", request{asks: []answer.Ask{ask(answer.OfSource, "okta"), ask(answer.OfSession, "s2")}}, func(w *world, h *answer.History) {
		for _, a := range h.Index.Answers {
			if a.Field == mapfn.Source {
				a.List.Entries[1] = nil
			}
		}
	}, "incomplete", "entry 5 is not given"},
	{"a window after the index", request{asks: []answer.Ask{ask(answer.OfSource, "okta")}, window: &answer.Window{From: 30, To: 31}},
		func(*world, *answer.History) {}, "incomplete", "the index covers 30 entries"},

	{"a posting is left out", request{asks: ofAlice.asks, noLinks: true, root: true}, func(w *world, h *answer.History) {
		for _, a := range h.Index.Answers {
			if a.Field == tag.Person && a.List.Head.N > 2 {
				a.List.Page.Postings, a.List.Entries = a.List.Page.Postings[:2], a.List.Entries[:2]
			}
		}
	}, "refused", "query 2"},
	{"a page outside of the list", ofClass, func(w *world, h *answer.History) {
		for _, a := range h.Index.Answers {
			if a.Field == tag.Class && a.List != nil {
				a.List.Page.Start = 3
			}
		}
	}, "refused", "query 6"},
	{"an entry is another", ofAlice, func(w *world, h *answer.History) {
		for _, a := range h.Index.Answers {
			if a.Field == tag.Person && a.List.Head.N > 2 {
				a.List.Entries[0] = w.log.Leaves[6]
			}
		}
	}, "refused", ""},
	{"an identifier is said to be absent", request{asks: ofAlice.asks, noLinks: true, root: true}, func(w *world, h *answer.History) {
		for i, a := range h.Index.Answers {
			if a.Field == mapfn.Enrolment && a.List != nil {
				h.Index.Answers[i].List = nil
				h.Index.Answers[i].Path.Terminal[31] ^= 1
			}
		}
		h.Subjects[0].Enrolments = nil
	}, "refused", "map root"},
	{"an unknown map function", ofAlice, func(w *world, h *answer.History) {
		h.Index.Root = []byte(strings.Replace(string(h.Index.Root), leaf.MapFn, "idlog-mapfn/2", 1))
	}, "refused", "map function"},
	{"another leaf as the root", ofAlice, func(w *world, h *answer.History) { h.Index.Root = w.log.Leaves[4] }, "refused", "no root of the index"},
	{"not strict, and nobody verified it", request{asks: ofAlice.asks, noLinks: true, root: true, attested: true}, func(*world, *answer.History) {}, "refused", "not in strict mode"},
	{"an event that is not shown, and nobody verified it", request{asks: ofAlice.asks, noLinks: true, attested: true}, func(_ *world, h *answer.History) {
		h.Index.Answers[0].List.Entries[1] = nil
	}, "refused", "is not shown"},

	{"a witness lacks", ofAlice, func(w *world, h *answer.History) {
		h.Index.Checkpoint = w.log.Note(w.size, start, witness, verifier)
	}, "quorum", "lacks quorum both"},
	{"the required key lacks", ofAlice, func(w *world, h *answer.History) {
		h.Index.Checkpoint = prototest.Note(w.log.Checkpoint(w.size), start, logPQ, witness, second, verifier)
	}, "refused", "the trust file requires"},
	{"an archived checkpoint of another log", ofAlice, func(w *world, h *answer.History) {
		other := prototest.NewLog(origin, logKey)
		other.Fill(6)
		h.Anchors[0].Checkpoint = other.Note(6, start, witness, second)
	}, "refused", "archived checkpoint 1"},
	{"an archived checkpoint without a quorum", ofAlice, func(w *world, h *answer.History) { h.Anchors[1].Checkpoint = w.log.Note(w.n, start, second) }, "quorum", "archived checkpoint 2"},
	{"an archived checkpoint of the same size", request{asks: ofAlice.asks, noLinks: true, anchors: []int64{6}}, func(w *world, h *answer.History) {
		h.Anchors = append(h.Anchors, answer.Anchor{Checkpoint: w.note(w.size, false), Hashes: h.Anchors[0].Hashes})
	}, "refused", "beneath one of size"},
	{"a false proof of consistency", ofAlice, func(w *world, h *answer.History) { h.Anchors[1].Hashes[0][0] ^= 1 }, "refused", "archived checkpoint 2"},

	{"another value of a field", request{asks: ofAlice.asks, noLinks: true, fields: []int64{4, 6}}, func(w *world, h *answer.History) { h.Fields[1].Lines[4].Value = seal.Enum(2) }, "refused", "fields of entry 6"},
	{"fields of another entry", request{asks: ofAlice.asks, noLinks: true, fields: []int64{4}}, func(w *world, h *answer.History) { h.Fields[0].Index = 6 }, "refused", "fields of entry 6"},
	{"fields of an entry that is not part of it", request{asks: ofAlice.asks, noLinks: true, fields: []int64{4, 5}}, func(*world, *answer.History) {}, "refused", "fields of entry 5"},
	{"another reason of a link", request{asks: linked.asks, fields: []int64{10}}, func(w *world, h *answer.History) { h.Fields[0].Lines[1].Value = seal.String("employee 18") }, "refused", "fields of entry 10"},

	{"no archived checkpoint", request{asks: ofAlice.asks, noLinks: true, anchors: []int64{}}, func(*world, *answer.History) {}, "stale", "no archived checkpoint shows"},
	{"only archived checkpoints above the index", request{asks: ofAlice.asks, noLinks: true, anchors: []int64{31}}, func(*world, *answer.History) {}, "stale", "no archived checkpoint shows"},
}

// refit proves the answers that the evidence now needs, and no others.
func (w *world) refit(h *answer.History) {
	for range 10 {
		m, err := h.Missing()
		if err != nil || len(m.Queries) == 0 {
			return
		}
		var more []prototest.Query
		for _, q := range m.Queries {
			more = append(more, prototest.Query{Field: q.Field, Value: q.Value})
		}
		rebuild(w, h, more...)
	}
}

// TestVectorsVerify is the attacks of one who answers, each held to Verify and written down for other languages beside some
// good answers.
func TestVectorsVerify(t *testing.T) {
	w := newWorld(t)
	var all []judgement
	record := func(name string, b []byte, now time.Time, want, says string) {
		t.Helper()
		v, err := judge(t, b, trustFile, now)
		j := judgement{Name: name, Refusal: refusal(err), Now: now.Unix(), Input: string(b)}
		if err == nil {
			j.Verdict = v.String()
		}
		if j.Refusal != want || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q: %v", name, j.Refusal, err)
		}
		all = append(all, j)
	}
	for _, r := range []struct {
		name string
		request
	}{
		{"an identifier, linked to another", request{asks: linked.asks, fields: []int64{4, 10}}},
		{"an identifier that was erased", ofCarol},
		{"an identifier linked to one that nobody knows", request{asks: []answer.Ask{ask(answer.OfSubject, bob)}}},
		{"an identifier that was never there", request{asks: []answer.Ask{ask(answer.OfSubject, erin)}}},
		{"a class, without verifiers", request{asks: ofClass.asks, attested: true}},
		{"a source and a session", request{asks: []answer.Ask{ask(answer.OfSource, "okta"), ask(answer.OfSession, "s2")}}},
		{"a page in a window", request{asks: []answer.Ask{ask(answer.OfSource, "github")}, window: &answer.Window{From: 23, To: 26},
			bare: true, page: func(answer.Query, int64) (int64, int64) { return 1, 2 }}},
	} {
		record(r.name, file(t, w.answer(r.request)), w.now(), "", "")
	}
	for _, a := range attacks {
		h := w.answer(a.of)
		h.Asks = slices.Clone(h.Asks)
		a.do(w, h)
		b, err := h.Format()
		if err != nil {
			// No such file can be written: what would be false in it, Parse refuses already.
			if a.want != "refused" || !strings.Contains(err.Error(), a.says) {
				t.Errorf("%s: %v", a.name, err)
			}
			continue
		}
		record(a.name, b, w.now(), a.want, a.says)
	}
	good := file(t, w.answer(ofAlice))
	record("an hour later", good, w.now().Add(time.Hour), "stale", "the trust file allows an age of 1h0m0s")
	record("before it was made", good, w.now().Add(-time.Hour), "stale", "allows a difference of 1m0s")
	w.log.Fill(w.n + 17)
	w.size = w.n + 17
	record("an old root under a new checkpoint", file(t, w.answer(ofAlice)), w.now(), "stale", "the index covers 30 entries of a log of 47")

	vector := struct {
		Trust string      `json:"trust"`
		Cases []judgement `json:"cases"`
	}{trustFile, all}
	b, err := json.MarshalIndent(vector, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	prototest.Golden(t, filepath.Join("..", "..", "testdata", "vectors", "history-verify.json"), *update, append(b, '\n'))
}

// TestContradictions is logs that say two things of one key, or hold what is not theirs.
func TestContradictions(t *testing.T) {
	for name, tc := range map[string]struct {
		log  func(w *world)
		of   []answer.Ask
		says string
	}{
		"two VRF keys of one epoch": {func(w *world) {
			w.add(&leaf.Keys{Log: family, Epoch: 1, VRF: vrf(2).Public()})
		}, ofAlice.asks, "another VRF key for epoch 1"},
		"two keys of one field and source": {func(w *world) {
			w.add(&leaf.Keys{Log: family, Epoch: 2, VRF: vrf(2).Public(), Commits: []leaf.Commit{{Field: tag.Class, Source: "okta", Commit: leaf.Hash{1}}}})
		}, ofClass.asks, "another key 6 of source okta for epoch 2"},
		"a second key of event ids": {func(w *world) {
			w.add(&leaf.Keys{Log: family, Epoch: 3, VRF: vrf(3).Public(), Commits: []leaf.Commit{{Field: tag.EventID, Source: "okta", Commit: leaf.Hash{1}}}})
		}, ofClass.asks, "another key 1 of source okta for epoch 1"},
		"keys of another family": {func(w *world) {
			w.add(&leaf.Keys{Log: "log.example/other", Epoch: 1, VRF: vrf(1).Public()})
		}, ofAlice.asks, `a leaf of log "log.example/other"`},
		"an event of another family": {func(w *world) {
			w.add(&leaf.Event{Log: "log.example/other", Source: "okta", Assurance: leaf.AssurancePulled, Keys: 1})
		}, []answer.Ask{ask(answer.OfSource, "okta")}, `a leaf of log "log.example/other"`},
	} {
		w := newWorld(t)
		h := w.answer(request{asks: tc.of, noLinks: true})
		tc.log(w)
		w.close()
		rebuild(w, h)
		h.Anchors = []answer.Anchor{{Checkpoint: w.note(w.n, false), Hashes: w.log.Consistency(w.n, w.size)}}
		if _, err := judge(t, file(t, h), trustFile, w.now()); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLiar: an index that leaves an event out has a root leaf, and proofs that hold under it. Without verifiers the answer
// is the operator's word, and says so; an honest verifier does not cosign it.
func TestLiar(t *testing.T) {
	w := newWorld(t)
	honest := w.log.Leaves[:w.n]
	w.log = prototest.NewLog(origin, logKey)
	w.log.Append(honest...)
	lists := prototest.IndexOf(honest).Lists
	for k, l := range lists {
		if lists[k] = slices.DeleteFunc(slices.Clone(l), func(p trie.Posting) bool { return p.Index == 6 }); len(lists[k]) == 0 {
			delete(lists, k)
		}
	}
	w.liar = prototest.NewIndex(lists)
	root, truth := w.liar.Root(origin, 0), prototest.IndexOf(honest).Root(origin, 0)
	root.N, root.LogRoot = truth.N, truth.LogRoot
	w.at = w.add(root)
	w.size = w.at + 1
	r := request{asks: ofAlice.asks, noLinks: true, attested: true}
	v, err := judge(t, file(t, w.answer(r)), trustFile, w.now())
	if err != nil {
		t.Fatal(err)
	}
	if got := indexes(v); got != "4" || v.Proven || !strings.HasPrefix(v.String(), "operator-attested: 1 event ") {
		t.Errorf("events %s: %s", got, v)
	}
	// Nor does a proof of the true index hold under the lying root.
	w.liar = nil
	if _, err := judge(t, file(t, w.answer(r)), trustFile, w.now()); refusal(err) != "refused" {
		t.Errorf("proofs of the true index under a lying root: %v", err)
	}
}
