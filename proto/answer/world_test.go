package answer_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"idlog/proto/answer"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/tile"
)

const (
	family = "log.example/id"
	origin = family + "/2026"
	start  = 1_800_000_000 // when the log began; a checkpoint of size n is cosigned ten seconds times n later
)

var (
	logKey   = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	logPQ    = prototest.NewKey(origin, checkpoint.MLDSA44, checkpoint.LogRole)
	witness  = prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	second   = prototest.NewKey("second.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	verifier = prototest.NewKey("index.example", checkpoint.Ed25519, checkpoint.WitnessRole)

	trustFile = "idlog-trust/v1\nlog " + family + "\nrequire " + logKey.VKey + "\nverifier index\nverifiers 1\n" +
		"maxlag 16\nmaxage 3600\nskew 60\norigin " + origin + "\n\n" +
		"log " + logKey.VKey + "\nlog " + logPQ.VKey + "\nwitness w " + witness.VKey + "\nwitness s " + second.VKey +
		"\nwitness index " + verifier.VKey + "\ngroup both all w s\nquorum both\n"

	alice = subject.Identifier{Issuer: "https://okta.example", Format: "opaque", ID: "00u1"}
	bob   = subject.Identifier{Issuer: "https://okta.example", Format: "opaque", ID: "00u2"}
	mail  = subject.Email("alice@acme.example")
	carol = subject.Identifier{Issuer: "https://okta.example", Format: "opaque", ID: "00u3"}
	dave  = subject.Identifier{Issuer: "https://okta.example", Format: "opaque", ID: "00u4"}
	erin  = subject.Identifier{Issuer: "https://okta.example", Format: "opaque", ID: "00u5"}
)

func parseTrust(t testing.TB, file string) *policy.Trust {
	t.Helper()
	trust, err := policy.ParseTrust([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// secret is what a vault knows of an enrolment.
type secret struct {
	id     subject.Identifier
	epoch  int64
	handle subject.Handle
	erased bool
}

// world is a log with all that a history has to tell, and the secrets of its operator.
type world struct {
	t     testing.TB
	log   *prototest.Log
	vault map[leaf.Hash]*secret
	lines map[int64][]seal.Line
	// n entries are indexed by the root leaf at index at; size is that of the checkpoint.
	n, at, size int64
	liar        *prototest.Index // nil: the index is true
}

func hashOf(words ...any) leaf.Hash { return sha256.Sum256([]byte(fmt.Sprint(words...))) }

func vrf(epoch int64) *subject.VRFKey {
	k, err := subject.ParseVRFKey(append([]byte{byte(epoch)}, make([]byte, 31)...))
	if err != nil {
		panic(err)
	}
	return k
}

// key is the key of a field and source in an epoch.
func key(epoch int64, field uint16, source string) tag.Key {
	if field == tag.EventID {
		epoch = 1
	}
	return tag.Derive(tag.Key(hashOf("epoch", epoch)), field, source)
}

func (w *world) add(l leaf.Leaf) int64 {
	w.t.Helper()
	b, err := l.Format()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.log.Append(b)
}

func (w *world) hash(i int64) leaf.Hash { return leaf.HashOf(w.log.Leaves[i]) }

func (w *world) received() int64 { return start + 10*int64(len(w.log.Leaves)) }

func (w *world) keys(epoch int64, sources ...string) {
	k := &leaf.Keys{Log: family, Received: w.received(), Epoch: epoch, VRF: vrf(epoch).Public()}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		for _, s := range sources {
			k.Commits = append(k.Commits, leaf.Commit{Field: f, Source: s, Commit: key(epoch, f, s).Commit(f, s)})
		}
	}
	w.add(k)
}

func (w *world) enrol(id subject.Identifier, epoch int64) leaf.Hash {
	etag, _, err := vrf(epoch).Prove(id)
	if err != nil {
		w.t.Fatal(err)
	}
	n := len(w.log.Leaves)
	s := &secret{id: id, epoch: epoch, handle: subject.Handle{Opening: hashOf("opening", n), T: hashOf("T", n)}}
	commit := s.handle.Commit()
	at := w.add(&leaf.Subject{Log: family, Received: w.received(), Keys: epoch, Commit: &commit, Etags: []leaf.Hash{etag}})
	w.vault[w.hash(at)] = s
	return w.hash(at)
}

// enrolment is the newest enrolment of an identifier that is not erased.
func (w *world) enrolment(id subject.Identifier) (hash leaf.Hash, s *secret) {
	last := int64(-1)
	for h, x := range w.vault {
		at := int64(slices.IndexFunc(w.log.Leaves, func(b []byte) bool { return leaf.HashOf(b) == h }))
		if x.id == id && !x.erased && at > last {
			last, hash, s = at, h, x
		}
	}
	return hash, s
}

func shown(path string, v seal.Value) seal.Line {
	salt := hashOf("salt", path)
	return seal.Line{Path: path, State: seal.Shown, Salt: salt, Value: v, Commitment: seal.Commitment(salt, path, v)}
}

// what is an event in few words.
type what struct {
	source, id, session, class, target string
	epoch                              int64
	actor                              subject.Identifier
	others                             []subject.Identifier
}

func (w *world) event(x what) int64 {
	x.epoch = cmp.Or(x.epoch, 1)
	x.source = cmp.Or(x.source, "okta")
	received := w.received()
	lines := []seal.Line{
		shown("class.activity_id", seal.Int(1)), shown("class.class_uid", seal.Int(3002)), shown("class.schema", seal.String("ocsf/1.9.0")),
		shown("mapper", seal.String("okta/1")), shown("outcome.status", seal.Enum(1)), shown("schema", seal.String(seal.Schema)),
		shown("source.native_id", seal.String(x.id)), shown("source.native_type", seal.String("user.session.start")),
		shown("times.received", seal.Time(received*1e9)),
	}
	digest, err := seal.Digest(lines)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &leaf.Event{Log: family, Source: x.source, Received: received, Assurance: leaf.AssurancePulled, Keys: x.epoch, Fields: digest}
	for field, value := range map[uint16]string{tag.EventID: x.id, tag.Session: x.session, tag.Class: x.class, tag.Target: x.target} {
		if value != "" {
			e.Tags = append(e.Tags, leaf.Tag{Field: field, Value: key(x.epoch, field, x.source).Tag([]byte(value))})
		}
	}
	for i, id := range append([]subject.Identifier{x.actor}, x.others...) {
		if id.ID == "" {
			continue
		}
		_, s := w.enrolment(id)
		e.Tags = append(e.Tags, leaf.Tag{Field: tag.Person, Value: tag.OfPerson(s.handle.T, tag.Person)})
		if i == 0 {
			e.Tags = append(e.Tags, leaf.Tag{Field: tag.Actor, Value: tag.OfPerson(s.handle.T, tag.Actor)})
		}
	}
	slices.SortFunc(e.Tags, leaf.CompareTags)
	at := w.add(e)
	w.lines[at] = lines
	return at
}

// same states that enrolments are of one person, or are not.
func (w *world) same(is bool, enrolments ...leaf.Hash) int64 {
	lines := []seal.Line{shown("authority", seal.String("https://acme.example/hr")), shown("reason", seal.String("employee 17"))}
	digest, err := seal.Digest(lines)
	if err != nil {
		w.t.Fatal(err)
	}
	l := &leaf.Subject{Log: family, Received: w.received(), Keys: 1, Fields: &digest}
	slices.SortFunc(enrolments, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	for _, h := range enrolments {
		s := w.vault[h]
		etag, _, err := vrf(s.epoch).Prove(s.id)
		if err != nil {
			w.t.Fatal(err)
		}
		l.Etags = append(l.Etags, etag)
	}
	slices.SortFunc(l.Etags, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	if is {
		l.Links = enrolments
	} else {
		l.Unlinks = enrolments
	}
	at := w.add(l)
	w.lines[at] = lines
	return at
}

func (w *world) erase(id subject.Identifier) int64 {
	hash, s := w.enrolment(id)
	s.erased = true
	return w.add(&leaf.Erasure{Log: family, Received: w.received(), Fields: hashOf("erased"), Enrolments: []leaf.Hash{hash},
		Tags: []leaf.Tag{{Field: tag.Person, Value: tag.OfPerson(s.handle.T, tag.Person)}, {Field: tag.Actor, Value: tag.OfPerson(s.handle.T, tag.Actor)}}})
}

// newWorld makes the log: see the comments for where things stand.
func newWorld(t testing.TB) *world {
	w := &world{t: t, log: prototest.NewLog(origin, logKey), vault: make(map[leaf.Hash]*secret), lines: make(map[int64][]seal.Line)}
	w.add(&leaf.Shard{Log: family, Received: start, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1,
		Ticket: prototest.NewKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole).VKey}})
	w.keys(1, "github", "okta")                                                                         // 1
	a1 := w.enrol(alice, 1)                                                                             // 2
	b1 := w.enrol(bob, 1)                                                                               // 3
	w.event(what{id: "e4", actor: alice, session: "s1", class: "300201"})                               // 4
	w.event(what{id: "e5", actor: bob, session: "s2", class: "300201"})                                 // 5
	w.event(what{id: "e6", actor: bob, others: []subject.Identifier{alice}, session: "s2", class: "1"}) // 6
	w.log.Append(w.log.Leaves[4])                                                                       // 7: the same leaf again
	w.keys(2, "github", "okta")                                                                         // 8
	m1 := w.enrol(mail, 2)                                                                              // 9
	w.same(true, a1, m1)                                                                                // 10
	w.event(what{id: "e11", epoch: 2, actor: mail, session: "s1", class: "300201"})                     // 11
	w.event(what{id: "e12", epoch: 2, source: "github", actor: mail, target: "group\x00admins"})        // 12
	w.enrol(carol, 2)                                                                                   // 13
	w.event(what{id: "e14", epoch: 2, actor: carol})                                                    // 14
	w.erase(carol)                                                                                      // 15
	w.enrol(carol, 2)                                                                                   // 16
	w.event(what{id: "e17", epoch: 2, actor: carol})                                                    // 17
	d1 := w.enrol(dave, 1)                                                                              // 18
	w.same(true, b1, d1)                                                                                // 19
	w.erase(dave)                                                                                       // 20
	w.same(true, a1, b1)                                                                                // 21
	w.same(false, a1, b1)                                                                               // 22
	for i := range 7 {                                                                                  // 23 to 29
		w.event(what{id: fmt.Sprint("e", 23+i), epoch: 2, source: "github", actor: bob})
	}
	w.close()
	return w
}

// close lets others publish and the log go on a little beyond what the index covers.
func (w *world) close() {
	w.n = int64(len(w.log.Leaves))
	w.event(what{id: fmt.Sprint("e", w.n), epoch: 2, source: "github", actor: bob})
	w.at = w.log.AppendRoot(w.n, (w.received()+1)*1000)
	w.event(what{id: fmt.Sprint("e", w.n+2), epoch: 2, source: "github", actor: bob})
	w.size = int64(len(w.log.Leaves))
}

func (w *world) now() time.Time { return time.Unix(start+10*w.size+30, 0).UTC() }

// note is the checkpoint of a size, cosigned by those who verify the index, or not.
func (w *world) note(size int64, verified bool) []byte {
	cosigners := []prototest.Key{witness, second}
	if verified {
		cosigners = append(cosigners, verifier)
	}
	return w.log.Note(size, uint64(start+10*size), cosigners...)
}

// request is what is asked, and how the answer is made.
type request struct {
	asks     []answer.Ask
	window   *answer.Window
	noLinks  bool
	attested bool // no verifier has cosigned
	root     bool // not the strict mode
	// page says which page of a main list is given; Count 0 is the whole.
	page    func(q answer.Query, n int64) (start, count int64)
	anchors []int64 // nil: those of sizes 6 and n
	fields  []int64
	bare    bool // no entries in main lists, where they are not needed
}

func ask(kind answer.Kind, of any) answer.Ask {
	switch of := of.(type) {
	case subject.Identifier:
		return answer.Ask{Kind: kind, Identifier: of}
	case leaf.Tag:
		return answer.Ask{Kind: kind, Tag: of}
	case string:
		if kind == answer.OfSource {
			return answer.Ask{Kind: kind, Source: of}
		}
		return answer.Ask{Kind: kind, Value: of}
	}
	panic("no such ask")
}

// answer makes a history as a server does: it asks what is missing until nothing is.
func (w *world) answer(r request) *answer.History {
	w.t.Helper()
	h := &answer.History{Log: family, Asks: r.asks, Window: r.window, NoLinks: r.noLinks}
	var queries []prototest.Query
	index := prototest.IndexOf(w.log.Leaves[:w.n])
	for round := 0; ; round++ {
		m, err := h.Missing()
		if err != nil {
			w.t.Fatal(err)
		}
		if m.None() {
			break
		}
		if round > 100 {
			w.t.Fatalf("after %d rounds there is still missing %+v", round, m)
		}
		for _, q := range m.Queries {
			p := prototest.Query{Field: q.Field, Value: q.Value}
			if !q.Whole {
				p.HashesOnly = r.bare && !q.Entries
				if n := index.Head(mapfn.Key(q.Field, q.Value)).N; r.page != nil && n > 0 {
					p.Start, p.Count = r.page(q, n)
				}
			}
			queries = append(queries, p)
		}
		slices.SortFunc(queries, func(a, b prototest.Query) int {
			return cmp.Or(cmp.Compare(a.Field, b.Field), bytes.Compare(a.Value[:], b.Value[:]))
		})
		h.Index = w.log.IndexProof(w.at, w.size, w.note(w.size, !r.attested), !r.root, queries...)
		if w.liar != nil {
			index = w.liar
			w.lie(h.Index)
		}
		for _, s := range m.Subjects {
			w.prove(h, s.Identifier, s.Epoch)
		}
		for _, u := range m.Enrolments {
			w.openOrErase(h, index, u)
		}
		for _, k := range m.Keys {
			k.Key = key(k.Epoch, k.Field, k.Source)
			h.Keys = append(h.Keys, k)
		}
		slices.SortFunc(h.Keys, func(a, b answer.Key) int {
			return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Source, b.Source))
		})
	}
	if r.anchors == nil {
		r.anchors = []int64{6, w.n}
	}
	for _, size := range r.anchors {
		h.Anchors = append(h.Anchors, answer.Anchor{Checkpoint: w.note(size, false), Hashes: w.log.Consistency(size, w.size)})
	}
	for _, i := range r.fields {
		h.Fields = append(h.Fields, answer.Fields{Index: i, Lines: slices.Clone(w.lines[i])})
	}
	return h
}

// lie answers the queries of a strict proof by another index than that of the entries.
func (w *world) lie(x *proof.Index) {
	var known []int64
	for i, a := range x.Answers {
		path, head := w.liar.Path(mapfn.Key(a.Field, a.Value))
		x.Answers[i] = proof.Answer{Field: a.Field, Value: a.Value, Path: path}
		if head.N == 0 {
			continue
		}
		l := &proof.List{Head: head, Page: w.liar.Page(mapfn.Key(a.Field, a.Value), 0, head.N)}
		for _, p := range l.Page.Postings {
			l.Entries = append(l.Entries, w.log.Leaves[p.Index])
			known = append(known, p.Index)
		}
		x.Answers[i].List = l
	}
	r := tile.NewReader(w.log.Checkpoint(w.size), prototest.Fetch(w.log.Resources(w.size)))
	var err error
	x.Hashes, err = proof.IndexHashes(w.size, w.n, w.at, known, func(from, to int64) ([][32]byte, error) {
		return r.Subtrees(w.t.Context(), from, to)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) prove(h *answer.History, id subject.Identifier, epoch int64) {
	_, pi, err := vrf(epoch).Prove(id)
	if err != nil {
		w.t.Fatal(err)
	}
	h.Subjects = append(h.Subjects, answer.Subject{Identifier: id, Epoch: epoch, Proof: pi})
}

func (w *world) openOrErase(h *answer.History, index *prototest.Index, u answer.Unopened) {
	s := w.vault[u.Leaf]
	if u.Epoch == 0 && !s.erased {
		if !slices.ContainsFunc(h.Subjects, func(x answer.Subject) bool { return x.Identifier == s.id }) {
			w.prove(h, s.id, 1)
			w.prove(h, s.id, 2)
		}
		return
	}
	i := slices.IndexFunc(h.Subjects, func(x answer.Subject) bool {
		return x.Identifier == u.Identifier && (u.Epoch == 0 || x.Epoch == u.Epoch)
	})
	e := answer.Enrolled{Leaf: u.Leaf, Handle: s.handle}
	if s.erased {
		at := index.Lists[mapfn.Key(mapfn.Erasure, u.Leaf)][0].Index
		e = answer.Enrolled{Leaf: u.Leaf, Erased: true, ErasedAt: at}
	}
	h.Subjects[i].Enrolments = append(h.Subjects[i].Enrolments, e)
}

// file writes a history and reads it again: what was written is judged, not what was meant.
func file(t testing.TB, h *answer.History) []byte {
	t.Helper()
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func judge(t testing.TB, b []byte, trust string, now time.Time) (*answer.Verdict, error) {
	t.Helper()
	h, err := answer.Parse(b)
	if err != nil {
		return nil, err
	}
	return h.Verify(parseTrust(t, trust), now)
}

func indexes(v *answer.Verdict) string {
	var s []string
	for _, e := range v.Events {
		s = append(s, strconv.FormatInt(e.Index, 10))
	}
	return strings.Join(s, " ")
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
