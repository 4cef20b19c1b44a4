package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"idlog/cmd/idlog/report"
)

func TestBar(t *testing.T) {
	var out bytes.Buffer
	at := time.Unix(0, 0)
	b := report.NewBar(&out, "entries", func() time.Time { return at })
	last := func() string {
		parts := strings.Split(out.String(), "\r")
		return parts[len(parts)-1]
	}
	b.Clear() // nothing is there to clear
	at = at.Add(2 * time.Second)
	b.Show(50, 200, "1 finding")
	if got, want := last(), "[======                  ]  25 %  50 of 200 entries  25/s  6s left  1 finding"; got != want {
		t.Errorf("%q", got)
	}
	at = at.Add(10 * time.Millisecond)
	b.Show(60, 200, "")
	if !strings.Contains(last(), "50 of 200") {
		t.Errorf("shown again too soon: %q", last())
	}
	b.Show(200, 200, "")
	if got, want := strings.TrimRight(last(), " "), "[========================] 100 %  200 of 200 entries  100/s  0s left"; got != want {
		t.Errorf("%q", got)
	}
	b.Show(0, 0, "")
	b.Clear()
	if got := last(); got != "" {
		t.Errorf("%q", got)
	}
	var none *report.Bar // where there is no terminal
	none.Show(1, 2, "")
	none.Clear()
	if (&report.Printer{Stderr: &out}).Bar("entries") != nil {
		t.Error("a bar in a file")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"okta-prod": "okta-prod", "": `""`, "a b": `"a b"`, "\x1b[31m": `"\x1b[31m"`, "é": `"\u00e9"`} {
		if got := report.Printable(in); got != want {
			t.Errorf("Printable(%q) = %s", in, got)
		}
	}
}
