package quorum

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/measure"
	"idlog/proto/policy"
)

// Metrics is what a Caller tells Prometheus. It is made once for each log.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	success  *prometheus.GaugeVec
	margin   *prometheus.GaugeVec // without labels; it has a value only if the policy asks for witnesses
	best     *prometheus.GaugeVec // likewise
}

// NewMetrics registers the metrics of the witnesses of the log of a family; reg may be nil.
func NewMetrics(reg prometheus.Registerer, family string) *Metrics {
	f := measure.Of(reg, family)
	return &Metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "idlog_witness_requests_total",
			Help: "Attempts to have a witness cosign: cosigned, failed, or contradicted, which is a claim to have seen another tree.",
		}, []string{"witness", "outcome"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "idlog_witness_duration_seconds",
			Help:    "Time that an attempt to have a witness cosign took.",
			Buckets: measure.Fast,
		}, []string{"witness"}),
		success: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idlog_witness_last_success_timestamp_seconds",
			Help: "When a witness cosigned last; 0 if it has not since the start.",
		}, []string{"witness"}),
		margin: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idlog_witness_quorum_margin",
			Help: "How many more witnesses may fail before the quorum does; below 0, how many must come back.",
		}, nil),
		best: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idlog_witness_quorum_best_margin",
			Help: "What the margin is when every witness of the policy is well.",
		}, nil),
	}
}

// VerifierMetrics is what the cosigners that verify the index tell Prometheus. It is made once for each log.
type VerifierMetrics struct {
	requests *prometheus.CounterVec
	size     *prometheus.GaugeVec
	refused  *prometheus.GaugeVec
}

// NewVerifierMetrics registers the metrics of the index verifiers of the log of a family; reg may be nil.
func NewVerifierMetrics(reg prometheus.Registerer, family string) *VerifierMetrics {
	f := measure.Of(reg, family)
	return &VerifierMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "idlog_verifier_requests_total",
			Help: "Attempts to have an index verifier cosign: cosigned, behind, refused, failed, or passed, which is that it has cosigned a larger tree already.",
		}, []string{"verifier", "outcome"}),
		size: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idlog_verifier_tree_size_entries",
			Help: "Entries of the checkpoint that an index verifier cosigned last; 0 if it has not since the start.",
		}, []string{"verifier"}),
		refused: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "idlog_verifier_refused",
			Help: "1 if an index verifier says that a root of the index is false.",
		}, []string{"verifier"}),
	}
}

func (m *VerifierMetrics) begin(verifier string) {
	m.size.WithLabelValues(verifier)
	m.refused.WithLabelValues(verifier)
	for _, outcome := range []string{"cosigned", "behind", "refused", "failed", "passed"} {
		m.requests.WithLabelValues(verifier, outcome)
	}
}

func (m *VerifierMetrics) tell(verifier, outcome string, s VerifierStatus) {
	m.requests.WithLabelValues(verifier, outcome).Inc()
	m.size.WithLabelValues(verifier).Set(float64(s.Size))
	refused := 0.0
	if s.Refused {
		refused = 1
	}
	m.refused.WithLabelValues(verifier).Set(refused)
}

// observed is the metrics of one witness, found once.
type observed struct {
	cosigned, failed, contradicted prometheus.Counter
	duration                       prometheus.Observer
	success                        prometheus.Gauge
}

func (m *Metrics) of(witness string) observed {
	return observed{
		cosigned: m.requests.WithLabelValues(witness, "cosigned"), failed: m.requests.WithLabelValues(witness, "failed"),
		contradicted: m.requests.WithLabelValues(witness, "contradicted"),
		duration:     m.duration.WithLabelValues(witness), success: m.success.WithLabelValues(witness),
	}
}

// Status is what the operator wants to know of the witnesses.
type Status struct {
	// Margin is how many more witnesses may fail before the quorum does; below 0, how many must come back. It is 0 when
	// the policy asks for none.
	Margin int
	// Needed: the policy asks for witnesses.
	Needed    bool
	Witnesses []WitnessStatus // in the order of the policy
}

