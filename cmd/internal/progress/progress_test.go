package progress_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/cmd/internal/progress"
)

func TestLine(t *testing.T) {
	var b bytes.Buffer
	if progress.New(&b) != nil {
		t.Error("a buffer is taken for a terminal")
	}
	at := time.Unix(0, 0)
	l := progress.On(&b, func() time.Time { return at })
	l.Clear()
	if b.Len() > 0 {
		t.Errorf("nothing was shown, and %q is cleared", b.String())
	}
	after := func(d time.Duration, step string, done, total int64) {
		at = at.Add(d)
		l.Show(step, done, total)
	}
	after(0, "tiles", 0, 48)
	after(10*time.Millisecond, "tiles", 1, 48) // too soon to be shown
	after(2*time.Second-10*time.Millisecond, "tiles", 12, 48)
	after(10*time.Millisecond, "tiles", 48, 48) // the end is shown at once
	after(0, "journal", 7, 0)
	after(time.Second, "journal", 9, 0)
	l.Clear()
	after(time.Hour, "entries", 1000, 4000) // what was done before does not count for the speed
	l.Remark("2 findings")
	after(time.Second, "entries", 2000, 4000)
	l.Say("waiting")
	l.Clear()
	l.Clear()
	shown := strings.Split(b.String(), "\r\x1b[K")
	for i, s := range shown {
		if s, wraps := strings.CutPrefix(s, "\x1b[?7l"); wraps {
			shown[i] = strings.TrimSuffix(s, "\x1b[?7h")
		}
	}
	want := []string{
		"",
		"[                        ]   0 %  tiles 0 of 48",
		"[======                  ]  25 %  tiles 12 of 48  6/s  6s left",
		"[========================] 100 %  tiles 48 of 48  24/s  0s left",
		"journal 7",
		"journal 9  2/s",
		"", // cleared
		"[======                  ]  25 %  entries 1000 of 4000",
		"[============            ]  50 %  entries 2000 of 4000  1000/s  2s left  2 findings",
		"waiting",
		"", // cleared, once
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
	var none *progress.Line
	none.Show("tiles", 1, 2)
	none.Remark("x")
	none.Say("x")
	none.Clear()
}
