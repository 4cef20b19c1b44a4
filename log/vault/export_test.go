package vault

// AppendPath and Path are how payloads spell paths.
func AppendPath(b []byte, path string) []byte { return appendPath(b, path) }

// Path is the inverse of AppendPath, with what it leaves.
func Path(b []byte) (string, []byte) {
	r := reader{b}
	return r.path(), r.b
}

// ParseEnrolment reads what is kept of an enrolment.
func ParseEnrolment(b []byte) (*Enrolment, error) { return parseEnrolment(b) }
