package history

// A Store is the ordered key-value store an Index lives in. The Index is its only user. Reads see what was committed.
//
// Commits need not be durable when they return; but what a crash leaves must be all of the commits up to some point, each
// of them whole, and nothing of those after it.
type Store interface {
	// Snapshot returns what is committed now. It stays readable, by any goroutine, whatever is committed later.
	Snapshot() Snapshot
	// Batch begins writes that are committed together. One batch is open at a time.
	Batch() Batch
	// Close makes everything committed durable. All snapshots were closed.
	Close() error
}

// A Snapshot is a state of a Store.
type Snapshot interface {
	// Get returns a value that the caller owns, nil if the key is not there.
	Get(key []byte) ([]byte, error)
	// Scan returns a cursor over the keys in [from, to). It stands nowhere until Seek.
	Scan(from, to []byte) (Cursor, error)
	Close() error
}

// A Cursor goes through keys in ascending order. It is for one goroutine.
type Cursor interface {
	// Seek goes to the first key that is not less than key and reports whether there is one. After false, Close tells of errors.
	Seek(key []byte) bool
	// Next goes on to the next key and reports whether there is one.
	Next() bool
	// Key and Value are of the key where the cursor stands, until it moves.
	Key() []byte
	Value() []byte
	// Close returns the first error of any of the above.
	Close() error
}

// A Batch collects writes. Keys and values are the caller's again when a method returns.
type Batch interface {
	// Put sets the value of a key. A key is either always put or always appended to.
	Put(key, value []byte)
	// Append adds to the end of a key's value, which is empty at first.
	Append(key, value []byte)
	// Commit applies the batch and ends it, also when it fails.
	Commit() error
	// Discard ends the batch without a trace.
	Discard()
}
