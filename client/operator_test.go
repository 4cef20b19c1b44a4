package client_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"idlog/client"
	"idlog/proto/checkpoint"
	"idlog/proto/event"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/seal"
	"idlog/proto/subject"
	"idlog/proto/tag"

	eventv1 "idlog/proto/idlog/event/v1"
	logv1 "idlog/proto/idlog/log/v1"
)

const (
	family = "log.example/id"
	origin = family + "/1"
	okta   = "okta-prod"
)

// operator is a whole log in memory, made of the kernel packages and of none
// of the server's code, behind a real gRPC socket. It tells the truth unless
// lie says otherwise.
type operator struct {
	logv1.UnimplementedEventServiceServer
	logv1.UnimplementedLogServiceServer

	addr      string
	policy    *policy.Policy
	signer    note.Signer
	witnesses []note.Signer
	ticket    note.Signer
	ticketKey string
	epoch     tag.Key
	vrf       *subject.VRFKey

	mu      sync.Mutex // guards what follows
	grown   chan struct{}
	leaves  [][]byte
	stored  []tlog.Hash
	people  map[subject.Identifier]*person
	byID    map[string]*logged
	events  map[int64]*logged
	notes   map[int64][]byte
	calls   map[string]int
	publish int64  // what the newest checkpoint shows; 0: everything
	lie     string // what to lie about
	refuse  int    // how many calls are still to be answered UNAVAILABLE
	quorum  int    // how many witnesses cosign
	tickets bool   // answer with tickets
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

func newOperator(t *testing.T) *operator {
	t.Helper()
	op := &operator{
		vrf: subject.NewVRFKey(), grown: make(chan struct{}), people: make(map[subject.Identifier]*person),
		byID: make(map[string]*logged), events: make(map[int64]*logged), notes: make(map[int64][]byte),
		calls: make(map[string]int), quorum: 3,
	}
	rand.Read(op.epoch[:])
	text := ""
	signer := func(name string, role checkpoint.Role) (note.Signer, string) {
		skey, vkey, err := checkpoint.GenerateKey(name, checkpoint.Ed25519, role)
		check(t, err)
		s, err := checkpoint.NewSigner(skey)
		check(t, err)
		return s, vkey
	}
	var vkey string
	op.signer, vkey = signer(origin, checkpoint.LogRole)
	text += "log " + vkey + "\n"
	for i := range 3 {
		w, vkey := signer(fmt.Sprintf("witness%d.example", i), checkpoint.WitnessRole)
		op.witnesses = append(op.witnesses, w)
		text += fmt.Sprintf("witness w%d %s\n", i, vkey)
	}
	text += "group all 2 w0 w1 w2\nquorum all\n"
	var err error
	op.policy, err = policy.Parse([]byte(text))
	check(t, err)
	op.ticket, op.ticketKey = signer(family+"/ticket", checkpoint.LogRole)

	now := time.Now().Unix()
	op.append(t, &leaf.Shard{Log: family, Received: now, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: op.ticketKey}})
	keys := &leaf.Keys{Log: family, Received: now, Epoch: 1, VRF: op.vrf.Public()}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		keys.Commits = append(keys.Commits, leaf.Commit{Field: f, Source: okta, Commit: tag.Derive(op.epoch, f, okta).Commit(f, okta)})
	}
	op.append(t, keys)
	op.listen(t)
	return op
}

func (op *operator) listen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8<<20), grpc.UnaryInterceptor(op.intercept))
	logv1.RegisterEventServiceServer(s, op)
	logv1.RegisterLogServiceServer(s, op)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	op.addr = l.Addr().String()
}

