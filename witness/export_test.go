package witness

// SetFault makes every durable write of s ask fault before each of its steps,
// "write", "rename" and "sync", of the file of that name.
func (s *Store) SetFault(fault func(step, name string) error) { s.fault = fault }

// StateName is the name of an origin's file.
func StateName(origin string) string { return stateName(origin) }
