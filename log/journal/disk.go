package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"idlog/proto/leaf"
)

// What stands in the database. Bulk is keyed by the sequence number, which
// ascends, so that a compaction seldom has to copy it.
//
//	k || key       -> u64 seq
//	r || u64 seq   -> row, see appendRow
//	p || u64 seq   -> payload
//	w || u64 seq   -> raw
//	c || u64 seq   -> nothing; a control row
//	q || u64 seq   -> nothing; a row without index
//	x || u64 seq   -> u64 index
//	i || u64 index -> u64 seq
//	j              -> u64 cursor
const (
	kindKey     = 'k'
	kindRow     = 'r'
	kindPayload = 'p'
	kindRaw     = 'w'
	kindControl = 'c'
	kindQueued  = 'q'
	kindIndex   = 'x'
	kindEntry   = 'i'
	kindCursor  = 'j'
)

// rowVersion is the first byte of a stored row.
const rowVersion = 1

var errRow = errors.New("a stored row is malformed")

func numbered(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func number(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errRow
	}
	return binary.BigEndian.Uint64(b), nil
}

// appendRow encodes version || key || submission || u16 number of needs || needs
// || u16 length of principal || principal || leaf.
func appendRow(b []byte, r *Row) []byte {
	b = append(b, rowVersion)
	b = append(b, r.Key[:]...)
	b = append(b, r.Submission[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Needs)))
	for i := range r.Needs {
		b = append(b, r.Needs[i][:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Principal)))
	b = append(b, r.Principal...)
	return append(b, r.Leaf...)
}

