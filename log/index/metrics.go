package index

import (
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/measure"
)

// Metrics is what an Index tells Prometheus while it works; Status has the rest. It is made once for each log.
type Metrics struct {
	roots           prometheus.Counter
	append, recount measure.Timer
}

// NewMetrics registers the metrics of the log of a family; reg may be nil.
func NewMetrics(reg prometheus.Registerer, family string) *Metrics {
	return &Metrics{
		roots: measure.Of(reg, family).NewCounter(prometheus.CounterOpts{
			Name: "idlog_index_roots_total",
			Help: "Root leaves of the index that were logged.",
		}),
		append:  measure.Op(reg, family, "index", "append"),
		recount: measure.Op(reg, family, "index", "recount"),
	}
}
