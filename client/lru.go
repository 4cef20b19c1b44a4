package client

import (
	"container/list"
	"sync"
)

// lru is a bounded map that forgets what was asked for longest ago. It may be
// used by any number of goroutines.
type lru[K comparable, V any] struct {
	size int

	mu    sync.Mutex // guards the two below
	order list.List  // of *slot[K, V], newest first
	slots map[K]*list.Element
}

type slot[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{size: size, slots: make(map[K]*list.Element)}
}

func (c *lru[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.slots[key]
	if e == nil {
		return value, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*slot[K, V]).value, true
}

func (c *lru[K, V]) put(key K, value V) {
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
