package leaf

import "crypto/sha256"

// MAC returns HMAC-SHA-256 (RFC 2104) of the parts, one after the other, under a key of 32 bytes. All of them together
// are of some hundred bytes where this is called a dozen times for each event, and then it allocates nothing, which is
// why it is not that of crypto/hmac. Compare results of it in constant time where a stranger could measure.
func MAC(key *Hash, parts ...[]byte) Hash {
	var buf [512]byte
	b := pad(buf[:0], key, 0x36)
	for _, p := range parts {
		b = append(b, p...)
	}
	inner := sha256.Sum256(b)
	b = pad(buf[:0], key, 0x5c)
	return sha256.Sum256(append(b, inner[:]...))
}

// pad appends one block: the key, exclusive-or a byte throughout.
func pad(b []byte, key *Hash, with byte) []byte {
	for _, k := range key {
		b = append(b, k^with)
	}
	for range sha256.BlockSize - len(key) {
		b = append(b, with)
	}
	return b
}
