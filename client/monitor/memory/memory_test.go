package memory_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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

// A table that is not as it was written is an error of who asks, and of nobody
// else.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s, err := memory.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := memory.Batch{Checked: 1000}
	for i := range 1000 {
		b.Learn(memory.Fields(hash(i)), memory.Place{Index: int64(i), Hash: hash(i)})
	}
	if err := errors.Join(s.Commit(&b), s.Close()); err != nil {
		t.Fatal(err)
	}
	s, err = memory.Open(dir, slog.New(slog.DiscardHandler)) // which makes a table of its journal
	if err == nil {
		err = s.Close()
	}
	tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	table, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	table[100] ^= 1
	if err := os.WriteFile(tables[0], table, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = memory.Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		return // it is needed at once
	}
	defer s.Close()
	failed := 0
	for i := range 1000 {
		p, ok, err := s.Find(&memory.Batch{}, memory.Fields(hash(i)))
		switch {
		case err != nil:
			failed++
		case !ok || p.Index != int64(i):
			t.Fatalf("entry %d: %v, %v", i, p, ok)
		}
	}
	if failed == 0 {
		t.Error("nothing was damaged")
	}
}
