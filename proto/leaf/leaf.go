// Package leaf is the bytes of every entry of a log: the seven kinds of SPEC 2.1, parsed and formatted as exact
// inverses.
//
// It trusts nobody: Parse accepts a byte string if and only if formatting the result gives the same bytes, so two
// readers never see two meanings in one leaf, and one meaning never has two leaf hashes. The package holds no
// state, and all of it may be used concurrently.
//
// A leaf is lines of ASCII, each ended by one LF, at most 16,384 bytes in all:
//
//	idlog-event/v1
//	log example.com/audit
//	source okta-prod
//	received 1790000000
//	assurance pulled
//	keys 1
//	fields AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
//	tag 1 ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=
//
// Invariants:
//   - numbers are decimal, below 2^63, without sign and without leading zeros;
//   - hashes are 32 bytes in padded RFC 4648 base64 whose unused bits are zero;
//   - repeated lines ascend strictly by their decoded bytes (never by their base64 text, which sorts otherwise);
//   - a leaf names the log family and not the shard, so that it survives a rotation.
package leaf

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Hash is a SHA-256 hash, or another 32 bytes that are written the same way.
type Hash = [32]byte

const (
	// MaxSize is the greatest length of a leaf in bytes.
	MaxSize = 16384
	// MaxTags is the greatest number of tag lines in a leaf.
	MaxTags = 256
	// MaxPersons is the greatest number of those that may be `tag 2` lines: an owner is their position, in one byte.
	MaxPersons = 250
	// MapFn is the only function from entries to index keys that this version knows (SPEC 2.5).
	MapFn = "idlog-mapfn/1"

	tagPerson = 2
	maxField  = 32767
)

// Leaf is one entry: *Event, *Subject, *Keys, *Erasure, *Loss, *Shard or *Root.
type Leaf interface {
	// Format returns the bytes of the leaf. It checks every rule that Parse checks, and its error wraps a
	// *SyntaxError that names the line which would have been wrong.
	Format() ([]byte, error)

	walk(*codec)
}

// Parse reads one leaf. Nothing in the result aliases b. Every error is a *SyntaxError; bytes that are refused are
// "not a leaf of ours", which a log may still hold and MapFn files apart.
func Parse(b []byte) (Leaf, error) {
	if len(b) > MaxSize {
		return nil, &SyntaxError{Reason: "leaf is larger than 16384 bytes"}
	}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	var l Leaf
	switch string(first) {
	case magicEvent:
		l = new(Event)
	case magicSubject:
		l = new(Subject)
	case magicKeys:
		l = new(Keys)
	case magicErasure:
		l = new(Erasure)
	case magicLoss:
		l = new(Loss)
	case magicShard:
		l = new(Shard)
	case magicRoot:
		l = new(Root)
	default:
		return nil, &SyntaxError{Line: 1, Reason: "unknown kind of leaf"}
	}
	c := codec{b: b}
	l.walk(&c)
	if c.err == nil && len(c.b) > 0 {
		c.line++
		c.fail("unexpected line")
	}
	if c.err != nil {
		return nil, c.err
	}
	return l, nil
}

// HashOf returns the leaf hash of RFC 6962, SHA-256(0x00 || b). It does not look at what b is.
func HashOf(b []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(b)
	var out Hash
	h.Sum(out[:0])
	return out
}

// LogOf returns the log family that a leaf names, and false for the root of an index, which names an origin (SPEC F38).
func LogOf(l Leaf) (family string, ok bool) {
	switch l := l.(type) {
	case *Event:
		return l.Log, true
	case *Subject:
		return l.Log, true
	case *Keys:
		return l.Log, true
	case *Erasure:
		return l.Log, true
	case *Loss:
		return l.Log, true
	case *Shard:
		return l.Log, true
	}
	return "", false
}

// InFamily reports whether an origin is that of a shard of a log family: the family, a slash, and a name without a slash.
// Without this check a reader that knows two logs takes a leaf of the one for a leaf of the other (SPEC 1, F38).
func InFamily(origin, family string) bool {
	shard, ok := strings.CutPrefix(origin, family+"/")
	return ok && shard != "" && !strings.Contains(shard, "/")
}

// ValidSource reports whether s is the name of a source, as leaves and all other formats write it (SPEC 1).
func ValidSource(s string) bool { return checkSource(s) == "" }

// KindOf names the kind of a leaf as people and programs read it: "event", "subject", "keys", "erasure", "loss", "shard" or
// "root", and "unknown" for nil, which stands for what is no leaf of ours.
func KindOf(l Leaf) string {
	switch l.(type) {
	case *Event:
		return "event"
	case *Subject:
		return "subject"
	case *Keys:
		return "keys"
	case *Erasure:
		return "erasure"
	case *Loss:
		return "loss"
	case *Shard:
		return "shard"
	case *Root:
		return "root"
	}
	return "unknown"
}

