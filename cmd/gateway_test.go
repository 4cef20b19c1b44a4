package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idlog/client"
	history "idlog/proto/answer"
	"idlog/proto/subject"
)

// httpAPI is the JSON API as somebody meets it who has its description and nothing else.
type httpAPI struct {
	server  string
	methods map[string]httpMethod // by operation, such as LogService_GetEntry
}

type httpMethod struct {
	verb, path string
	query      []string
}

// describe reads where each method stands from what the server says of itself.
func (s *site) describe(t *testing.T) *httpAPI {
	t.Helper()
	b, err := s.fetch(t.Context(), "openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(b, &said); err != nil {
		t.Fatal(err)
	}
	api := &httpAPI{server: "http://" + s.server.addresses["http"], methods: make(map[string]httpMethod)}
	for path, verbs := range said.Paths {
		for verb, op := range verbs {
			m := httpMethod{verb: strings.ToUpper(verb), path: path}
			for _, p := range op.Parameters {
				if p.In == "query" {
					m.query = append(m.query, p.Name)
				}
			}
			api.methods[op.OperationID] = m
		}
	}
	return api
}

// call makes a request from the fields of its message and returns the status and the objects of the answer, one or count.
func (a *httpAPI) call(t *testing.T, operation string, fields map[string]any, count int) (int, []json.RawMessage) {
	t.Helper()
	m, ok := a.methods[operation]
	if !ok {
		t.Fatalf("the description has no %s", operation)
	}
	path, query := m.path, make(url.Values)
	var body io.Reader = http.NoBody
	if m.verb == http.MethodPost {
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	} else {
		for name, value := range fields {
			if slices.Contains(m.query, name) {
				query.Set(name, fmt.Sprint(value))
			}
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(fmt.Sprint(value)))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, m.verb, a.server+path+"?"+query.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var objects []json.RawMessage
	for d := json.NewDecoder(res.Body); len(objects) < count; {
		var o json.RawMessage
		if err := d.Decode(&o); err != nil {
			t.Fatalf("%s: %s, %d objects, then %v", operation, res.Status, len(objects), err)
		}
		objects = append(objects, o)
	}
	return res.StatusCode, objects
}

// result is one object of a stream's answer.
func result(t *testing.T, o json.RawMessage) json.RawMessage {
	t.Helper()
	var line struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal(o, &line); err != nil || line.Result == nil {
		t.Fatalf("%s: %v", o, err)
	}
	return line.Result
}

// TestGateway calls every method as JSON over HTTP, found in the description that the server gives of itself, and verifies
// what the answers prove.
func TestGateway(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	bin := build(t)
	s := newSite(t, bin, bin)
	s.serve()
	api := s.describe(t)
	called := make(map[string]bool)
	call := func(t *testing.T, operation string, fields map[string]any, count int) []json.RawMessage {
		t.Helper()
		called[operation] = true
		code, objects := api.call(t, operation, fields, count)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", operation, code, objects[0])
		}
		return objects
	}
	event := func(id string) json.RawMessage { return json.RawMessage(eventJSON(id)) }

	var submitted struct {
		Results     []struct{ Receipt answer }
		Checkpoints [][]byte
	}
	b := call(t, "EventService_SubmitEvents", map[string]any{"source": testSource, "events": []any{event("http-1"), event("http-2")}}, 1)[0]
	if err := json.Unmarshal(b, &submitted); err != nil || len(submitted.Results) != 2 {
		t.Fatalf("%s: %v", b, err)
	}
	for _, r := range submitted.Results {
		s.included(t, r.Receipt, submitted.Checkpoints[0])
	}
	var streamed struct {
		Response struct {
			Results     []struct{ Receipt answer }
			Checkpoints [][]byte
		}
	}
	b = result(t, call(t, "EventService_SubmitStream", map[string]any{"request": map[string]any{"source": testSource, "events": []any{event("http-1")}}}, 1)[0])
	if err := json.Unmarshal(b, &streamed); err != nil {
		t.Fatal(err)
	}
	if again := streamed.Response.Results[0].Receipt.Index; again != submitted.Results[0].Receipt.Index {
		t.Errorf("the first event again is entry %d, not %d", again, submitted.Results[0].Receipt.Index)
	}

	checkpoint := read(t, call(t, "LogService_GetCheckpoint", nil, 1)[0]).Checkpoint
	size := s.accepted(t, checkpoint).Checkpoint.Size
	s.accepted(t, read(t, result(t, call(t, "LogService_WatchCheckpoints", map[string]any{"log": family}, 1)[0])).Checkpoint)
	var note []byte
	for i, line := range call(t, "LogService_WatchEntries", map[string]any{"from": 0}, int(size)) {
		a := read(t, result(t, line))
		if a.Checkpoint != nil {
			note = a.Checkpoint
		}
		s.included(t, a, note)
		e := read(t, call(t, "LogService_GetEntry", map[string]any{"index": i}, 1)[0])
		e.Index = int64(i)
		s.included(t, e, e.Checkpoint)
		p := read(t, call(t, "LogService_GetInclusionProof", map[string]any{"index": i}, 1)[0])
		p.Leaf, p.Index = e.Leaf, e.Index
		s.included(t, p, p.Checkpoint)
	}
	if got := read(t, call(t, "LogService_GetConsistencyProof", map[string]any{"from": 1, "to": size}, 1)[0]); len(got.Consistency) == 0 {
		t.Error("no consistency proof")
	}
	var keys struct {
		Keys []struct{ TagKeys []struct{ Key []byte } }
	}
	if err := json.Unmarshal(call(t, "EventService_GetSourceKeys", map[string]any{"source": testSource}, 1)[0], &keys); err != nil || len(keys.Keys) == 0 {
		t.Errorf("keys of the source: %v", err)
	}
	ada, err := subject.Identifier{Issuer: "https://acme.example", Format: subject.FormatOpaque, ID: "ada"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var enrolments struct {
		Enrolments []struct {
			Handles []struct{ Leaf []byte }
		}
	}
	if err := json.Unmarshal(call(t, "EventService_GetEnrolments", map[string]any{"source": testSource, "identifiers": [][]byte{ada}}, 1)[0], &enrolments); err != nil {
		t.Fatal(err)
	}
	if len(enrolments.Enrolments) != 1 || len(enrolments.Enrolments[0].Handles) != 1 {
		t.Errorf("enrolments of one person: %+v", enrolments)
	}
	bob, err := subject.Identifier{Issuer: "https://acme.example", Format: subject.FormatOpaque, ID: "bob"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	of := func(id string) json.RawMessage {
		return json.RawMessage(strings.ReplaceAll(eventJSON("http-of-"+id), "ada", id))
	}
	call(t, "EventService_SubmitEvents", map[string]any{"source": testSource, "events": []any{of("bob")}}, 1)
	linked := read(t, call(t, "EventService_LinkSubjects", map[string]any{
		"source": testSource, "identifiers": [][]byte{ada, bob}, "authority": "hr.acme.example", "reason": "4711",
	}, 1)[0])
	s.included(t, linked, linked.Checkpoint)
	var chunk struct{ Chunk []byte }
	if err := json.Unmarshal(result(t, call(t, "QueryService_History", map[string]any{
		"asks": []any{map[string]any{"subject": ada}}, "covering": linked.Index + 1,
	}, 1)[0]), &chunk); err != nil {
		t.Fatal(err)
	}
	file, err := history.Parse(chunk.Chunk)
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := file.Verify(client.Attested(s.policy, family), time.Now())
	if err != nil || !verdict.Complete || len(verdict.Events) != 3 || len(verdict.Links) != 1 {
		t.Errorf("a history of two events and one linked: %v, %v", verdict, err)
	}
	for operation := range api.methods {
		if !called[operation] {
			t.Errorf("%s was not called", operation)
		}
	}

	// A refusal is the API's own, as JSON.
	for _, tt := range []struct {
		name      string
		operation string
		fields    map[string]any
		code      int
		reason    string
	}{
		{"an index beyond the log", "LogService_GetEntry", map[string]any{"index": 1 << 40}, 400, "INDEX_OUT_OF_RANGE"},
		{"another log", "LogService_GetCheckpoint", map[string]any{"log": "nobody.example/id"}, 404, "LOG_UNKNOWN"},
		{"another source", "EventService_SubmitEvents", map[string]any{"source": "nobody", "events": []any{event("x")}}, 404, "SOURCE_UNKNOWN"},
		{"no event", "EventService_SubmitEvents", map[string]any{"source": testSource}, 400, "FIELD_INVALID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, objects := api.call(t, tt.operation, tt.fields, 1)
			var got struct {
				Message string
				Details []struct{ Reason string }
			}
			if err := json.Unmarshal(objects[0], &got); err != nil || code != tt.code || len(got.Details) == 0 || got.Details[0].Reason != tt.reason {
				t.Errorf("%d %s, want %d %s", code, objects[0], tt.code, tt.reason)
			}
		})
	}
}
