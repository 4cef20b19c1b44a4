package lru_test

import (
	"testing"

	"idlog/client/internal/lru"
)

func TestMap(t *testing.T) {
	m := lru.New[string, int](2)
	want := func(key string, value int, ok bool) {
		t.Helper()
		if v, found := m.Get(key); v != value || found != ok {
			t.Errorf("%s is %d, %t; want %d, %t", key, v, found, value, ok)
		}
	}
	want("a", 0, false)
	m.Put("a", 1)
	m.Put("b", 2)
	want("a", 1, true) // b is now the oldest
	m.Put("c", 3)
	want("b", 0, false)
	m.Put("a", 4)
	m.Put("d", 5)
	want("c", 0, false)
	want("a", 4, true)
	want("d", 5, true)
}
