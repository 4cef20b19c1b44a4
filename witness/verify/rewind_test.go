package verify_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/prototest"
	"idlog/witness/verify"
)

// TestRewind: what an index of more entries gives for fewer is what an index of these gives.
func TestRewind(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		var leaves [][]byte
		for i := range 1 + random.IntN(400) {
			leaves = append(leaves, event(i*(round+1)))
		}
		kv, err := pebblekv.Memory()
		if err != nil {
			t.Fatal(err)
		}
		x, err := history.Open(kv, history.Config{Depth: round % 5})
		if err != nil {
			t.Fatal(err)
		}
		var entries []history.Entry
		for _, l := range leaves {
			entries = append(entries, history.Entry{Leaf: leaf.HashOf(l), Keys: mapfn.OfEntry(l)})
		}
		if err := x.Append(entries); err != nil {
			t.Fatal(err)
		}
		v := x.View()
		for range 10 {
			n := random.IntN(len(leaves) + 1)
			var keys []leaf.Hash
			for _, e := range entries[n:] {
				keys = append(keys, e.Keys...)
			}
			count, root, err := verify.Rewind(v, int64(n), keys)
			want := prototest.IndexOf(leaves[:n]).Root(origin, 0)
			if err != nil || count != want.Keys || root != want.MapRoot {
				t.Errorf("from %d to %d entries: %d keys and %x, %v; want %d and %x", len(leaves), n, count, root[:4], err, want.Keys, want.MapRoot[:4])
			}
		}
		if err := errors.Join(v.Close(), x.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
