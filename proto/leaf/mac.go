package leaf

import "crypto/sha256"

// MAC returns HMAC-SHA-256 (RFC 2104) of the parts, one after the other, under a key of 32 bytes. It is called a dozen
// times for each event and allocates nothing, which is why it is not that of crypto/hmac. Compare results of it in
// constant time where a stranger could measure.
func MAC(key *Hash, parts ...[]byte) Hash {
	var buf [2 * sha256.BlockSize]byte
	h := sha256.New()
	h.Write(pad(buf[:0], key, 0x36))
	for _, p := range parts {
		h.Write(p)
	}
	outer := h.Sum(pad(buf[:0], key, 0x5c))
	return sha256.Sum256(outer)
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