// parseRow keeps nothing of b.
func parseRow(b []byte) (*Row, error) {
	const fixed = 1 + 32 + 32 + 2
	if len(b) < fixed || b[0] != rowVersion {
		return nil, errRow
	}
	r := &Row{Key: leaf.Hash(b[1:33]), Submission: leaf.Hash(b[33:65])}
	needs := int(binary.BigEndian.Uint16(b[65:]))
	b = b[fixed:]
	if len(b) < 32*needs+2 {
		return nil, errRow
	}
	for range needs {
		r.Needs = append(r.Needs, leaf.Hash(b[:32]))
		b = b[32:]
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < n {
		return nil, errRow
	}
	r.Principal, r.Leaf = string(b[:n]), slices.Clone(b[n:])
	r.size = int64(len(r.Leaf))
	return r, nil
}

// write adds a row, without index, to a batch.
func (j *Journal) write(b *pebble.Batch, r *Row) error {
	if len(r.Needs) > 1<<16-1 || len(r.Principal) > 1<<16-1 {
		return errors.New("a row has more needs or a longer principal than can be stored")
	}
	seq := binary.BigEndian.AppendUint64(nil, r.seq)
	size := 1 + 32 + 32 + 4 + 32*len(r.Needs) + len(r.Principal) + len(r.Leaf)
	err := errors.Join(
		b.Set(append([]byte{kindKey}, r.Key[:]...), seq, nil),
		b.Set(numbered(kindRow, r.seq), appendRow(make([]byte, 0, size), r), nil),
		b.Set(numbered(kindQueued, r.seq), nil, nil),
	)
	if r.Control {
		err = errors.Join(err, b.Set(numbered(kindControl, r.seq), nil, nil))
	}
	if len(r.Payload) > 0 {
		err = errors.Join(err, b.Set(numbered(kindPayload, r.seq), r.Payload, nil))
	}
	if len(r.Raw) > 0 {
		err = errors.Join(err, b.Set(numbered(kindRaw, r.seq), r.Raw, nil))
	}
	return err
}

// writeIndex adds to a batch that the row stands at index. The first index of a
// row is the one that it keeps; again says that it has one in this batch.
func (j *Journal) writeIndex(b *pebble.Batch, r *Row, index int64, again bool) error {
	at := binary.BigEndian.AppendUint64(nil, uint64(index))
	err := b.Set(numbered(kindEntry, uint64(index)), binary.BigEndian.AppendUint64(nil, r.seq), nil)
	if again || r.Index() >= 0 {
		return err
	}
	return errors.Join(err,
		b.Set(numbered(kindIndex, r.seq), at, nil),
		b.Delete(numbered(kindQueued, r.seq), nil),
	)
}

func writeCursor(b *pebble.Batch, cursor int64) error {
	return b.Set([]byte{kindCursor}, binary.BigEndian.AppendUint64(nil, uint64(cursor)), nil)
}

// value returns a copy of what stands under a key, nil if there is nothing.
func (j *Journal) value(key []byte) ([]byte, error) {
	b, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := append(make([]byte, 0, len(b)), b...)
	return v, closer.Close()
}

// read reads the row of a key from the database, nil if there is none.
func (j *Journal) read(key leaf.Hash) (*Row, error) {
	b, err := j.value(append([]byte{kindKey}, key[:]...))
	if err != nil || b == nil {
		return nil, err
	}
	seq, err := number(b)
	if err != nil {
		return nil, err
	}
	return j.readRow(seq)
}

func (j *Journal) readRow(seq uint64) (*Row, error) {
	b, err := j.value(numbered(kindRow, seq))
	if err != nil {
		return nil, err
	}
	r, err := parseRow(b)
	if err != nil {
		return nil, fmt.Errorf("row %d: %w", seq, err)
	}
	r.seq = seq
	at, err := j.value(numbered(kindIndex, seq))
	if err != nil || at == nil {
		return r, err
	}
	index, err := number(at)
	if err != nil {
		return nil, fmt.Errorf("index of row %d: %w", seq, err)
	}
	r.at.Store(int64(index) + 1)
	return r, nil
}

// Payload returns what was put with a row under this name; nil if nothing was,
// or if it is gone. The caller owns it.
func (j *Journal) Payload(r *Row) ([]byte, error) { return j.bulk(kindPayload, r) }

// Raw is Payload for the other name.
func (j *Journal) Raw(r *Row) ([]byte, error) { return j.bulk(kindRaw, r) }

func (j *Journal) bulk(kind byte, r *Row) ([]byte, error) {
	b, err := j.value(numbered(kind, r.seq))
	if err != nil {
		return nil, j.fail(err)
	}
	return b, nil
}

// Controls returns the control rows in the order of Put.
func (j *Journal) Controls(ctx context.Context) ([]*Row, error) {
	seqs, err := j.list(kindControl)
	if err != nil {
		return nil, j.fail(err)
	}
	var rows []*Row
	for _, seq := range seqs {
		r, err := j.readRow(seq)
		if err != nil {
			return nil, j.fail(err)
		}
		if r, err = j.Get(ctx, r.Key); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// list returns the numbers that stand under a kind, ascending.
func (j *Journal) list(kind byte) ([]uint64, error) {
	it, err := j.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return nil, err
	}
	var seqs []uint64
	for ok := it.First(); ok; ok = it.Next() {
		seq, err := number(it.Key()[1:])
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		seqs = append(seqs, seq)
	}
	return seqs, errors.Join(it.Error(), it.Close())
}

// load reads what a start needs: the cursor, the next sequence number, and the
// rows without index.
func (j *Journal) load() error {
	b, err := j.value([]byte{kindCursor})
	if err != nil {
		return err
	}
	if b != nil {
		cursor, err := number(b)
		if err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
		j.cursor = int64(cursor)
	}
	if err := j.loadNext(); err != nil {
		return err
	}
	j.shown = j.next.Load()
	seqs, err := j.list(kindQueued)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		r, err := j.readRow(seq)
		if err != nil {
			return err
		}
		r.done = make(chan struct{})
		j.open[r.Key] = r
		j.bytes += r.size
		j.queue = append(j.queue, r)
	}
	return nil
}

func (j *Journal) loadNext() error {
	it, err := j.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindRow}, UpperBound: []byte{kindRow + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		seq, err := number(it.Key()[1:])
		if err != nil {
			return errors.Join(err, it.Close())
		}
		j.next.Store(seq)
	}
	return errors.Join(it.Error(), it.Close())
}