// SyntaxError says why bytes are not a leaf, or why a leaf has no bytes.
type SyntaxError struct {
	Line   int // counted from 1; 0 when the leaf as a whole is at fault
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return "parsing leaf: " + e.Reason
	}
	return fmt.Sprintf("parsing leaf: line %d: %s", e.Line, e.Reason)
}

// Assurance is how the bytes of an event reached the log, in the operator's word.
type Assurance string

// The closed list of assurances.
const (
	// AssuranceSigned: the provider's signature over the raw bytes is among the fields, with the key that made it.
	AssuranceSigned Assurance = "signed"
	// AssurancePulled: the operator fetched the event from the provider.
	AssurancePulled Assurance = "pulled"
	// AssurancePushed: an authenticated submitter sent the event.
	AssurancePushed Assurance = "pushed"
	// AssuranceUnauthenticated: nobody vouched for the sender.
	AssuranceUnauthenticated Assurance = "unauthenticated"
)

// Tag is one `tag` line: a 32-byte value that finds the event by one of its fields, and says nothing to whoever
// lacks the key (SPEC 2.4).
type Tag struct {
	Field uint16 // 1..32767
	Value Hash
}

// CompareTags is the order of tag lines: by field number, then by the 32 bytes.
func CompareTags(a, b Tag) int {
	if c := cmp.Compare(a.Field, b.Field); c != 0 {
		return c
	}
	return bytes.Compare(a.Value[:], b.Value[:])
}

// Event is one identity event.
type Event struct {
	Log       string // family
	Source    string
	Received  int64 // seconds since 1970, rounded down
	Assurance Assurance
	Keys      int64 // epoch, 1 and up
	Fields    Hash  // SPEC 2.3
	Tags      []Tag // ascending and distinct
}

// Persons returns the values of the `tag 2` lines in their order: a field's owner is an index into it.
func (e *Event) Persons() []Hash {
	var persons []Hash
	for _, t := range e.Tags {
		if t.Field == tagPerson {
			persons = append(persons, t.Value)
		}
	}
	return persons
}

// Subject is an enrolment (Commit and one etag), or a statement that enrolments are of one person (Links) or are
// not (Unlinks); exactly one of the three is set.
type Subject struct {
	Log            string
	Received, Keys int64
	Commit         *Hash  // handle commitment, SPEC 2.6
	Links, Unlinks []Hash // 2..16 leaf hashes of enrolments, ascending
	Fields         *Hash  // authority and reason; set with Links and Unlinks only
	Etags          []Hash // ascending: 1 with Commit, else 2..16
}

// Commit binds one derived tag key to its field and source.
type Commit struct {
	Field  uint16
	Source string
	Commit Hash
}

// Keys announces the keys of an epoch; further leaves of the same epoch may bring further commits.
type Keys struct {
	Log             string
	Received, Epoch int64
	VRF             Hash     // public key
	Commits         []Commit // at most 64, ascending by field and source bytes
}

// Erasure says what was erased: enrolments with the tags of their persons, or a range of entries when To > 0.
type Erasure struct {
	Log        string
	Received   int64
	Fields     Hash
	Enrolments []Hash // 1..16 leaf hashes, ascending
	Tags       []Tag  // 1..256
	From, To   int64  // entries [From, To)
}

// Loss says that the openings of the entries [From, To) are lost, which is not the same as erased.
type Loss struct {
	Log      string
	Received int64
	Fields   Hash
	From, To int64
}

// Shard opens a shard (Genesis, at index 0) or closes it (Seal); exactly one is set.
type Shard struct {
	Log      string
	Received int64
	Genesis  *Genesis
	Seal     *Seal
}

// Genesis is what a shard begins with.
type Genesis struct {
	MapFn    string
	Keys     int64     // epoch in force
	Ticket   string    // vkey that signs tickets, named <family>/ticket
	Previous *Previous // nil for the first shard of a family
	Reason   string    // empty when the line is absent
}

// Previous is the final checkpoint of the shard before.
type Previous struct {
	Origin string
	Size   int64
	Root   Hash
}

// Seal names the shard that follows and its 1..8 log keys, ascending by bytes.
type Seal struct {
	Next string
	Keys []string
}

// Root is the root of the verifiable index over the entries [0, N).
type Root struct {
	Origin  string
	N       int64
	LogRoot Hash
	MapFn   string // always MapFn
	Keys    int64  // number of keys in the map
	MapRoot Hash
	Millis  int64 // since 1970
}

// Agrees reports whether two roots say the same of the entries [0, N), whenever they do.
func (r *Root) Agrees(o *Root) bool {
	return r.Origin == o.Origin && r.N == o.N && r.LogRoot == o.LogRoot && r.Keys == o.Keys && r.MapRoot == o.MapRoot
}

func compareCommits(a, b Commit) int {
	if c := cmp.Compare(a.Field, b.Field); c != 0 {
		return c
	}
	return cmp.Compare(a.Source, b.Source)
}

func compareHashes(a, b Hash) int { return bytes.Compare(a[:], b[:]) }

func countPersons(tags []Tag) (n int) {
	for i := range tags {
		if tags[i].Field == tagPerson {
			n++
		}
	}
	return n
}
