package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/tag"
)

// Schema is the value of the field `schema` of every event of this version.
const Schema = "idlog.event.v1"

// mandatory is the paths that every event has, with the kind of their values.
var mandatory = []struct {
	path string
	kind byte
}{
	{"class.activity_id", kindInt},
	{"class.class_uid", kindInt},
	{"class.schema", kindString},
	{"mapper", kindString},
	{"outcome.status", kindEnum},
	{"schema", kindString},
	{"source.native_id", kindString},
	{"source.native_type", kindString},
	{"times.received", kindTime},
}

// Disclosure is a disclosure file: the lines of one event, the proof that its leaf is in a log, and the proofs of
// the erasure leaves that its erased lines name. Nothing in it is verified before [Disclosure.Verify].
type Disclosure struct {
	Lines []Line
	Proof proof.Proof // Extra is the leaf
	// Erasures are proofs of erasure leaves, Extra being each leaf, ascending by Index.
	Erasures []proof.Proof
}

// Parse reads a disclosure file of at most [MaxFile] bytes. Nothing in the result aliases b.
func Parse(b []byte) (*Disclosure, error) {
	lines, rest, err := ParseLines(b)
	if err != nil {
		return nil, err
	}
	if rest == nil {
		return nil, errors.New("parsing disclosure: there is no proof")
	}
	d := &Disclosure{Lines: lines}
	for i := 0; len(rest) > 0; i++ {
		var one []byte
		if one, rest, err = cutProof(rest); err != nil {
			return nil, fmt.Errorf("parsing disclosure: %w", err)
		}
		p, err := proof.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("parsing disclosure: proof %d: %w", i+1, err)
		}
		if i == 0 {
			d.Proof = p
		} else {
			d.Erasures = append(d.Erasures, p)
		}
	}
	if err := d.checkProofs(); err != nil {
		return nil, fmt.Errorf("parsing disclosure: %w", err)
	}
	return d, nil
}

// cutProof cuts b after its first proof. A proof holds exactly two empty lines, before its checkpoint and before the
// checkpoint's signatures; a third one ends it.
func cutProof(b []byte) (one, rest []byte, err error) {
	end := 0
	for range 3 {
		i := bytes.Index(b[end:], []byte("\n\n"))
		if i < 0 {
			return b, nil, nil
		}
		end += i + 2
	}
	if end == len(b) {
		return nil, nil, errors.New("nothing follows the empty line")
	}
	return b[:end-1], b[end:], nil
}

func (d *Disclosure) checkProofs() error {
	if d.Proof.Extra == nil {
		return errors.New("proof has no leaf")
	}
	for i, e := range d.Erasures {
		if e.Extra == nil {
			return errors.New("proof of an erasure has no leaf")
		}
		if i > 0 && d.Erasures[i-1].Index >= e.Index {
			return errors.New("proofs of erasures do not ascend")
		}
	}
	return nil
}

// Format is the inverse of [Parse] and checks every rule that Parse checks.
func (d *Disclosure) Format() ([]byte, error) {
	b, err := d.format()
	if err != nil {
		return nil, fmt.Errorf("formatting disclosure: %w", err)
	}
	return b, nil
}

func (d *Disclosure) format() ([]byte, error) {
	if err := d.checkProofs(); err != nil {
		return nil, err
	}
	b, err := appendLines(nil, d.Lines)
	if err != nil {
		return nil, err
	}
	for _, p := range append([]proof.Proof{d.Proof}, d.Erasures...) {
		text, err := p.Format()
		if err != nil {
			return nil, err
		}
		b = append(append(b, '\n'), text...)
	}
	if len(b) > MaxFile {
		return nil, errSize
	}
	return b, nil
}

// Opened is a disclosure that was verified.
type Opened struct {
	Leaf       *leaf.Event
	Index      int64
	Checkpoint checkpoint.Checkpoint
	Cosigned   []policy.Cosignature
	Oldest     time.Time // [policy.Verified.Oldest] of the checkpoint
	// Lines are those of the disclosure. A line is Erased only where an erasure leaf bears it out; an erasure
	// that was only claimed is Withheld.
	Lines []Line
}

// Verify checks all of SPEC 2.7: that the leaf is an event in a log that the policy accepts, of the family that the
// leaf names, that the lines are exactly the fields the leaf commits to, and that every value shown opens its
// commitment. It does not check raw bytes, which travel apart: see [Value.CheckRaw]. When only cosignatures lack,
// the error is a *[policy.QuorumError].
func (d *Disclosure) Verify(p *policy.Policy) (*Opened, error) {
	o, err := d.verify(p)
	if err != nil {
		return nil, fmt.Errorf("verifying disclosure: %w", err)
	}
	return o, nil
}

func (d *Disclosure) verify(p *policy.Policy) (*Opened, error) {
	// 1. The leaf is an event, included under a checkpoint that the policy accepts.
	if err := d.checkProofs(); err != nil {
		return nil, err
	}
	l, err := leaf.Parse(d.Proof.Extra)
	if err != nil {
		return nil, err
	}
	event, ok := l.(*leaf.Event)
	if !ok {
		return nil, errors.New("leaf is not an event")
	}
	v, err := d.Proof.Verify(p, leaf.HashOf(d.Proof.Extra))
	if err != nil {
		return nil, err
	}
	if err := checkFamily(event.Log, v.Checkpoint.Origin); err != nil {
		return nil, err
	}
	o := &Opened{
		Leaf:       event,
		Index:      d.Proof.Index,
		Checkpoint: v.Checkpoint,
		Cosigned:   v.Cosignatures,
		Oldest:     v.Oldest(),
	}
	if err := o.open(d.Lines); err != nil {
		return nil, err
	}
	// 4. Erasures count where they are proven.
	for i := range o.Lines {
		if l := &o.Lines[i]; l.State == Erased && !d.erased(l, o, p) {
			l.State, l.ErasedAt = Withheld, 0
		}
	}
	return o, nil
}

