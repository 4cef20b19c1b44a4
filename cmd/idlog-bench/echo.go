package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"

	logv1 "idlog/proto/idlog/log/v1"
)

// echo is a bare gRPC server of the same service and messages: it unmarshals a batch and answers each event with a
// receipt as large as a real one. What it reaches is what gRPC leaves us; our figures are given as a ratio to it.
type echo struct {
	logv1.UnimplementedEventServiceServer
	result *logv1.Result
}

func newEcho() *echo {
	hashes := make([][]byte, 17)
	for i := range hashes {
		hashes[i] = make([]byte, 32)
	}
	return &echo{result: &logv1.Result{Outcome: &logv1.Result_Receipt{Receipt: &logv1.Receipt{
		Index:     1 << 20,
		Leaf:      make([]byte, 640),
		Inclusion: hashes,
		Opening:   &logv1.Opening{Seeds: []*logv1.Seed{{Seed: hashes[0]}, {Owners: []byte{0}, Seed: hashes[0]}, {Owners: []byte{0, 1}, Seed: hashes[0]}}},
	}}}}
}

func (e *echo) SubmitEvents(_ context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	res := &logv1.SubmitEventsResponse{Results: make([]*logv1.Result, len(req.GetEvents())), Checkpoints: [][]byte{make([]byte, 700)}}
	for i := range res.Results {
		res.Results[i] = e.result
	}
	return res, nil
}

// serveEcho answers on the listener until ctx ends.
func serveEcho(ctx context.Context, l net.Listener) error {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8<<20), grpc.MaxConcurrentStreams(2048))
	logv1.RegisterEventServiceServer(s, newEcho())
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
