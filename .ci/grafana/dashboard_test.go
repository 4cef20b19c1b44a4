// Package grafana holds the dashboard against the schema that Grafana publishes as Go types: of the dashboard itself, of its
// two kinds of panel and of the queries of Prometheus. It is a module of its own, for nothing of idlog needs those types.
package grafana

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func init() {
	known := cog.NewRuntime()
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
}

// Grafana's schema has every field of the dashboard, and the dashboard every field that the schema requires.
func TestSchema(t *testing.T) {
	if err := decode(read(t)); err != nil {
		t.Error(err)
	}
}

// No field goes unseen: each in turn is misspelt, and each time the schema refuses it. A panel of a kind that is not
// registered above fails here, for the schema takes its options as they are.
func TestMisspelt(t *testing.T) {
	var whole any
	if err := json.Unmarshal(read(t), &whole); err != nil {
		t.Fatal(err)
	}
	var tried int
	var misspell func(path string, v any)
	misspell = func(path string, v any) {
		switch v := v.(type) {
		case []any:
			for i, element := range v {
				misspell(fmt.Sprintf("%s[%d]", path, i), element)
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				field := v[name]
				delete(v, name)
				v[name+"x"] = field
				raw, err := json.Marshal(whole)
				if err != nil {
					t.Fatal(err)
				}
				if decode(raw) == nil {
					t.Errorf("%s.%s may be misspelt", path, name)
				}
				tried++
				delete(v, name+"x")
				v[name] = field
				misspell(path+"."+name, field)
			}
		}
	}
	misspell("", whole)
	if tried < 500 {
		t.Errorf("the dashboard has %d fields", tried)
	}
}

// decode returns what Grafana's schema has against a dashboard, nil if nothing.
func decode(raw []byte) error {
	var found cog.BuildErrors
	// The strict decoders return an error in any case: if they found nothing, it is an empty list, and adds nothing here.
	add := func(path string, err error) {
		if err != nil {
			found = append(found, cog.MakeBuildErrors(path, err)...)
		}
	}
	var d dashboard.Dashboard
	add("dashboard", d.UnmarshalJSONStrict(raw))

	// A panel's strict decoder is lax with two of its fields: the general part of fieldConfig, and queries that do not
	// name a data source which it knows.
	var lax struct {
		Panels []struct {
			FieldConfig json.RawMessage
			Targets     []json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &lax); err != nil {
		return err
	}
	for i, p := range lax.Panels {
		var config dashboard.FieldConfigSource
		add(fmt.Sprintf("panels[%d].fieldConfig", i), config.UnmarshalJSONStrict(p.FieldConfig))
		for j, target := range p.Targets {
			var query prometheus.Dataquery
			add(fmt.Sprintf("panels[%d].targets[%d]", i, j), query.UnmarshalJSONStrict(target))
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

func read(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("../../cmd/idlogd/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
