package seal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/seal"
)

// vectors is testdata/vectors/seal.json, which another implementation made.
type vectors struct {
	Paths []struct {
		Path   string
		Accept bool
	}
	Values []struct {
		Name   string
		Accept bool
		long
		Input []byte
		Text  *string
	}
	Commitments []struct {
		Name       string
		Salt       []byte
		Path       string
		Value      []byte
		Commitment []byte
		long
	}
	Seeds []struct {
		Name        string
		EventSecret []byte `json:"event_secret"`
		Secrets     [][]byte
		Shares      [][]byte
		Persons     int // instead of secrets: that many, the i-th being the bytes i, i+1, ... modulo 256
		Seed        []byte
		Path        string
		Salt        []byte
		PayloadKey  []byte `json:"payload_key"`
	}
	Digests []struct {
		Name   string
		Accept bool
		Fields []struct {
			Path       string
			Owners     []int
			Commitment []byte
		}
		Digest []byte
	}
}

// long is a value too long to be written out: its kind, then a byte repeated up to a length.
type long struct {
	Kind, Repeat string
	Length       int
}

func (l long) or(value []byte) seal.Value {
	if l.Length == 0 {
		return value
	}
	return append(seal.Value(l.Kind), bytes.Repeat([]byte(l.Repeat), l.Length-1)...)
}

