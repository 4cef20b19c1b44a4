package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"idlog/proto/leaf"
)

// ErrCorrupt says that stored bytes are not what was stored, or were stored
// under another master key. Stop writing.
var ErrCorrupt = errors.New("stored bytes do not open under the keys they were sealed with")

// Master is the key over everything. Without it all stays closed for ever.
type Master struct{ key [32]byte }

// String does not tell the key.
func (Master) String() string { return "master key" }

// GoString does not tell it either.
func (Master) GoString() string { return "master key" }

// CreateMaster draws a master key and writes it to a file that must not exist:
// one line of base64 that only its owner may read.
func CreateMaster(file string) (Master, error) {
	var m Master
	rand.Read(m.key[:]) // never fails: it ends the program instead
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Master{}, fmt.Errorf("creating master key: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(m.key[:]) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Master{}, fmt.Errorf("creating master key: %w", err)
	}
	return m, nil
}

// ReadMaster reads the file that CreateMaster wrote. It refuses one that others
// than its owner may read. No error holds any part of the key.
func ReadMaster(file string) (Master, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Master{}, fmt.Errorf("reading master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Master{}, fmt.Errorf("reading master key: others may read %s (mode %#o): chmod 600 it", file, info.Mode().Perm())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Master{}, fmt.Errorf("reading master key: %w", err)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(string(b), "\n"))
	if err != nil || len(key) != 32 {
		return Master{}, fmt.Errorf("reading master key: %s is not a line of base64 of 32 bytes", file)
	}
	return Master{[32]byte(key)}, nil
}

// box seals small things under one key that the master key gives. Each gets an
// AES-256-GCM key of its own, derived from 16 random bytes that stand before the
// ciphertext, so that no number of them wears a key out.
type box struct{ key []byte }

const saltSize = 16

func (m Master) box(purpose string) (box, error) {
	key, err := hkdf.Key(sha256.New, m.key[:], nil, purpose, 32)
	return box{key}, err
}

// seal returns salt || ciphertext. about is authenticated and not stored.
func (b box) seal(about, plain []byte) ([]byte, error) {
	out := make([]byte, saltSize, saltSize+len(plain)+16)
	rand.Read(out)
	aead, err := newGCM(b.derive(out))
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, make([]byte, aead.NonceSize()), plain, about), nil
}

// open is the inverse of seal. Its error is ErrCorrupt.
func (b box) open(about, sealed []byte) ([]byte, error) {
	if len(sealed) < saltSize {
		return nil, ErrCorrupt
	}
	return openGCM(b.derive(sealed[:saltSize]), 0, about, sealed[saltSize:])
}

func (b box) derive(salt []byte) leaf.Hash {
	h := hmac.New(sha256.New, b.key)
	h.Write(salt)
	var k leaf.Hash
	h.Sum(k[:0])
	return k
}

func newGCM(key leaf.Hash) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealGCM encrypts under a key that seals one thing per number and no other.
func sealGCM(key leaf.Hash, number byte, about, plain []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	nonce[0] = number
	return aead.Seal(nil, nonce, plain, about), nil
}

func openGCM(key leaf.Hash, number byte, about, sealed []byte) ([]byte, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	nonce[0] = number
	plain, err := aead.Open(nil, nonce, sealed, about)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}
