package subject_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/subject"
)

var update = flag.Bool("update", false, "write etags and proofs into the vectors")

const vectorFile = "../../testdata/vectors/subject.json"

// vectors is testdata/vectors/subject.json. Another implementation made all but the etags and proofs of vrf.
type vectors struct {
	Identifiers []identifier `json:"identifiers"`
	EmailFolds  []struct {
		Address string `json:"address"`
		ID      string `json:"id"`
	} `json:"email_folds"`
	Handles []struct {
		Opening []byte `json:"opening"`
		T       []byte `json:"t"`
		Commit  []byte `json:"commit"`
	} `json:"handles"`
	VRF []proofVector `json:"vrf"`
}

type identifier struct {
	Name   string `json:"name"`
	Accept bool   `json:"accept"`
	Issuer string `json:"issuer,omitempty"`
	Format string `json:"format,omitempty"`
	ID     string `json:"id,omitempty"`
	Input  []byte `json:"input"`
}

type proofVector struct {
	Name       string `json:"name"`
	Accept     bool   `json:"accept"`
	Secret     []byte `json:"secret,omitempty"`
	Public     []byte `json:"public"`
	Identifier []byte `json:"identifier"`
	Etag       []byte `json:"etag,omitempty"`
	Pi         []byte `json:"pi"`
}

