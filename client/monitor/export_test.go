package monitor

// SetMost bounds how many bytes a step reads.
func SetMost(m *Monitor, bytes int64) { m.most = bytes }

// Cursor reads a cursor's file and writes it again.
func Cursor(b []byte) ([]byte, error) {
	c, err := parseCursor(b)
	if err != nil {
		return nil, err
	}
	return c.format(), nil
}

// Findings reads findings as the outbox has them, and writes them again.
func Findings(b []byte) ([]byte, error) {
	fs, err := parseFindings(b)
	if err != nil {
		return nil, err
	}
	return formatFindings(fs)
}
