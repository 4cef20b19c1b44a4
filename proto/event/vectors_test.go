package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"idlog/proto/event"
	eventv1 "idlog/proto/idlog/event/v1"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
)

var update = flag.Bool("update", false, "write the vectors anew from the events in them")

// vectors is testdata/vectors/event.json: what an event says, field by field, and how its leaf is tagged.
type vectors struct {
	// About says what the secrets are, so that the file stands alone.
	About  string   `json:"about"`
	Events []vector `json:"events"`
}

type vector struct {
	Name string `json:"name"`
	// Event as submitted, in protobuf's JSON.
	Event json.RawMessage `json:"event"`
	// What follows is of the event as the server stamps it: received at 1763629200.5 s.
	Fields  []vectorField `json:"fields"`
	Persons [][]string    `json:"persons"`
	Tags    []vectorTag   `json:"tags"`
}

type vectorField struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Data   []byte `json:"data"`
	Owners []int  `json:"owners,omitempty"`
}

type vectorTag struct {
	Field uint16 `json:"field"`
	Value []byte `json:"value"`
}

const about = "The source is 'vectors', the key of epoch 1 is 32 bytes of 0x01. " +
	"T of an identifier is SHA-256 of its bytes. Persons are their identifiers, primary first."

func vectorKeys() event.NeutralKeys {
	epoch := tag.Key(bytes.Repeat([]byte{1}, 32))
	return event.NeutralKeys{
		EventID: tag.Derive(epoch, tag.EventID, "vectors"),
		Session: tag.Derive(epoch, tag.Session, "vectors"),
		Class:   tag.Derive(epoch, tag.Class, "vectors"),
		Target:  tag.Derive(epoch, tag.Target, "vectors"),
	}
}

func vectorHandle(id subject.Identifier) (t [32]byte, ok bool) {
	b, err := id.Bytes()
	return sha256.Sum256(b), err == nil
}

func parseEvent(t testing.TB, text []byte) *eventv1.Event {
	t.Helper()
	e := &eventv1.Event{}
	if err := protojson.Unmarshal(text, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// compute fills in what follows from v.Event.
func compute(t *testing.T, v vector) vector {
	t.Helper()
	e := parseEvent(t, v.Event)
	if err := event.Check(e); err != nil {
		t.Fatal(err)
	}
	event.Stamp(e, time.Unix(1763629200, 500_000_000))
	tagged := taggedOf(t, e)
	out := vector{Name: v.Name, Event: v.Event}
	for _, f := range tagged.Fields {
		vf := vectorField{Path: f.Path, Kind: string(f.Value[:1]), Data: f.Value[1:]}
		for _, o := range f.Owners {
			vf.Owners = append(vf.Owners, int(o))
		}
		out.Fields = append(out.Fields, vf)
	}
	for _, p := range tagged.Persons {
		person := []string{p.Primary.String()}
		for _, id := range p.Secondary {
			person = append(person, id.String())
		}
		out.Persons = append(out.Persons, person)
	}
	for _, g := range tagged.Tags {
		out.Tags = append(out.Tags, vectorTag{g.Field, g.Value[:]})
	}
	return out
}

func TestVectors(t *testing.T) {
	file := filepath.Join("..", "..", "testdata", "vectors", "event.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Events) == 0 {
		t.Fatal("no vectors")
	}
	for i, v := range all.Events {
		t.Run(v.Name, func(t *testing.T) {
			got := compute(t, v)
			if *update {
				all.Events[i] = got
			} else if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("vector differs (-file +computed):\n%s", diff)
			}
		})
	}
	if *update {
		all.About = about
		out, err := json.MarshalIndent(all, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The samples of testdata are what `idlogd dev` logs.
func TestSamples(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "samples", "event.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		e := parseEvent(t, line)
		if err := event.Check(e); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if _, err := event.NewRoll(e); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if id := e.GetSource().GetNativeId(); ids[id] {
			t.Errorf("line %d: id %s occurs twice", i+1, id)
		} else {
			ids[id] = true
		}
	}
}

// shown returns the fields as the lines of a disclosure that shows everything.
func shown(fields []seal.Field) []seal.Line {
	lines := make([]seal.Line, len(fields))
	for i, f := range fields {
		lines[i] = seal.Line{Path: f.Path, Owners: f.Owners, State: seal.Shown, Value: f.Value}
	}
	return lines
}
