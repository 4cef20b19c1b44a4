// Package monitoring is what an operator's Prometheus and Grafana load to watch
// idlogd: alerts and a dashboard. They are files, and the program prints them.
package monitoring

import _ "embed"

var (
	// Rules are alerts for Prometheus, each with the section of the operating guide that says what to do.
	//
	//go:embed rules.yaml
	Rules []byte
	// Dashboard is a dashboard for Grafana; it asks for its data source when it is loaded.
	//
	//go:embed dashboard.json
	Dashboard []byte
)
