package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"idlog/log/internal/database"
	"idlog/proto/leaf"
)

// What stands in the database, numbers big-endian. A row is in it some time after
// it has got its index; until then it is in memory.
//
//	k || key       -> u64 position, u64 index
//	c || u64 position -> nothing; a control row
//	a              -> u64 position from which Open reads on, u64 cursor, u64 position up to which
//	                  it knows the segments
const (
	keyRow     = 'k'
	keyControl = 'c'
	keyApplied = 'a'
)

const (
	cacheSize    = 64 << 20
	memTableSize = 8 << 20
)

// spot is what is known of a row with an index.
type spot struct {
	row     position
	index   int64
	control bool
}

// index finds rows. What it was told last a crash may make it forget; what it
// still knows is then what it knew at one moment before.
type index struct{ db *database.DB }

func openIndex(dir string, logger *slog.Logger, tell func(error)) (index, error) {
	o := &pebble.Options{CacheSize: cacheSize, MemTableSize: memTableSize, DisableWAL: true}
	for i := range o.Levels {
		// Nearly every lookup by key is of an event that is new.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := database.Open(dir, o, logger, tell)
	return index{db}, err
}

// remedy says what to do about an index that is not as it was written.
func remedy(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the index is damaged, and the segments are whole without it: move the folder index away, and it is made again", err)
	}
	return err
}

func numbered(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func pair(a position, b int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(a)), uint64(b))
}

// numbers reads as many numbers as there are from under a key, none if nothing is there.
func (x index) numbers(key []byte, into ...*uint64) error {
	v, closer, err := x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading index: %w", err)
	}
	if len(v) != 8*len(into) {
		return errors.Join(errRow, closer.Close())
	}
	for i := range into {
		*into[i] = binary.BigEndian.Uint64(v[8*i:])
	}
	return closer.Close()
}

// find returns where the row of a key is; zero if it is not there.
func (x index) find(key leaf.Hash) (spot, error) {
	var row, index uint64
	err := x.numbers(append([]byte{keyRow}, key[:]...), &row, &index)
	return spot{row: position(row), index: int64(index)}, err
}

// applied returns from where segments are to be read, the cursor that is known
// before, and up to where the segments are known.
func (x index) applied() (from position, cursor int64, end position, err error) {
	var f, c, e uint64
	err = x.numbers([]byte{keyApplied}, &f, &c, &e)
	return position(f), int64(c), position(e), err
}

// add takes rows that have got their index, and what is then true: the cursor,
// from where a restart reads on, and how long the segments are.
func (x index) add(rows map[leaf.Hash]spot, cursor int64, from, end position) error {
	b := x.db.NewBatchWithSize(64 * len(rows))
	err := b.Set([]byte{keyApplied}, binary.BigEndian.AppendUint64(pair(from, cursor), uint64(end)), nil)
	// In their order they go in several times as fast.
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	row := make([]byte, 1+32)
	for _, key := range keys {
		s := rows[key]
		row[0] = keyRow
		copy(row[1:], key[:])
		err = errors.Join(err, b.Set(row, pair(s.row, s.index), nil))
		if s.control {
			err = errors.Join(err, b.Set(numbered(keyControl, uint64(s.row)), nil, nil))
		}
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := x.db.Commit(b, pebble.NoSync); err != nil {
		return err
	}
	_, err = x.db.AsyncFlush() // lookups are slow in what is not flushed
	return err
}

// controls adds the control rows that it has.
func (x index) controls(rows []position) ([]position, error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyControl}, UpperBound: []byte{keyControl + 1}})
	if err != nil {
		return nil, fmt.Errorf("reading index: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != 9 {
			return nil, errors.Join(errRow, it.Close())
		}
		rows = append(rows, position(binary.BigEndian.Uint64(it.Key()[1:])))
	}
	return rows, errors.Join(it.Error(), it.Close())
}
