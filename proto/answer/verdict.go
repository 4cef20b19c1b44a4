package answer

import (
	"time"

	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/trie"
)

// A Verdict is what a history shows, once it is verified.
type Verdict struct {
	Log, Origin string
	Others      []string         // shards of the family, by the trust file, of which this says nothing
	Checkpoint  *policy.Verified // under which all else is proven
	At          int64            // where the root leaf stands
	Root        *leaf.Root
	// Proven says that as many verifiers of the index have cosigned as the trust file asks for. Else the operator alone says
	// that nothing is missing; what is there, is in the log all the same.
	Proven    bool
	Verifiers []string // names in the policy
	// AsOf is a checkpoint whose entries are all covered: everything published by its time is. Its size is 0 if none shows it.
	AsOf     Moment
	From, To int64 // the entries that are spoken of: the window, no further than the index goes
	// What was published after After, and by By, is in [From, To). After is zero if From is 0. Both are zero if no
	// checkpoints of the file lie so that they show it.
	After, By time.Time

	Asks        []Ask
	Lists       []List       // those of the first ask
	Identifiers []Identified // those that are asked for, and that these are linked to
	Erased      []Enrolment  // enrolments whose events nobody can attribute any more
	Links       []Link       // statements of sameness on these identifiers, ascending by index
	// Events have distinct leaf hashes and ascend by index. Erasures are the indexes of erasure leaves that stand among them.
	Events   []Event
	Erasures []int64
	// Complete says that no event of [From, To) is outside of the lists' pages; Whole that the pages are the whole lists.
	Complete, Whole bool
	Since           int64 // set by Continues: an earlier answer covers the entries before, and the two are complete together
}

// A Moment is the size of a log, and the time from which on a quorum vouches that it had no more. Time is zero if the policy
// asks for no witness.
type Moment struct {
	Size int64
	Time time.Time
}

// A List is a page of one list of the first ask.
type List struct {
	Tag        leaf.Tag
	Identifier *subject.Identifier // whose tag it is, if a person's
	Source     string              // whose key made the tag, if one did
	Head       trie.Head           // zero if the key is absent
	Page       trie.Page
}

// Identified is what is known of one identifier.
type Identified struct {
	Identifier subject.Identifier
	Asked      bool // else it was reached by statements of sameness
	Enrolments []Enrolment
	Events     int // distinct ones, in its lists
}

// An Enrolment is the leaf by which an identifier came into the log.
type Enrolment struct {
	Leaf       leaf.Hash
	Index      int64 // -1 if only its erasure is shown, as of a linked enrolment whose identifier nobody knows
	Identifier subject.Identifier
	Epoch      int64 // 0 likewise; then Identifier is the one that it was linked to
	Erased     bool
	ErasedAt   int64 // index of the erasure leaf

	commit leaf.Hash
	handle *subject.Handle
}

// A Link is a statement that enrolments are of one person, or, if Leaf has Unlinks, that they are not.
type Link struct {
	Index  int64
	Leaf   *leaf.Subject
	Fields []seal.Line // authority and reason; nil if they are not shown
}

// An Event is an entry that answers.
type Event struct {
	Index   int64
	Repeats []int64 // further indexes of the same leaf
	Hash    leaf.Hash
	Leaf    *leaf.Event // nil if only the hash is given
	// The event was logged after the one time, and not after the other. Each is zero where no checkpoint says.
	After, Before time.Time
	Fields        []seal.Line // nil if they are not shown
}

// IncompleteError says which promise a history does not keep: that of an answer that would be whole. The caller may ask
// again, and must not take what is there for an answer.
type IncompleteError struct{ Promise string }

func (e *IncompleteError) Error() string { return "INCOMPLETE: " + e.Promise }

// StaleError says that a history may have been whole, and is too old for the trust file, or for the reader's clock too young.
type StaleError struct {
	Reason string
	AsOf   Moment
}

func (e *StaleError) Error() string { return "stale: " + e.Reason }
