package answer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/trie"
)

// Verify judges a history by the rules of SPEC 2.15: offline, and by nothing but the file, the trust file and the time at
// which it is read.
//
// If the answer is not whole the error is an [*IncompleteError]; if it is too old, a [*StaleError]; if only cosignatures
// lack, a [*policy.QuorumError]. Any other error says that something in the file is false or does not belong there. A verdict
// that is not Proven, or not Complete, is no error: the caller decides what it accepts.
func (h *History) Verify(t *policy.Trust, now time.Time) (*Verdict, error) {
	v, err := h.verify(t, now)
	if err != nil {
		return nil, fmt.Errorf("verifying history: %w", err)
	}
	return v, nil
}

func (h *History) verify(t *policy.Trust, now time.Time) (*Verdict, error) {
	if h.Log != t.Log {
		return nil, fmt.Errorf("it is of log %s, the trust file of %s", h.Log, t.Log)
	}
	if h.Index == nil {
		return nil, errors.New("there is no index proof")
	}
	// 1. The checkpoint is one that the reader trusts, and who says that the index is true.
	checked, verifiers, err := t.Verify(h.Index.Checkpoint)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Log: h.Log, Origin: checked.Checkpoint.Origin, Checkpoint: checked, At: h.Index.At,
		Verifiers: verifiers, Proven: t.Proven(verifiers), Asks: h.Asks}
	for _, o := range t.Origins {
		if o != v.Origin {
			v.Others = append(v.Others, o)
		}
	}
	// 2. The index proof holds, and without verifiers shows at least that each entry is in the log.
	x, err := h.Index.Verify(t.Policy)
	if err != nil {
		return nil, err
	}
	v.Root = x.Root
	switch {
	case v.Proven:
	case !h.Index.Strict:
		return nil, errors.New("no quorum of verifiers has cosigned, and the index proof is not in strict mode: its entries need not be in the log")
	case !shown(h.Index):
		return nil, errors.New("no quorum of verifiers has cosigned, and an entry is listed that is not shown: it need not belong into its list")
	}
	// 3. Nothing is missing, and nothing is there that the question does not ask for.
	d, err := h.derive()
	if err == nil {
		err = d.lacks()
	}
	if err == nil {
		err = d.surplus()
	}
	if err != nil {
		return nil, err
	}
	// 4. When.
	moments, err := h.moments(t, checked)
	if err != nil {
		return nil, err
	}
	v.AsOf = asOf(moments, x.Root.N, h.Index.At)
	v.To = x.Root.N
	if h.Window != nil {
		if v.From, v.To = h.Window.From, min(h.Window.To, v.To); v.From >= v.To {
			return nil, &IncompleteError{Promise: fmt.Sprintf("the window begins at entry %d, and the index covers %d entries", v.From, x.Root.N)}
		}
	}
	v.After, v.By = span(moments, v.From, v.To, h.Index.At)
	// 5. What there is.
	if err := v.collect(d, moments); err != nil {
		return nil, err
	}
	if err := v.open(h.Fields); err != nil {
		return nil, err
	}
	// 6. How old it is.
	if err := v.fresh(t, now); err != nil {
		return nil, err
	}
	return v, nil
}

// moments verifies the anchors, and returns them with the checkpoint itself, ascending by size.
func (h *History) moments(t *policy.Trust, top *policy.Verified) ([]Moment, error) {
	var all []Moment
	last := int64(0)
	for i, a := range h.Anchors {
		// The policy is enough: its tree is the beginning of one that all required keys have signed, and when is for
		// witnesses to say. So a key that the log was given later does not make its past unreadable.
		v, err := t.Policy.Verify(a.Checkpoint)
		if err != nil {
			return nil, fmt.Errorf("archived checkpoint %d: %w", i+1, err)
		}
		c := v.Checkpoint
		if c.Origin != top.Checkpoint.Origin || c.Size <= last || c.Size >= top.Checkpoint.Size {
			return nil, fmt.Errorf("archived checkpoint %d: size %d of %s, after %d and beneath one of size %d of %s",
				i+1, c.Size, c.Origin, last, top.Checkpoint.Size, top.Checkpoint.Origin)
		}
		if err := proof.Consistency(c.Size, top.Checkpoint.Size, c.Root, top.Checkpoint.Root, a.Hashes); err != nil {
			return nil, fmt.Errorf("archived checkpoint %d: %w", i+1, err)
		}
		last = c.Size
		all = append(all, Moment{c.Size, v.Oldest()})
	}
	return append(all, Moment{top.Checkpoint.Size, top.Oldest()}), nil
}

