package history_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"idlog/proto/history"
)

// A recount from any earlier revision has the state that Append came to, and none if a row that it reads was changed.
func TestRecount(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	entries := world(7, 1500)
	s := &flipping{Store: memory(t)}
	x := open(t, s, 4)
	closing(t, x)
	for size := 0; size < len(entries); {
		before := x.View()
		n := min(1+r.IntN(60), len(entries)-size)
		some := entries[size : size+n]
		size += n
		if err := x.Append(some); err != nil {
			t.Fatal(err)
		}
		if keys, root, err := before.Recount(some); err != nil || keys != x.State().Keys || root != x.State().MapRoot {
			t.Fatalf("at %d: %d keys, root %x, %v; want %+v", size, keys, root, err, x.State())
		}
		if keys, root, err := before.Recount(nil); err != nil || keys != before.State().Keys || root != before.State().MapRoot {
			t.Errorf("at %d, of nothing: %d keys, root %x, %v", size, keys, root, err)
		}
		for range 3 {
			s.in = 1 + r.IntN(20)
			s.flipped = false
			_, _, err := before.Recount(some)
			if s.flipped && !errors.Is(err, history.ErrDamaged) {
				t.Fatalf("at %d: a row that was changed went unnoticed: %v", size, err)
			}
			s.in = 0
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// flipping is a store that turns over one bit of a value of the row that is read in-th from when it was set.
type flipping struct {
	history.Store
	in      int
	flipped bool
}

func (s *flipping) Snapshot() history.Snapshot { return flippingSnapshot{s.Store.Snapshot(), s} }

type flippingSnapshot struct {
	history.Snapshot
	s *flipping
}

func (s flippingSnapshot) Scan(from, to []byte) (history.Cursor, error) {
	c, err := s.Snapshot.Scan(from, to)
	return flippingCursor{c, s.s}, err
}

type flippingCursor struct {
	history.Cursor
	s *flipping
}

func (c flippingCursor) Value() []byte {
	b := c.Cursor.Value()
	if c.s.in--; c.s.in == 0 {
		b = append([]byte(nil), b...)
		b[1+len(b)/3] ^= 4 // in a hash
		c.s.flipped = true
	}
	return b
}
