package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
)

// connect opens a connection of its own to the log.
func (s *site) connect(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.server.addresses["grpc"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestAPI is what somebody does who has a general tool and our address: the server says what it has, and its answers are
// verified here.
func TestAPI(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin := build(t)
	s := newSite(t, bin, bin)
	s.serve()
	conn := s.connect(t)
	r, err := reflectOn(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"idlog.log.v1.EventService", "idlog.log.v1.LogService", "idlog.log.v1.QueryService"}
	if diff := cmp.Diff(want, r.services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	for _, service := range []string{"", "idlog.log.v1.EventService", "idlog.log.v1.LogService", "idlog.log.v1.QueryService"} {
		res, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, res.GetStatus(), err)
		}
	}
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "idlog.log.v1.None"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of a service that is not there: %v", err)
	}
	t.Run("submit", func(t *testing.T) { submitDynamically(t, s, r) })
	t.Run("read", func(t *testing.T) { readDynamically(t, s, r) })
}

// eventJSON is an event as somebody types it.
func eventJSON(id string) string {
	return fmt.Sprintf(`{"source":{"nativeId":%q,"nativeType":"user.session.start"},`+
		`"class":{"schema":"ocsf/1.9.0-dev","classUid":"3002","activityId":"1"},`+
		`"actor":{"kind":"KIND_USER","issuer":"https://acme.example","id":"ada"},"outcome":{"status":"STATUS_SUCCESS"}}`, id)
}

// answer has what the answers of EventService and LogService have in common, of their JSON.
type answer struct {
	Index       int64 `json:",string"`
	Leaf        []byte
	Inclusion   [][]byte
	Consistency [][]byte
	Checkpoint  []byte
}

func read(t *testing.T, b []byte) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return a
}

func hashesOf(t *testing.T, list [][]byte) []leaf.Hash {
	t.Helper()
	hashes := make([]leaf.Hash, len(list))
	for i, b := range list {
		if len(b) != 32 {
			t.Fatalf("a hash of %d bytes", len(b))
		}
		hashes[i] = leaf.Hash(b)
	}
	return hashes
}

// accepted verifies a checkpoint under the policy of the site.
func (s *site) accepted(t *testing.T, note []byte) *policy.Verified {
	t.Helper()
	v, err := s.policy.Verify(note)
	if err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	return v
}

// included verifies that a leaf stands in the log.
func (s *site) included(t *testing.T, a answer, note []byte) {
	t.Helper()
	c := s.accepted(t, note).Checkpoint
	if err := proof.Inclusion(leaf.HashOf(a.Leaf), a.Index, c.Size, hashesOf(t, a.Inclusion), c.Root); err != nil {
		t.Errorf("entry %d: %v", a.Index, err)
	}
}

// submitDynamically sends three requests on one stream, one of them bad. The answers come in order.
func submitDynamically(t *testing.T, s *site, r *reflected) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := r.open(ctx, "idlog.log.v1.EventService.SubmitStream")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{
		`{"request":{"source":"` + testSource + `","events":[` + eventJSON("api-1") + `,` + eventJSON("api-2") + `]}}`,
		`{"request":{"source":"` + testSource + `"}}`,
		`{"request":{"source":"` + testSource + `","events":[` + eventJSON("api-1") + `]}}`,
	} {
		if err := stream.send(request); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var indexes [][]int64
	for {
		b, err := stream.receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Response struct {
				Results     []struct{ Receipt answer }
				Checkpoints [][]byte
			}
			Error *struct{ Code int }
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.Error != nil && got.Error.Code != int(codes.InvalidArgument) {
			t.Errorf("the request without events: code %d", got.Error.Code)
		}
		var list []int64
		for _, res := range got.Response.Results {
			s.included(t, res.Receipt, got.Response.Checkpoints[0])
			list = append(list, res.Receipt.Index)
		}
		indexes = append(indexes, list)
	}
	if len(indexes) != 3 || len(indexes[0]) != 2 || len(indexes[1]) != 0 || len(indexes[2]) != 1 || indexes[2][0] != indexes[0][0] {
		t.Errorf("two events, nothing, the first again: %v", indexes)
	}
}

func readDynamically(t *testing.T, s *site, r *reflected) {
	const service = "idlog.log.v1.LogService."
	old := s.accepted(t, read(t, r.call(t, service+"GetCheckpoint", `{}`, 1)[0]).Checkpoint)

	// A watcher hears of a checkpoint that is not there yet.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := r.open(ctx, service+"WatchCheckpoints")
	if err == nil {
		err = watch.send(`{}`)
	}
	if err != nil {
		t.Fatal(err)
	}
	next := func() int64 {
		b, err := watch.receive()
		if err != nil {
			t.Fatal(err)
		}
		return s.accepted(t, read(t, b).Checkpoint).Checkpoint.Size
	}
	if size := next(); size < old.Checkpoint.Size {
		t.Errorf("the watcher begins with size %d, below %d", size, old.Checkpoint.Size)
	}
	r.call(t, "idlog.log.v1.EventService.SubmitEvents", `{"source":"`+testSource+`","events":[`+eventJSON("api-3")+`]}`, 1)
	for next() <= old.Checkpoint.Size { // an idle log's checkpoint may be republished in between
	}

	// Every entry, from the first one on.
	var note []byte
	for i, b := range r.call(t, service+"WatchEntries", `{"from":0}`, int(old.Checkpoint.Size)) {
		a := read(t, b)
		if a.Checkpoint != nil {
			note = a.Checkpoint
		}
		if a.Index != int64(i) {
			t.Errorf("entry %d comes after %d", a.Index, i-1)
		}
		s.included(t, a, note)
		// The proof alone, and the entry alone, say the same.
		p := read(t, r.call(t, service+"GetInclusionProof", fmt.Sprintf(`{"index":%d}`, i), 1)[0])
		p.Leaf, p.Index = a.Leaf, a.Index
		s.included(t, p, p.Checkpoint)
		e := read(t, r.call(t, service+"GetEntry", fmt.Sprintf(`{"index":%d}`, i), 1)[0])
		e.Index = a.Index
		s.included(t, e, e.Checkpoint)
		if !bytes.Equal(e.Leaf, a.Leaf) {
			t.Errorf("entry %d is two leaves", i)
		}
	}
	a := read(t, r.call(t, service+"GetConsistencyProof", fmt.Sprintf(`{"from":%d}`, old.Checkpoint.Size), 1)[0])
	now := s.accepted(t, a.Checkpoint).Checkpoint
	if err := proof.Consistency(old.Checkpoint.Size, now.Size, old.Checkpoint.Root, now.Root, hashesOf(t, a.Consistency)); err != nil {
		t.Error(err)
	}
}
