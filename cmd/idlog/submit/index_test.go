package submit_test

import (
	"testing"

	"idlog/cmd/idlog/submit"
)

// That fewer than 100 of 200,000 are drawn, or more than 320, is less likely than a broken machine.
func TestDrawn(t *testing.T) {
	n := 0
	for range 200_000 {
		if submit.Drawn() {
			n++
		}
	}
	if n < 100 || n > 320 {
		t.Errorf("%d of 200,000 are drawn", n)
	}
}
