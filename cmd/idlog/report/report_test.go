package report_test

import (
	"testing"

	"idlog/cmd/idlog/report"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"okta-prod": "okta-prod", "": `""`, "a b": `"a b"`, "\x1b[31m": `"\x1b[31m"`, "é": `"\u00e9"`} {
		if got := report.Printable(in); got != want {
			t.Errorf("Printable(%q) = %s", in, got)
		}
	}
}
