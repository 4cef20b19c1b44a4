package memory_test

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"

	"idlog/client/monitor/memory"
	"idlog/proto/leaf"
)

func hash(n int) leaf.Hash { return sha256.Sum256(fmt.Append(nil, n)) }

func TestStore(t *testing.T) {
	dir := t.TempDir()
	open := func() *memory.Store {
		t.Helper()
		s, err := memory.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	find := func(s *memory.Store, b *memory.Batch, k memory.Key, want int64) {
		t.Helper()
		p, ok, err := s.Find(b, k)
		if err != nil || ok != (want >= 0) || ok && p != (memory.Place{Index: want, Hash: hash(int(want))}) {
			t.Errorf("found %v, %t, %v, want %d", p, ok, err, want)
		}
	}
	s := open()
	var b memory.Batch
	find(s, &b, memory.Fields(hash(7)), -1)
	for i := range 1000 {
		b.Learn(memory.Fields(hash(i)), memory.Place{Index: int64(i), Hash: hash(i)})
	}
	b.Checked = 1000
	find(s, &b, memory.Fields(hash(7)), 7)
	find(s, &memory.Batch{}, memory.Fields(hash(7)), -1)
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(&memory.Batch{Checked: 5}); err != nil || s.Checked() != 1000 {
		t.Errorf("checked %d, %v", s.Checked(), err)
	}
	if _, err := memory.Open(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if s.Checked() != 1000 {
		t.Errorf("checked %d", s.Checked())
	}
	find(s, &memory.Batch{}, memory.Fields(hash(999)), 999)
	find(s, &memory.Batch{}, memory.Fields(hash(1000)), -1)
}

// Nothing of one kind or source is taken for something of another.
func TestKeys(t *testing.T) {
	seen := make(map[memory.Key]int)
	for i, k := range []memory.Key{
		memory.Fields(hash(1)), memory.Fields(hash(2)), memory.Enrolment(hash(1)),
		memory.ID("a", hash(1)), memory.ID("b", hash(1)), memory.ID("a", hash(2)), memory.ID("", hash(1)),
	} {
		if j, ok := seen[k]; ok {
			t.Errorf("keys %d and %d are one", j, i)
		}
		seen[k] = i
	}
}
