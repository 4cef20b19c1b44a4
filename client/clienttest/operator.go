// Package clienttest is an operator for tests of readers: a whole log in memory
// behind a real gRPC socket, made of the kernel packages and of none of the
// server's code. It tells the truth unless [Operator.Lie] says otherwise, and
// lies in each step of SPEC 3.1 so that a reader can be seen to notice.
//
// Nothing is durable. All methods may be called concurrently, except for those
// that say that they belong within Set.
package clienttest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"idlog/proto/checkpoint"
	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/prototest"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"
	"idlog/proto/ticket"
)

// What the log is called, and its one source.
const (
	Family = "log.example/id"
	Origin = Family + "/1"
	Source = "okta-prod"
)

// Operator is a whole log in memory. The fields from Calls on are read and
// changed within Set.
type Operator struct {
	logv1.UnimplementedEventServiceServer
	logv1.UnimplementedLogServiceServer
	logv1.UnimplementedQueryServiceServer

	Addr   string         // host:port of the gRPC socket
	Policy *policy.Policy // the log's key, and two of three witnesses

	signer    note.Signer
	witnesses []prototest.Key
	ticket    note.Signer
	ticketKey string
	epoch     tag.Key
	vrf       *subject.VRFKey

	mu     sync.Mutex // guards what follows
	grown  chan struct{}
	leaves [][]byte
	stored []tlog.Hash
	people map[subject.Identifier]*person
	byID   map[string]*logged
	events map[int64]*logged
	notes  map[int64][]byte
	said   map[string]*logged // statements, by their requests
	root   *rooted            // what questions are answered by; nil: there is no index

	Calls   map[string]int // by method, how often it was called
	Publish int64          // size of the newest checkpoint; 0: everything there is
	Lie     string         // what to lie about; the cases of this package's code are the list
	Refuse  int            // how many unary calls are still to be answered UNAVAILABLE
	Busy    int            // how many events are still to be answered UNAVAILABLE, each for itself
	Sizes   []int          // of the calls of SubmitEvents, in events
	Quorum  int            // how many witnesses cosign
	Tickets bool           // answer with tickets
	Promise time.Duration  // how long after receipt a ticket's deadline is; 0: 24 hours
	Ahead   time.Duration  // how far the clocks of the log and its witnesses are ahead; see Later
}

type person struct {
	handle subject.Handle
	secret leaf.Hash // S
	index  int64
	leaf   []byte
	pi     []byte
}

type logged struct {
	index   int64
	leaf    []byte
	opening *logv1.Opening
	lines   []seal.Line
	raw     []byte
	event   *eventv1.Event
}

// New makes a log with its genesis and keys leaves and serves it until the test ends.
func New(t testing.TB) *Operator {
	t.Helper()
	op := &Operator{
		vrf: subject.NewVRFKey(), grown: make(chan struct{}), people: make(map[subject.Identifier]*person),
		byID: make(map[string]*logged), events: make(map[int64]*logged), notes: make(map[int64][]byte),
		said:  make(map[string]*logged),
		Calls: make(map[string]int), Quorum: 3,
	}
	rand.Read(op.epoch[:])
	text := ""
	signer := func(name string) (note.Signer, string) {
		skey, vkey, err := checkpoint.GenerateKey(name, checkpoint.Ed25519, checkpoint.LogRole)
		check(t, err)
		s, err := checkpoint.NewSigner(skey)
		check(t, err)
		return s, vkey
	}
	var vkey string
	op.signer, vkey = signer(Origin)
	text += "log " + vkey + "\n"
	for i := range 3 {
		var seed [32]byte
		rand.Read(seed[:])
		w := prototest.NewKeyFromSeed(fmt.Sprintf("witness%d.example", i), checkpoint.Ed25519, checkpoint.WitnessRole, seed)
		op.witnesses = append(op.witnesses, w)
		text += fmt.Sprintf("witness w%d %s\n", i, w.VKey)
	}
	text += "group all 2 w0 w1 w2\nquorum all\n"
	var err error
	op.Policy, err = policy.Parse([]byte(text))
	check(t, err)
	op.ticket, op.ticketKey = signer(ticket.KeyName(Family))

	now := time.Now().Unix()
	op.append(t, &leaf.Shard{Log: Family, Received: now, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: op.ticketKey}})
	keys := &leaf.Keys{Log: Family, Received: now, Epoch: 1, VRF: op.vrf.Public()}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		keys.Commits = append(keys.Commits, leaf.Commit{Field: f, Source: Source, Commit: tag.Derive(op.epoch, f, Source).Commit(f, Source)})
	}
	op.append(t, keys)
	op.listen(t)
	return op
}

func (op *Operator) listen(t testing.TB) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8<<20), grpc.UnaryInterceptor(op.intercept))
	logv1.RegisterEventServiceServer(s, op)
	logv1.RegisterLogServiceServer(s, op)
	logv1.RegisterQueryServiceServer(s, op)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	op.Addr = l.Addr().String()
}

func (op *Operator) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	op.mu.Lock()
	op.Calls[info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]]++
	refuse := op.Refuse > 0
	if refuse {
		op.Refuse--
	}
	op.mu.Unlock()
	if refuse {
		return nil, later().Err()
	}
	return handler(ctx, req)
}