// open takes lines that are exactly the fields of the leaf, which somebody has proven to be in a log.
func (o *Opened) open(lines []Line) error {
	o.Lines = slices.Clone(lines)
	// 2. The lines are the leaf's fields; a shown one counts by what it shows.
	for i := range o.Lines {
		if l := &o.Lines[i]; l.State == Shown {
			l.Commitment = Commitment(l.Salt, l.Path, l.Value)
		}
	}
	digest, err := Digest(o.Lines)
	if err != nil {
		return err
	}
	if digest != o.Leaf.Fields {
		return errors.New("lines are not the fields that the leaf commits to")
	}
	// 3. They are those of an event.
	return o.checkFields()
}

// OpenLines checks what [Disclosure.Verify] checks but for proofs: that the lines are exactly the fields that the leaf
// commits to. It is for callers that have verified that the leaf is in a log, of many leaves under one checkpoint. An
// erasure is proven by none of them, so a line that is Erased is returned as Withheld.
func OpenLines(event *leaf.Event, lines []Line) ([]Line, error) {
	o := &Opened{Leaf: event}
	if err := o.open(lines); err != nil {
		return nil, fmt.Errorf("verifying disclosure: %w", err)
	}
	for i := range o.Lines {
		if l := &o.Lines[i]; l.State == Erased {
			l.State, l.ErasedAt = Withheld, 0
		}
	}
	return o.Lines, nil
}

// checkFamily holds a leaf to its log.
func checkFamily(family, origin string) error {
	if !leaf.InFamily(origin, family) {
		return fmt.Errorf("leaf of log %s is in log %q", family, origin)
	}
	return nil
}

func (o *Opened) checkFields() error {
	persons := len(o.Leaf.Persons())
	for i := range o.Lines {
		l := &o.Lines[i]
		if n := len(l.Owners); n > 0 && int(l.Owners[n-1]) >= persons {
			return fmt.Errorf("%s: owner %d of %d persons", l.Path, l.Owners[n-1], persons)
		}
		if l.State != Shown {
			continue
		}
		if err := l.Value.Check(); err != nil {
			return fmt.Errorf("%s: %w", l.Path, err)
		}
		if (l.Value[0] == kindRaw) != (l.Path == "raw") {
			return fmt.Errorf("%s: kind h is for raw, and raw is of kind h", l.Path)
		}
	}
	for _, m := range mandatory {
		l := o.Field(m.path)
		if l == nil {
			return fmt.Errorf("mandatory field %s is missing", m.path)
		}
		if l.State == Shown && l.Value[0] != m.kind {
			return fmt.Errorf("%s: value is of kind %c, not %c", l.Path, l.Value[0], m.kind)
		}
	}
	if o.Field("raw") != nil && o.Field("raw_media_type") == nil {
		return errors.New("mandatory field raw_media_type is missing beside raw")
	}
	if l := o.Field("schema"); l.State == Shown && string(l.Value[1:]) != Schema {
		return fmt.Errorf("schema: %s is not %s", l.Value.Text(), Schema)
	}
	if l := o.Field("times.received"); l.State == Shown {
		ns, _ := parseInt(l.Value[1:])
		if ns < 0 || ns/1e9 != o.Leaf.Received {
			return fmt.Errorf("times.received: %s is not in second %d of the leaf", l.Value.Text(), o.Leaf.Received)
		}
	}
	return nil
}

// Field returns the line with that path, or nil.
func (o *Opened) Field(path string) *Line {
	i, ok := slices.BinarySearchFunc(o.Lines, path, func(l Line, path string) int { return strings.Compare(l.Path, path) })
	if !ok {
		return nil
	}
	return &o.Lines[i]
}

// erased reports whether an erasure leaf beside the disclosure is included under the policy and concerns the field:
// it erases one of the field's owners, or a range of the same shard that holds the entry.
func (d *Disclosure) erased(l *Line, o *Opened, p *policy.Policy) bool {
	i := slices.IndexFunc(d.Erasures, func(e proof.Proof) bool { return e.Index == l.ErasedAt })
	if i < 0 {
		return false
	}
	e := d.Erasures[i]
	parsed, err := leaf.Parse(e.Extra)
	if err != nil {
		return false
	}
	erasure, ok := parsed.(*leaf.Erasure)
	if !ok || erasure.Log != o.Leaf.Log {
		return false
	}
	v, err := e.Verify(p, leaf.HashOf(e.Extra))
	if err != nil || checkFamily(erasure.Log, v.Checkpoint.Origin) != nil {
		return false
	}
	if erasure.To > 0 {
		return v.Checkpoint.Origin == o.Checkpoint.Origin && erasure.From <= o.Index && o.Index < erasure.To
	}
	persons := o.Leaf.Persons()
	return slices.ContainsFunc(l.Owners, func(owner uint8) bool {
		_, found := slices.BinarySearchFunc(erasure.Tags, leaf.Tag{Field: tag.Person, Value: persons[owner]}, leaf.CompareTags)
		return found
	})
}
