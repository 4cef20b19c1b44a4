package ids_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/client/audit/ids"
	"idlog/proto/leaf"
)

// TestPairs compares what is found with what stands in a map, in memory and in a
// file of many runs.
func TestPairs(t *testing.T) {
	for _, memory := range []int64{1, 20_000, 1 << 20} {
		t.Run(fmt.Sprint(memory, " bytes"), func(t *testing.T) {
			s := ids.New(memory)
			defer s.Close()
			random := rand.New(rand.NewPCG(1, uint64(memory)))
			first := make(map[leaf.Hash]int64)
			found := make(map[ids.Pair]bool)
			add := func(key leaf.Hash, index int64) {
				if err := s.Add(key, index); err != nil {
					t.Fatal(err)
				}
				if at, ok := first[key]; !ok {
					first[key] = index
				} else if at != index {
					found[ids.Pair{First: at, Second: index}] = true
				}
			}
			for i := range int64(5000) {
				var key leaf.Hash
				binary.BigEndian.PutUint64(key[:], random.Uint64N(20_000)*0x9e3779b97f4a7c15)
				add(key, i)
				add(key, i)                       // one entry is no pair
				add(leaf.Hash{7: 1}, i/2500*2500) // one key of very few entries
			}
			got, err := s.Pairs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := make(map[ids.Pair]bool)
			for i, p := range got {
				want[p] = true
				if i > 0 && p.First < got[i-1].First {
					t.Error("they do not ascend")
				}
			}
			if diff := cmp.Diff(found, want); diff != "" || len(want) != len(got) {
				t.Errorf("%d pairs:\n%s", len(got), diff)
			}
			if len(found) < 100 {
				t.Errorf("%d pairs are too few to show anything", len(found))
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	s := ids.New(1)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Pairs(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A disk without room for the file is an error that says what to do.
func TestNoRoom(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere")
	s := ids.New(1)
	defer s.Close()
	var err error
	for i := int64(0); i < 1000 && err == nil; i++ {
		err = s.Add(leaf.Hash{byte(i)}, i)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
