package leaf_test

import (
	"fmt"

	"idlog/proto/leaf"
)

func Example() {
	event := &leaf.Event{
		Log:       "example.com/audit",
		Source:    "okta-prod",
		Received:  1790000000,
		Assurance: leaf.AssurancePulled,
		Keys:      1,
		Tags:      []leaf.Tag{{Field: 1, Value: leaf.Hash{1}}},
	}
	b, err := event.Format()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s%x\n", b, leaf.HashOf(b))

	_, err = leaf.Parse(append(b, "tag 1 "...))
	fmt.Println(err)
	// Output:
	// idlog-event/v1
	// log example.com/audit
	// source okta-prod
	// received 1790000000
	// assurance pulled
	// keys 1
	// fields AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
	// tag 1 AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
	// 385c550af147c14116a320505d065a211300c7af089c9c1b866d252c258bcb3c
	// parsing leaf: line 9: line is missing or has no line feed
}
