package journal

// SetSegmentSize makes segments of an open journal full earlier.
func SetSegmentSize(j *Journal, n int64) { j.segments.full = n }