// later is the answer of a server that has enough to do for a millisecond.
func later() *status.Status {
	s, _ := status.New(codes.Unavailable, "later").WithDetails(
		&errdetails.ErrorInfo{Domain: "idlog", Reason: "BACKLOG_FULL"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
	return s
}

// Set changes how the operator behaves, or looks into it, while it serves nobody.
func (op *Operator) Set(f func(op *Operator)) {
	op.mu.Lock()
	defer op.mu.Unlock()
	f(op)
}

// append adds a leaf of any kind; op.mu is held or not yet needed.
func (op *Operator) append(t testing.TB, l leaf.Leaf) int64 {
	b, err := l.Format()
	check(t, err)
	return op.Add(b)
}

// Add appends a leaf and returns its index; called within Set.
func (op *Operator) Add(b []byte) int64 {
	n := int64(len(op.leaves))
	hashes, err := tlog.StoredHashes(n, b, tlog.HashReaderFunc(op.read))
	if err != nil {
		panic(err)
	}
	op.leaves, op.stored = append(op.leaves, b), append(op.stored, hashes...)
	close(op.grown)
	op.grown = make(chan struct{})
	return n
}

func (op *Operator) read(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = op.stored[x]
	}
	return out, nil
}

// Size is that of the newest checkpoint; called within Set.
func (op *Operator) Size() int64 { return cmp.Or(op.Publish, int64(len(op.leaves))) }

// Later moves the clocks of the log and its witnesses on; they sign anew.
func (op *Operator) Later(d time.Duration) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.Ahead += d
	clear(op.notes)
}

func (op *Operator) now() time.Time { return time.Now().Add(op.Ahead) }

// note returns the signed and cosigned checkpoint of a size.
func (op *Operator) note(size int64) []byte {
	if n := op.notes[size]; n != nil {
		return n
	}
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(op.read))
	if err != nil {
		panic(err)
	}
	c := checkpoint.Checkpoint{Origin: Origin, Size: size, Root: root}
	n, err := checkpoint.Sign(c, op.signer)
	if err != nil {
		panic(err)
	}
	text, sigs, err := checkpoint.Split(n)
	if err != nil {
		panic(err)
	}
	for _, w := range op.witnesses[:op.Quorum] {
		sigs = append(sigs, w.Sign(text, uint64(op.now().Unix())))
	}
	n = checkpoint.Join(text, sigs...)
	op.notes[size] = n
	return n
}

func (op *Operator) inclusion(index, size int64) [][]byte {
	p, err := tlog.ProveRecord(size, index, tlog.HashReaderFunc(op.read))
	if err != nil {
		panic(err)
	}
	return wire([]tlog.Hash(p))
}

func wire(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// Log appends an event as if somebody had submitted it; called within Set.
func (op *Operator) Log(e *eventv1.Event) error {
	_, err := op.log(e)
	return err
}

// Mend logs what was promised and not logged; called within Set.
func (op *Operator) Mend() {
	for _, rec := range op.byID {
		if rec.index < 0 {
			rec.index = op.Add(rec.leaf)
			op.events[rec.index] = rec
		}
	}
}

// Forget makes every person a stranger, who is enrolled again when next met;
// called within Set.
func (op *Operator) Forget() { clear(op.people) }

// Fork gives the log another history from its third entry on, of so many entries.
func (op *Operator) Fork(entries int) {
	op.mu.Lock()
	defer op.mu.Unlock()
	first, second := op.leaves[0], op.leaves[1]
	op.leaves, op.stored = nil, nil
	clear(op.notes)
	op.Add(first)
	op.Add(second)
	for i := range entries {
		op.Add([]byte{'f', byte(i)})
	}
}

// SignIn is an event of three persons' identifiers, a session, a target and raw bytes.
func SignIn(id string) *eventv1.Event {
	return &eventv1.Event{
		Source:  &eventv1.Source{NativeId: proto.String(id), NativeType: proto.String("user.session.start")},
		Class:   &eventv1.Class{Schema: proto.String("ocsf/1.9.0-dev"), ClassUid: proto.Int64(3002), ActivityId: proto.Int64(1)},
		Times:   &eventv1.Times{Occurred: timestamppb.New(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))},
		Actor:   &eventv1.Principal{Issuer: "https://acme.example", Id: "00u1", Login: "alice", Email: "Alice@acme.example"},
		Targets: []*eventv1.Target{{Type: "User", Principal: &eventv1.Principal{Issuer: "https://acme.example", Id: "00u2"}}, {Type: "Group", Id: "g7"}},
		Outcome: &eventv1.Outcome{Status: eventv1.Outcome_STATUS_FAILURE.Enum(), Reason: "INVALID_CREDENTIALS"},

		Correlation:  &eventv1.Correlation{Session: "s-1", Transaction: "t-1"},
		Network:      &eventv1.Network{Ip: "203.0.113.9"},
		Raw:          []byte(`{"uuid":"` + id + `"}`),
		RawMediaType: "application/json",
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
