package rules

import (
	"encoding/json"
	"errors"
	"fmt"

	"idlog/proto/leaf"
	"idlog/proto/tag"
)

// A History is what the entries below Next have said that the ones from Next on
// must agree with: the keys that were announced. It is as large as the keys
// leaves of the log, up to MaxKeys, and as JSON it outlives a process.
type History struct {
	Family string // of the log; set by the caller
	Next   int64  // index of the entry that is added next

	genesis int64    // epoch that entry 0 says is in force; 0 before it
	keys    [][]byte // the keys leaves that announced something, as they stand in the log
	held    int      // bytes of these
	full    bool     // more was announced, which is not known
	vrf     map[int64]leaf.Hash
	commits map[commitOf]leaf.Hash
	may     map[sourceAt]uint16 // the fields with a commit, as bits
}

// MaxKeys is how many bytes of keys leaves a History holds; in memory they take
// some three times that. A thousand sources announce less in ten years of a new
// epoch a month. A log that announces more breaks the rule of keys with each
// further keys leaf, and whether keys were announced is not judged any more.
const MaxKeys = 64 << 20

// commitOf is what one key is for.
type commitOf struct {
	epoch  int64
	field  uint16
	source string
}

// sourceAt is a source in an epoch; epoch 0 holds what any epoch announces.
type sourceAt struct {
	epoch  int64
	source string
}

// Add returns how the entry at Next breaks the rules, nil if it does not, and
// goes on to the one after it. l is nil where the entry did not parse, and
// problem says why. The leaf is not kept.
func (h *History) Add(l leaf.Leaf, problem error, w Window) []Finding {
	return append(Alone(h.Next, h.Family, l, problem, w), h.Follow(l)...)
}

// Follow is Add without the rules of Alone, for callers that have asked there.
func (h *History) Follow(l leaf.Leaf) []Finding {
	a := alone{index: h.Next}
	h.Next++
	if a.index == 1 {
		h.first(&a, l)
	}
	switch l := l.(type) {
	case *leaf.Shard:
		if l.Genesis != nil && a.index == 0 {
			h.genesis = l.Genesis.Keys
		}
	case *leaf.Keys:
		h.announce(&a, l)
	case *leaf.Subject:
		h.epoch(&a, l.Keys)
	case *leaf.Event:
		h.event(&a, l)
	}
	return a.findings
}

// first judges entry 1. SPEC 2.1: "entry 1 its first keys leaf".
func (h *History) first(a *alone, l leaf.Leaf) {
	k, ok := l.(*leaf.Keys)
	switch {
	case !ok:
		a.find(Keys, "entry 1 is not a keys leaf")
	case h.genesis > 0 && k.Epoch != h.genesis:
		a.find(Keys, "announces epoch %d, and the genesis leaf says that %d is in force", k.Epoch, h.genesis)
	}
}

// epoch judges that an epoch was announced, and reports whether it was.
func (h *History) epoch(a *alone, epoch int64) bool {
	_, ok := h.vrf[epoch]
	if !ok && !h.full {
		a.find(Keys, "is of epoch %d, which no earlier entry announces", epoch)
	}
	return ok
}

func (h *History) announce(a *alone, k *leaf.Keys) {
	b, err := k.Format()
	if err != nil {
		return // it was parsed, so it can be written
	}
	if h.full = h.full || h.held+len(b) > MaxKeys; h.full {
		a.find(Keys, "announces more than the %d bytes of keys leaves that are held", MaxKeys)
		return
	}
	if h.vrf == nil {
		h.vrf, h.commits, h.may = make(map[int64]leaf.Hash), make(map[commitOf]leaf.Hash), make(map[sourceAt]uint16)
	}
	news := false
	if vrf, ok := h.vrf[k.Epoch]; !ok {
		h.vrf[k.Epoch], news = k.VRF, true
	} else if vrf != k.VRF {
		a.find(Keys, "announces another VRF key of epoch %d", k.Epoch)
	}
	for _, c := range k.Commits {
		of := commitOf{k.Epoch, c.Field, c.Source}
		if was, ok := h.commits[of]; !ok {
			h.commits[of], news = c.Commit, true
		} else if was != c.Commit {
			a.find(Keys, "announces another key of field %d of source %s in epoch %d", c.Field, c.Source, k.Epoch)
		}
		if c.Field < 16 {
			h.may[sourceAt{k.Epoch, c.Source}] |= 1 << c.Field
			h.may[sourceAt{0, c.Source}] |= 1 << c.Field
		}
	}
	if news {
		h.keys, h.held = append(h.keys, b), h.held+len(b)
	}
}

// event judges the keys that an event uses. The key of its id is of the first
// epoch for ever, so any epoch may have announced it; persons' tags need none.
func (h *History) event(a *alone, e *leaf.Event) {
	if !h.epoch(a, e.Keys) || h.full {
		return
	}
	const keyed = 1<<tag.Session | 1<<tag.Class | 1<<tag.Target
	may := h.may[sourceAt{e.Keys, e.Source}]&keyed | h.may[sourceAt{0, e.Source}]&(1<<tag.EventID)
	for _, t := range e.Tags {
		if bit := uint16(1) << (t.Field & 15); t.Field < 16 && bit&(keyed|1<<tag.EventID) != 0 && may&bit == 0 {
			a.find(Keys, "has a tag of field %d under a key of source %s that no earlier entry announces", t.Field, e.Source)
			return
		}
	}
}

// historyJSON is a History at rest: the leaves that it was made of.
type historyJSON struct {
	Family  string   `json:"family"`
	Next    int64    `json:"next"`
	Genesis int64    `json:"genesis_epoch"`
	Keys    [][]byte `json:"keys"`
	Full    bool     `json:"full,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (h *History) MarshalJSON() ([]byte, error) {
	return json.Marshal(historyJSON{h.Family, h.Next, h.genesis, h.keys, h.full})
}

// UnmarshalJSON implements json.Unmarshaler. What MarshalJSON did not write is
// refused where it would be a History of no log.
func (h *History) UnmarshalJSON(b []byte) error {
	var s historyJSON
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("reading what a log said: %w", err)
	}
	if s.Next < int64(len(s.Keys)) || s.Genesis < 0 {
		return errors.New("reading what a log said: more keys leaves than entries")
	}
	*h = History{Family: s.Family, genesis: s.Genesis}
	for i, b := range s.Keys {
		l, err := leaf.Parse(b)
		if err != nil {
			return fmt.Errorf("reading what a log said: keys leaf %d: %w", i, err)
		}
		k, ok := l.(*leaf.Keys)
		if !ok {
			return fmt.Errorf("reading what a log said: leaf %d is not a keys leaf", i)
		}
		h.announce(&alone{}, k)
	}
	h.Next, h.full = s.Next, s.Full
	return nil
}
