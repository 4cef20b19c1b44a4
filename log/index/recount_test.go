package index_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"idlog/log/index"
	"idlog/proto/history"
	"idlog/proto/history/pebblekv"
	"idlog/proto/leaf"
	"idlog/proto/trie"
)

// The second computation gives the engine's root from the paths of the revision before, and another one if anything in
// them, or in the new heads, is changed.
func TestRecount(t *testing.T) {
	store, err := pebblekv.Memory()
	if err != nil {
		t.Fatal(err)
	}
	x, err := history.Open(store, history.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	random := rand.New(rand.NewPCG(1, 2))
	before := x.View()
	var all []leaf.Hash
	for round := range 60 {
		var entries []history.Entry
		for range 1 + random.IntN(20) {
			e := history.Entry{Leaf: sha256.Sum256(binary.BigEndian.AppendUint64(nil, random.Uint64()))}
			for range 1 + random.IntN(4) {
				k := leaf.Hash(sha256.Sum256(binary.BigEndian.AppendUint64(nil, random.Uint64())))
				switch {
				case len(all) > 0 && random.IntN(2) == 0:
					k = all[random.IntN(len(all))]
				case len(all) > 0 && random.IntN(2) == 0: // close to another one
					k = all[random.IntN(len(all))]
					k[random.IntN(4)] ^= 1 << random.IntN(8)
				}
				e.Keys, all = append(e.Keys, k), append(all, k)
			}
			slices.SortFunc(e.Keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
			e.Keys = slices.Compact(e.Keys)
			entries = append(entries, e)
		}
		if err := x.Append(entries); err != nil {
			t.Fatal(err)
		}
		after := x.View()
		changes := changesOf(t, before, after, entries)
		old, now, err := index.Roots(changes)
		if err != nil || old != before.State().MapRoot || now != after.State().MapRoot {
			t.Fatalf("round %d: roots %x and %x, %v; want %x and %x", round, old, now, err, before.State().MapRoot, after.State().MapRoot)
		}
		for i, key := range changed(entries) {
			path, _, err := before.Find(key)
			if err != nil {
				t.Fatal(err)
			}
			_, head, err := after.Find(key)
			if err != nil {
				t.Fatal(err)
			}
			head.N++
			other := slices.Clone(changes)
			other[i] = index.NewChange(key, path, head)
			if was, is, err := index.Roots(other); err != nil || was != old || is == now {
				t.Fatalf("round %d: another list has the same root, %v", round, err)
			}
			head.N--
			if !path.Found {
				continue
			}
			if n := random.IntN(len(path.Steps) + 1); n < len(path.Steps) {
				path.Steps[n].Sibling[3] ^= 1
			} else {
				path.Head[9] ^= 1
			}
			other[i] = index.NewChange(key, path, head)
			// What is not used, because another key's path leads the same way, does no harm.
			if was, is, err := index.Roots(other); err == nil && was == old && is != now {
				t.Fatalf("round %d: a false path gives another root after the same root before", round)
			}
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		before = after
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
}

// changed returns the keys of entries, ascending.
func changed(entries []history.Entry) []leaf.Hash {
	var keys []leaf.Hash
	for _, e := range entries {
		keys = append(keys, e.Keys...)
	}
	slices.SortFunc(keys, func(a, b leaf.Hash) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}

func changesOf(t *testing.T, before, after *history.View, entries []history.Entry) []index.Change {
	t.Helper()
	var changes []index.Change
	for _, k := range changed(entries) {
		path, _, err := before.Find(k)
		if err != nil {
			t.Fatal(err)
		}
		var head trie.Head
		if _, head, err = after.Find(k); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, index.NewChange(k, path, head))
	}
	return changes
}
