package serve

import (
	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// Metrics is what a Server tells Prometheus: the calls of each method, by code,
// under the names that gRPC servers have everywhere. A call names its log in its
// request, so these have no label for it. It is made once.
type Metrics struct{ calls *grpcprom.ServerMetrics }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	calls := grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(
		grpcprom.WithHistogramBuckets([]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})))
	reg.MustRegister(calls)
	return &Metrics{calls: calls}
}

// interceptors are those that count, around ours: they see the codes that callers see.
func (s *Server) interceptors(m *Metrics) []grpc.ServerOption {
	if m == nil {
		return []grpc.ServerOption{grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream)}
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(m.calls.UnaryServerInterceptor(), s.unary),
		grpc.ChainStreamInterceptor(m.calls.StreamServerInterceptor(), s.stream),
	}
}
