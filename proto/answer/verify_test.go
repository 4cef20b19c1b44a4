package answer_test

import (
	"flag"
	"strings"
	"testing"

	"idlog/proto/answer"
	"idlog/proto/leaf"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

var update = flag.Bool("update", false, "write the vectors")

// TestVerdicts asks questions of every kind, and reads the answers.
func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	ofBob := func() leaf.Tag {
		_, s := w.enrolment(bob)
		return leaf.Tag{Field: tag.Person, Value: tag.OfPerson(s.handle.T, tag.Person)}
	}()
	nobody := subject.Email("nobody@acme.example")
	for name, tc := range map[string]struct {
		r      request
		events string // their indexes
		begins string // the verdict's first words
		says   []string
	}{
		"an identifier, and the one that it is linked to": {request{asks: []answer.Ask{ask(answer.OfSubject, alice)}}, "4 6 11 12",
			"complete: 4 events among entries [0, 30), which contain everything published by 2027-01-15T08:05:00Z; cosigned by w, s, index; index verified by index\n",
			[]string{`"00u1": 2 events, 1 enrolment, linked at entry 10`, `"alice@acme.example": 2 events, 1 enrolment, linked at entry 10`}},
		"an identifier alone":    {request{asks: []answer.Ask{ask(answer.OfSubject, alice)}, noLinks: true}, "4 6", "complete: 2 events among entries [0, 30)", nil},
		"what an identifier did": {request{asks: []answer.Ask{ask(answer.OfActor, alice)}, noLinks: true}, "4", "complete: 1 event among", nil},
		"an identifier that was erased, and is there again": {request{asks: []answer.Ask{ask(answer.OfSubject, carol)}}, "17",
			"complete: 1 event among entries [0, 30), which contain everything published by 2027-01-15T08:05:00Z, " +
				"and 1 enrolment erased at entry 15 whose events are no longer attributable; cosigned by", nil},
		"an identifier linked to one that nobody knows any more": {request{asks: []answer.Ask{ask(answer.OfSubject, bob)}}, "5 6 23 24 25 26 27 28 29",
			"complete: 9 events among", []string{"and 1 enrolment erased at entry 20 whose", "linked at entry 19 and 21"}},
		"an identifier that was never there":   {request{asks: []answer.Ask{ask(answer.OfSubject, nobody)}}, "", "complete: no events among entries [0, 30)", nil},
		"a session, of all sources and epochs": {request{asks: []answer.Ask{ask(answer.OfSession, "s1")}}, "4 11", "complete: 2 events", nil},
		"a class":                              {request{asks: []answer.Ask{ask(answer.OfClass, "300201")}, bare: true}, "4 5 11", "complete: 3 events", nil},
		"a target":                             {request{asks: []answer.Ask{ask(answer.OfTarget, "group\x00admins")}}, "12", "complete: 1 event ", nil},
		"an event":                             {request{asks: []answer.Ask{ask(answer.OfEvent, "e12")}}, "12", "complete: 1 event ", nil},
		"an event of another source":           {request{asks: []answer.Ask{ask(answer.OfEvent, "e12"), ask(answer.OfSource, "okta")}}, "", "complete: no events", nil},
		"a source":                             {request{asks: []answer.Ask{ask(answer.OfSource, "okta")}, bare: true}, "4 5 6 11 14 17", "complete: 6 events", nil},
		"a tag":                                {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}}, "5 6 23 24 25 26 27 28 29", "complete: 9 events", nil},
		"two identifiers at once": {request{asks: []answer.Ask{ask(answer.OfSubject, alice), ask(answer.OfSubject, bob)}, noLinks: true}, "6",
			"complete: 1 event among", nil},
		"an identifier and a class": {request{asks: []answer.Ask{ask(answer.OfSubject, alice), ask(answer.OfClass, "300201")}}, "4 11", "complete: 2 events", nil},
		"a class and an identifier": {request{asks: []answer.Ask{ask(answer.OfClass, "300201"), ask(answer.OfActor, bob)}}, "5", "complete: 1 event ", nil},
		"a source and a session":    {request{asks: []answer.Ask{ask(answer.OfSource, "okta"), ask(answer.OfSession, "s2")}}, "5 6", "complete: 2 events", nil},
		"a window": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, anchors: []int64{6, 24, 26, 30}, window: &answer.Window{From: 6, To: 25},
			page: func(answer.Query, int64) (int64, int64) { return 0, 5 }}, "6 23 24", "complete: 3 events among entries [6, 25), which contain everything published after 2027-01-15T08:01:00Z and by 2027-01-15T08:04:00Z; cosigned", nil},
		"a window beyond what is indexed": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, window: &answer.Window{From: 25, To: 1 << 40}},
			"25 26 27 28 29", "complete: 5 events among entries [25, 30); cosigned", nil},
		"a window that the page does not cover": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, window: &answer.Window{From: 6, To: 25},
			page: func(answer.Query, int64) (int64, int64) { return 2, 3 }}, "23 24", "not complete: numbers 3 to 5 of 9: 2 events among entries [6, 25)", nil},
		"a page": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, page: func(answer.Query, int64) (int64, int64) { return 2, 3 }},
			"23 24 25", "not complete: numbers 3 to 5 of 9: 3 events among entries [0, 30)", nil},
		"the number of entries alone": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, page: func(answer.Query, int64) (int64, int64) { return 9, -1 }},
			"", "not complete: none of 9: no events", nil},
		"without verifiers": {request{asks: []answer.Ask{ask(answer.OfSubject, alice)}, attested: true}, "4 6 11 12",
			"operator-attested: 4 events among entries [0, 30), which contain everything published by 2027-01-15T08:05:00Z; " +
				"that none is missing is the word of the log's operator alone; cosigned by w, s; index verified by nobody\n", nil},
		"without verifiers, a page": {request{asks: []answer.Ask{ask(answer.OfTag, ofBob)}, attested: true, page: func(answer.Query, int64) (int64, int64) { return 2, 3 }},
			"23 24 25", "not complete: numbers 3 to 5 of 9, operator-attested: 3 events", nil},
		"in root mode": {request{asks: []answer.Ask{ask(answer.OfSubject, alice)}, root: true}, "4 6 11 12", "complete: 4 events", nil},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := judge(t, file(t, w.answer(tc.r)), trustFile, w.now())
			if err != nil {
				t.Fatal(err)
			}
			if got := indexes(v); got != tc.events {
				t.Errorf("events %s, want %s", got, tc.events)
			}
			text := v.String()
			if !strings.HasPrefix(text, tc.begins) {
				t.Errorf("it says %s\nwant     %s", text, tc.begins)
			}
			for _, s := range tc.says {
				if !strings.Contains(text, s) {
					t.Errorf("it does not say %s:\n%s", s, text)
				}
			}
			if v.Complete == strings.HasPrefix(tc.begins, "not complete") || v.Proven == tc.r.attested {
				t.Errorf("complete %v, proven %v: %s", v.Complete, v.Proven, text)
			}
		})
	}
}
