package ingest_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/ingest"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// Each event is counted once, by what became of it, and nothing of it is in a label.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, func(w *world) { w.config.Metrics = ingest.NewMetrics(reg, family) })
	w.submit(request(w.event("1", "a", "b"), w.event("2", "a", "b")))
	w.submit(request(w.event("1", "a", "b"), &eventv1.Event{}))
	sequenced := request(w.event("3", "a", "b"))
	sequenced.Wait = logv1.Wait_WAIT_SEQUENCED
	w.submit(sequenced)
	if _, err := w.Submit(t.Context(), ingest.Request{Source: "nowhere", Events: sequenced.Events}); err == nil {
		t.Fatal("submitted to a source that does not exist")
	}
	got := make(map[string]float64)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), "canary") {
			t.Errorf("a metric has something of an event: %s", f)
		}
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if v := m.GetCounter().GetValue(); v > 0 {
				got[name] = v
			}
			if n := m.GetHistogram().GetSampleCount(); strings.HasPrefix(name, "idlog_append_duration") {
				got[name] = float64(n)
			}
		}
	}
	want := map[string]float64{
		"idlog_appends_total " + family + " receipt ":               3,
		"idlog_appends_total " + family + " ticket ":                1,
		"idlog_appends_total " + family + " refused FIELD_MISSING":  1,
		"idlog_appends_total " + family + " refused SOURCE_UNKNOWN": 1,
		"idlog_duplicates_total " + family:                          1,
		"idlog_append_duration_seconds " + family + " published":    3,
		"idlog_append_duration_seconds " + family + " sequenced":    1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics differ (-want +got):\n%s", diff)
	}
}

// Without room nothing more is taken, and with room again it is.
func TestRoom(t *testing.T) {
	var full atomic.Bool
	w := newWorld(t, func(w *world) {
		w.config.Room = func() error {
			if full.Load() {
				return errors.New("the disk is nearly full")
			}
			return nil
		}
	})
	full.Store(true)
	_, err := w.Submit(t.Context(), request(w.event("1", "a", "b")))
	var r *ingest.Refusal
	if !errors.As(err, &r) || r.Reason != logv1.Reason_REASON_READ_ONLY || r.Message != "the disk is nearly full" {
		t.Errorf("without room: %v", err)
	}
	full.Store(false)
	w.submit(request(w.event("1", "a", "b")))
}

// Who may submit can change while calls come in.
func TestRebind(t *testing.T) {
	w := newWorld(t)
	w.Rebind([]ingest.Source{{Name: "okta", Principals: []string{"third"}}, {Name: "new", Principals: []string{"third"}}})
	for _, tt := range []struct {
		source, principal string
		want              logv1.Reason
	}{
		{"okta", "third", 0}, {"okta", "poller", logv1.Reason_REASON_SOURCE_NOT_BOUND},
		{"app", "service", 0}, {"new", "third", logv1.Reason_REASON_SOURCE_UNKNOWN},
	} {
		var r *ingest.Refusal
		err := w.Bound(tt.source, tt.principal)
		if errors.As(err, &r) != (tt.want != 0) || r != nil && r.Reason != tt.want {
			t.Errorf("%s by %s: %v", tt.source, tt.principal, err)
		}
	}
}
