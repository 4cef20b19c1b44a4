package verify

// Rewind is rewind.
var Rewind = rewind

// SetHold makes a Verifier that does not run yet hold fewer entries, and go back
// by fewer.
func (v *Verifier) SetHold(hold int, rewind int64) { v.hold, v.rewind = hold, rewind }
