package rules_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/client/rules"
	"idlog/proto/leaf"
	"idlog/proto/tag"
)

const (
	family = "log.example/id"
	vkey   = family + "/ticket+00000000+AQID"
)

var (
	day = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	now = day.Unix()
)

func h(b byte) leaf.Hash { return leaf.Hash{b} }

// The beginning of a log that breaks no rule, and one event.
func genesis() *leaf.Shard {
	return &leaf.Shard{Log: family, Received: now, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: vkey}}
}

func keys(sources ...string) *leaf.Keys {
	k := &leaf.Keys{Log: family, Received: now, Epoch: 1, VRF: h(9)}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		for _, s := range sources {
			k.Commits = append(k.Commits, leaf.Commit{Field: f, Source: s, Commit: h(byte(f))})
		}
	}
	return k
}

func event() *leaf.Event {
	return &leaf.Event{Log: family, Source: "okta", Received: now, Assurance: leaf.AssurancePushed, Keys: 1, Fields: h(7),
		Tags: []leaf.Tag{{Field: 1, Value: h(1)}, {Field: 2, Value: h(2)}, {Field: 3, Value: h(3)}, {Field: 4, Value: h(4)},
			{Field: 6, Value: h(6)}, {Field: 7, Value: h(7)}}}
}

func enrolment() *leaf.Subject {
	c := h(1)
	return &leaf.Subject{Log: family, Received: now, Keys: 1, Commit: &c, Etags: []leaf.Hash{h(2)}}
}

func statement(links, etags int) *leaf.Subject {
	f := h(7)
	s := &leaf.Subject{Log: family, Received: now, Keys: 1, Fields: &f}
	for i := range links {
		s.Links = append(s.Links, h(byte(i)))
	}
	for i := range etags {
		s.Etags = append(s.Etags, h(byte(i)))
	}
	return s
}

