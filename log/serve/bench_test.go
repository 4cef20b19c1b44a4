package serve_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"idlog/log/ingest"
	"idlog/log/serve"
	"idlog/log/vault"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
)

// bare is a server of the same messages without any of our code around it.
type bare struct {
	logv1.UnimplementedEventServiceServer
	result *logv1.Result
}

func (b *bare) SubmitEvents(_ context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	res := &logv1.SubmitEventsResponse{Results: make([]*logv1.Result, len(req.GetEvents())), Checkpoints: [][]byte{make([]byte, 700)}}
	for i := range res.Results {
		res.Results[i] = b.result
	}
	return res, nil
}

// BenchmarkCall is what a call costs, client included, that ingest answers at once; beside it that of a bare server.
func BenchmarkCall(b *testing.B) {
	receipt := &ingest.Receipt{
		Index: 1 << 20, Leaf: make([]byte, 640), Inclusion: make([]leaf.Hash, 17), Checkpoint: make([]byte, 700),
		Opening: ingest.Opening{Received: time.Now(), Seeds: []vault.Seed{{}, {Owners: []byte{0}}, {Owners: []byte{0, 1}}}},
	}
	scripted := scriptedEvents{submit: func(_ context.Context, r ingest.Request) ([]ingest.Answer, error) {
		answers := make([]ingest.Answer, len(r.Events))
		for i := range answers {
			copied := *receipt
			answers[i].Receipt = &copied
		}
		return answers, nil
	}}
	ours := start(b, serve.Config{Logs: []serve.Log{{Family: family, Reader: &scriptedReader{}, Events: scripted}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8 << 20))
	var inclusion [][]byte
	for range receipt.Inclusion {
		inclusion = append(inclusion, make([]byte, 32))
	}
	logv1.RegisterEventServiceServer(s, &bare{result: &logv1.Result{Outcome: &logv1.Result_Receipt{Receipt: &logv1.Receipt{
		Index: receipt.Index, Leaf: receipt.Leaf, Inclusion: inclusion,
		Opening: &logv1.Opening{Seeds: []*logv1.Seed{{Seed: inclusion[0]}, {Owners: []byte{0}, Seed: inclusion[0]}, {Owners: []byte{0, 1}, Seed: inclusion[0]}}},
	}}}})
	go s.Serve(l)
	b.Cleanup(s.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })

	for _, batch := range []int{1, 100} {
		events := make([]*eventv1.Event, batch)
		for i := range events {
			events[i] = signIn(fmt.Sprint(i))
			events[i].Raw = make([]byte, 800)
		}
		for name, conn := range map[string]grpc.ClientConnInterface{"bare": conn, "idlog": ours.conn} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, batch), func(b *testing.B) {
				client := logv1.NewEventServiceClient(conn)
				var calls atomic.Int64
				used := processor(b)
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						calls.Add(1)
						if _, err := client.SubmitEvents(b.Context(), &logv1.SubmitEventsRequest{Source: "okta", Events: events}); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64((processor(b)-used).Microseconds())/float64(calls.Load()*int64(batch)), "cpu-µs/event")
				b.ReportAllocs()
			})
		}
	}
}

// processor is the processor time of this process.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
