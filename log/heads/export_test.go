package heads

// RollAt makes the next head begin a segment if the present one is larger than n.
func (h *File) RollAt(n int64) { h.rollAt = n }