func (op *operator) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	op.mu.Lock()
	op.calls[info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]]++
	refuse := op.refuse > 0
	if refuse {
		op.refuse--
	}
	op.mu.Unlock()
	if refuse {
		s, _ := status.New(codes.Unavailable, "later").WithDetails(
			&errdetails.ErrorInfo{Domain: "idlog", Reason: "BACKLOG_FULL"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
		return nil, s.Err()
	}
	return handler(ctx, req)
}

// set changes how the operator behaves.
func (op *operator) set(f func(op *operator)) {
	op.mu.Lock()
	defer op.mu.Unlock()
	f(op)
}

func (op *operator) client(t *testing.T, change ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{Target: op.addr, Policy: op.policy, State: client.NewMemoryState()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

// append adds a leaf of any kind; op.mu is held or not yet needed.
func (op *operator) append(t *testing.T, l leaf.Leaf) int64 {
	b, err := l.Format()
	check(t, err)
	return op.add(b)
}

func (op *operator) add(b []byte) int64 {
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

func (op *operator) read(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = op.stored[x]
	}
	return out, nil
}

func (op *operator) size() int64 { return cmp.Or(op.publish, int64(len(op.leaves))) }

// note returns the signed and cosigned checkpoint of a size.
func (op *operator) note(size int64) []byte {
	if n := op.notes[size]; n != nil {
		return n
	}
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(op.read))
	if err != nil {
		panic(err)
	}
	c := checkpoint.Checkpoint{Origin: origin, Size: size, Root: root}
	n, err := checkpoint.Sign(c, append([]note.Signer{op.signer}, op.witnesses[:op.quorum]...)...)
	if err != nil {
		panic(err)
	}
	op.notes[size] = n
	return n
}

func (op *operator) inclusion(index, size int64) [][]byte {
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

func (op *operator) enrol(id subject.Identifier) *person {
	if p := op.people[id]; p != nil {
		return p
	}
	p := &person{handle: subject.NewHandle()}
	rand.Read(p.secret[:])
	etag, pi, err := op.vrf.Prove(id)
	if err != nil {
		panic(err)
	}
	commit := p.handle.Commit()
	l := &leaf.Subject{Log: family, Received: time.Now().Unix(), Keys: 1, Commit: &commit, Etags: []leaf.Hash{etag}}
	p.pi = pi
	if p.leaf, err = l.Format(); err != nil {
		panic(err)
	}
	p.index = op.add(p.leaf)
	op.people[id] = p
	return p
}

func (op *operator) neutral() event.NeutralKeys {
	k := func(f uint16) tag.Key { return tag.Derive(op.epoch, f, okta) }
	return event.NeutralKeys{EventID: k(tag.EventID), Session: k(tag.Session), Class: k(tag.Class), Target: k(tag.Target)}
}

// log makes and appends the leaf of an event, with the lie that is asked for.
func (op *operator) log(sent *eventv1.Event) (*logged, error) {
	e := proto.CloneOf(sent)
	received := time.Now()
	ev := &leaf.Event{Log: family, Source: okta, Assurance: leaf.AssuranceUnauthenticated, Keys: 1}
	switch op.lie {
	case "other value":
		e.Outcome.Status = eventv1.Outcome_STATUS_SUCCESS.Enum()
	case "dropped field":
		e.Outcome.Reason = ""
	case "dropped raw":
		e.Raw, e.RawMediaType = nil, ""
	case "other raw":
		e.Raw = append(e.Raw, ' ')
	case "extra field":
		e.Outcome.Code = "E1"
	case "own mapper":
		e.Mapper = proto.String("direct/2")
	case "back-dating":
		received = received.Add(-2 * time.Minute)
	case "future-dating":
		received = received.Add(2 * time.Minute)
	case "foreign leaf":
		ev.Log = "log.example/other"
	case "wrong source":
		ev.Source = "okta-test"
	case "wrong assurance":
		ev.Assurance = leaf.AssuranceSigned
	case "unknown epoch":
		ev.Keys = 2
	}
	event.Stamp(e, received)
	fields, err := event.Fields(e)
	if err != nil {
		return nil, err
	}
	ev.Received = received.Unix()
	persons, err := event.Persons(e)
	if err != nil {
		return nil, err
	}
	late := op.lie == "late enrolment"
	people := make(map[subject.Identifier]*person)
	for _, p := range persons {
		for _, id := range append([]subject.Identifier{p.Primary}, p.Secondary...) {
			if late {
				people[id] = &person{handle: subject.NewHandle()}
			} else {
				people[id] = op.enrol(id)
			}
		}
	}
	if op.lie == "unenrolled handle" {
		first := persons[0].Primary
		other := *people[first]
		other.handle = subject.NewHandle()
		people[first] = &other
	}
	tagged, err := event.Tag(e, fields, op.neutral(), func(id subject.Identifier) ([32]byte, bool) {
		return people[id].handle.T, true
	})
	if err != nil {
		return nil, err
	}
	ev.Tags = slices.Clone(tagged.Tags)
	rec := &logged{raw: e.Raw, event: sent, opening: &logv1.Opening{Received: timestamppb.New(received)}}
	rec.lines = op.sealed(rec, tagged, people)
	ev.Fields, err = seal.Digest(rec.lines)
	if err != nil {
		return nil, err
	}
	op.misstate(ev, rec)
	if rec.leaf, err = ev.Format(); err != nil {
		return nil, err
	}
	rec.index = op.add(rec.leaf)
	if late {
		for id, p := range people {
			etag, pi, _ := op.vrf.Prove(id)
			commit := p.handle.Commit()
			p.leaf, _ = (&leaf.Subject{Log: family, Received: 1, Keys: 1, Commit: &commit, Etags: []leaf.Hash{etag}}).Format()
			p.pi, p.index = pi, op.add(p.leaf)
			op.people[id] = p
		}
	}
	op.events[rec.index], op.byID[sent.GetSource().GetNativeId()] = rec, rec
	return rec, nil
}

// sealed makes the seeds and the lines of an event.
func (op *operator) sealed(rec *logged, tagged *event.Tagged, people map[subject.Identifier]*person) []seal.Line {
	var secret leaf.Hash
	rand.Read(secret[:])
	byTag := make(map[leaf.Hash]leaf.Hash)
	for _, p := range people {
		byTag[tag.OfPerson(p.handle.T, tag.Person)] = p.secret
	}
	var order []leaf.Hash
	for _, g := range tagged.Tags {
		if g.Field == tag.Person {
			order = append(order, g.Value)
		}
	}
	seeds := make(map[string]leaf.Hash)
	lines := make([]seal.Line, len(tagged.Fields))
	for i, f := range tagged.Fields {
		owners := f.Owners
		if op.lie == "other owners" && f.Path == "actor.id" {
			owners = nil
		}
		seed, ok := seeds[string(owners)]
		if !ok {
			var shares []leaf.Hash
			for _, o := range owners {
				shares = append(shares, seal.Share(byTag[order[o]], secret))
			}
			seed = seal.Seed(secret, shares)
			seeds[string(owners)] = seed
			rec.opening.Seeds = append(rec.opening.Seeds, &logv1.Seed{Owners: owners, Seed: seed[:]})
		}
		salt := seal.Salt(seed, f.Path)
		lines[i] = seal.Line{Path: f.Path, Owners: owners, State: seal.Shown, Salt: salt, Value: f.Value, Commitment: seal.Commitment(salt, f.Path, f.Value)}
	}
	return lines
}

// misstate changes a leaf, or what opens it, once it is made.
func (op *operator) misstate(ev *leaf.Event, rec *logged) {
	drop := func(field uint16) {
		i := slices.IndexFunc(ev.Tags, func(t leaf.Tag) bool { return t.Field == field })
		ev.Tags = slices.Delete(ev.Tags, i, i+1)
	}
	add := func(t leaf.Tag) {
		ev.Tags = append(ev.Tags, t)
		slices.SortFunc(ev.Tags, leaf.CompareTags)
	}
	o := rec.opening
	switch op.lie {
	case "twin path":
		i := slices.IndexFunc(rec.lines, func(l seal.Line) bool { return l.Path == "actor.id" })
		twin := rec.lines[i]
		twin.Commitment = seal.Commitment(twin.Salt, twin.Path, seal.String("mallory"))
		ev.Fields = digest(slices.Insert(slices.Clone(rec.lines), i, twin))
	case "wrong neutral tag":
		drop(tag.Session)
		add(leaf.Tag{Field: tag.Session, Value: leaf.Hash{1}})
	case "missing neutral tag":
		drop(tag.Class)
	case "missing person":
		drop(tag.Person)
	case "missing actor":
		drop(tag.Actor)
	case "ghost person":
		add(leaf.Tag{Field: tag.Person, Value: leaf.Hash{0xff, 0xff, 0xff}})
	case "unknown tag":
		add(leaf.Tag{Field: 99, Value: leaf.Hash{1}})
	case "missing seed":
		o.Seeds = o.Seeds[1:]
	case "extra seed":
		o.Seeds = append(o.Seeds, &logv1.Seed{Owners: []byte{7}, Seed: o.Seeds[0].Seed})
	case "short seed":
		o.Seeds[0].Seed = o.Seeds[0].Seed[:16]
	case "twice a seed":
		o.Seeds = append(o.Seeds, o.Seeds[0])
	case "wrong seed":
		o.Seeds[0].Seed = bytes32(9)
	case "other second":
		o.Received = timestamppb.New(o.Received.AsTime().Add(time.Second))
	case "other nanosecond":
		at := o.Received.AsTime().Truncate(time.Second)
		o.Received = timestamppb.New(at.Add(time.Duration((o.Received.Nanos + 1) % 1e9)))
	}
}

// digest is SPEC 2.3 without its checks, for lies that seal.Digest would not tell.
func digest(lines []seal.Line) leaf.Hash {
	b := binary.BigEndian.AppendUint16([]byte("idlog/fields/v1\x00"), uint16(len(lines)))
	for _, l := range lines {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l.Path))), l.Path...)
		b = append(append(append(b, uint8(len(l.Owners))), l.Owners...), l.Commitment[:]...)
	}
	return sha256.Sum256(b)
}