// asOf returns the largest checkpoint all of whose entries are known: those below n are, and the root leaf at index at is.
func asOf(moments []Moment, n, at int64) (m Moment) {
	for _, x := range moments {
		if x.Size <= n || at == n && x.Size == n+1 {
			m = x
		}
	}
	return m
}

// span returns the times between which all that was published is in [from, to): before from there is only what a quorum
// vouched for by the first, and what is not below to it did not vouch for by the second.
func span(moments []Moment, from, to, at int64) (after, by time.Time) {
	if by = asOf(moments, to, at).Time; from == 0 {
		return after, by
	}
	i := slices.IndexFunc(moments, func(m Moment) bool { return m.Size >= from })
	if after = moments[i].Time; !after.Before(by) {
		return time.Time{}, time.Time{}
	}
	return after, by
}

// collect makes events of the lists.
func (v *Verdict) collect(d *derivation, moments []Moment) error {
	events, others := make(map[leaf.Hash]*Event), make(map[leaf.Hash]bool)
	of := make(map[subject.Identifier]map[leaf.Hash]bool)
	v.Complete, v.Whole = true, true
	for _, m := range d.mains {
		l := List{Tag: leaf.Tag{Field: m.query.Field, Value: m.query.Value}, Identifier: m.id, Source: m.source}
		if a := d.need(m.query); a.List != nil {
			l.Head, l.Page = a.List.Head, a.List.Page
			v.Whole = v.Whole && l.Page.Whole(l.Head)
			v.Complete = v.Complete && l.Page.Covers(l.Head, v.From, v.To)
			for i, p := range l.Page.Postings {
				if p.Index < v.From || p.Index >= v.To {
					continue
				}
				entry, err := d.parse(a.List, i)
				if err != nil {
					return err
				}
				if entry == nil && m.query.Entries {
					return &IncompleteError{Promise: fmt.Sprintf("entry %d is not given, so that nothing shows whether it answers all that is asked", p.Index)}
				}
				event, isEvent := entry.(*leaf.Event)
				switch {
				case entry != nil && !isEvent:
					v.Erasures = append(v.Erasures, p.Index)
				case isEvent && !d.answers(event):
					others[p.Leaf] = true
				default:
					note(events, p, event)
					if m.id != nil {
						if of[*m.id] == nil {
							of[*m.id] = make(map[leaf.Hash]bool)
						}
						of[*m.id][p.Leaf] = true
					}
				}
			}
		}
		v.Lists = append(v.Lists, l)
	}
	slices.Sort(v.Erasures)
	v.Erasures = slices.Compact(v.Erasures)
	for hash, e := range events {
		if others[hash] { // its bytes are given in one list and not in another
			continue
		}
		slices.Sort(e.Repeats)
		e.Repeats = slices.Compact(e.Repeats)
		e.Index, e.Repeats = e.Repeats[0], e.Repeats[1:]
		e.After, e.Before = bounds(moments, e.Index)
		v.Events = append(v.Events, *e)
	}
	slices.SortFunc(v.Events, func(a, b Event) int { return cmp.Compare(a.Index, b.Index) })
	v.identify(d, of)
	for _, i := range slices.Sorted(maps.Keys(d.links)) {
		v.Links = append(v.Links, *d.links[i])
	}
	return nil
}