func load(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vs vectors
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestIdentifierVectors(t *testing.T) {
	for _, v := range load(t).Identifiers {
		t.Run(v.Name, func(t *testing.T) {
			got, err := subject.ParseIdentifier(v.Input)
			if !v.Accept {
				if err == nil {
					t.Fatalf("parsed %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := (subject.Identifier{Issuer: v.Issuer, Format: v.Format, ID: v.ID}); got != want {
				t.Errorf("parsed %v, want %v", got, want)
			}
			b, err := got.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if string(b) != string(v.Input) {
				t.Errorf("Bytes gave %x, want %x", b, v.Input)
			}
		})
	}
}

func TestBytesRefuses(t *testing.T) {
	for name, id := range map[string]subject.Identifier{
		"zero":              {},
		"no format":         {Issuer: "a", ID: "a"},
		"no id":             {Issuer: "a", Format: "opaque"},
		"format with space": {Format: "a b", ID: "a"},
		"email with issuer": {Issuer: "a", Format: "email", ID: "a@b"},
		"email not folded":  {Format: "email", ID: "A@b"},
		"too long":          {Issuer: string(make([]byte, 70000)), Format: "opaque", ID: "a"},
	} {
		if b, err := id.Bytes(); err == nil {
			t.Errorf("%s: Bytes gave %x", name, b)
		}
		if _, _, err := subject.NewVRFKey().Prove(id); err == nil {
			t.Errorf("%s: Prove took it", name)
		}
	}
}

func TestEmail(t *testing.T) {
	for _, f := range load(t).EmailFolds {
		want := subject.Identifier{Format: "email", ID: f.ID}
		if got := subject.Email(f.Address); got != want {
			t.Errorf("Email(%q) = %v, want %v", f.Address, got, want)
		}
	}
}

func TestStringIsSafe(t *testing.T) {
	id := subject.Identifier{Issuer: "a", Format: "opaque", ID: "\x1b[31m\u202e"}
	if got, want := id.String(), `"a" "opaque" "\x1b[31m\u202e"`; got != want {
		t.Errorf("String gave %s, want %s", got, want)
	}
}

func TestHandleVectors(t *testing.T) {
	for _, v := range load(t).Handles {
		h := subject.Handle{Opening: [32]byte(v.Opening), T: [32]byte(v.T)}
		if got := h.Commit(); got != leaf.Hash(v.Commit) {
			t.Errorf("commit %x, want %x", got, v.Commit)
		}
	}
	if a, b := subject.NewHandle(), subject.NewHandle(); a.T == b.T || a.Opening == b.Opening || a.T == a.Opening {
		t.Error("handles are not fresh")
	}
}

func TestVRFVectors(t *testing.T) {
	if *update {
		writeProofs(t)
	}
	vs := load(t).VRF
	if len(vs) == 0 {
		t.Fatal("no vectors: run with -update")
	}
	for _, v := range vs {
		t.Run(v.Name, func(t *testing.T) {
			id, err := subject.ParseIdentifier(v.Identifier)
			if err != nil {
				t.Fatal(err)
			}
			etag, err := subject.VerifyVRF([32]byte(v.Public), id, v.Pi)
			if !v.Accept {
				if err == nil {
					t.Errorf("verified to %x", etag)
				}
				return
			}
			if err != nil || etag != leaf.Hash(v.Etag) {
				t.Errorf("verified to %x, %v; want %x", etag, err, v.Etag)
			}
			key, err := subject.ParseVRFKey(v.Secret)
			if err != nil {
				t.Fatal(err)
			}
			if key.Public() != [32]byte(v.Public) || string(key.Bytes()) != string(v.Secret) {
				t.Error("key does not come back")
			}
			etag, pi, err := key.Prove(id)
			if err != nil || etag != leaf.Hash(v.Etag) || string(pi) != string(v.Pi) {
				t.Errorf("proved %x by %x, %v", etag, pi, err)
			}
		})
	}
}

// writeProofs makes the vrf part of the vectors from the accepted identifiers and a fixed key.
func writeProofs(t *testing.T) {
	secret := make([]byte, 32)
	for i := range 31 {
		secret[i] = byte(i + 1)
	}
	key, err := subject.ParseVRFKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public()
	vs := load(t)
	vs.VRF = nil
	for _, v := range vs.Identifiers {
		if !v.Accept {
			continue
		}
		etag, pi, err := key.Prove(subject.Identifier{Issuer: v.Issuer, Format: v.Format, ID: v.ID})
		if err != nil {
			t.Fatal(err)
		}
		vs.VRF = append(vs.VRF, proofVector{v.Name, true, secret, public[:], v.Input, etag[:], pi})
	}
	good := vs.VRF[0]
	refuse := func(name string, change func(v *proofVector)) {
		v := proofVector{Name: name, Public: good.Public, Identifier: good.Identifier, Pi: append([]byte(nil), good.Pi...)}
		change(&v)
		vs.VRF = append(vs.VRF, v)
	}
	other := [32]byte(subjectKey(t, 9))
	order := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10}
	refuse("proof for another identifier", func(v *proofVector) { v.Identifier = vs.VRF[1].Identifier })
	refuse("proof under another key", func(v *proofVector) { v.Public = other[:] })
	refuse("neutral public key", func(v *proofVector) { v.Public = make([]byte, 32) })
	refuse("public key is no point", func(v *proofVector) { v.Public = append(make([]byte, 31), 0xff) })
	refuse("no proof", func(v *proofVector) { v.Pi = []byte{} })
	refuse("proof of 79 bytes", func(v *proofVector) { v.Pi = v.Pi[:79] })
	refuse("proof of 81 bytes", func(v *proofVector) { v.Pi = append(v.Pi, 0) })
	refuse("gamma changed", func(v *proofVector) { copy(v.Pi, vs.VRF[1].Pi[:32]) })
	refuse("challenge changed", func(v *proofVector) { v.Pi[40] ^= 1 })
	refuse("response changed", func(v *proofVector) { v.Pi[60] ^= 1 })
	refuse("response is not reduced", func(v *proofVector) { addTo(v.Pi[48:], order) })
	b, err := json.MarshalIndent(vs, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func subjectKey(t *testing.T, first byte) [32]byte {
	key, err := subject.ParseVRFKey(append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

// addTo adds two little-endian numbers.
func addTo(a, b []byte) {
	carry := 0
	for i := range a {
		sum := int(a[i]) + int(b[i]) + carry
		a[i], carry = byte(sum), sum>>8
	}
}

func TestParseVRFKeyRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":       nil,
		"zero":        make([]byte, 32),
		"31 bytes":    make([]byte, 31),
		"33 bytes":    append([]byte{1}, make([]byte, 32)...),
		"not reduced": append(make([]byte, 31), 0xff),
	} {
		if _, err := subject.ParseVRFKey(b); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func FuzzParseIdentifier(f *testing.F) {
	for _, v := range load(f).Identifiers {
		f.Add(v.Input)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := subject.ParseIdentifier(b)
		if err != nil {
			return
		}
		again, err := id.Bytes()
		if err != nil {
			t.Fatalf("parsed and not encoded: %v", err)
		}
		if string(again) != string(b) {
			t.Fatalf("parsed %x, encoded %x", b, again)
		}
	})
}
