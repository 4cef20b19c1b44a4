// Package lru is a bounded map.
package lru

import (
	"container/list"
	"sync"
)

// Map is a bounded map that forgets what was asked for longest ago. It may be
// used by any number of goroutines.
type Map[K comparable, V any] struct {
	size int

	mu    sync.Mutex // guards the two below
	order list.List  // of *slot[K, V], newest first
	slots map[K]*list.Element
}

type slot[K comparable, V any] struct {
	key   K
	value V
}

// New makes a map of at most size entries.
func New[K comparable, V any](size int) *Map[K, V] {
	return &Map[K, V]{size: size, slots: make(map[K]*list.Element)}
}

// Get returns the value of a key, and false if there is none.
func (c *Map[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.slots[key]
	if e == nil {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*slot[K, V]).value, true
}

// Put sets the value of a key.
func (c *Map[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.slots[key]; e != nil {
		e.Value.(*slot[K, V]).value = value
		c.order.MoveToFront(e)
		return
	}
	c.slots[key] = c.order.PushFront(&slot[K, V]{key, value})
	if len(c.slots) > c.size {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.slots, last.Value.(*slot[K, V]).key)
	}
}
