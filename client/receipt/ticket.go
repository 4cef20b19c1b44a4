package receipt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"idlog/proto/checkpoint"
	"idlog/proto/event"
	"idlog/proto/evidence"
	logv1 "idlog/proto/idlog/log/v1"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/subject"
	"idlog/proto/ticket"
)

// Ticket is a signed promise to log an event. It is an error, because it is not success: no witness vouches for the
// event yet. Follow it, or submit the same event again, and the receipt comes once the quorum is back.
//
// Verified are the signature, the leaf's header, and its tags that name no person; fields and persons are verified when
// the receipt comes.
type Ticket struct {
	Event    *leaf.Event
	Leaf     []byte
	Note     []byte // the signed promise
	Deadline time.Time
	Origin   string // of the shard that made the promise
	// Repeat says that the event was received before this client sent it, so that the ticket vouches for no time.
	Repeat bool
	// Sent is the event that was promised, to which its receipt will be held.
	Sent *Submission
	// Genesis proves the key that signed.
	Genesis proof.Proof
	// Earlier is a checkpoint that is too old to hold the leaf, so that the entries below it need not be looked at if the
	// promise is broken; nil if none is known.
	Earlier []byte
}

func (t *Ticket) Error() string {
	return "the log promised the event until " + t.Deadline.UTC().Format(time.RFC3339) + ", but no witness quorum vouches for it yet"
}

// Ticket verifies a ticket as far as it can be before anything is published: steps 1, 2 and 5 of SPEC 3.1, and the
// promise itself. The error is a *Mismatch without evidence.
func (c *Checker) Ticket(sent *Submission, t *logv1.Ticket) (*Ticket, error) {
	fail := func(step int, err error, format string, args ...any) (*Ticket, error) {
		return nil, &Mismatch{Step: step, What: "ticket: " + fmt.Sprintf(format, args...), Err: err}
	}
	ev, keys, err := c.header(t.GetLeaf())
	if m, ok := errors.AsType[*Mismatch](err); ok {
		return fail(m.Step, m.Err, "%s", m.What)
	}
	promise, err := ticket.Open(t.GetNote(), c.Source.ticket)
	if err != nil {
		return fail(1, err, "promise")
	}
	want := ticket.Ticket{Log: c.Source.log, Leaf: leaf.HashOf(t.GetLeaf()), Received: ev.Received, Deadline: promise.Deadline}
	if *promise != want {
		return fail(1, nil, "it promises something else")
	}
	// A ticket for a repeat is the first one's; what was promised first still binds.
	if at := time.Unix(ev.Received, 0); at.After(c.Answered.Add(c.Skew)) {
		return fail(2, nil, "received at %s, after the answer came at %s", stamp(at), stamp(c.Answered))
	}
	// A handle that is anybody's will do here: only the neutral tags are compared.
	tags, err := event.Tags(sent.Event, keys.neutral, func(subject.Identifier) ([32]byte, bool) { return [32]byte{}, true })
	if err != nil {
		return fail(5, err, "tags of the event")
	}
	if !slices.Equal(slices.DeleteFunc(tags, personal), slices.DeleteFunc(slices.Clone(ev.Tags), personal)) {
		return fail(5, nil, "the leaf has other tags than the event")
	}
	return &Ticket{
		Event: ev, Leaf: t.GetLeaf(), Note: t.GetNote(), Deadline: time.Unix(promise.Deadline, 0).UTC(),
		Origin: c.Source.Origin, Repeat: c.Early(time.Unix(ev.Received, 0)), Sent: sent, Genesis: c.Source.Genesis,
	}, nil
}

// Parts are the first parts of the evidence that the promise was broken: the ticket, the leaf and the genesis (SPEC 2.9).
func (t *Ticket) Parts() ([]evidence.Part, error) {
	genesis, err := t.Genesis.Format()
	if err != nil {
		return nil, err
	}
	return []evidence.Part{
		{Type: evidence.Ticket, Data: t.Note}, {Type: evidence.Leaf, Data: t.Leaf}, {Type: evidence.Proof, Data: genesis},
	}, nil
}

// Format writes the ticket as its holder keeps it (SPEC 2.9): all that following it takes. It holds the event as it was
// sent, so it is for the holder's eyes.
func (t *Ticket) Format() ([]byte, error) {
	parts, err := t.Parts()
	if err != nil {
		return nil, fmt.Errorf("formatting ticket: %w", err)
	}
	if t.Earlier != nil {
		parts = append(parts, evidence.Part{Type: evidence.Checkpoint, Data: t.Earlier})
	}
	sent, err := t.Sent.Bytes(t.Event.Log, t.Event.Source)
	if err != nil {
		return nil, fmt.Errorf("formatting ticket: %w", err)
	}
	parts = append(parts, evidence.Part{Type: evidence.Submission, Data: sent})
	b, err := (&evidence.Evidence{Claim: evidence.BrokenPromise, Parts: parts}).Format()
	if err != nil {
		return nil, fmt.Errorf("formatting ticket: %w", err)
	}
	return b, nil
}

// ParseTicket reads a ticket that [Ticket.Format] wrote, and verifies that a log of the policy made the promise. That it
// promises this event is verified when the receipt comes.
func ParseTicket(b []byte, p *policy.Policy) (*Ticket, error) {
	t, err := parseTicket(b, p)
	if err != nil {
		return nil, fmt.Errorf("parsing ticket: %w", err)
	}
	return t, nil
}

func parseTicket(b []byte, p *policy.Policy) (*Ticket, error) {
	e, err := evidence.Parse(b)
	if err != nil {
		return nil, err
	}
	verdict, err := evidence.Judge(e, p)
	if err != nil {
		return nil, err
	}
	last := e.Parts[len(e.Parts)-1]
	if verdict.Claim != evidence.BrokenPromise || last.Type != evidence.Submission {
		return nil, errors.New("it is evidence, and not a ticket as its holder keeps it")
	}
	t := &Ticket{Note: e.Parts[0].Data, Leaf: e.Parts[1].Data, Origin: verdict.Accused}
	if len(e.Parts) == 5 {
		t.Earlier = e.Parts[3].Data
	}
	if t.Genesis, err = proof.Parse(e.Parts[2].Data); err != nil {
		return nil, err
	}
	var req logv1.SubmitEventsRequest
	if err := proto.Unmarshal(last.Data, &req); err != nil || len(req.GetEvents()) != 1 {
		return nil, errors.Join(errors.New("it does not hold one event"), err)
	}
	if t.Sent, err = Read(req.GetEvents()[0]); err != nil {
		return nil, err
	}
	return t, t.open()
}

// open reads what the parts, which are verified, say.
func (t *Ticket) open() error {
	l, err := leaf.Parse(t.Leaf)
	if err != nil {
		return err
	}
	t.Event = l.(*leaf.Event)
	genesis, err := leaf.Parse(t.Genesis.Extra)
	if err != nil {
		return err
	}
	key, err := checkpoint.NewVerifier(genesis.(*leaf.Shard).Genesis.Ticket)
	if err != nil {
		return err
	}
	promise, err := ticket.Open(t.Note, key)
	if err != nil {
		return err
	}
	t.Deadline = time.Unix(promise.Deadline, 0).UTC()
	return nil
}
