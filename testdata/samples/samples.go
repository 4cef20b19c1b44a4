// Package samples holds identity events that we wrote ourselves, in the formats
// of the providers, one JSON document per line. They are what `idlogd dev`
// logs, and what tests of the mappers read; nobody in them exists.
package samples

import "embed"

// Files holds okta.ndjson and auth0.ndjson, as those providers write them, and
// event.ndjson, events of idlog.event.v1 in protobuf's JSON.
//
//go:embed *.ndjson
var Files embed.FS
