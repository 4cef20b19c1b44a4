package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// Owner is a person who owns fields of an event.
type Owner struct {
	Position  uint8 // among the leaf's tags of field 2
	Enrolment *Enrolment
}

// Seed opens the fields of one set of owners.
type Seed struct {
	Owners []uint8
	Seed   leaf.Hash
}

// Opening is what opens one event: SPEC 2.3. It belongs to one goroutine.
type Opening struct {
	// Received is our time of receipt, as it stands in the field times.received.
	Received time.Time
	// Seeds are those asked for, or, of an opening that was read back, those of
	// every set of owners that occurs in the event.
	Seeds []Seed

	secret leaf.Hash
	owners []owner // ascending by position: all persons of the event
}

type owner struct {
	position  uint8
	enrolment leaf.Hash
	share     leaf.Hash
}

// NewOpening draws the secret of an event. Owners are all its persons, in any
// order, each once.
func NewOpening(received time.Time, owners []Owner) *Opening {
	o := &Opening{Received: received}
	rand.Read(o.secret[:]) // never fails: it ends the program instead
	for _, p := range owners {
		o.owners = append(o.owners, owner{p.Position, p.Enrolment.Hash, seal.Share(p.Enrolment.Secret, o.secret)})
	}
	slices.SortFunc(o.owners, func(a, b owner) int { return int(a.position) - int(b.position) })
	return o
}

const labelStatement = "idlog/statement/v1\x00"

// StatementOpening is NewOpening for what nobody owns and somebody may say again. Its secret is made of the vault's own and
// of all that is said, so that the same words give the same commitments, and nobody without the vault can guess by them.
func (v *Vault) StatementOpening(received time.Time, said []byte) *Opening {
	// The key also finds identifiers: they begin with a length of at most 1024, and the label does not.
	return &Opening{Received: received, secret: leaf.MAC(&v.lookup, []byte(labelStatement), said)}
}

// Seed returns the seed of a set of owners, which is one of an event's fields,
// and remembers it. The set is kept.
func (o *Opening) Seed(set []uint8) leaf.Hash {
	for i := range o.Seeds {
		if bytes.Equal(o.Seeds[i].Owners, set) {
			return o.Seeds[i].Seed
		}
	}
	s := Seed{Owners: set, Seed: o.seed(set)}
	o.Seeds = append(o.Seeds, s)
	return s.Seed
}

func (o *Opening) seed(set []uint8) leaf.Hash {
	shares := make([]leaf.Hash, 0, len(set))
	for _, p := range o.owners {
		if _, ok := slices.BinarySearch(set, p.position); ok {
			shares = append(shares, p.share)
		}
	}
	return seal.Seed(o.secret, shares)
}

// All returns the seed of all persons of the event, under which raw is stored
// and submissions are compared.
func (o *Opening) All() leaf.Hash {
	for i := range o.Seeds {
		if len(o.Seeds[i].Owners) == len(o.owners) {
			return o.Seeds[i].Seed
		}
	}
	set := make([]uint8, len(o.owners))
	for i := range o.owners {
		set[i] = o.owners[i].position
	}
	return o.seed(set)
}

const payloadVersion = 1

// numbers of what one payload key encrypts.
const (
	numberValues = 0
	numberRaw    = 1
)

// Seal encrypts what is kept of an event. Key is the event's row, to which the
// result is bound. Fields are all fields with their owners; of raw, which may be
// nil, they hold the hash. The two results are stored with the leaf; sealedRaw is
// nil without raw.
//
// A payload is version || u16 length || head || groups, a group being u8 number of
// owners || owners || u32 length || values, in clear but for head and values.
// The head, under the master key: event secret || i64 nanoseconds || per person
// position || leaf hash of the enrolment. The values, under the payload key of their
// owners: path, see appendPath || uvarint length || value, each.
func (v *Vault) Seal(key leaf.Hash, o *Opening, fields []seal.Field, raw []byte) (payload, sealedRaw []byte, err error) {
	var buf [512]byte
	head := append(buf[:0], o.secret[:]...)
	head = binary.BigEndian.AppendUint64(head, uint64(o.Received.UnixNano()))
	for i := range o.owners {
		head = append(append(head, o.owners[i].position), o.owners[i].enrolment[:]...)
	}
	size := 3 + sealedSize(len(head))
	for i := range fields {
		size += pathSize + 2 + len(fields[i].Value)
		o.Seed(fields[i].Owners)
	}
	for i := range o.Seeds {
		size += 5 + len(o.Seeds[i].Owners) + chacha20poly1305.Overhead
	}
	payload = append(make([]byte, 0, size), payloadVersion)
	payload = binary.BigEndian.AppendUint16(payload, uint16(sealedSize(len(head))))
	if payload, err = v.payloads.seal(payload, key[:], head); err != nil {
		return nil, nil, fmt.Errorf("sealing payload: %w", err)
	}
	for i := range o.Seeds {
		if payload, err = appendGroup(payload, key, &o.Seeds[i], fields); err != nil {
			return nil, nil, fmt.Errorf("sealing payload: %w", err)
		}
	}
	if raw != nil {
		if sealedRaw, err = sealOnce(nil, seal.PayloadKey(o.All()), numberRaw, key[:], raw); err != nil {
			return nil, nil, fmt.Errorf("sealing payload: %w", err)
		}
	}
	return payload, sealedRaw, nil
}

