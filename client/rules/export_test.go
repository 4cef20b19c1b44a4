package rules

// SetHeld is as if a history held so many bytes of keys leaves already.
func SetHeld(h *History, bytes int) { h.held = bytes }
