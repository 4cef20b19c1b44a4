package journal

// SetSegmentSize makes segments of an open journal full earlier.
func SetSegmentSize(j *Journal, n int64) { j.segments.full = n }

// AppendRecord appends a record with its checksums.
func AppendRecord(b []byte, kind byte, body []byte) []byte {
	return appendRecord(b, kind, func(b []byte) []byte { return append(b, body...) })
}