// WitnessStatus is what became of the last attempt with one witness.
type WitnessStatus struct {
	Name  string
	Last  time.Time // of its last cosignature since the start; zero if there is none
	Error string    // of the last attempt; empty if it was well or there was none
}

// standing is the Status that the publisher keeps and others read.
type standing struct {
	mu     sync.Mutex // guards status
	status Status
}

// Status may be called from any goroutine.
func (q *Caller) Status() Status {
	q.standing.mu.Lock()
	defer q.standing.mu.Unlock()
	s := q.standing.status
	s.Witnesses = append([]WitnessStatus(nil), s.Witnesses...)
	return s
}

// stand begins the status: nobody has answered.
func (q *Caller) stand() {
	s := &q.standing.status
	for _, w := range q.witnesses {
		s.Witnesses = append(s.Witnesses, WitnessStatus{Name: w.name})
	}
	s.Needed = q.cfg.Policy != nil && !q.cfg.Policy.Satisfied(nil)
	q.measureMargin(s)
	if s.Needed {
		all := make(map[string]bool)
		for _, w := range q.witnesses {
			all[w.name] = true
		}
		q.cfg.Metrics.best.WithLabelValues().Set(float64(margin(q.cfg.Policy, all)))
	}
}

// note takes an answer into the status and the metrics.
func (q *Caller) note(a Answer, contradicts bool) {
	q.standing.mu.Lock()
	defer q.standing.mu.Unlock()
	s := &q.standing.status
	for i, w := range q.witnesses {
		if w.name != a.Witness {
			continue
		}
		s.Witnesses[i].Error = ""
		switch {
		case a.err == nil:
			s.Witnesses[i].Last = time.Now()
			w.observed.cosigned.Inc()
			w.observed.success.SetToCurrentTime()
		case contradicts:
			s.Witnesses[i].Error = a.err.Error()
			w.observed.contradicted.Inc()
		default:
			s.Witnesses[i].Error = a.err.Error()
			w.observed.failed.Inc()
		}
		w.observed.duration.Observe(a.took.Seconds())
	}
	q.measureMargin(s)
}

func (q *Caller) measureMargin(s *Status) {
	if s.Needed {
		s.Margin = q.margin()
		q.cfg.Metrics.margin.WithLabelValues().Set(float64(s.Margin))
	}
}

// margin is how many more of the witnesses that are well may fail before the policy's quorum does, at worst; below 0, how
// many must come back, at best.
func (q *Caller) margin() int {
	well := make(map[string]bool)
	for _, w := range q.witnesses {
		if state, ok := q.heard[w.name]; ok && !state.failing && !state.claims {
			well[w.name] = true
		}
	}
	return margin(q.cfg.Policy, well)
}

func margin(p *policy.Policy, well map[string]bool) int {
	toBreak, toMend := distances(p, p.Quorum, well)
	if toMend > 0 {
		return -toMend
	}
	return toBreak - 1
}

// distances returns how few of those that are well must fail before what the policy calls name does, and how few of the others
// must come back before it holds; one of the two is 0. A member is in one group only, so those of a group count apart.
func distances(p *policy.Policy, name string, well map[string]bool) (toBreak, toMend int) {
	i := slices.IndexFunc(p.Groups, func(g policy.Group) bool { return g.Name == name })
	if i < 0 {
		if well[name] {
			return 1, 0
		}
		return 0, 1
	}
	var breaks, mends []int // of the members that hold, and of those that do not
	for _, member := range p.Groups[i].Members {
		if b, m := distances(p, member, well); m == 0 {
			breaks = append(breaks, b)
		} else {
			mends = append(mends, m)
		}
	}
	spare := len(breaks) - p.Groups[i].Threshold
	if spare < 0 {
		return 0, least(mends, -spare)
	}
	return least(breaks, spare+1), 0
}

// least is the sum of the n smallest of some numbers.
func least(of []int, n int) int {
	slices.Sort(of)
	sum := 0
	for _, v := range of[:n] {
		sum += v
	}
	return sum
}
