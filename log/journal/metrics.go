package journal

import (
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/database"
	"idlog/log/internal/measure"
)

// timers are the operations that wait for the disk.
type timers struct{ put, sequenced measure.Timer }

// Register shows the journal of a log to Prometheus. It is called once and
// before anything else; the registry must not be gathered after Close.
func (j *Journal) Register(reg prometheus.Registerer, log string) {
	j.timers = timers{put: measure.Op(reg, log, "journal", "put"), sequenced: measure.Op(reg, log, "journal", "sequenced")}
	database.Register(reg, log, "journal", j.index.db)
}
