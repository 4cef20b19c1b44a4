package serve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlog/log/ingest"
	"idlog/log/serve"
	logv1 "idlog/proto/idlog/log/v1"
)

// scriptedHistories answers a question as the test says.
type scriptedHistories func(principal string, req *logv1.HistoryRequest) ([]byte, error)

func (f scriptedHistories) History(_ context.Context, principal string, req *logv1.HistoryRequest) ([]byte, error) {
	return f(principal, req)
}

func ask(a ...*logv1.Ask) *logv1.HistoryRequest { return &logv1.HistoryRequest{Asks: a} }

func ofSource(name string) *logv1.Ask { return &logv1.Ask{Key: &logv1.Ask_Source{Source: name}} }

// history reads the whole answer of a stream, and how many pieces it came in.
func history(t *testing.T, s *served, req *logv1.HistoryRequest) (file []byte, pieces int, err error) {
	t.Helper()
	stream, err := logv1.NewQueryServiceClient(s.conn).History(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return file, pieces, nil
		}
		if err != nil {
			return file, pieces, err
		}
		file, pieces = append(file, res.GetChunk()...), pieces+1
	}
}

// A file of any size comes in pieces, to the caller by name.
func TestHistory(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	s := start(t, serve.Config{Logs: []serve.Log{{
		Family: "acme.example/id", Reader: &scriptedReader{t: t}, Events: scriptedEvents{},
		Histories: scriptedHistories(func(principal string, req *logv1.HistoryRequest) ([]byte, error) {
			if principal != serve.LocalPrincipal {
				t.Errorf("asked by %q", principal)
			}
			if req.GetAsks()[0].GetSource() == "closed" {
				return nil, &ingest.Refusal{Reason: logv1.Reason_REASON_SOURCE_NOT_BOUND, Index: -1, Message: "not yours"}
			}
			return file, nil
		}),
	}}})
	got, pieces, err := history(t, s, ask(ofSource("okta")))
	if err != nil || !bytes.Equal(got, file) || pieces != 3 {
		t.Errorf("%d bytes in %d pieces, %v", len(got), pieces, err)
	}
	if _, _, err := history(t, s, ask(ofSource("closed"))); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a refusal: %v", err)
	}
}

// A log without an index says so, and a question that is none reaches nobody.
func TestHistoryRefused(t *testing.T) {
	s, _ := scripted(t, nil)
	for name, tt := range map[string]struct {
		req  *logv1.HistoryRequest
		want codes.Code
	}{
		"no index":              {ask(ofSource("okta")), codes.NotFound},
		"another log":           {&logv1.HistoryRequest{Log: "nobody.example/id", Asks: []*logv1.Ask{ofSource("okta")}}, codes.NotFound},
		"nothing asked":         {ask(), codes.InvalidArgument},
		"an ask for nothing":    {ask(&logv1.Ask{}), codes.InvalidArgument},
		"no name of a source":   {ask(ofSource("Okta")), codes.InvalidArgument},
		"a page of nothing":     {&logv1.HistoryRequest{Asks: []*logv1.Ask{ofSource("okta")}, Page: &logv1.Page{}}, codes.InvalidArgument},
		"a page of everything":  {&logv1.HistoryRequest{Asks: []*logv1.Ask{ofSource("okta")}, Page: &logv1.Page{Count: 1 << 40}}, codes.InvalidArgument},
		"a tag of three bytes":  {ask(&logv1.Ask{Key: &logv1.Ask_Tag_{Tag: &logv1.Ask_Tag{Field: 1, Value: []byte("abc")}}}), codes.InvalidArgument},
		"too many checkpoints":  {&logv1.HistoryRequest{Asks: []*logv1.Ask{ofSource("okta")}, Checkpoints: 5000}, codes.InvalidArgument},
		"a window before entry": {&logv1.HistoryRequest{Asks: []*logv1.Ask{ofSource("okta")}, Window: &logv1.Window{From: -1}}, codes.InvalidArgument},
	} {
		if _, _, err := history(t, s, tt.req); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
