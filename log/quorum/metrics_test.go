package quorum_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"idlog/log/quorum"
)

// The margin is how many more witnesses may fail, and below 0 how many must come back.
func TestMargin(t *testing.T) {
	for _, test := range []struct {
		name     string
		quorum   int
		handlers []http.HandlerFunc
		without  []string
		margin   int
	}{
		{"all well", 1, []http.HandlerFunc{witness(t, 0), witness(t, 1), witness(t, 2)}, nil, 2},
		{"all needed", 3, []http.HandlerFunc{witness(t, 0), witness(t, 1), witness(t, 2)}, nil, 0},
		{"one down", 2, []http.HandlerFunc{witness(t, 0), witness(t, 1), down}, []string{"w2"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.quorum, test.handlers...)
			reg := prometheus.NewRegistry()
			w.config.Metrics, w.config.Without = quorum.NewMetrics(reg, "f"), test.without
			q := w.start()
			if got := q.Status().Margin; got != -test.quorum {
				t.Errorf("margin %d before anybody was asked, want %d", got, -test.quorum)
			}
			w.collect(q, 1)
			silent := func(s quorum.WitnessStatus) bool { return s.Last.IsZero() && s.Error == "" }
			for slices.ContainsFunc(q.Status().Witnesses, silent) { // those that came late are heard too
				if err := w.take(q)(<-q.Answers()); err != nil {
					t.Fatal(err)
				}
			}
			s := q.Status()
			if s.Margin != test.margin || !s.Needed {
				t.Errorf("margin %d, want %d", s.Margin, test.margin)
			}
			for i, got := range s.Witnesses {
				isDown := test.without != nil && test.without[0] == got.Name
				if got.Last.IsZero() != isDown || isDown != (got.Error != "") {
					t.Errorf("witness %d: %+v", i, got)
				}
			}
			want := fmt.Sprintf(`
# HELP idlog_witness_quorum_best_margin What the margin is when every witness of the policy is well.
# TYPE idlog_witness_quorum_best_margin gauge
idlog_witness_quorum_best_margin{log="f"} %d
`, len(test.handlers)-test.quorum)
			if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "idlog_witness_quorum_best_margin"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Where no witness is needed there is no margin to worry about.
func TestNoMargin(t *testing.T) {
	w := newWorld(t, 0, down)
	w.config.Policy = nil
	reg := prometheus.NewRegistry()
	w.config.Metrics = quorum.NewMetrics(reg, "f")
	if s := w.start().Status(); s.Needed || s.Margin != 0 {
		t.Errorf("got %+v", s)
	}
	if n, err := testutil.GatherAndCount(reg, "idlog_witness_quorum_margin"); n != 0 || err != nil {
		t.Errorf("%d series of the margin, %v", n, err)
	}
}
