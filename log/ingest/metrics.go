package ingest

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/measure"
	logv1 "idlog/proto/idlog/log/v1"
)

// Metrics is what an Ingest tells Prometheus while it works. It is made once
// for each log.
type Metrics struct {
	receipts, tickets prometheus.Counter
	refused           map[logv1.Reason]prometheus.Counter
	failed            prometheus.Counter
	published         prometheus.Observer // time of calls that wait for a checkpoint
	sequenced         prometheus.Observer // time of those that do not
	duplicates        prometheus.Counter
	pushback          prometheus.Counter
	round             prometheus.Observer
	batch             prometheus.Observer
}

// NewMetrics registers the metrics of the log of a family; reg may be nil.
func NewMetrics(reg prometheus.Registerer, family string) *Metrics {
	f := measure.Of(reg, family)
	appends := f.NewCounterVec(prometheus.CounterOpts{
		Name: "idlog_appends_total",
		Help: "Events by what became of them: receipt, ticket, refused, or failed, whose caller tries again.",
	}, []string{"outcome", "reason"})
	waits := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "idlog_append_duration_seconds",
		Help:    "Time that a call with events took, by what it waited for.",
		Buckets: measure.Fast,
	}, []string{"wait"})
	m := &Metrics{
		receipts: appends.WithLabelValues("receipt", ""), tickets: appends.WithLabelValues("ticket", ""),
		failed:    appends.WithLabelValues("failed", ""),
		refused:   make(map[logv1.Reason]prometheus.Counter),
		published: waits.WithLabelValues("published"), sequenced: waits.WithLabelValues("sequenced"),
		duplicates: f.NewCounter(prometheus.CounterOpts{
			Name: "idlog_duplicates_total",
			Help: "Events that were in the log already and were answered with their first entry.",
		}),
		pushback: f.NewCounter(prometheus.CounterOpts{
			Name: "idlog_pushback_total",
			Help: "Calls that were refused because too much waits to be published, or a disk is nearly full.",
		}),
		round: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "idlog_sequencing_duration_seconds",
			Help:    "Time from when a batch was taken out of the journal until its places in the log were durable.",
			Buckets: measure.Fast,
		}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "idlog_sequencing_batch_entries",
			Help:    "Entries of a batch.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048},
		}),
	}
	for n, name := range logv1.Reason_name {
		if n == 0 {
			continue
		}
		m.refused[logv1.Reason(n)] = appends.WithLabelValues("refused", strings.TrimPrefix(name, "REASON_"))
	}
	return m
}

// submitted takes down what became of a call that began then.
func (m *Metrics) submitted(req Request, began time.Time, answers []Answer, err error) {
	if req.Wait == logv1.Wait_WAIT_SEQUENCED {
		m.sequenced.Observe(time.Since(began).Seconds())
	} else {
		m.published.Observe(time.Since(began).Seconds())
	}
	if err != nil {
		m.missed(err, len(req.Events))
		return
	}
	var receipts, tickets int
	for i := range answers {
		switch a := &answers[i]; {
		case a.Receipt != nil:
			receipts++
		case a.Ticket != nil:
			tickets++
		default:
			m.missed(a.Err, 1)
		}
	}
	m.receipts.Add(float64(receipts))
	m.tickets.Add(float64(tickets))
}

// missed takes down events that were not taken.
func (m *Metrics) missed(err error, events int) {
	var r *Refusal
	if !errors.As(err, &r) {
		m.failed.Add(float64(events))
		return
	}
	if c, ok := m.refused[r.Reason]; ok {
		c.Add(float64(events))
	}
	if r.Reason == logv1.Reason_REASON_BACKLOG_FULL {
		m.pushback.Inc()
	}
}
