package history_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"idlog/proto/history"
)

// A recount agrees with Append about the same entries, and about no others. A bit that turns over in the rows that both have
// does not go unnoticed.
func TestRecount(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	entries := world(7, 1500)
	x, err := history.Open(memory(t), history.Config{Depth: 4, Recount: true})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, x)
	spoilt := 0
	for size := 0; size < len(entries); {
		n := min(1+r.IntN(60), len(entries)-size)
		some := entries[size : size+n]
		size += n
		if err := x.Append(some); err != nil {
			t.Fatal(err)
		}
		if err := x.Recount(some); err != nil {
			t.Fatalf("at %d: %v", size, err)
		}
		for _, other := range others(r, some) {
			if err := x.Recount(other); !errors.Is(err, history.ErrDisagrees) {
				t.Fatalf("at %d: other entries were agreed with: %v", size, err)
			}
		}
		for range 3 {
			restore := x.SpoilRow(r)
			if restore == nil {
				break // there was none
			}
			spoilt++
			if err := x.Recount(some); !errors.Is(err, history.ErrDamaged) {
				t.Fatalf("at %d: a row that was changed went unnoticed: %v", size, err)
			}
			restore()
		}
		if err := x.Recount(some); err != nil {
			t.Fatalf("at %d, again: %v", size, err)
		}
		if r.IntN(4) == 0 { // a revision of nothing
			if err := errors.Join(x.Append(nil), x.Recount(nil)); err != nil {
				t.Fatal(err)
			}
			if err := x.Recount(some); !errors.Is(err, history.ErrDisagrees) {
				t.Fatalf("at %d: the entries of an earlier revision were agreed with: %v", size, err)
			}
		}
	}
	if spoilt < 50 {
		t.Errorf("only %d rows were spoilt", spoilt)
	}
}

// others returns what is not some, but nearly.
func others(r *rand.Rand, some []history.Entry) (all [][]history.Entry) {
	all = append(all, append(slices.Clone(some), history.Entry{}))
	at := slices.IndexFunc(some, func(e history.Entry) bool { return len(e.Keys) > 0 })
	if at < 0 {
		return all
	}
	change := func(f func(e *history.Entry)) {
		other := slices.Clone(some)
		other[at].Keys = slices.Clone(other[at].Keys)
		f(&other[at])
		all = append(all, other)
	}
	change(func(e *history.Entry) { e.Keys = append(e.Keys, history.Hash{byte(r.Uint32()), 1, 2, 3}) })
	change(func(e *history.Entry) { e.Keys[0][31] ^= 1 })
	change(func(e *history.Entry) { e.Keys[0][0] ^= 128 })
	change(func(e *history.Entry) { e.Leaf[7] ^= 1 })
	if len(some[at].Keys) > 1 && some[at].Keys[0] != some[at].Keys[1] {
		change(func(e *history.Entry) { e.Keys = e.Keys[1:] })
	}
	return append(all, slices.Delete(slices.Clone(some), at, at+1))
}