func bytes32(b byte) []byte { return slices.Repeat([]byte{b}, 32) }

func (op *operator) SubmitEvents(_ context.Context, req *logv1.SubmitEventsRequest) (*logv1.SubmitEventsResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if len(req.Events) > 500 || proto.Size(req) > 8<<20 {
		return nil, status.Error(codes.InvalidArgument, "the call is too large")
	}
	res := &logv1.SubmitEventsResponse{}
	var recs []*logged
	for _, e := range req.Events {
		id := e.GetSource().GetNativeId()
		rec := op.byID[id]
		if rec != nil && !proto.Equal(rec.event, e) {
			s, _ := status.New(codes.AlreadyExists, "another event has this id").WithDetails(&errdetails.ErrorInfo{
				Domain: "idlog", Reason: "ID_CONFLICT", Metadata: map[string]string{"index": fmt.Sprint(rec.index)}})
			res.Results = append(res.Results, &logv1.Result{Outcome: &logv1.Result_Error{Error: s.Proto()}})
			recs = append(recs, nil)
			continue
		}
		if rec == nil {
			var err error
			if rec, err = op.log(e); err != nil {
				return nil, err
			}
		}
		recs = append(recs, rec)
		res.Results = append(res.Results, nil)
	}
	size := op.size()
	for i, rec := range recs {
		switch {
		case rec == nil:
		case op.tickets || req.Wait == logv1.Wait_WAIT_SEQUENCED:
			res.Results[i] = &logv1.Result{Outcome: &logv1.Result_Ticket{Ticket: op.promise(rec)}}
		default:
			r := &logv1.Receipt{Index: rec.index, Leaf: rec.leaf, Inclusion: op.inclusion(rec.index, size), Opening: rec.opening}
			res.Results[i] = &logv1.Result{Outcome: &logv1.Result_Receipt{Receipt: r}}
			op.misprove(r)
		}
	}
	res.Checkpoints = [][]byte{op.note(size)}
	op.missign(res)
	return res, nil
}

