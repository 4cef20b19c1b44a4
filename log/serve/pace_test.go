package serve_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/log/ingest"
	"idlog/log/serve"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

// paced is a server that answers every event with a refusal of its own and has a limit of events a second.
func paced(t *testing.T, perSecond int64, m *serve.Metrics) (*served, logv1.EventServiceClient) {
	t.Helper()
	submit := func(_ context.Context, req ingest.Request) ([]ingest.Answer, error) {
		answers := make([]ingest.Answer, len(req.Events))
		for i := range answers {
			answers[i].Err = &ingest.Refusal{Reason: logv1.Reason_REASON_FIELD_MISSING, Index: -1, Message: "scripted"}
		}
		return answers, nil
	}
	s := start(t, serve.Config{
		Logs:    []serve.Log{{Family: "acme.example/id", Reader: &scriptedReader{t: t}, Events: scriptedEvents{submit: submit}}},
		Limits:  serve.Limits{EventsPerSecond: perSecond},
		Metrics: m,
	})
	return s, logv1.NewEventServiceClient(s.conn)
}

func events(n int) *logv1.SubmitEventsRequest {
	req := request()
	for len(req.Events) < n {
		req.Events = append(req.Events, &eventv1.Event{})
	}
	return req
}

// Whoever rested may send one call of the largest size; what is more is refused with the time to wait.
func TestEventsPerSecond(t *testing.T) {
	s, c := paced(t, 1, nil)
	if _, err := c.SubmitEvents(t.Context(), events(500)); err != nil {
		t.Fatal(err)
	}
	_, err := c.SubmitEvents(t.Context(), events(100))
	got := ofError(t, err)
	if got.Code != codes.ResourceExhausted || got.Reason != "OVERLOAD" || !got.Retry {
		t.Errorf("over the limit: %+v", got)
	}
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			if wait := r.GetRetryDelay().AsDuration().Seconds(); wait <= 0 || wait > 100 {
				t.Errorf("told to wait %v s for 100 events at 1 a second", wait)
			}
		}
	}
	// What was refused did not count, and the limit can be lifted while the server runs.
	s.SetLimits(serve.Limits{})
	for range 3 {
		if _, err := c.SubmitEvents(t.Context(), events(500)); err != nil {
			t.Fatal(err)
		}
	}
	s.SetLimits(serve.Limits{Bytes: serve.Bound{Total: 10}})
	if _, err := c.SubmitEvents(t.Context(), events(500)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("over the new bound of bytes: %v", err)
	}
}

// Calls are counted by the codes that callers see.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	_, c := paced(t, 0, serve.NewMetrics(reg))
	for _, req := range []*logv1.SubmitEventsRequest{events(1), events(1), {Log: "other.example/id", Source: "okta", Events: events(1).Events}} {
		_, _ = c.SubmitEvents(t.Context(), req)
	}
	got := make(map[string]float64)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v > 0 && f.GetName() == "grpc_server_handled_total" {
				for _, l := range m.GetLabel() {
					if l.GetName() == "grpc_code" {
						got[l.GetValue()] = v
					}
				}
			}
		}
	}
	if got["OK"] != 2 || got["NotFound"] != 1 || len(got) != 2 {
		t.Errorf("counted %v", got)
	}
}
