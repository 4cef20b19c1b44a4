package vault

import (
	"github.com/prometheus/client_golang/prometheus"

	"idlog/log/internal/database"
	"idlog/log/internal/measure"
)

// Register shows the vault of a log to Prometheus. It is called once and before
// anything else; the registry must not be gathered after Close.
func (v *Vault) Register(reg prometheus.Registerer, log string) {
	v.enrolling = measure.Op(reg, log, "subjects", "enrol")
	database.Register(reg, log, "subjects", v.db)
}