// note adds a posting to the events. Repeats holds all its indexes, in any order.
func note(events map[leaf.Hash]*Event, p trie.Posting, l *leaf.Event) {
	e := events[p.Leaf]
	if e == nil {
		e = &Event{Hash: p.Leaf}
		events[p.Leaf] = e
	}
	e.Repeats = append(e.Repeats, p.Index)
	if l != nil {
		e.Leaf = l
	}
}

// identify tells what is known of each identifier.
func (v *Verdict) identify(d *derivation, events map[subject.Identifier]map[leaf.Hash]bool) {
	for _, f := range d.faces {
		one := Identified{Identifier: f.id, Asked: f.asked, Events: len(events[f.id])}
		for _, e := range f.enrolments {
			one.Enrolments = append(one.Enrolments, *e)
		}
		v.Identifiers = append(v.Identifiers, one)
	}
	for _, e := range d.used {
		v.Erased = append(v.Erased, *e)
	}
	slices.SortFunc(v.Erased, func(a, b Enrolment) int {
		return cmp.Or(cmp.Compare(a.ErasedAt, b.ErasedAt), bytes.Compare(a.Leaf[:], b.Leaf[:]))
	})
}

// answers reports whether an event meets all asks. That it stands in a list of the first one its tags say once more.
func (d *derivation) answers(e *leaf.Event) bool {
	for i, a := range d.h.Asks {
		source := leaf.Tag{Field: mapfn.Source, Value: mapfn.SourceValue(e.Source)}
		switch {
		case a.Kind == OfSource && a.Source != e.Source:
			return false
		case a.Kind != OfSource && !d.asks[i][source] && !slices.ContainsFunc(e.Tags, func(t leaf.Tag) bool { return d.asks[i][t] }):
			return false
		}
	}
	return true
}

// bounds says when the entry at an index was logged: after the last checkpoint that lacks it, not after the first that has it.
func bounds(moments []Moment, index int64) (after, before time.Time) {
	for _, m := range moments {
		if m.Size > index {
			return after, m.Time
		}
		after = m.Time
	}
	return after, before
}

// open adds the fields that are shown, each held to the digest in its leaf.
func (v *Verdict) open(fields []Fields) error {
	for _, f := range fields {
		var err error
		event, isEvent := slices.BinarySearchFunc(v.Events, f.Index, func(e Event, i int64) int { return cmp.Compare(e.Index, i) })
		link, isLink := slices.BinarySearchFunc(v.Links, f.Index, func(l Link, i int64) int { return cmp.Compare(l.Index, i) })
		switch {
		case isEvent && v.Events[event].Leaf != nil:
			v.Events[event].Fields, err = seal.OpenLines(v.Events[event].Leaf, f.Lines)
		case isLink:
			v.Links[link].Fields, err = seal.OpenStatement(v.Links[link].Leaf, f.Lines)
		default:
			err = errors.New("the entry is not given or not part of the answer")
		}
		if err != nil {
			return fmt.Errorf("fields of entry %d: %w", f.Index, err)
		}
	}
	return nil
}

// fresh holds the verdict to the limits of the trust file.
func (v *Verdict) fresh(t *policy.Trust, now time.Time) error {
	stale := func(format string, args ...any) error {
		return &StaleError{Reason: fmt.Sprintf(format, args...), AsOf: v.AsOf}
	}
	size := v.Checkpoint.Checkpoint.Size
	if lag := size - v.Root.N; lag > t.MaxLag {
		return stale("the index covers %s entries of a log of %s: the trust file allows to lack %s", group(v.Root.N), group(size), group(t.MaxLag))
	}
	at := v.AsOf.Time
	if v.Checkpoint.Oldest().IsZero() {
		at = time.UnixMilli(v.Root.Millis) // the operator's word: no witness says when
	} else if v.AsOf.Size == 0 {
		return stale("no archived checkpoint shows when the index was up to date: it covers %s entries, and the file has none of that size or below", group(v.Root.N))
	}
	switch age := now.Sub(at); {
	case age > t.MaxAge:
		return stale("it is as of %s: the trust file allows an age of %s, and by the reader's clock it is %s", clock(at), t.MaxAge, clock(now))
	case age < -t.Skew:
		return stale("it is as of %s: by the reader's clock it is %s, and the trust file allows a difference of %s", clock(at), clock(now), t.Skew)
	}
	return nil
}

