package log

import (
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/measure"
	"idlog/log/quorum"
)

// Metrics is what a log tells Prometheus while it works. It is made once for
// each log.
type Metrics struct {
	published       prometheus.Observer
	selfCheckFailed prometheus.Counter
	integrate       measure.Timer
	recompute       measure.Timer
	head            measure.Timer
	archive         measure.Timer
	replace         measure.Timer
	quorum          *quorum.Metrics
	verifiers       *quorum.VerifierMetrics
}

// NewMetrics registers the metrics of the log of a family; reg may be nil.
func NewMetrics(reg prometheus.Registerer, family string) *Metrics {
	f := measure.Of(reg, family)
	return &Metrics{
		published: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "idlog_checkpoint_publication_duration_seconds",
			Help:    "Time from the decision to publish a tree until readers had its cosigned checkpoint.",
			Buckets: measure.Fast,
		}),
		selfCheckFailed: f.NewCounter(prometheus.CounterOpts{
			Name: "idlog_proof_self_check_failures_total",
			Help: "Times that the guard found on disk something else than was signed, and refused to sign. It must be 0.",
		}),
		integrate: measure.Op(reg, family, "posix", "integrate"),
		recompute: measure.Op(reg, family, "posix", "recompute"),
		replace:   measure.Op(reg, family, "posix", "replace_checkpoint"),
		head:      measure.Op(reg, family, "heads", "head"),
		archive:   measure.Op(reg, family, "heads", "archive"),
		quorum:    quorum.NewMetrics(reg, family),
		verifiers: quorum.NewVerifierMetrics(reg, family),
	}
}
