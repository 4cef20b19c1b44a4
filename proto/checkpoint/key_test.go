package checkpoint_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/prototest"
)

var kinds = []struct {
	name string
	alg  checkpoint.Alg
	role checkpoint.Role
	kind byte
}{
	{"log Ed25519", checkpoint.Ed25519, checkpoint.LogRole, 1},
	{"log ML-DSA-44", checkpoint.MLDSA44, checkpoint.LogRole, 6},
	{"witness Ed25519", checkpoint.Ed25519, checkpoint.WitnessRole, 4},
	{"witness ML-DSA-44", checkpoint.MLDSA44, checkpoint.WitnessRole, 6},
}

func TestKeys(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			skey, vkey, err := checkpoint.GenerateKey("log.example/id", kind.alg, kind.role)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := checkpoint.VKey(skey); again != vkey || err != nil {
				t.Errorf("VKey of the private key: %q, %v, want %q", again, err, vkey)
			}
			k, err := checkpoint.ParseVKey(vkey)
			if err != nil {
				t.Fatal(err)
			}
			if k.VKey() != vkey || k.Alg != kind.alg || !k.Serves(kind.role) {
				t.Errorf("parsed: %+v", k)
			}
			raw, _ := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
			if raw[0] != kind.kind {
				t.Errorf("type %d, want %d", raw[0], kind.kind)
			}
			signAndVerify(t, skey, vkey)
		})
	}
}

// signAndVerify signs, and verifies as all who read our notes do: with our
// verifier, with the note package, and with the test's own signer against ours.
func signAndVerify(t *testing.T, skey, vkey string) {
	s, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := checkpoint.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c := testLog().Checkpoint(21)
	signed, err := checkpoint.Sign(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(signed, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("note.Open: %v", err)
	}
	text, sigs, err := checkpoint.Split(signed)
	if err != nil {
		t.Fatal(err)
	}
	sig := sigs[0].Bytes
	for i := range sig {
		sig[i] ^= 1
		if v.Verify(text, sig) {
			t.Errorf("verifies with byte %d of the signature changed", i)
		}
		sig[i] ^= 1
		if i > 80 {
			break // the rest of an ML-DSA-44 signature is the library's business
		}
	}
	for name, other := range map[string]checkpoint.Checkpoint{
		"origin": {Origin: c.Origin + "x", Size: c.Size, Root: c.Root},
		"size":   {Origin: c.Origin, Size: c.Size + 1, Root: c.Root},
		"root":   {Origin: c.Origin, Size: c.Size, Root: testLog().Checkpoint(20).Root},
	} {
		if v.Verify(other.Format(), sig) {
			t.Errorf("verifies under another %s", name)
		}
	}
	if v.Verify(text, nil) || v.Verify(text, sig[:len(sig)-1]) || v.Verify(text, append(sig, 0)) {
		t.Error("verifies with another length")
	}
}

// TestTestSigner holds the signer of the tests, which takes any time, to the
// verifiers of the library.
func TestTestSigner(t *testing.T) {
	for _, kind := range kinds {
		k := prototest.NewKey("some.example", kind.alg, kind.role)
		v, err := checkpoint.NewVerifier(k.VKey)
		if err != nil {
			t.Fatal(err)
		}
		text := testLog().Checkpoint(21).Format()
		if !v.Verify(text, k.Sign(text, 1_800_000_000).Bytes) {
			t.Errorf("%s does not verify", kind.name)
		}
		if again, err := checkpoint.VKey(k.SKey); again != k.VKey || err != nil {
			t.Errorf("%s: %q, %v, want %q", kind.name, again, err, k.VKey)
		}
	}
}

// TestLogMLDSA says how an ML-DSA-44 line of a log behaves: it states the time
// of signing, so the same text signed later gives another line, and both
// verify.
func TestLogMLDSA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := prototest.NewKey("log.example/id/2026", checkpoint.MLDSA44, checkpoint.LogRole)
		s, err := checkpoint.NewSigner(k.SKey)
		if err != nil {
			t.Fatal(err)
		}
		v, err := checkpoint.NewVerifier(k.VKey)
		if err != nil {
			t.Fatal(err)
		}
		text := testLog().Checkpoint(21).Format()
		for range 2 {
			sig, err := s.Sign(text)
			if err != nil {
				t.Fatal(err)
			}
			if !v.Verify(text, sig) {
				t.Error("does not verify")
			}
			at, ok := checkpoint.Signature{Bytes: sig}.Time()
			if !ok || at.Unix() != time.Now().Unix() {
				t.Errorf("states the time %v, want %v", at, time.Now())
			}
			time.Sleep(time.Hour) // of the bubble
		}
	})
}

// TestLibraryReadsOurs holds our keys to the library's own constructors.
func TestLibraryReadsOurs(t *testing.T) {
	skey, vkey, err := fnote.GenerateMLDSAKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	signAndVerify(t, skey, vkey)
	_, vkey, err = checkpoint.GenerateKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := checkpoint.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Name() != theirs.Name() || ours.KeyHash() != theirs.KeyHash() {
		t.Errorf("%s+%08x, want %s+%08x", ours.Name(), ours.KeyHash(), theirs.Name(), theirs.KeyHash())
	}
}

