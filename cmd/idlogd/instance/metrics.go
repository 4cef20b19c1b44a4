package instance

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauges is what can be read of a log at any moment. It implements prometheus.Collector.
type gauges struct{ in *Instance }

var (
	treeSize      = gauge("idlog_tree_size_entries", "Entries of the newest published checkpoint.")
	integrated    = gauge("idlog_integrated_entries", "Entries that are in the tree on disk, published or not.")
	timestamp     = gauge("idlog_checkpoint_timestamp_seconds", "When the newest checkpoint had its quorum.")
	age           = gauge("idlog_checkpoint_age_seconds", "How long ago the newest checkpoint had its quorum.")
	freshFor      = gauge("idlog_checkpoint_max_age_seconds", "How old the newest checkpoint may be before the log is not ready.")
	readOnly      = gauge("idlog_read_only", "1 if the log refuses to sign and serves reads only.")
	pool          = gauge("idlog_pool_entries", "Events that were taken in and are not published yet.")
	poolBytes     = gauge("idlog_pool_bytes", "Their stored bytes.")
	poolLimit     = gauge("idlog_pool_limit_entries", "How many of them there may be before calls are refused.")
	poolLimitByte = gauge("idlog_pool_limit_bytes", "How many of their bytes there may be.")
	diskFree      = gauge("idlog_disk_free_bytes", "Free space of the disk that a folder of the log is on.", "folder")
	diskReserve   = gauge("idlog_disk_reserve_bytes", "Free space below which nothing more is taken in.", "folder")
	indexSize     = gauge("idlog_index_size_entries", "Entries that are in the verifiable index.")
	indexKeys     = gauge("idlog_index_keys", "Keys of the index.")
	indexLag      = gauge("idlog_index_lag_entries", "Published entries that no root of the index in the log covers.")
	indexBehindOf = gauge("idlog_index_lag_seconds", "How long the oldest of them waits.")
	indexStopped  = gauge("idlog_index_stopped", "1 if the index is stopped; the log goes on.")
	verifiedSize  = gauge("idlog_verified_tree_size_entries", "Entries of the newest checkpoint that the index verifiers have cosigned.")
	verifiedLag   = gauge("idlog_verified_lag_seconds", "How long something newer than that is published; 0 if nothing is.")
	verifiedMost  = gauge("idlog_verified_max_lag_seconds", "How long that may be.")
	ready         = gauge("idlog_ready", "1 for each check of /readyz that holds.", "check")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{treeSize, integrated, timestamp, age, freshFor, readOnly, pool, poolBytes, poolLimit, poolLimitByte, diskFree, diskReserve, indexSize, indexKeys, indexLag, indexBehindOf, indexStopped, verifiedSize, verifiedLag, verifiedMost, ready} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	in, now := g.in, time.Now()
	if p, ok := in.Log.Published(); ok {
		tell(treeSize, float64(p.Size))
		tell(timestamp, float64(p.At.UnixMilli())/1e3)
		tell(age, now.Sub(p.At).Seconds())
	} else {
		tell(treeSize, 0)
	}
	if len(in.Log.Verifiers()) > 0 {
		p, _ := in.Log.Verified()
		tell(verifiedSize, float64(p.Size))
		lag := 0.0
		if since, newer := in.Log.Unverified(); newer {
			lag = now.Sub(since).Seconds()
		}
		tell(verifiedLag, lag)
		tell(verifiedMost, in.Conf.MaxVerifiedLag.Seconds())
	}
	tell(integrated, float64(in.Log.Integrated()))
	tell(freshFor, in.freshFor().Seconds())
	tell(readOnly, one(in.Log.ReadOnly() != nil))
	rows, bytes, maxRows, maxBytes := in.Ingest.Backlog()
	tell(pool, float64(rows))
	tell(poolBytes, float64(bytes))
	tell(poolLimit, float64(maxRows))
	tell(poolLimitByte, float64(maxBytes))
	for _, f := range *in.disks.last.Load() {
		tell(diskFree, float64(f.Free), f.Name)
		tell(diskReserve, float64(f.Reserve), f.Name)
	}
	if in.Index != nil {
		s := in.Index.Status()
		tell(indexSize, float64(s.Size))
		tell(indexKeys, float64(s.Keys))
		tell(indexLag, float64(s.Lag))
		tell(indexBehindOf, s.Behind.Seconds())
		tell(indexStopped, one(s.Stopped != ""))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, c := range in.Checks(ctx, now) {
		tell(ready, one(c.OK), c.Name)
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// register shows the log to reg. The registry must not be gathered after Close.
func (in *Instance) register(reg prometheus.Registerer) {
	prometheus.WrapRegistererWith(prometheus.Labels{"log": in.Conf.Family}, reg).MustRegister(gauges{in})
}
