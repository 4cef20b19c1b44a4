package serve_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"idlog/log/ingest"
	logv1 "idlog/proto/idlog/log/v1"
)

func TestHealth(t *testing.T) {
	s, r := scripted(t, nil)
	health := healthv1.NewHealthClient(s.conn)
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "idlog.log.v1.EventService"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		res, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if res.GetStatus() != want {
			t.Fatalf("EventService is %v, want %v", res.GetStatus(), want)
		}
	}
	next(healthv1.HealthCheckResponse_SERVING)
	r.refuse(errors.New("the log refused to sign"))
	next(healthv1.HealthCheckResponse_NOT_SERVING)
	for _, service := range []string{"", "idlog.log.v1.LogService", "idlog.log.v1.QueryService"} { // reading goes on
		res, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, res.GetStatus(), err)
		}
	}
	r.refuse(nil)
	next(healthv1.HealthCheckResponse_SERVING)
	s.stop()
	next(healthv1.HealthCheckResponse_NOT_SERVING)
	// Who watches health does not hold up the drain.
	if _, err := watch.Recv(); err == nil {
		t.Error("a watcher of health outlives the drain")
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// At a drain an open stream is told to come back.
func TestDrainEndsStreams(t *testing.T) {
	s, _ := scripted(t, nil)
	watch, err := logv1.NewLogServiceClient(s.conn).WatchCheckpoints(t.Context(), &logv1.WatchCheckpointsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	submit, err := logv1.NewEventServiceClient(s.conn).SubmitStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []grpc.ClientStream{watch, submit} {
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	want := told{Code: codes.Unavailable, Reason: "SHUTTING_DOWN", Retry: true}
	_, err = watch.Recv()
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("watch: error differs (-want +got):\n%s", diff)
	}
	_, err = submit.Recv()
	if diff := cmp.Diff(want, ofError(t, err)); diff != "" {
		t.Errorf("submit: error differs (-want +got):\n%s", diff)
	}
}

// A call that is in flight when the drain begins is answered, and a new one is not.
func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, _ := scripted(t, func(context.Context, ingest.Request) ([]ingest.Answer, error) {
		close(entered)
		<-leave
		return []ingest.Answer{{Ticket: &ingest.Ticket{Note: []byte("promised")}}}, nil
	})
	watch, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		res *logv1.SubmitEventsResponse
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		res, err := logv1.NewEventServiceClient(s.conn).SubmitEvents(t.Context(), request())
		answered <- answer{res, err}
	}()
	<-entered
	s.stop()
	for { // until health says that the drain has begun
		res, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if res.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING {
			break
		}
	}
	select {
	case err := <-s.done:
		t.Fatalf("the server ended with a call in flight: %v", err)
	case a := <-answered:
		t.Fatalf("answered too early: %v", a)
	default:
	}
	close(leave)
	a := <-answered
	if a.err != nil || string(a.res.GetResults()[0].GetTicket().GetNote()) != "promised" {
		t.Errorf("the call in flight: %v, %v", a.res, a.err)
	}
}
