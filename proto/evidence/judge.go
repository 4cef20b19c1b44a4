package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/seal"
)

// ErrNotJudged says that this version knows the claim's name and cannot judge
// it: the file is neither right nor wrong.
var ErrNotJudged = errors.New("claim is not judged by this version")

// A Verdict is what the parts of a file show.
type Verdict struct {
	Claim Claim
	// Proven says that the parts alone convince anyone who holds the keys of the
	// accused. If it is false they are in order, and show no fault.
	Proven bool
	// Accused is the origin of a log, the family of its logs, or the name of a
	// witness's key.
	Accused string
	// Statement says in one or two sentences what is shown, and what is not.
	Statement string
}

// Judge weighs the parts of a file, and nothing else. An error says that the
// file does not show what it claims, or is [ErrNotJudged].
//
// The claims and their parts, in this order:
//
//	fork              checkpoint, checkpoint: of one size
//	                  checkpoint, checkpoint, consistency: of ascending sizes; the
//	                  hashes give the second root and not the first
//	rollback          checkpoint, checkpoint: of descending sizes; not proven
//	witness-fork      checkpoint, checkpoint: of one size, cosigned by one key
//	duplicate         proof, proof
//	receipt-mismatch  disclosure or proof, submission; not proven
//	broken-promise    ticket, leaf, proof of the genesis, and then
//	                  [checkpoint,] checkpoint, consistency: the hashes of all entries that
//	                  could be the leaf
//	                  checkpoint, proof: another leaf of the event
//	                  [checkpoint,] submission: a ticket as it is kept; not proven
//	bad-root          proof of a root leaf that is false by itself
//	                  proof, proof: of two that contradict each other, in order
//	                  proof, consistency: the hashes give another root of the size it names
//	                  proof, leaf: what another index gives; not proven
func Judge(e *Evidence, p *policy.Policy) (Verdict, error) {
	v, err := judge(e, p)
	if err != nil {
		return Verdict{}, fmt.Errorf("judging %s: %w", e.Claim, err)
	}
	v.Claim = e.Claim
	return v, nil
}

func judge(e *Evidence, p *policy.Policy) (Verdict, error) {
	switch e.Claim {
	case Fork:
		return judgeFork(e, p)
	case Rollback:
		return judgeRollback(e, p)
	case WitnessFork:
		return judgeWitnessFork(e, p)
	case Duplicate:
		return judgeDuplicate(e, p)
	case ReceiptMismatch:
		return judgeReceiptMismatch(e, p)
	case BrokenPromise:
		return judgeBrokenPromise(e, p)
	case BadRoot:
		return judgeBadRoot(e, p)
	default:
		return Verdict{}, ErrNotJudged
	}
}

// want reports whether the parts are of these types.
func (e *Evidence) want(types ...Type) bool {
	return slices.EqualFunc(e.Parts, types, func(p Part, t Type) bool { return p.Type == t })
}

var errParts = errors.New("its parts are not those of the claim")

// signed is a checkpoint with the keys of a policy that have signed it.
type signed struct {
	checkpoint.Checkpoint
	byLog     bool            // signed by a key of its origin
	witnesses map[string]bool // the vkeys of witnesses that cosigned
}

// open reads a checkpoint. Lines that do not verify are passed over: they take
// nothing from those that do.
func open(note []byte, p *policy.Policy) (signed, error) {
	text, sigs, err := checkpoint.Split(note)
	if err != nil {
		return signed{}, err
	}
	s := signed{witnesses: make(map[string]bool)}
	if s.Checkpoint, err = checkpoint.Parse(text); err != nil {
		return signed{}, err
	}
	verifies := func(vkey string) bool {
		v, err := checkpoint.NewVerifier(vkey)
		return err == nil && slices.ContainsFunc(sigs, func(sig checkpoint.Signature) bool {
			return sig.By(v, text)
		})
	}
	for _, l := range p.Logs {
		s.byLog = s.byLog || l.Origin == s.Origin && verifies(l.VKey)
	}
	for _, w := range p.Witnesses {
		if verifies(w.VKey) {
			s.witnesses[w.VKey] = true
		}
	}
	return s, nil
}

// pair reads the first two parts, checkpoints of one origin.
func (e *Evidence) pair(p *policy.Policy) (a, b signed, err error) {
	if a, err = open(e.Parts[0].Data, p); err != nil {
		return a, b, err
	}
	if b, err = open(e.Parts[1].Data, p); err != nil {
		return a, b, err
	}
	if a.Origin != b.Origin {
		return a, b, fmt.Errorf("the checkpoints are of two logs, %s and %s", a.Origin, b.Origin)
	}
	return a, b, nil
}

// logPair is pair for claims about the log, which must have signed both.
func (e *Evidence) logPair(p *policy.Policy) (a, b signed, err error) {
	if a, b, err = e.pair(p); err != nil {
		return a, b, err
	}
	if !a.byLog || !b.byLog {
		return a, b, fmt.Errorf("a checkpoint of %s: %w", a.Origin, policy.ErrNotSigned)
	}
	return a, b, nil
}

