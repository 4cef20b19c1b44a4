package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/pprof/profile"
)

// stage is a part of the server's work on an event and the functions by which a CPU sample belongs to it. A sample is
// given to the first stage that a frame of its stack names, walking from the leaf outwards.
type stage struct {
	name  string
	marks []string
}

// stages are in the order of an event's way. A mark is a prefix of a function's full name.
var stages = []stage{
	{"fields", []string{"idlog/proto/event."}}, // bounds are checked on the way
	{"enrolment", []string{"idlog/log/ingest.(*enroller)", "idlog/log/ingest.(*Ingest).enrol", "idlog/proto/subject."}},
	{"tags", []string{"idlog/proto/tag."}},
	{"seal", []string{"idlog/proto/seal."}},
	{"leaf", []string{"idlog/proto/leaf.format", "idlog/proto/leaf.(*"}},
	{"vault", []string{"idlog/log/vault."}},
	{"journal", []string{"idlog/log/journal.", "github.com/cockroachdb/pebble/v2."}},
	{"sequence", []string{"github.com/transparency-dev/tessera", "idlog/log/store/", "idlog/log.(*Log).Append"}},
	{"proofs", []string{"idlog/log.(*Log).Inclusion", "idlog/log.(*edge)"}},
	{"guard", []string{"idlog/log.(*guard)", "idlog/log.(*Log).guard"}},
	{"publish", []string{"idlog/log.", "idlog/log/heads.", "idlog/log/quorum."}},
	{"index", []string{"idlog/log/index.", "idlog/log/follow.", "idlog/proto/history", "idlog/proto/trie.", "idlog/proto/mapfn."}},
	{"answer", []string{"idlog/log/serve.", "idlog/log/ingest."}},
	{"grpc", []string{"google.golang.org/grpc", "google.golang.org/protobuf", "golang.org/x/net/http2", "net."}},
	{"garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge"}},
}

// stageMicros reads a CPU profile and gives each stage its microseconds per event, "runtime" being what no stage's
// function stands above: scheduling, and system calls of the network poller.
func stageMicros(file string, events int64) ([]StageCost, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening the server's CPU profile: %w", err)
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("reading the server's CPU profile: %w", err)
	}
	nanos := make(map[string]int64)
	for _, s := range p.Sample {
		nanos[stageOf(s)] += s.Value[len(s.Value)-1]
	}
	var costs []StageCost
	for _, name := range append(stageNames(), "runtime") {
		costs = append(costs, StageCost{Stage: name, Micros: float64(nanos[name]) / 1e3 / float64(max(events, 1))})
	}
	return costs, nil
}

func stageNames() []string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.name
	}
	return names
}

func stageOf(s *profile.Sample) string {
	for _, l := range s.Location {
		for _, line := range l.Line {
			if line.Function == nil {
				continue
			}
			for _, st := range stages {
				for _, mark := range st.marks {
					if strings.HasPrefix(line.Function.Name, mark) {
						return st.name
					}
				}
			}
		}
	}
	return "runtime"
}