// Continues holds a verdict to an earlier one of the same question: each list of the earlier one is the beginning of the same
// list now, and the pages begin no later than it ended. So the two together are complete, which v.Since and v.Complete say
// from then on. A list that was not there before must begin at its beginning.
func (v *Verdict) Continues(old *Verdict) error {
	if err := v.continues(old); err != nil {
		return fmt.Errorf("continuing an earlier history: %w", err)
	}
	v.Complete, v.Since = true, old.Root.N
	return nil
}

func (v *Verdict) continues(old *Verdict) error {
	switch {
	case v.Origin != old.Origin:
		return fmt.Errorf("it is of %s, the earlier one of %s", v.Origin, old.Origin)
	case !slices.Equal(v.Asks, old.Asks):
		return errors.New("it answers another question")
	case !old.Complete || old.From != 0 || old.To != old.Root.N || v.From != 0 || v.To != v.Root.N:
		return errors.New("the earlier one is not complete, or one of them is of a window")
	case v.Root.N < old.Root.N:
		return fmt.Errorf("it covers %d entries, the earlier one %d", v.Root.N, old.Root.N)
	}
	before := make(map[leaf.Tag]trie.Head)
	for _, l := range old.Lists {
		before[l.Tag] = l.Head
	}
	for _, l := range v.Lists {
		head := before[l.Tag]
		delete(before, l.Tag)
		if end := l.Page.Start + int64(len(l.Page.Postings)); end != l.Head.N {
			return fmt.Errorf("the page of tag %d %s ends at number %d of %d", l.Tag.Field, text(l.Tag.Value), end, l.Head.N)
		}
		first, err := beginning(l.Page, head.N)
		if err != nil {
			return fmt.Errorf("tag %d %s: %w", l.Tag.Field, text(l.Tag.Value), err)
		}
		if first != head {
			return fmt.Errorf("the list of tag %d %s is not the continuation of the %d postings that there were", l.Tag.Field, text(l.Tag.Value), head.N)
		}
	}
	for tag := range before {
		return fmt.Errorf("tag %d %s has no list any more", tag.Field, text(tag.Value))
	}
	return nil
}

// beginning returns the head of the first n postings of a list, of which a verified page has what is not before it.
func beginning(p trie.Page, n int64) (trie.Head, error) {
	if n < p.Start || n > p.Start+int64(len(p.Postings)) {
		return trie.Head{}, fmt.Errorf("the page begins at number %d, and the earlier one ended at %d", p.Start, n)
	}
	if n == 0 {
		return trie.Head{}, nil
	}
	ranges := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	left := make([][]byte, len(p.Left))
	for i := range p.Left {
		left[i] = p.Left[i][:]
	}
	tree, err := ranges.NewRange(0, uint64(p.Start), left)
	if err != nil {
		return trie.Head{}, err
	}
	for _, q := range p.Postings[:n-p.Start] {
		hash := q.Hash()
		if err := tree.Append(hash[:], nil); err != nil {
			return trie.Head{}, err
		}
	}
	root, err := tree.GetRootHash(nil)
	if err != nil {
		return trie.Head{}, err
	}
	return trie.Head{N: n, Root: trie.Hash(root)}, nil
}

// shown reports whether each entry of the lists is given, so that it was held to its key.
func shown(x *proof.Index) bool {
	for _, a := range x.Answers {
		if a.List != nil && (len(a.List.Entries) < len(a.List.Page.Postings) || slices.ContainsFunc(a.List.Entries, func(e []byte) bool { return e == nil })) {
			return false
		}
	}
	return true
}