func judgeFork(e *Evidence, p *policy.Policy) (Verdict, error) {
	split := e.want(Checkpoint, Checkpoint, Consistency)
	if !split && !e.want(Checkpoint, Checkpoint) {
		return Verdict{}, errParts
	}
	a, b, err := e.logPair(p)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Proven: true, Accused: a.Origin}
	if !split {
		if a.Size != b.Size {
			return Verdict{}, errors.New("the sizes differ, and no hashes join the two trees")
		}
		if a.Root == b.Root {
			return Verdict{}, errors.New("the two trees are one")
		}
		v.Statement = fmt.Sprintf("log %s signed two trees of size %d", a.Origin, a.Size)
		return v, nil
	}
	if err := divides(e.Parts[2].Data, a, b); err != nil {
		return Verdict{}, err
	}
	v.Statement = fmt.Sprintf("log %s signed a tree of size %d, and one of size %d that does not continue it", a.Origin, a.Size, b.Size)
	return v, nil
}

// divides returns nil if the hashes give the root of b and another than that of
// a: subtree roots, or else the proof that a log sent with b, to which nothing
// may be added by those who only saw it, or such a proof behind the root that it
// leads from, which it leaves out for a power of two.
func divides(part []byte, a, b signed) error {
	first, second, err := roots(part, a.Size, b.Size)
	switch {
	case err == nil && second == b.Root && first == a.Root:
		return fmt.Errorf("the tree of size %d continues that of size %d", b.Size, a.Size)
	case err == nil && second == b.Root:
		return nil
	}
	hashes, lineErr := lines(part)
	switch {
	case lineErr != nil:
		return lineErr
	case proof.Contradicts(a.Size, b.Size, a.Root, b.Root, hashes):
		return nil
	case a.Size > 0 && a.Size < b.Size && len(hashes) > 0 && hashes[0] != a.Root &&
		proof.Consistency(a.Size, b.Size, hashes[0], b.Root, hashes[1:]) == nil:
		return nil
	case a.Size > 0 && a.Size < b.Size && proof.Consistency(a.Size, b.Size, a.Root, b.Root, hashes) == nil:
		return fmt.Errorf("the tree of size %d continues that of size %d", b.Size, a.Size)
	case err != nil:
		return err
	}
	return fmt.Errorf("the hashes do not give the root of size %d", b.Size)
}

// roots computes, from the roots of perfect subtrees, the roots of the first n
// entries and of all m. There is one way to cut each range into such trees, so
// whoever finds other hashes that give the second root has broken SHA-256.
func roots(part []byte, n, m int64) (first, second [32]byte, err error) {
	if n < 1 || n >= m {
		return first, second, errors.New("the sizes do not ascend from 1")
	}
	left, right := compact.RangeSize(0, uint64(n)), compact.RangeSize(uint64(n), uint64(m))
	hashes, err := lines(part)
	if err != nil {
		return first, second, err
	}
	if len(hashes) != left+right {
		return first, second, fmt.Errorf("want %d lines of hashes", left+right)
	}
	whole, err := factory.NewRange(0, uint64(n), slicesOf(hashes[:left]))
	if err != nil {
		return first, second, err
	}
	if first, err = rootOf(whole); err != nil {
		return first, second, err
	}
	rest, err := factory.NewRange(uint64(n), uint64(m), slicesOf(hashes[left:]))
	if err != nil {
		return first, second, err
	}
	if err := whole.AppendRange(rest, nil); err != nil {
		return first, second, err
	}
	second, err = rootOf(whole)
	return first, second, err
}

// grown is a tree of two sizes, whose later entries are known by their hashes.
type grown struct {
	first, second [32]byte // roots; first is of no meaning for size 0
	leaves        []leaf.Hash
}

// grow computes, from the roots of the perfect subtrees of the first n entries
// and the leaf hash of each later one, the roots of the first n and of all m.
func grow(part []byte, n, m int64) (grown, error) {
	hashes, err := lines(part)
	if err != nil {
		return grown{}, err
	}
	left := compact.RangeSize(0, uint64(n))
	if int64(len(hashes)) != int64(left)+m-n {
		return grown{}, fmt.Errorf("want %d lines of hashes", int64(left)+m-n)
	}
	whole, err := factory.NewRange(0, uint64(n), slicesOf(hashes[:left]))
	if err != nil {
		return grown{}, err
	}
	g := grown{leaves: hashes[left:]}
	if n > 0 {
		if g.first, err = rootOf(whole); err != nil {
			return grown{}, err
		}
	}
	for _, h := range g.leaves {
		if err := whole.Append(h[:], nil); err != nil {
			return grown{}, err
		}
	}
	g.second, err = rootOf(whole)
	return g, err
}

var factory = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

