package database

import (
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/measure"
)

// Register shows what matters of a database of a log: name is journal or
// subjects. The registry must not be gathered any more when the database closes.
func Register(reg prometheus.Registerer, log, name string, db *DB) {
	label := prometheus.Labels{"database": name}
	measure.Labelled(reg, log).MustRegister(&collector{
		db:      db,
		written: prometheus.NewDesc("idlog_database_wal_written_bytes_total", "Bytes written to the write-ahead log.", nil, label),
		disk:    prometheus.NewDesc("idlog_database_disk_usage_bytes", "Space that the database takes on disk.", nil, label),
		debt:    prometheus.NewDesc("idlog_database_compaction_debt_bytes", "Bytes that wait to be compacted; it should not keep growing.", nil, label),
		tables:  prometheus.NewDesc("idlog_database_level0_files", "Files of level 0, which every look-up may have to read.", nil, label),
	})
}

// A collector asks the database when it is gathered.
type collector struct {
	db                          *DB
	written, disk, debt, tables *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.written, c.disk, c.debt, c.tables} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	m := c.db.Metrics()
	out <- prometheus.MustNewConstMetric(c.written, prometheus.CounterValue, float64(m.WAL.BytesWritten))
	out <- prometheus.MustNewConstMetric(c.disk, prometheus.GaugeValue, float64(m.DiskSpaceUsage()))
	out <- prometheus.MustNewConstMetric(c.debt, prometheus.GaugeValue, float64(m.Compact.EstimatedDebt))
	out <- prometheus.MustNewConstMetric(c.tables, prometheus.GaugeValue, float64(m.Levels[0].TablesCount))
}
