package proto_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"idlog/log/source"
	"idlog/log/source/okta"
	"idlog/proto/checkpoint"
	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

var update = flag.Bool("update", false, "write the blocks of WORKED.md anew")

// TestWorked holds the blocks of WORKED.md to what the code makes of its first one, byte for byte. A block is what stands
// between the fences after a comment with its name. The last one is what the command line says: TestWorked of cmd.
func TestWorked(t *testing.T) {
	const file = "WORKED.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	made := work(t).blocks()
	seen := make(map[string]bool)
	fence := regexp.MustCompile("(?s)(<!-- ([a-z]+) -->\n```\n)(.*?)(```\n)")
	again := fence.ReplaceAllStringFunc(string(b), func(block string) string {
		m := fence.FindStringSubmatch(block)
		text, ok := made[m[2]]
		if m[2] == "verdict" {
			text, ok = m[3], true
		}
		if !ok || seen[m[2]] {
			t.Errorf("%s: block %q is made by nothing, or stands twice", file, m[2])
		}
		seen[m[2]] = true
		if text != m[3] && !*update {
			t.Errorf("%s: block %q is not what the code makes; if that is meant, run the test with -update:\n%s", file, m[2], text)
		}
		return m[1] + text + m[4]
	})
	if n := len(made) + 1; len(seen) != n || strings.Count(again, "\n```") != 2*n {
		t.Errorf("%s has %d of %d blocks, or other fences", file, len(seen), n)
	}
	if *update {
		if err := os.WriteFile(file, []byte(again), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// line is one event as Okta writes it, in pieces of the page's width.
var line = []string{
	`{"uuid":"5c1f0b2e-a7d3-11f0-8a44-0b6f3e9d0017","published":"2026-11-20T09:00:00.412Z",`,
	`"eventType":"user.account.reset_password","actor":{"id":"00uADA","type":"User","alternateId":"ada@acme.example"},`,
	`"client":{"ipAddress":"203.0.113.9"},"outcome":{"result":"SUCCESS"},`,
	`"target":[{"id":"00uBOB","type":"User","alternateId":"bob@acme.example"}],`,
	`"authenticationContext":{"externalSessionId":"idx-ada-1"}}`,
}

const (
	workedFamily = "acme.example/id"
	workedSource = "okta"
)

// secret is a secret of the worked event. Real ones are random.
func secret(name string) [32]byte { return sha256.Sum256([]byte("worked " + name)) }

// worked is one event on its way.
type worked struct {
	t        *testing.T
	received time.Time
	names    map[subject.Identifier]string // what the paper calls them
	keys     event.NeutralKeys
	tagged   *event.Tagged
	seeds    map[string]leaf.Hash // by owners
	lines    []seal.Line          // all shown
	leaf     *leaf.Event
	log      *prototest.Log
	index    int64
	proof    proof.Proof
	policy   string
	enrolled map[string]int64 // by name, the index of the enrolment
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func work(t *testing.T) *worked {
	t.Helper()
	w := &worked{t: t, received: time.Date(2026, 11, 20, 9, 0, 1, 207e6, time.UTC), seeds: make(map[string]leaf.Hash), enrolled: make(map[string]int64)}
	events := must[[]*eventv1.Event](t)(okta.Mapper.Map([]byte(strings.Join(line, "")), source.Config{Issuer: "https://acme.okta.com"}))
	e := events[0]
	if err := event.Check(e); err != nil {
		t.Fatal(err)
	}
	event.Stamp(e, w.received)
	fields := must[[]seal.Field](t)(event.Fields(e))
	roll := must[*event.Roll](t)(event.NewRoll(e))
	w.names = map[subject.Identifier]string{
		roll.Persons[0].Primary: "Ada", roll.Persons[0].Secondary[0]: "Ada's login",
		roll.Persons[1].Primary: "Bob", roll.Persons[1].Secondary[0]: "Bob's login",
	}
	epoch := tag.Key(secret("epoch"))
	w.keys = event.NeutralKeys{
		EventID: tag.Derive(epoch, tag.EventID, workedSource), Session: tag.Derive(epoch, tag.Session, workedSource),
		Class: tag.Derive(epoch, tag.Class, workedSource), Target: tag.Derive(epoch, tag.Target, workedSource),
	}
	var handles [][32]byte
	for _, id := range roll.Identifiers {
		if w.names[id] == "" {
			t.Fatalf("the event names somebody else: %s", id)
		}
		handles = append(handles, w.handle(id).T)
	}
	w.tagged = roll.Tag(fields, w.keys, handles)
	w.seal()
	w.begin(roll.Persons)
	w.publish()
	return w
}

// owner is who stands at a position of the tags of field 2; empty if that is a login, which owns nothing.
func (w *worked) owner(position uint8) string {
	var handles []leaf.Hash
	for _, g := range w.tagged.Tags {
		if g.Field == tag.Person {
			handles = append(handles, g.Value)
		}
	}
	for _, p := range w.tagged.Persons {
		if tag.OfPerson(w.handle(p.Primary).T, tag.Person) == handles[position] {
			return w.names[p.Primary]
		}
	}
	return ""
}

func (w *worked) handle(id subject.Identifier) subject.Handle {
	return subject.Handle{Opening: secret("opening " + w.names[id]), T: secret("T " + w.names[id])}
}

// seal makes the seeds of the sets of owners, and the lines.
func (w *worked) seal() {
	e := leaf.Hash(secret("E"))
	for _, f := range w.tagged.Fields {
		var shares []leaf.Hash
		for _, o := range f.Owners {
			shares = append(shares, seal.Share(secret("S "+w.owner(o)), e))
		}
		seed := seal.Seed(e, shares)
		w.seeds[owners(f.Owners)] = seed
		salt := seal.Salt(seed, f.Path)
		w.lines = append(w.lines, seal.Line{Path: f.Path, Owners: f.Owners, Commitment: seal.Commitment(salt, f.Path, f.Value), State: seal.Shown, Salt: salt, Value: f.Value})
	}
	w.leaf = &leaf.Event{
		Log: workedFamily, Source: workedSource, Received: w.received.Unix(), Assurance: leaf.AssurancePushed, Keys: 1,
		Fields: must[leaf.Hash](w.t)(seal.Digest(w.lines)), Tags: w.tagged.Tags,
	}
}

// begin makes a log of what stands before the event: the genesis, the keys, an enrolment of each identifier.
func (w *worked) begin(persons []event.Person) {
	origin := workedFamily + "/0"
	w.log = prototest.NewLog(origin, prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole))
	keys := &leaf.Keys{Log: workedFamily, Received: w.received.Unix(), Epoch: 1, VRF: w.vrf().Public()}
	for _, k := range []struct {
		field uint16
		key   tag.Key
	}{{tag.EventID, w.keys.EventID}, {tag.Session, w.keys.Session}, {tag.Class, w.keys.Class}, {tag.Target, w.keys.Target}} {
		keys.Commits = append(keys.Commits, leaf.Commit{Field: k.field, Source: workedSource, Commit: k.key.Commit(k.field, workedSource)})
	}
	ticket := prototest.NewKey(workedFamily+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	w.append(&leaf.Shard{Log: workedFamily, Received: w.received.Unix(), Genesis: &leaf.Genesis{MapFn: "idlog-mapfn/1", Keys: 1, Ticket: ticket.VKey}})
	w.append(keys)
	for _, p := range persons {
		for _, id := range append([]subject.Identifier{p.Primary}, p.Secondary...) {
			commit := w.handle(id).Commit()
			w.enrolled[w.names[id]] = w.append(&leaf.Subject{Log: workedFamily, Received: w.received.Unix(), Keys: 1, Commit: &commit, Etags: []leaf.Hash{w.etag(id)}})
		}
	}
	w.index = w.append(w.leaf)
}

func (w *worked) append(l leaf.Leaf) int64 {
	return w.log.Append(must[[]byte](w.t)(l.Format()))
}

func (w *worked) vrf() *subject.VRFKey {
	b := secret("vrf")
	b[31] &= 15
	return must[*subject.VRFKey](w.t)(subject.ParseVRFKey(b[:]))
}

func (w *worked) etag(id subject.Identifier) leaf.Hash {
	etag, _, err := w.vrf().Prove(id)
	if err != nil {
		w.t.Fatal(err)
	}
	return etag
}

// publish signs the log with the event in it; two of three witnesses cosign.
func (w *worked) publish() {
	var witnesses []prototest.Key
	text := "log " + w.log.Keys[0].VKey + "\n"
	for _, name := range []string{"w1", "w2", "w3"} {
		k := prototest.NewKey(name+".example", checkpoint.Ed25519, checkpoint.WitnessRole)
		witnesses = append(witnesses, k)
		text += "witness " + name + " " + k.VKey + "\n"
	}
	w.policy = text + "group two 2 w1 w2 w3\nquorum two\n"
	size := int64(len(w.log.Leaves))
	w.proof = w.log.Proof(w.index, size, w.log.Note(size, uint64(w.received.Unix()+1), witnesses[0], witnesses[2]))
}

// shown are the paths that the disclosure of the paper shows; the others are withheld.
var shown = []string{
	"actor.login", "class.activity_id", "class.class_uid", "outcome.status", "schema", "source.native_type",
	"times.occurred", "times.received",
}

// disclosure is the file that somebody is given who may know what Ada did, and neither to whom nor from where.
func (w *worked) disclosure() *seal.Disclosure {
	d := &seal.Disclosure{Lines: slices.Clone(w.lines), Proof: w.proof}
	for i := range d.Lines {
		if l := &d.Lines[i]; !slices.Contains(shown, l.Path) {
			*l = seal.Line{Path: l.Path, Owners: l.Owners, Commitment: l.Commitment, State: seal.Withheld}
		}
	}
	return d
}

// blocks are those of the paper by name.
func (w *worked) blocks() map[string]string {
	d := w.disclosure()
	if _, err := d.Verify(must[*policy.Policy](w.t)(policy.Parse([]byte(w.policy)))); err != nil {
		w.t.Error(err)
	}
	return map[string]string{
		"line":        strings.Join(line, "\n") + "\n",
		"fields":      w.fieldTable(),
		"person":      w.person(),
		"enrolment":   string(w.log.Leaves[w.enrolled["Ada"]]),
		"seeds":       w.seedTable(),
		"commitments": w.commitments(),
		"tags":        w.tagTable(),
		"leaf":        string(w.log.Leaves[w.index]),
		"path":        w.path(),
		"proof":       string(must[[]byte](w.t)(w.proof.Format())),
		"policy":      w.policy,
		"disclosure":  string(must[[]byte](w.t)(seal.FormatLines(d.Lines))),
	}
}

func owners(list []uint8) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func (w *worked) fieldTable() string {
	var b strings.Builder
	for _, f := range w.tagged.Fields {
		data := string(f.Value[1:])
		if f.Value[0] == 'h' {
			data = hex.EncodeToString(f.Value[1:])
		}
		fmt.Fprintf(&b, "%-26s %-4s %c %s\n", f.Path, owners(f.Owners), f.Value[0], data)
	}
	return b.String()
}

func (w *worked) person() string {
	id := w.tagged.Persons[0].Primary
	h := w.handle(id)
	return fmt.Sprintf("identifier  %04x %x %04x %x %x\netag        %x\nopening     %x\nT           %x\ncommit      %x\n",
		len(id.Issuer), id.Issuer, len(id.Format), id.Format, id.ID, w.etag(id), h.Opening, h.T, h.Commit())
}

func (w *worked) seedTable() string {
	var b strings.Builder
	e := secret("E")
	fmt.Fprintf(&b, "E                %x\n", e)
	for _, p := range w.tagged.Persons {
		s := secret("S " + w.names[p.Primary])
		fmt.Fprintf(&b, "S of %s         %x\nx of %s         %x\n", w.names[p.Primary], s, w.names[p.Primary], seal.Share(s, e))
	}
	for _, set := range slices.Sorted(maps.Keys(w.seeds)) {
		fmt.Fprintf(&b, "seed of %-8s %x\n", set, w.seeds[set])
	}
	return b.String()
}

func (w *worked) commitments() string {
	var b strings.Builder
	for _, l := range w.lines {
		if !slices.Contains([]string{"actor.login", "source.native_id", "times.occurred"}, l.Path) {
			continue
		}
		fmt.Fprintf(&b, "%s, owners %s\n  salt        %x\n  path        %04x %x\n  value       %08x %x\n  commitment  %x\n",
			l.Path, owners(l.Owners), l.Salt, len(l.Path), l.Path, len(l.Value), []byte(l.Value), l.Commitment)
	}
	fmt.Fprintf(&b, "digest of %d fields, the first of which is\n", len(w.lines))
	l := w.lines[0]
	fmt.Fprintf(&b, "  %s    %04x %x %02x %x %x\n  digest      %x\n", l.Path, len(l.Path), l.Path, len(l.Owners), l.Owners, l.Commitment, w.leaf.Fields)
	return b.String()
}

// tagTable says of each tag what it is of, with the value that made it.
func (w *worked) tagTable() string {
	of, keys := make(map[leaf.Tag]string), ""
	mac := func(field uint16, key tag.Key, value string) {
		m := hmac.New(sha256.New, key[:])
		m.Write([]byte(value))
		of[leaf.Tag{Field: field, Value: leaf.Hash(m.Sum(nil))}] = fmt.Sprintf("HMAC(K_%d, %q)", field, value)
		keys += fmt.Sprintf("K_%d = %x\n", field, key)
	}
	mac(tag.EventID, w.keys.EventID, "5c1f0b2e-a7d3-11f0-8a44-0b6f3e9d0017")
	mac(tag.Session, w.keys.Session, "idx-ada-1")
	mac(tag.Class, w.keys.Class, "300709")
	for id, name := range w.names {
		for _, field := range []uint16{tag.Person, tag.Actor} {
			of[leaf.Tag{Field: field, Value: tag.OfPerson(w.handle(id).T, field)}] = name
		}
	}
	var b strings.Builder
	for _, g := range w.tagged.Tags {
		if of[g] == "" {
			w.t.Errorf("tag %d %x is of nothing that the paper names", g.Field, g.Value)
		}
		fmt.Fprintf(&b, "%d  %s  %s\n", g.Field, base64.StdEncoding.EncodeToString(g.Value[:])[:8], of[g])
	}
	return keys + b.String()
}

// path leads from the leaf to the root, by hand.
func (w *worked) path() string {
	h := leaf.HashOf(w.log.Leaves[w.index])
	b := fmt.Sprintf("leaf hash       H(00 || leaf)                        %x\n", h)
	names := []string{"entries 4 and 5", "entries 4 to 6", "entries 0 to 3", "root"}
	above := "leaf hash"
	for i, sibling := range w.proof.Hashes {
		h = sha256.Sum256(slices.Concat([]byte{1}, sibling[:], h[:]))
		b += fmt.Sprintf("%-15s hash %d of the proof                  %x\n", names[2*i], i+1, sibling)
		b += fmt.Sprintf("%-15s %-36s %x\n", names[2*i+1], "H(01 || hash "+fmt.Sprint(i+1)+" || "+above+")", h)
		above = names[2*i+1]
	}
	v := must[*policy.Policy](w.t)(policy.Parse([]byte(w.policy)))
	c := must[*policy.Verified](w.t)(v.Verify(w.proof.Checkpoint)).Checkpoint
	if c.Root != h || 2*len(w.proof.Hashes) != len(names) {
		w.t.Errorf("the path leads to %x, and the root is %x", h, c.Root)
	}
	return b
}