func rootOf(r *compact.Range) ([32]byte, error) {
	root, err := r.GetRootHash(nil)
	if err != nil {
		return [32]byte{}, err
	}
	if len(root) != 32 {
		return [32]byte{}, errors.New("the tree is empty")
	}
	return [32]byte(root), nil
}

func slicesOf(hashes []leaf.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func judgeRollback(e *Evidence, p *policy.Policy) (Verdict, error) {
	if !e.want(Checkpoint, Checkpoint) {
		return Verdict{}, errParts
	}
	a, b, err := e.logPair(p)
	if err != nil {
		return Verdict{}, err
	}
	if a.Size <= b.Size {
		return Verdict{}, errors.New("the sizes do not descend")
	}
	return Verdict{Accused: a.Origin, Statement: fmt.Sprintf(
		"log %s signed sizes %d and %d. That the smaller was shown after the larger is the accuser's word, and no fault by itself: "+
			"whoever shows an old checkpoint may be an old copy", a.Origin, a.Size, b.Size)}, nil
}

func judgeWitnessFork(e *Evidence, p *policy.Policy) (Verdict, error) {
	if !e.want(Checkpoint, Checkpoint) {
		return Verdict{}, errParts
	}
	a, b, err := e.pair(p)
	if err != nil {
		return Verdict{}, err
	}
	if a.Size != b.Size || a.Root == b.Root {
		return Verdict{}, errors.New("the checkpoints are not two trees of one size")
	}
	for _, w := range p.Witnesses {
		if !a.witnesses[w.VKey] || !b.witnesses[w.VKey] {
			continue
		}
		k, err := checkpoint.ParseVKey(w.VKey)
		if err != nil {
			return Verdict{}, err
		}
		return Verdict{Proven: true, Accused: k.Name, Statement: fmt.Sprintf(
			"witness %s cosigned two trees of size %d of log %s", k.Name, a.Size, a.Origin)}, nil
	}
	return Verdict{}, errors.New("no witness of the policy cosigned both")
}

// included is an event that a log signed for.
type included struct {
	origin string
	index  int64
	bytes  []byte
	event  *leaf.Event
}

// openProof reads a proof whose extra data is the leaf of an event, and verifies
// that it is in a tree which its log signed.
func openProof(b []byte, p *policy.Policy) (included, error) {
	pr, err := proof.Parse(b)
	if err != nil {
		return included{}, err
	}
	l, err := leaf.Parse(pr.Extra)
	if err != nil {
		return included{}, err
	}
	event, ok := l.(*leaf.Event)
	if !ok {
		return included{}, errors.New("leaf is not an event")
	}
	origin, err := openAt(pr, event.Log, p)
	if err != nil {
		return included{}, err
	}
	return included{origin: origin, index: pr.Index, bytes: pr.Extra, event: event}, nil
}

func judgeDuplicate(e *Evidence, p *policy.Policy) (Verdict, error) {
	if !e.want(Proof, Proof) {
		return Verdict{}, errParts
	}
	a, err := openProof(e.Parts[0].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	b, err := openProof(e.Parts[1].Data, p)
	if err != nil {
		return Verdict{}, err
	}
	switch {
	case a.event.Log != b.event.Log:
		return Verdict{}, errors.New("the leaves are of two families of logs")
	case bytes.Equal(a.bytes, b.bytes):
		return Verdict{}, errors.New("the leaves are byte for byte the same, which counts once")
	case a.event.Fields != b.event.Fields && !sameEventID(a.event, b.event):
		return Verdict{}, errors.New("the leaves share neither an event id nor their fields")
	}
	return Verdict{Proven: true, Accused: a.event.Log, Statement: fmt.Sprintf(
		"one event is in the log as two leaves: entry %d of %s and entry %d of %s", a.index, a.origin, b.index, b.origin)}, nil
}

// sameEventID reports whether two events of one source bear one tag of field 1.
func sameEventID(a, b *leaf.Event) bool {
	return a.Source == b.Source && slices.ContainsFunc(a.Tags, func(t leaf.Tag) bool {
		return t.Field == 1 && slices.Contains(b.Tags, t)
	})
}

func judgeReceiptMismatch(e *Evidence, p *policy.Policy) (Verdict, error) {
	var event *leaf.Event
	var origin string
	switch {
	case e.want(Disclosure, Submission):
		d, err := seal.Parse(e.Parts[0].Data)
		if err != nil {
			return Verdict{}, err
		}
		opened, err := d.Verify(p)
		if err != nil {
			return Verdict{}, err
		}
		event, origin = opened.Leaf, opened.Checkpoint.Origin
	case e.want(Proof, Submission):
		in, err := openProof(e.Parts[0].Data, p)
		if err != nil {
			return Verdict{}, err
		}
		event, origin = in.event, in.origin
	default:
		return Verdict{}, errParts
	}
	return Verdict{Accused: origin, Statement: fmt.Sprintf(
		"the receipt is true: log %s holds this event of source %s. That its submitter sent something else is the submitter's statement, "+
			"for which nothing here vouches; it convinces nobody else", origin, event.Source)}, nil
}
