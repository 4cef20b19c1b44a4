package progress_test

import (
	"bytes"
	"strings"
	"testing"

	"idlog/cmd/internal/progress"
)

func TestLine(t *testing.T) {
	var b bytes.Buffer
	if progress.New(&b) != nil {
		t.Error("a buffer is taken for a terminal")
	}
	l := progress.On(&b)
	l.Clear()
	if b.Len() > 0 {
		t.Errorf("nothing was shown, and %q is cleared", b.String())
	}
	l.Show("tiles", 0, 48)
	l.Show("tiles", 1, 48) // too soon to be shown
	l.Show("tiles", 48, 48)
	l.Show("journal", 7, 0)
	l.Clear()
	want := "\r\x1b[K[" + strings.Repeat(" ", 24) + "] tiles 0 of 48" +
		"\r\x1b[K[" + strings.Repeat("=", 24) + "] tiles 48 of 48" +
		"\r\x1b[Kjournal 7\r\x1b[K"
	if got := b.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var none *progress.Line
	none.Show("tiles", 1, 2)
	none.Clear()
}
