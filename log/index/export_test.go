package index

// SetMost changes how many entries are read at a time, until restore is called.
func SetMost(n int) (restore func()) {
	before := most
	most = n
	return func() { most = before }
}
