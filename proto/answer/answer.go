package answer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

const (
	// MaxFile is the largest history file in bytes.
	MaxFile = 64 << 20
	// MaxAsks is the most asks of a question.
	MaxAsks = 8
	// MaxEvidence is the most lines of evidence.
	MaxEvidence = 16384
	// MaxAnchors is the most archived checkpoints.
	MaxAnchors = 8192
	// maxValue is the longest value of an ask in bytes, and of each half of a target.
	maxValue = 4096
)

// A Kind is what an ask is about.
type Kind string

// The kinds of asks.
const (
	OfSubject Kind = "subject" // events that concern an identifier
	OfActor   Kind = "actor"   // events that an identifier did
	OfSource  Kind = "source"  // events of a source
	OfEvent   Kind = "event"   // a provider's event id
	OfSession Kind = "session" // a session, root session or transaction
	OfClass   Kind = "class"   // class_uid * 100 + activity_id
	OfTarget  Kind = "target"  // a target that is no person
	OfTag     Kind = "tag"     // a tag as it stands in leaves
)

// An Ask is one condition on events. Exactly what its kind has is set.
type Ask struct {
	Kind       Kind
	Identifier subject.Identifier // OfSubject, OfActor
	Source     string             // OfSource
	// Value is what the tag is made of, SPEC 2.4: the text of OfEvent and OfSession, the decimal number of OfClass, and of
	// OfTarget its type, a zero byte and its id.
	Value string
	Tag   leaf.Tag // OfTag
}

// field is the field of the tags that the ask is about.
func (a Ask) field() uint16 {
	switch a.Kind {
	case OfSubject:
		return tag.Person
	case OfActor:
		return tag.Actor
	case OfSource:
		return mapfn.Source
	case OfEvent:
		return tag.EventID
	case OfSession:
		return tag.Session
	case OfClass:
		return tag.Class
	case OfTarget:
		return tag.Target
	}
	return a.Tag.Field
}

// person reports whether the ask is about an identifier, and keyed whether it is about a value under a key of a source.
func (a Ask) person() bool { return a.Kind == OfSubject || a.Kind == OfActor }
func (a Ask) keyed() bool {
	return a.Kind == OfEvent || a.Kind == OfSession || a.Kind == OfClass || a.Kind == OfTarget
}

// A Window is the entries [From, To).
type Window struct{ From, To int64 }

// A Subject is evidence of what an identifier is called in one epoch: SPEC 2.6.
type Subject struct {
	Identifier subject.Identifier
	Epoch      int64
	Proof      []byte // 80 bytes, of the VRF
	Enrolments []Enrolled
}

// Enrolled is what became of one enrolment.
type Enrolled struct {
	Leaf     leaf.Hash      // the enrolment's leaf hash
	Erased   bool           // else Handle opens it
	Handle   subject.Handle // zero if Erased
	ErasedAt int64          // if Erased, the index of the erasure leaf
}

// A Key shows the key of a field and source: SPEC 2.4.
type Key struct {
	Epoch  int64 // 1 for the field of event ids
	Field  uint16
	Source string
	Key    tag.Key
}

// An Anchor is an archived checkpoint, smaller than that of the index proof, with the proof that its tree is the beginning of
// that one's. It says when.
type Anchor struct {
	Checkpoint []byte // a signed note
	Hashes     [][32]byte
}

// Fields are the fields of the entry at an index, an event or a statement of sameness.
type Fields struct {
	Index int64
	Lines []seal.Line
}

// A History is a history file: a question, and an answer that shows of itself whether it is whole. Nothing in it is verified
// before Verify returns without an error.
type History struct {
	Log     string // family
	Asks    []Ask  // the first is answered with lists; the others are conditions on their entries
	Window  *Window
	NoLinks bool // do not follow statements of sameness
	// Subjects are those of the identifiers that are asked for, and that these are linked to, each once for each epoch.
	Subjects []Subject
	Keys     []Key // ascending by epoch, field, source
	Index    *proof.Index
	Anchors  []Anchor // ascending by size
	Fields   []Fields // ascending by index
}

// Add puts an answer in its place among those of the index proof, which it makes if there is none. It replaces an answer of
// the same field and value.
func (h *History) Add(a proof.Answer) {
	if h.Index == nil {
		h.Index = &proof.Index{}
	}
	i, found := slices.BinarySearchFunc(h.Index.Answers, a, func(x, y proof.Answer) int {
		if x.Field != y.Field {
			return int(x.Field) - int(y.Field)
		}
		return bytes.Compare(x.Value[:], y.Value[:])
	})
	if found {
		h.Index.Answers[i] = a
		return
	}
	h.Index.Answers = slices.Insert(h.Index.Answers, i, a)
}

// Parse reads a history file. The result shares no memory with b. Every error says in which line.
func Parse(b []byte) (*History, error) {
	h, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("parsing history: %w", err)
	}
	return h, nil
}

// Format writes the file. A history that Parse would refuse is an error.
func (h *History) Format() ([]byte, error) {
	b, err := h.append(nil)
	if err != nil {
		return nil, fmt.Errorf("formatting history: %w", err)
	}
	again, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("formatting history: %w", err)
	}
	// A name might hold lines of its own.
	if again.Log != h.Log || !slices.Equal(again.Asks, h.Asks) || !slices.Equal(again.Keys, h.Keys) {
		return nil, errors.New("formatting history: a line feed in a name")
	}
	return b, nil
}
