//go:build cheat

package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"slices"
	"sync"
	"time"

	"idlog/log/journal"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/seal"
	"idlog/proto/tag"
)

// cheat is a dishonest operator, for tests of what clients find out. The
// environment variable IDLOG_CHEAT names what it does.
type cheat struct {
	mu   sync.Mutex
	held []*journal.Row // enrolments that are logged too late; guarded by mu
	last *Receipt       // guarded by mu
}

func does(what string) bool { return os.Getenv("IDLOG_CHEAT") == what }

func (*cheat) received(t time.Time) time.Time {
	if does("backdate") {
		return t.Add(-1000 * time.Hour)
	}
	return t
}

// fields logs another value than was sent, no value, or two.
func (*cheat) fields(f []seal.Field) []seal.Field {
	i := slices.IndexFunc(f, func(f seal.Field) bool { return f.Path == "outcome.status" })
	if i < 0 {
		return f
	}
	f = slices.Clone(f)
	switch {
	case does("value"):
		f[i].Value = seal.Enum(int64('9' - f[i].Value[1]))
	case does("drop"):
		f = slices.Delete(f, i, i+1)
	case does("twin"):
		twin := f[i]
		twin.Value = seal.Enum(int64('9' - f[i].Value[1]))
		f = slices.Insert(f, i, twin)
	}
	return f
}

func (*cheat) tags(t []leaf.Tag) []leaf.Tag {
	i := slices.IndexFunc(t, func(t leaf.Tag) bool { return t.Field == tag.Actor })
	if i < 0 {
		return t
	}
	t = slices.Clone(t)
	switch {
	case does("missing-tag"):
		t = slices.Delete(t, i, i+1)
	case does("wrong-tag"):
		t[i].Value[0] ^= 1
		slices.SortFunc(t, leaf.CompareTags) // it may have passed its neighbour
	case does("ghost-tag"):
		var ghost [32]byte
		rand.Read(ghost[:])
		t = append(t, leaf.Tag{Field: tag.Person, Value: tag.OfPerson(ghost, tag.Person)})
		slices.SortFunc(t, leaf.CompareTags)
	}
	return t
}

func (*cheat) header(l *leaf.Event) {
	switch {
	case does("wrong-source"):
		l.Source = "somebody-else"
	case does("wrong-epoch"):
		l.Keys++
	}
}

// digest is seal.Digest, but takes one path twice.
func (*cheat) digest(lines []seal.Line) (leaf.Hash, error) {
	if !does("twin") {
		return seal.Digest(lines)
	}
	b := binary.BigEndian.AppendUint16([]byte("idlog/fields/v1\x00"), uint16(len(lines)))
	for _, l := range lines {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l.Path))), l.Path...)
		b = append(append(b, uint8(len(l.Owners))), l.Owners...)
		b = append(b, l.Commitment[:]...)
	}
	return sha256.Sum256(b), nil
}

// hold keeps enrolments back, so that events are logged before them.
func (c *cheat) hold(rows []*journal.Row) []*journal.Row {
	if !does("late-enrolment") {
		return rows
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, rows...)
	return nil
}

// lose forgets the events that were taken, whose tickets promise that they will be logged.
func (*cheat) lose(rows []*journal.Row) []*journal.Row {
	if !does("broken-promise") {
		return rows
	}
	return slices.DeleteFunc(rows, func(r *journal.Row) bool { return bytes.HasPrefix(r.Leaf, []byte("idlog-event/v1\n")) })
}

// receipt changes a receipt that is about to be given out.
func (c *cheat) receipt(ctx context.Context, in *Ingest, size int64, r *Receipt) error {
	c.mu.Lock()
	held, last := c.held, c.last
	c.held, c.last = nil, &Receipt{Index: r.Index, Leaf: r.Leaf, Inclusion: r.Inclusion}
	c.mu.Unlock()
	switch {
	case does("late-enrolment"):
		outcomes, err := in.journal.Put(ctx, held)
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			index, err := o.Row.Wait(ctx)
			if err != nil {
				return err
			}
			if _, err := in.log.Await(ctx, index+1); err != nil {
				return err
			}
		}
	case does("foreign-leaf") && last != nil:
		hashes, err := in.log.Inclusion(ctx, last.Index, size)
		if err != nil {
			return err
		}
		r.Index, r.Leaf, r.Inclusion = last.Index, last.Leaf, hashes
	case does("proof"):
		hashes, err := in.log.Inclusion(ctx, r.Index-1, size)
		if err != nil {
			return err
		}
		r.Inclusion = hashes
	case does("no-quorum"):
		text, signatures, err := checkpoint.Split(r.Checkpoint)
		if err != nil {
			return err
		}
		origin, _, _ := bytes.Cut(text, []byte("\n"))
		r.Checkpoint = checkpoint.Join(text, slices.DeleteFunc(signatures, func(s checkpoint.Signature) bool { return s.Name != string(origin) })...)
	}
	return nil
}
