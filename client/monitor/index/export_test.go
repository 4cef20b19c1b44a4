package index

// SetMost bounds how many hashes wait.
func SetMost(r *Room, hashes int) { r.most = hashes }

// Waiting returns how many do.
func Waiting(r *Room) int { return r.hashes }

// Size returns the size at which the index stands.
func Size(r *Room) int64 { return r.engine.Size() }

// State reads the file of a room and writes it again.
func State(b []byte, origin string) ([]byte, error) {
	s, err := parseState(b, origin)
	if err != nil {
		return nil, err
	}
	return s.format(origin), nil
}