func load(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("../../testdata/vectors/seal.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs vectors
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func TestPathVectors(t *testing.T) {
	for _, v := range load(t).Paths {
		if err := seal.CheckPath(v.Path); (err == nil) != v.Accept {
			t.Errorf("CheckPath(%q): %v", v.Path, err)
		}
	}
}

func TestValueVectors(t *testing.T) {
	for _, v := range load(t).Values {
		value := v.or(v.Input)
		if err := value.Check(); (err == nil) != v.Accept {
			t.Errorf("%s: Check: %v", v.Name, err)
		}
		if got := value.Text(); v.Text != nil && got != *v.Text {
			t.Errorf("%s: Text gave %q, want %q", v.Name, got, *v.Text)
		}
	}
}

func TestConstructors(t *testing.T) {
	for want, got := range map[string]seal.Value{
		"salice":                     seal.String("alice"),
		"s":                          seal.String(""),
		"i-9223372036854775808":      seal.Int(-1 << 63),
		"i0":                         seal.Int(0),
		"b1":                         seal.Bool(true),
		"b0":                         seal.Bool(false),
		"x\x00":                      seal.Bytes([]byte{0}),
		"e3":                         seal.Enum(3),
		"t1790000000123456789":       seal.Time(1790000000123456789),
		"t-1":                        seal.Time(-1),
		string(rawVector(t)):         seal.RawOf([]byte("hello")),
		"i9223372036854775807":       seal.Int(1<<63 - 1),
		"sa\x00b\u202e\u00e9e\u0301": seal.String("a\x00b\u202e\u00e9e\u0301"),
	} {
		if string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
	if err := seal.Enum(-1).Check(); err == nil {
		t.Error("a negative enum passed")
	}
	if err := seal.String("\xff").Check(); err == nil {
		t.Error("text that is not UTF-8 passed")
	}
}

func rawVector(t *testing.T) []byte {
	for _, v := range load(t).Values {
		if v.Name == "raw" {
			return v.Input
		}
	}
	t.Fatal("no vector raw")
	return nil
}

func TestCheckRaw(t *testing.T) {
	v := seal.RawOf([]byte("hello"))
	if err := v.CheckRaw([]byte("hello")); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"other bytes":   v.CheckRaw([]byte("hellO")),
		"fewer bytes":   v.CheckRaw([]byte("hell")),
		"no bytes":      v.CheckRaw(nil),
		"another kind":  seal.Bytes([]byte("hello")).CheckRaw([]byte("hello")),
		"no value":      seal.Value(nil).CheckRaw([]byte("hello")),
		"value cut off": v[:20].CheckRaw([]byte("hello")),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCommitmentVectors(t *testing.T) {
	for _, v := range load(t).Commitments {
		if got := seal.Commitment(leaf.Hash(v.Salt), v.Path, v.or(v.Value)); got != leaf.Hash(v.Commitment) {
			t.Errorf("%s: %x, want %x", v.Name, got, v.Commitment)
		}
	}
}

func TestSeedVectors(t *testing.T) {
	for _, v := range load(t).Seeds {
		event := leaf.Hash(v.EventSecret)
		var shares []leaf.Hash
		for i, s := range v.Secrets {
			shares = append(shares, seal.Share(leaf.Hash(s), event))
			if shares[i] != leaf.Hash(v.Shares[i]) {
				t.Errorf("%s: share %d is %x, want %x", v.Name, i, shares[i], v.Shares[i])
			}
		}
		for i := range v.Persons {
			var s leaf.Hash
			for j := range s {
				s[j] = byte(i + j)
			}
			shares = append(shares, seal.Share(s, event))
		}
		seed := seal.Seed(event, shares)
		if seed != leaf.Hash(v.Seed) {
			t.Errorf("%s: seed %x, want %x", v.Name, seed, v.Seed)
		}
		if got := seal.Salt(seed, v.Path); got != leaf.Hash(v.Salt) {
			t.Errorf("%s: salt %x, want %x", v.Name, got, v.Salt)
		}
		if got := seal.PayloadKey(seed); got != leaf.Hash(v.PayloadKey) {
			t.Errorf("%s: payload key %x, want %x", v.Name, got, v.PayloadKey)
		}
	}
}

func TestDigestVectors(t *testing.T) {
	for _, v := range load(t).Digests {
		var lines []seal.Line
		for _, f := range v.Fields {
			l := seal.Line{Path: f.Path, Commitment: leaf.Hash(f.Commitment)}
			for _, o := range f.Owners {
				l.Owners = append(l.Owners, uint8(o))
			}
			lines = append(lines, l)
		}
		got, err := seal.Digest(lines)
		if (err == nil) != v.Accept {
			t.Errorf("%s: %x, %v", v.Name, got, err)
		}
		if v.Accept && got != leaf.Hash(v.Digest) {
			t.Errorf("%s: %x, want %x", v.Name, got, v.Digest)
		}
	}
	if _, err := seal.Digest(manyLines(2048)); err != nil {
		t.Error(err)
	}
	if _, err := seal.Digest(manyLines(2049)); err == nil {
		t.Error("2049 fields have a digest")
	}
}

// manyLines returns n lines whose paths ascend.
func manyLines(n int) []seal.Line {
	lines := make([]seal.Line, n)
	for i := range lines {
		lines[i].Path = "a" + string([]byte{'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)})
	}
	return lines
}

// TestPerFieldCost pins what runs for every field of every event: one hash each and no memory.
func TestPerFieldCost(t *testing.T) {
	salt, value := leaf.Hash{1}, seal.String("alice@acme.example")
	var sink leaf.Hash
	for name, f := range map[string]func(){
		"Commitment": func() { sink = seal.Commitment(salt, "actor.login", value) },
		"Salt":       func() { sink = seal.Salt(salt, "actor.login") },
		"PayloadKey": func() { sink = seal.PayloadKey(salt) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	_ = sink
}

func BenchmarkCommitment(b *testing.B) {
	salt, value := leaf.Hash{1}, seal.String("alice@acme.example")
	for b.Loop() {
		seal.Commitment(salt, "actor.login", value)
	}
}

func BenchmarkSeed(b *testing.B) {
	shares := []leaf.Hash{{1}, {2}}
	for b.Loop() {
		seal.Seed(leaf.Hash{3}, shares)
	}
}

func BenchmarkDigest(b *testing.B) {
	lines := manyLines(50)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.Digest(lines); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFormatLines(b *testing.B) {
	lines := manyLines(50)
	for i := range lines {
		lines[i].State, lines[i].Value = seal.Shown, seal.String("alice@acme.example")
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal.FormatLines(lines); err != nil {
			b.Fatal(err)
		}
	}
}
