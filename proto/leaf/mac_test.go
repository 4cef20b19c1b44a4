package leaf_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"idlog/proto/leaf"
)

// TestMAC holds MAC to RFC 4231's case 1, with the key that stands there for one of 32 bytes, and to crypto/hmac.
func TestMAC(t *testing.T) {
	var key leaf.Hash
	for i := range 20 {
		key[i] = 0x0b // HMAC fills a key of 20 bytes with zeros
	}
	sum := leaf.MAC(&key, []byte("Hi"), nil, []byte(" There"))
	if got, want := hex.EncodeToString(sum[:]), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"; got != want {
		t.Errorf("MAC of RFC 4231, case 1: %s, want %s", got, want)
	}
	random := rand.NewChaCha8([32]byte{1})
	for n := range 1200 {
		random.Read(key[:])
		message := make([]byte, n)
		random.Read(message)
		h := hmac.New(sha256.New, key[:])
		h.Write(message)
		if got := leaf.MAC(&key, message[:n/3], message[n/3:]); !hmac.Equal(got[:], h.Sum(nil)) {
			t.Fatalf("MAC of %d bytes is not that of crypto/hmac", n)
		}
	}
}

func BenchmarkMAC(b *testing.B) {
	var key leaf.Hash
	message := make([]byte, 40)
	b.ReportAllocs()
	for b.Loop() {
		leaf.MAC(&key, message)
	}
}
