package monitor_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idlog/client/monitor"
	"idlog/client/trust"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
)

const (
	family = "log.example/id"
	origin = family + "/1"
	source = "app"
)

var (
	logKey    = prototest.NewKey(origin, checkpoint.Ed25519, checkpoint.LogRole)
	witnesses = []prototest.Key{
		prototest.NewKey("w1.example", checkpoint.Ed25519, checkpoint.WitnessRole),
		prototest.NewKey("w2.example", checkpoint.Ed25519, checkpoint.WitnessRole),
		prototest.NewKey("w3.example", checkpoint.MLDSA44, checkpoint.WitnessRole),
	}
)

// world is a log, what its server shows of it, and a monitor's folder.
type world struct {
	t      testing.TB
	log    *prototest.Log
	server *httptest.Server
	policy *policy.Policy
	state  string
	config monitor.Config

	mu      sync.Mutex // guards what follows, which the server shows
	files   map[string][]byte
	note    []byte
	archive map[int64][]byte
	views   map[string][]byte // by the witness's number
	status  int               // answered to everything, if not 0
	asked   int
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, log: prototest.NewLog(origin, logKey), archive: make(map[int64][]byte), views: make(map[string][]byte), state: t.TempDir()}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	text := "log " + logKey.VKey + "\n"
	for i, k := range witnesses {
		text += fmt.Sprintf("witness w%d %s %s/w%d\n", i+1, k.VKey, w.server.URL, i+1)
	}
	var err error
	w.policy, err = policy.Parse([]byte(text + "group two 2 w1 w2 w3\nquorum two\n"))
	check(t, err)
	w.log.Append(genesis(t, now()-7200), keys(t, 1, now()-7200, source))
	return w
}

// genesis and keys are the first two leaves.
func genesis(t testing.TB, received int64) []byte {
	ticket := prototest.NewKey(family+"/ticket", checkpoint.Ed25519, checkpoint.LogRole)
	return format(t, &leaf.Shard{Log: family, Received: received, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: ticket.VKey}})
}

func keys(t testing.TB, epoch, received int64, sources ...string) []byte {
	l := &leaf.Keys{Log: family, Received: received, Epoch: epoch, VRF: hash("vrf", epoch)}
	for _, f := range []uint16{1, 4, 6, 7} {
		for _, s := range sources {
			l.Commits = append(l.Commits, leaf.Commit{Field: f, Source: s, Commit: hash("commit", f, s)})
		}
	}
	return format(t, l)
}

// event is the leaf of an event that was received at a time.
func event(t testing.TB, id string, received int64, change ...func(*leaf.Event)) []byte {
	e := &leaf.Event{Log: family, Source: source, Received: received, Assurance: leaf.AssurancePushed, Keys: 1, Fields: hash("fields", id, received),
		Tags: []leaf.Tag{{Field: 1, Value: hash("id", id)}, {Field: 2, Value: hash("person", id)}, {Field: 3, Value: hash("actor", id)}, {Field: 6, Value: hash("class")}}}
	for _, c := range change {
		c(e)
	}
	return format(t, e)
}

func hash(parts ...any) leaf.Hash { return sha256.Sum256(fmt.Append(nil, parts...)) }

func format(t testing.TB, l leaf.Leaf) []byte {
	t.Helper()
	b, err := l.Format()
	check(t, err)
	return b
}

func now() int64 { return time.Now().Unix() }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// show publishes a log at a size, cosigned at a time by some witnesses, all
// unless they are named.
func (w *world) show(l *prototest.Log, size, at int64, by ...prototest.Key) {
	if by == nil {
		by = witnesses
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = l.Resources(size)
	w.note = l.Note(size, uint64(at), by...)
	if w.archive[size] == nil {
		w.archive[size] = w.note
	}
}

// grow appends leaves and publishes them, cosigned at a time.
func (w *world) grow(at int64, leaves ...[]byte) {
	w.log.Append(leaves...)
	w.show(w.log, int64(len(w.log.Leaves)), at)
}

// set changes what the server shows.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	path := strings.TrimPrefix(r.URL.Path, "/")
	var b []byte
	switch size, isArchive := strings.CutPrefix(path, "archive/"); {
	case w.status != 0:
		rw.WriteHeader(w.status)
		return
	case path == "checkpoint":
		b = w.note
	case isArchive:
		n, _ := strconv.ParseInt(size, 10, 64)
		least := int64(-1)
		for have, note := range w.archive {
			if have >= n && (least < 0 || have < least) {
				least, b = have, note
			}
		}
	case strings.HasPrefix(path, "w"):
		number, rest, _ := strings.Cut(path, "/")
		if rest == fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte(origin))) {
			b = w.views[number]
		}
	default:
		b = w.files[path]
	}
	if b == nil {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	rw.Write(b)
}

