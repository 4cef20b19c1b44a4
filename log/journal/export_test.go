package journal

// SetSegmentSize makes segments of an open journal full earlier.
func SetSegmentSize(j *Journal, n int64) { j.segments.full = n }

// AppendRecord appends a record with its checksums.
func AppendRecord(b []byte, kind byte, body []byte) []byte {
	return appendRecord(b, kind, func(b []byte) []byte { return append(b, body...) })
}

// Pack and Unpack are how rows keep leaves without zero bytes.
func Pack(leaf []byte) []byte { return appendPacked(nil, leaf) }

// Unpack is the inverse of Pack, nil if there is none.
func Unpack(b []byte) []byte { return unpacked(b) }