// TestRules adds logs leaf by leaf. Each but the first breaks one rule.
func TestRules(t *testing.T) {
	changed := func(change func(*leaf.Event)) *leaf.Event {
		e := event()
		change(e)
		return e
	}
	otherVRF, otherKey, second, nextEpoch := keys(), keys("okta"), keys("auth0"), keys("okta")
	otherVRF.VRF = h(8)
	otherKey.Commits[2].Commit = h(99)
	nextEpoch.Epoch = 2
	oldGenesis, ticketOf, mapFn, previous := genesis(), genesis(), genesis(), genesis()
	oldGenesis.Genesis.Keys = 4
	ticketOf.Genesis.Ticket = "other/ticket+00000000+AQID"
	mapFn.Genesis.MapFn = "idlog-mapfn/2"
	previous.Genesis.Previous = &leaf.Previous{Origin: "elsewhere/1", Size: 3, Root: h(1)}
	window := rules.Window{After: day.Add(-time.Hour), Before: day.Add(time.Second)}
	whole := []leaf.Leaf{genesis(), keys("okta"), enrolment(), event(), second, changed(func(e *leaf.Event) { e.Source = "auth0" }), statement(3, 2), nextEpoch,
		changed(func(e *leaf.Event) { e.Keys = 2 }), &leaf.Root{Origin: family + "/1", MapFn: leaf.MapFn}}
	for name, tc := range map[string]struct {
		leaves []leaf.Leaf
		want   []string
	}{
		"nothing":               {whole, nil},
		"no genesis":            {[]leaf.Leaf{event()}, []string{"entry 0: genesis: entry 0 is not the genesis of the shard", "entry 0: keys: is of epoch 1, which no earlier entry announces"}},
		"a second genesis":      {[]leaf.Leaf{genesis(), keys(), genesis()}, []string{"entry 2: genesis: the shard is opened again"}},
		"another's ticket key":  {[]leaf.Leaf{ticketOf}, []string{"entry 0: genesis: the ticket key is named other/ticket, not log.example/id/ticket"}},
		"another map function":  {[]leaf.Leaf{mapFn}, []string{"entry 0: genesis: the map function is idlog-mapfn/2, which this version does not know"}},
		"another's past":        {[]leaf.Leaf{previous}, []string{"entry 0: genesis: the shard before, elsewhere/1, is none of log.example/id"}},
		"entry 1 is no keys":    {[]leaf.Leaf{genesis(), genesis()}, []string{"entry 1: genesis: the shard is opened again", "entry 1: keys: entry 1 is not a keys leaf"}},
		"another epoch":         {[]leaf.Leaf{oldGenesis, keys()}, []string{"entry 1: keys: announces epoch 1, and the genesis leaf says that 4 is in force"}},
		"two VRF keys":          {[]leaf.Leaf{genesis(), keys(), otherVRF}, []string{"entry 2: keys: announces another VRF key of epoch 1"}},
		"two keys of a field":   {[]leaf.Leaf{genesis(), keys("okta"), otherKey}, []string{"entry 2: keys: announces another key of field 6 of source okta in epoch 1"}},
		"the same keys again":   {[]leaf.Leaf{genesis(), keys("okta"), keys("okta")}, nil},
		"keys that are to come": {[]leaf.Leaf{genesis(), keys(), event(), keys("okta")}, []string{"entry 2: keys: has a tag of field 1 under a key of source okta that no earlier entry announces"}},
		"keys of another epoch": {[]leaf.Leaf{genesis(), keys("okta"), &leaf.Keys{Log: family, Received: now, Epoch: 2, VRF: h(1)}, changed(func(e *leaf.Event) { e.Keys = 2 })},
			[]string{"entry 3: keys: has a tag of field 4 under a key of source okta that no earlier entry announces"}},
		"an epoch of nobody": {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Keys = 2 })}, []string{"entry 2: keys: is of epoch 2, which no earlier entry announces"}},
		"enrolled in no epoch": {[]leaf.Leaf{genesis(), keys(), &leaf.Subject{Log: family, Received: now, Keys: 3, Commit: new(leaf.Hash), Etags: []leaf.Hash{h(1)}}},
			[]string{"entry 2: keys: is of epoch 3, which no earlier entry announces"}},
		"one etag too many": {[]leaf.Leaf{genesis(), keys(), statement(2, 3)}, []string{"entry 2: enrolment: has 3 etags, and names only 2 enrolments"}},
		"another family":    {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Log = "other" })}, []string{"entry 2: family: the leaf is of log other, and the log's family is log.example/id"}},
		"another's root":    {[]leaf.Leaf{genesis(), keys(), &leaf.Root{Origin: "other/1"}}, []string{"entry 2: family: the root is of other/1, which is no shard of log.example/id"}},
		"erased to come":    {[]leaf.Leaf{genesis(), keys(), &leaf.Erasure{Log: family, Received: now, From: 1, To: 3}}, []string{"entry 2: range: speaks of entries up to 3, which are not before it"}},
		"lost to come":      {[]leaf.Leaf{genesis(), keys(), &leaf.Loss{Log: family, Received: now, From: 1, To: 9}}, []string{"entry 2: range: speaks of entries up to 9, which are not before it"}},
		"root to come":      {[]leaf.Leaf{genesis(), keys(), &leaf.Root{Origin: family + "/1", N: 3, MapFn: leaf.MapFn}}, []string{"entry 2: range: speaks of entries up to 3, which are not before it"}},
		"lost before":       {[]leaf.Leaf{genesis(), keys(), &leaf.Loss{Log: family, Received: now, From: 1, To: 2}}, nil},
		"no leaf":           {[]leaf.Leaf{genesis(), keys(), nil}, []string{"entry 2: grammar: is no leaf of ours: it is not"}},
		"no event id":       {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Tags = e.Tags[1:] })}, []string{"entry 2: tags: has 0 tags of the event's id, not one"}},
		"two classes":       {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Tags[5].Field = 6 })}, []string{"entry 2: tags: has 2 tags of its class, not one"}},
		"too many actors":   {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Tags[1].Field = 3 })}, []string{"entry 2: tags: has 2 tags of its actor and only 0 of persons"}},
		"an unknown tag":    {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Tags[5].Field = 8 })}, []string{"entry 2: tags: has a tag of field 8, which no event has"}},
		"dated forward": {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Received += 62 })},
			[]string{"entry 2: received: received at 2026-11-23T08:01:02Z, later than 2026-11-23T08:00:01Z, when witnesses had cosigned it"}},
		"within the skew": {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Received += 61 })}, nil},
		"dated back": {[]leaf.Leaf{genesis(), keys("okta"), changed(func(e *leaf.Event) { e.Received -= 25*3600 + 61 })},
			[]string{"entry 2: received: received at 2026-11-22T06:58:59Z, more than 24h0m0s before 2026-11-23T07:00:00Z, when witnesses had cosigned the log without it"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := rules.History{Family: family}
			var got []string
			for _, l := range tc.leaves {
				for _, f := range h.Add(l, errors.New("it is not"), window) {
					if f.Rule.Meaning() == "" {
						t.Errorf("rule %s has no meaning", f.Rule)
					}
					got = append(got, f.String())
				}
				// What was written down goes on as what was not.
				b, err := json.Marshal(&h)
				if err != nil {
					t.Fatal(err)
				}
				h = rules.History{}
				if err := json.Unmarshal(b, &h); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBacklog judges by another backlog than the longest.
func TestBacklog(t *testing.T) {
	e := event()
	e.Received -= 3600
	w := rules.Window{After: day, Backlog: 10 * time.Minute}
	if got := rules.Alone(5, family, e, nil, w); len(got) != 1 || got[0].Rule != rules.Received {
		t.Error(got)
	}
	w.Backlog = 0
	if got := rules.Alone(5, family, e, nil, w); got != nil {
		t.Error(got)
	}
}

// TestWindowUnknown judges no time where no witness gives one.
func TestWindowUnknown(t *testing.T) {
	e := event()
	e.Received = 0
	if got := rules.Alone(5, family, e, nil, rules.Window{}); got != nil {
		t.Error(got)
	}
}

func TestHistoryRefused(t *testing.T) {
	b, err := event().Format()
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]any{
		"no leaf":             map[string]any{"next": 9, "keys": [][]byte{[]byte("x")}},
		"an event":            map[string]any{"next": 9, "keys": [][]byte{b}},
		"more keys than next": map[string]any{"next": 0, "keys": [][]byte{b}},
		"another type":        []int{1},
	} {
		j, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var h rules.History
		if err := json.Unmarshal(j, &h); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSameEvent(t *testing.T) {
	other := event()
	other.Received++
	if got := rules.SameEvent(event(), other); got != "they have one digest of all fields" {
		t.Error(got)
	}
	other.Fields = h(8)
	if got := rules.SameEvent(event(), other); got != "they have one event id of source okta" {
		t.Error(got)
	}
	other.Source = "auth0"
	if got := rules.SameEvent(event(), other); got != "" {
		t.Error(got)
	}
	other.Source, other.Tags = "okta", nil
	if got := rules.SameEvent(event(), other); got != "" {
		t.Error(got)
	}
}

// TestManyKeys bounds what a log can make its readers hold: keys that are
// announced again take nothing, and those beyond the bound are a finding each.
func TestManyKeys(t *testing.T) {
	hist := rules.History{Family: family}
	for _, l := range []leaf.Leaf{genesis(), keys("okta"), keys("okta"), keys("okta"), event()} {
		if f := hist.Follow(l); f != nil {
			t.Error(f)
		}
	}
	var held struct{ Keys [][]byte }
	b, err := json.Marshal(&hist)
	if err == nil {
		err = json.Unmarshal(b, &held)
	}
	if err != nil || len(held.Keys) != 1 {
		t.Errorf("%d leaves are held, %v", len(held.Keys), err)
	}
	rules.SetHeld(&hist, rules.MaxKeys-20_000)
	source := strings.Repeat("s", 64)
	for epoch := int64(2); ; epoch++ {
		k := &leaf.Keys{Log: family, Received: now, Epoch: epoch}
		for f := range uint16(64) {
			k.Commits = append(k.Commits, leaf.Commit{Field: f + 1, Source: source})
		}
		if f := hist.Follow(k); f != nil {
			if epoch != 4 || len(f) != 1 || f[0].Rule != rules.Keys { // each has some 8000 bytes
				t.Errorf("epoch %d: %v", epoch, f)
			}
			break
		}
	}
	if b, err = json.Marshal(&hist); err != nil {
		t.Fatal(err)
	}
	// What is not known is not judged, in this process or the next.
	var next rules.History
	if err := json.Unmarshal(b, &next); err != nil {
		t.Fatal(err)
	}
	unknown := event()
	unknown.Source = "auth0"
	for _, h := range []*rules.History{&hist, &next} {
		if f := h.Follow(unknown); f != nil {
			t.Error(f)
		}
		if f := h.Follow(keys("auth0")); len(f) != 1 {
			t.Error(f)
		}
	}
}