// collected is a sink that keeps what it gets.
type collected struct {
	mu    sync.Mutex
	found []monitor.Finding
}

func (c *collected) Deliver(_ context.Context, f monitor.Finding) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = append(c.found, f)
	return nil
}

// all returns what was found so far.
func (c *collected) all() []monitor.Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.found)
}

// kinds are those of all but the first contact, in order.
func (c *collected) kinds() []string {
	kinds := []string{}
	for _, f := range c.all() {
		if f.Kind != "baseline" {
			kinds = append(kinds, f.Kind)
		}
	}
	return kinds
}

// open opens the world's monitor as a new process would, with changes.
func (w *world) open(change ...func(*monitor.Config)) (*monitor.Monitor, *collected, error) {
	w.t.Helper()
	state, err := trust.Open(w.state)
	check(w.t, err)
	got := &collected{}
	c := w.config
	c.Policy, c.URL, c.State, c.Dir, c.Sinks = w.policy, w.server.URL, state, filepath.Join(w.state, "monitor"), []monitor.Sink{got}
	c.Logger = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&c)
	}
	m, err := monitor.Open(c)
	return m, got, err
}

// once opens, looks once and closes.
func (w *world) once(change ...func(*monitor.Config)) (*collected, int64, error) {
	w.t.Helper()
	m, got, err := w.open(change...)
	check(w.t, err)
	err = m.Once(w.t.Context())
	checked := m.Checked()
	check(w.t, m.Close())
	return got, checked, err
}

// follow runs a monitor until the test has seen enough, and returns Run's error.
func (w *world) follow(enough func(*collected) bool, change ...func(*monitor.Config)) (*collected, error) {
	w.t.Helper()
	m, got, err := w.open(append([]func(*monitor.Config){func(c *monitor.Config) { c.Interval = 5 * time.Millisecond }}, change...)...)
	check(w.t, err)
	defer func() { check(w.t, m.Close()) }()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	patience := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return got, err
		case <-patience:
			w.t.Fatalf("nothing more came after %v", got.kinds())
		case <-tick.C:
			if enough(got) {
				cancel()
				return got, <-done
			}
		}
	}
}

// has returns a condition for follow: that findings of these kinds came.
func has(kinds ...string) func(*collected) bool {
	return func(c *collected) bool {
		got := c.kinds()
		return !slices.ContainsFunc(kinds, func(k string) bool { return !slices.Contains(got, k) })
	}
}

// judge reads an evidence file and judges it by the policy.
func (w *world) judge(file string) (evidence.Verdict, error) {
	w.t.Helper()
	b, err := os.ReadFile(file)
	check(w.t, err)
	e, err := evidence.Parse(b)
	check(w.t, err)
	return evidence.Judge(e, w.policy)
}

func stopped(t *testing.T, err error) *monitor.Stopped {
	t.Helper()
	s, ok := errors.AsType[*monitor.Stopped](err)
	if !ok {
		t.Fatalf("it did not stop: %v", err)
	}
	return s
}

// truncated makes the bundle of entries 0 to n-1 of a log and cuts bytes off.
func truncated(l *prototest.Log, n int, cut int) []byte {
	var b []byte
	for _, e := range l.Leaves[:n] {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b[:len(b)-cut]
}

func want(t *testing.T, got *collected, kinds ...string) {
	t.Helper()
	if kinds == nil {
		kinds = []string{}
	}
	if diff := cmp.Diff(kinds, got.kinds()); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%v", diff, got.all())
	}
}

// checked reads how far the cursor is, as anybody can.
func (w *world) checked() int {
	b, err := os.ReadFile(w.file("cursor"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	check(w.t, err)
	n := 0
	for line := range strings.Lines(string(b)) {
		fmt.Sscanf(line, "checked %d\n", &n)
	}
	return n
}

func (w *world) file(name string) string {
	return filepath.Join(w.state, "monitor", "log.example%2Fid%2F1", name)
}

// fork returns a log that shares the first leaves with the world's, and is as
// long.
func (w *world) fork(shared int) *prototest.Log {
	l := prototest.NewLog(origin, logKey)
	l.Append(w.log.Leaves[:shared]...)
	for i := shared; i < len(w.log.Leaves); i++ {
		l.Append(event(w.t, fmt.Sprintf("fork %d", i), now()))
	}
	return l
}
