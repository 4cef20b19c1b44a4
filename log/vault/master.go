package vault

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

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

// box seals small things under one key that the master key gives, by
// XChaCha20-Poly1305: its nonces are long enough to be drawn, however many.
type box struct{ key leaf.Hash }

// sealedSize is what so many bytes become in a box.
func sealedSize(plain int) int {
	return chacha20poly1305.NonceSizeX + plain + chacha20poly1305.Overhead
}

func (m Master) box(purpose string) (box, error) {
	key, err := hkdf.Key(sha256.New, m.key[:], nil, purpose, 32)
	if err != nil {
		return box{}, err
	}
	return box{leaf.Hash(key)}, nil
}

// seal appends nonce || ciphertext to out. about is authenticated and not stored.
func (b box) seal(out, about, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(b.key[:])
	if err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	rand.Read(nonce[:]) // never fails: it ends the program instead
	return aead.Seal(append(out, nonce[:]...), nonce[:], plain, about), nil
}

// open is the inverse of seal. Its error is ErrCorrupt.
func (b box) open(about, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(b.key[:])
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, ErrCorrupt
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], about)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}

// sealOnce appends to out what it encrypts, by ChaCha20-Poly1305, under a key that
// seals one thing per number and no other: each event has keys of its own, and
// this cipher takes a new one for nothing. plain may begin where out ends.
func sealOnce(out []byte, key leaf.Hash, number byte, about, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, err
	}
	nonce := [chacha20poly1305.NonceSize]byte{number}
	return aead.Seal(out, nonce[:], plain, about), nil
}

func openOnce(key leaf.Hash, number byte, about, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, err
	}
	nonce := [chacha20poly1305.NonceSize]byte{number}
	plain, err := aead.Open(nil, nonce[:], sealed, about)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plain, nil
}
