package cmd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// A reflected is a server known by what it says of itself: no code generated from our schemas is used with it, as
// grpcurl has none.
type reflected struct {
	conn     *grpc.ClientConn
	services []string
	files    *protoregistry.Files
}

// reflectOn asks a server for its services and their schemas.
func reflectOn(ctx context.Context, conn *grpc.ClientConn) (*reflected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	ask := func(req *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
		if err := stream.Send(req); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	r := &reflected{conn: conn}
	res, err := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	for _, s := range res.GetListServicesResponse().GetService() {
		r.services = append(r.services, s.GetName())
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, service := range r.services {
		res, err := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}})
		if err != nil {
			return nil, err
		}
		for _, b := range res.GetFileDescriptorResponse().GetFileDescriptorProto() {
			file := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(b, file); err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(set.File, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == file.GetName() }) {
				set.File = append(set.File, file)
			}
		}
	}
	r.files, err = protodesc.NewFiles(set)
	return r, err
}

// A dynamic call has messages that are JSON to the test, and whatever the server's schema says on the wire.
type dynamic struct {
	stream grpc.ClientStream
	method protoreflect.MethodDescriptor
	types  resolver
}

// A resolver finds the types of a server's schema, and those that hide in its error details, which every tool knows.
type resolver struct{ *dynamicpb.Types }

func (r resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if m, err := r.Types.FindMessageByURL(url); err == nil {
		return m, nil
	}
	return protoregistry.GlobalTypes.FindMessageByURL(url)
}

// open begins a call of a method, "package.Service.Method".
func (r *reflected) open(ctx context.Context, name string) (*dynamic, error) {
	d, err := r.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, err
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no method", name)
	}
	desc := &grpc.StreamDesc{ServerStreams: m.IsStreamingServer(), ClientStreams: m.IsStreamingClient()}
	stream, err := r.conn.NewStream(ctx, desc, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()))
	return &dynamic{stream, m, resolver{dynamicpb.NewTypes(r.files)}}, err
}

func (d *dynamic) send(json string) error {
	m := dynamicpb.NewMessage(d.method.Input())
	if err := (protojson.UnmarshalOptions{Resolver: d.types}).Unmarshal([]byte(json), m); err != nil {
		return err
	}
	return d.stream.SendMsg(m)
}

func (d *dynamic) receive() ([]byte, error) {
	m := dynamicpb.NewMessage(d.method.Output())
	if err := d.stream.RecvMsg(m); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{Resolver: d.types}.Marshal(m)
}

// call makes a call of one request and returns its first answer; of a stream, all up to the count, which then is ended.
func (r *reflected) call(t *testing.T, name, request string, count int) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := r.open(ctx, name)
	if err == nil {
		err = d.send(request)
	}
	if err == nil {
		err = d.stream.CloseSend()
	}
	var answers [][]byte
	for err == nil && len(answers) < count {
		var b []byte
		if b, err = d.receive(); err == nil {
			answers = append(answers, b)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%s %s: %v", name, request, err)
	}
	return answers
}