func (op *operator) misprove(r *logv1.Receipt) {
	switch op.lie {
	case "bad proof":
		r.Inclusion[0] = bytes32(1)
	case "short proof":
		r.Inclusion = r.Inclusion[1:]
	case "other index":
		r.Index++
	case "other kind":
		r.Leaf = op.leaves[1]
	case "no leaf":
		r.Leaf = []byte("idlog-event/v2\n")
	case "no checkpoint":
		r.Checkpoint = 1
	}
}

func (op *operator) missign(res *logv1.SubmitEventsResponse) {
	text, sigs, _ := checkpoint.Split(res.Checkpoints[0])
	switch op.lie {
	case "no quorum":
		res.Checkpoints[0] = checkpoint.Join(text, sigs[:2]...)
	case "no log key":
		res.Checkpoints[0] = checkpoint.Join(text, sigs[1:]...)
	case "false signature":
		sigs[0].Bytes[3] ^= 1
		res.Checkpoints[0] = checkpoint.Join(text, sigs...)
	}
}

func (op *operator) promise(rec *logged) *logv1.Ticket {
	parsed, _ := leaf.Parse(rec.leaf)
	ev := parsed.(*leaf.Event)
	h := leaf.HashOf(rec.leaf)
	deadline := ev.Received + 24*3600
	signer, log := op.ticket, family
	switch op.lie {
	case "late deadline":
		deadline++
	case "other promise":
		h[0] ^= 1
	case "other log's promise":
		log = "log.example/other"
	case "promise of the log key":
		signer = op.signer
	}
	text := fmt.Sprintf("idlog-ticket/v1\n%s\n%s\n%d\n%d\n", log, base64.StdEncoding.EncodeToString(h[:]), ev.Received, deadline)
	n, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		panic(err)
	}
	return &logv1.Ticket{Note: n, Leaf: rec.leaf, Opening: rec.opening}
}