// appendGroup appends the values of the fields that a set of persons owns.
func appendGroup(payload []byte, key leaf.Hash, s *Seed, fields []seal.Field) ([]byte, error) {
	payload = append(append(payload, uint8(len(s.Owners))), s.Owners...)
	from := len(payload) + 4
	payload = append(payload, 0, 0, 0, 0)
	for i := range fields {
		f := &fields[i]
		if !bytes.Equal(f.Owners, s.Owners) {
			continue
		}
		payload = appendPath(payload, f.Path)
		payload = binary.AppendUvarint(payload, uint64(len(f.Value)))
		payload = append(payload, f.Value...)
	}
	var buf [64]byte
	payload, err := sealOnce(payload[:from], seal.PayloadKey(s.Seed), numberValues, about(buf[:0], key, s.Owners), payload[from:])
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(payload[from-4:], uint32(len(payload)-from))
	return payload, nil
}

// about appends what the values of a group are bound to.
func about(b []byte, key leaf.Hash, owners []uint8) []byte {
	return append(append(b, key[:]...), owners...)
}

// Open returns the opening of an event with the seeds of all owners that occur.
// Errors are ErrLost if the payload is nil or the secret of a person is gone, and
// ErrCorrupt.
func (v *Vault) Open(key leaf.Hash, payload []byte) (*Opening, error) {
	o, _, err := v.open(key, payload)
	if err != nil {
		return nil, fmt.Errorf("opening event: %w", err)
	}
	return o, nil
}

func (v *Vault) open(key leaf.Hash, payload []byte) (*Opening, [][]byte, error) {
	if payload == nil {
		return nil, nil, ErrLost
	}
	r := reader{payload}
	version, sealed := r.take(1), r.take(int(r.uint(2)))
	if version == nil || version[0] != payloadVersion || sealed == nil {
		return nil, nil, ErrCorrupt
	}
	head, err := v.payloads.open(key[:], sealed)
	if err != nil {
		return nil, nil, err
	}
	if len(head) < 40 || (len(head)-40)%33 != 0 {
		return nil, nil, ErrCorrupt
	}
	o := &Opening{secret: leaf.Hash(head[:32]), Received: time.Unix(0, int64(binary.BigEndian.Uint64(head[32:])))}
	for p := range slices.Chunk(head[40:], 33) {
		e, err := v.Enrolment(leaf.Hash(p[1:]))
		if err != nil {
			return nil, nil, err
		}
		o.owners = append(o.owners, owner{p[0], e.Hash, seal.Share(e.Secret, o.secret)})
	}
	var groups [][]byte
	for len(r.b) > 0 {
		owners := r.take(int(r.uint(1)))
		values := r.take(int(r.uint(4)))
		if owners == nil || values == nil {
			return nil, nil, ErrCorrupt
		}
		o.Seed(slices.Clone(owners))
		groups = append(groups, values)
	}
	if len(groups) != len(o.Seeds) {
		return nil, nil, ErrCorrupt
	}
	return o, groups, nil
}

// Fields returns the opening of an event and its fields, ascending by path. Its
// errors are those of Open.
func (v *Vault) Fields(key leaf.Hash, payload []byte) (*Opening, []seal.Field, error) {
	o, groups, err := v.open(key, payload)
	if err != nil {
		return nil, nil, fmt.Errorf("opening event: %w", err)
	}
	var fields []seal.Field
	for i, s := range o.Seeds {
		plain, err := openOnce(seal.PayloadKey(s.Seed), numberValues, about(nil, key, s.Owners), groups[i])
		if err != nil {
			return nil, nil, fmt.Errorf("opening event: %w", err)
		}
		for r := (reader{plain}); len(r.b) > 0; {
			path := r.path()
			value := r.take(r.uvarint())
			if path == "" || value == nil {
				return nil, nil, fmt.Errorf("opening event: %w", ErrCorrupt)
			}
			fields = append(fields, seal.Field{Path: path, Value: seal.Value(value), Owners: s.Owners})
		}
	}
	slices.SortFunc(fields, func(a, b seal.Field) int { return strings.Compare(a.Path, b.Path) })
	return o, fields, nil
}

// Raw decrypts what Seal returned as sealedRaw.
func (v *Vault) Raw(key leaf.Hash, o *Opening, sealedRaw []byte) ([]byte, error) {
	if sealedRaw == nil {
		return nil, fmt.Errorf("opening raw: %w", ErrLost)
	}
	raw, err := openOnce(seal.PayloadKey(o.All()), numberRaw, key[:], sealedRaw)
	if err != nil {
		return nil, fmt.Errorf("opening raw: %w", err)
	}
	return raw, nil
}

// reader takes a byte string apart. What is not there is nil, and ends it.
type reader struct{ b []byte }

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b = nil
		return nil
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head
}

// uint reads a number of some bytes; -1 if they are not there.
func (r *reader) uint(size int) int64 {
	b := r.take(size)
	if b == nil {
		return -1
	}
	var n int64
	for _, c := range b {
		n = n<<8 | int64(c)
	}
	return n
}

// uvarint is uint for a number of a length of its own.
func (r *reader) uvarint() int {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > math.MaxInt32 {
		r.b = nil
		return -1
	}
	r.b = r.b[size:]
	return int(n)
}