// TestVerifierRefusesLenient holds back what the library would verify: times
// that are no int64, and texts that are not canonical.
func TestVerifierRefusesLenient(t *testing.T) {
	for _, kind := range kinds[1:] {
		k := prototest.NewKey("log.example", kind.alg, kind.role)
		v, err := checkpoint.NewVerifier(k.VKey)
		if err != nil {
			t.Fatal(err)
		}
		text := testLog().Checkpoint(21).Format()
		if v.Verify(text, k.Sign(text, 1<<63).Bytes) {
			t.Errorf("%s: verifies a time of 2^63", kind.name)
		}
		sig := k.Sign(text, math.MaxInt64)
		if !v.Verify(text, sig.Bytes) {
			t.Errorf("%s: does not verify the last time", kind.name)
		}
		if padded := append(text[:len(text):len(text)], '\n'); v.Verify(padded, sig.Bytes) {
			t.Errorf("%s: verifies a text that is no checkpoint", kind.name)
		}
		if kind.alg == checkpoint.MLDSA44 {
			leading := []byte(strings.Replace(string(text), "\n21\n", "\n021\n", 1))
			if v.Verify(leading, sig.Bytes) {
				t.Errorf("%s: verifies a size with a leading zero", kind.name)
			}
		}
	}
}

func TestTime(t *testing.T) {
	for _, test := range []struct {
		seconds uint64
		ok      bool
	}{{0, false}, {1, true}, {1_800_000_000, true}, {1 << 63, false}} {
		s := checkpoint.Signature{Bytes: append(binary.BigEndian.AppendUint64(nil, test.seconds), make([]byte, 64)...)}
		if at, ok := s.Time(); ok != test.ok || ok && at.Unix() != int64(test.seconds) {
			t.Errorf("%d: %v, %v", test.seconds, at, ok)
		}
	}
	if _, ok := (checkpoint.Signature{Bytes: make([]byte, 64)}).Time(); ok {
		t.Error("a signature without time has one")
	}
}

func TestKeysRefused(t *testing.T) {
	k := prototest.NewKey("log.example", checkpoint.Ed25519, checkpoint.LogRole)
	f := strings.SplitN(k.VKey, "+", 3)
	raw, _ := base64.StdEncoding.DecodeString(f[2])
	typed := func(kind byte) string {
		return f[0] + "+" + f[1] + "+" + base64.StdEncoding.EncodeToString(append([]byte{kind}, raw[1:]...))
	}
	for name, vkey := range map[string]string{
		"empty":               "",
		"name alone":          f[0],
		"no key":              f[0] + "+" + f[1],
		"empty key":           f[0] + "+" + f[1] + "+",
		"empty name":          "+" + f[1] + "+" + f[2],
		"other name":          "log2.example+" + f[1] + "+" + f[2],
		"other ID":            f[0] + "+00000000+" + f[2],
		"upper case ID":       f[0] + "+" + strings.ToUpper(f[1]) + "+" + f[2],
		"short ID":            f[0] + "+" + f[1][1:] + "+" + f[2],
		"trailing newline":    k.VKey + "\n",
		"unused bits":         f[0] + "+" + f[1] + "+" + twinVKey(f[2]),
		"type 0":              typed(0),
		"type 2":              typed(2),
		"type 4 with 1's ID":  typed(4),
		"type 5":              typed(5),
		"type 6 of 32 bytes":  typed(6),
		"space in the name":   "log example+" + f[1] + "+" + f[2],
		"private key":         k.SKey,
		"Ed25519 of 31 bytes": f[0] + "+" + f[1] + "+" + base64.StdEncoding.EncodeToString(raw[:32]),
	} {
		if _, err := checkpoint.ParseVKey(vkey); err == nil {
			t.Errorf("%s: parsed", name)
		}
		if _, err := checkpoint.NewVerifier(vkey); err == nil {
			t.Errorf("%s: has a verifier", name)
		}
	}
	for name, skey := range map[string]string{
		"empty":      "",
		"public key": k.VKey,
		"no prefix":  strings.TrimPrefix(k.SKey, "PRIVATE+KEY+"),
		"other name": strings.Replace(k.SKey, "log.example", "log2.example", 1),
		"cut":        k.SKey[:len(k.SKey)-4],
		"newline":    k.SKey + "\n",
	} {
		if _, err := checkpoint.NewSigner(skey); err == nil {
			t.Errorf("%s: has a signer", name)
		} else if strings.Contains(err.Error(), strings.TrimSpace(skey)) && skey != "" {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("a", 256)} {
		if _, _, err := checkpoint.GenerateKey(name, checkpoint.Ed25519, checkpoint.LogRole); err == nil {
			t.Errorf("generated a key named %q", name)
		}
	}
	if _, _, err := checkpoint.GenerateKey("a", 0, checkpoint.LogRole); err == nil {
		t.Error("generated a key of no algorithm")
	}
	if _, _, err := checkpoint.GenerateKey("a", checkpoint.MLDSA44, 0); err == nil {
		t.Error("generated a key of no role")
	}
}

// twinVKey is twin for text that may end without padding.
func twinVKey(b64 string) string {
	if strings.HasSuffix(b64, "=") {
		return twin(strings.TrimRight(b64, "=") + "=")
	}
	return b64 + "="
}