func (op *operator) GetSourceKeys(_ context.Context, req *logv1.GetSourceKeysRequest) (*logv1.GetSourceKeysResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.size()
	k := &logv1.SourceKeys{Epoch: 1, Leaf: op.leaves[1], Index: 1, Inclusion: op.inclusion(1, size)}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		key := tag.Derive(op.epoch, f, req.Source)
		if op.lie == "uncommitted key" && f == tag.Session {
			key[0] ^= 1
		}
		k.TagKeys = append(k.TagKeys, &logv1.TagKey{Field: uint32(f), Key: key[:]})
	}
	res := &logv1.GetSourceKeysResponse{
		Keys: []*logv1.SourceKeys{k}, Checkpoint: op.note(size), Genesis: op.leaves[0], GenesisInclusion: op.inclusion(0, size),
	}
	switch op.lie {
	case "foreign keys leaf":
		k.Leaf = slices.Replace(slices.Clone(k.Leaf), len(k.Leaf)-2, len(k.Leaf)-1, 'A')
	case "no keys":
		res.Keys = nil
	case "key is missing":
		k.TagKeys = k.TagKeys[1:]
	}
	return res, nil
}

func (op *operator) GetEnrolments(_ context.Context, req *logv1.GetEnrolmentsRequest) (*logv1.GetEnrolmentsResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.size()
	res := &logv1.GetEnrolmentsResponse{Checkpoint: op.note(size)}
	for _, b := range req.Identifiers {
		id, err := subject.ParseIdentifier(b)
		if err != nil {
			return nil, err
		}
		p := op.people[id]
		if p == nil {
			res.Enrolments = append(res.Enrolments, &logv1.Enrolment{})
			continue
		}
		e := &logv1.Enrolment{Epoch: 1, VrfProof: p.pi}
		h := &logv1.Handle{Index: p.index, Leaf: p.leaf, Inclusion: op.inclusion(p.index, size), Opening: p.handle.Opening[:], Handle: p.handle.T[:]}
		switch op.lie {
		case "other handle":
			h.Handle = bytes32(3)
		case "somebody's etag":
			_, e.VrfProof, _ = op.vrf.Prove(subject.Email("mallory@example.com"))
		case "other VRF key":
			_, e.VrfProof, _ = subject.NewVRFKey().Prove(id)
		case "enrolment not included":
			h.Index++
		case "somebody's enrolment":
			for other, q := range op.people {
				if other != id {
					_, pi, _ := op.vrf.Prove(id)
					e.VrfProof = pi
					h = &logv1.Handle{Index: q.index, Leaf: q.leaf, Inclusion: op.inclusion(q.index, size), Opening: q.handle.Opening[:], Handle: q.handle.T[:]}
				}
			}
		}
		e.Handles = []*logv1.Handle{h}
		res.Enrolments = append(res.Enrolments, e)
	}
	return res, nil
}

