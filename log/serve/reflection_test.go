package serve_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"idlog/log/serve"
)

func TestReflection(t *testing.T) {
	s, _ := scripted(t, nil)
	want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		"idlog.log.v1.EventService", "idlog.log.v1.LogService", "idlog.log.v1.QueryService"}
	t.Run("v1", func(t *testing.T) {
		stream, err := reflectionv1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, service := range res.GetListServicesResponse().GetService() {
			got = append(got, service.GetName())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("services differ (-want +got):\n%s", diff)
		}
	})
	t.Run("v1alpha", func(t *testing.T) { // the same messages under an older name
		stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: "idlog.log.v1.EventService"}}); err != nil {
			t.Fatal(err)
		}
		res := new(reflectionv1.ServerReflectionResponse)
		if err := stream.RecvMsg(res); err != nil || len(res.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%v, %v", res, err)
		}
	})
}

func TestReflectionIsOff(t *testing.T) {
	s := start(t, serve.Config{Logs: []serve.Log{{Family: "f/g", Reader: &scriptedReader{t: t}, Events: scriptedEvents{}}}})
	stream, err := reflectionv1.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("error %v", err)
	}
}
