// Package measure gives the operator's packages their instruments, so that
// those which share a name are the same: labels, help and buckets.
//
// With a nil registerer an instrument works and is shown nowhere. Nothing is
// durable. An instrument may be used by any number of goroutines.
package measure

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Fast are the buckets of what takes from 100 µs to 10 s, as all steps of a log do.
var Fast = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Of returns what registers instruments of one log with reg, which may be nil.
// An instrument that cannot be registered is a mistake of ours, and panics.
func Of(reg prometheus.Registerer, log string) promauto.Factory {
	return promauto.With(Labelled(reg, log))
}

// Labelled returns a registerer that labels what it registers with the log. With nil it registers nothing.
func Labelled(reg prometheus.Registerer, log string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"log": log}, reg)
}

// A Timer takes down how long an operation on storage took. The zero value takes
// nothing down.
type Timer struct{ o prometheus.Observer }

// Op returns the timer of an operation of a backend, such as "head" of "heads".
func Op(reg prometheus.Registerer, log, backend, op string) Timer {
	return Timer{Of(reg, log).NewHistogram(prometheus.HistogramOpts{
		Name:        "idlog_storage_op_duration_seconds",
		Help:        "Time that an operation on storage took, until it was durable where it writes.",
		ConstLabels: prometheus.Labels{"backend": backend, "op": op},
		Buckets:     Fast,
	})}
}

// Since takes down the time that has passed since an operation began.
func (t Timer) Since(began time.Time) {
	if t.o != nil {
		t.o.Observe(time.Since(began).Seconds())
	}
}