func (op *operator) GetCheckpoint(context.Context, *logv1.GetCheckpointRequest) (*logv1.GetCheckpointResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return &logv1.GetCheckpointResponse{Checkpoint: op.note(op.size())}, nil
}

func (op *operator) GetConsistencyProof(_ context.Context, req *logv1.GetConsistencyProofRequest) (*logv1.GetConsistencyProofResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.size()
	res := &logv1.GetConsistencyProofResponse{Checkpoint: op.note(size)}
	if 0 < req.From && req.From < size {
		p, err := tlog.ProveTree(size, req.From, tlog.HashReaderFunc(op.read))
		if err != nil {
			return nil, err
		}
		res.Consistency = wire([]tlog.Hash(p))
	}
	return res, nil
}

func (op *operator) GetEntry(_ context.Context, req *logv1.GetEntryRequest) (*logv1.GetEntryResponse, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	size := op.size()
	if req.Index >= size {
		s, _ := status.New(codes.OutOfRange, "no such entry").WithDetails(&errdetails.ErrorInfo{Domain: "idlog", Reason: "INDEX_OUT_OF_RANGE"})
		return nil, s.Err()
	}
	res := &logv1.GetEntryResponse{Leaf: op.leaves[req.Index], Inclusion: op.inclusion(req.Index, size), Checkpoint: op.note(size)}
	if rec := op.events[req.Index]; rec != nil && req.Disclose {
		lines := slices.Clone(rec.lines)
		if op.lie == "hidden line" {
			lines = lines[1:]
		}
		res.Disclosure, _ = seal.FormatLines(lines)
		if req.Raw {
			res.Raw = slices.Clone(rec.raw)
			if op.lie == "other raw bytes" {
				res.Raw[0] ^= 1
			}
		}
	}
	if op.lie == "other entry" {
		res.Leaf = op.leaves[(req.Index+1)%size]
	}
	return res, nil
}

// WatchEntries breaks off after every third entry.
func (op *operator) WatchEntries(req *logv1.WatchEntriesRequest, stream grpc.ServerStreamingServer[logv1.WatchEntriesResponse]) error {
	next := req.From
	for sent := 0; ; {
		op.mu.Lock()
		size, grown := op.size(), op.grown
		var res *logv1.WatchEntriesResponse
		if next < size {
			res = &logv1.WatchEntriesResponse{Index: next, Leaf: op.leaves[next], Inclusion: op.inclusion(next, size), Checkpoint: op.note(size)}
			if op.lie == "skipped entry" && next == 3 {
				res.Index, res.Leaf, res.Inclusion = 4, op.leaves[4], op.inclusion(4, size)
			}
		}
		op.mu.Unlock()
		if res != nil {
			if err := stream.Send(res); err != nil {
				return err
			}
			next++
			if sent++; sent == 3 {
				return status.Error(codes.Unavailable, "moved")
			}
			continue
		}
		select {
		case <-grown:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (op *operator) WatchCheckpoints(_ *logv1.WatchCheckpointsRequest, stream grpc.ServerStreamingServer[logv1.WatchCheckpointsResponse]) error {
	for {
		op.mu.Lock()
		n, grown := op.note(op.size()), op.grown
		op.mu.Unlock()
		if err := stream.Send(&logv1.WatchCheckpointsResponse{Checkpoint: n}); err != nil {
			return err
		}
		select {
		case <-grown:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// signIn is an event of three persons' identifiers, a session, a target and raw bytes.
func signIn(id string) *eventv1.Event {
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
