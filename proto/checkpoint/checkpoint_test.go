package checkpoint_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/prototest"
)

var update = flag.Bool("update", false, "write the vectors")

// reread parses a note and writes it again.
func reread(b []byte) ([]byte, error) {
	text, sigs, err := checkpoint.Split(b)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Parse(text)
	if err != nil {
		return nil, err
	}
	return checkpoint.Join(c.Format(), sigs...), nil
}

func testLog() *prototest.Log {
	l := prototest.NewLog("log.example/id/2026", prototest.NewKey("log.example/id/2026", checkpoint.Ed25519, checkpoint.LogRole))
	l.Fill(21)
	return l
}

func cases() []prototest.Case {
	l := testLog()
	w := prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	good := string(l.Note(21, 1_800_000_000, w))
	text := string(l.Checkpoint(21).Format())
	sigs := good[len(text)+1:]
	first, second, _ := strings.Cut(sigs, "\n")
	root := strings.Split(text, "\n")[2]
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic(old)
		}
		return strings.Replace(good, old, new, 1)
	}
	mldsa := prototest.NewKey("witness.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
	return []prototest.Case{
		prototest.Accept("two signatures", good),
		prototest.Accept("empty tree", l.Note(0, 1)),
		prototest.Accept("extension lines", swap(root+"\n", root+"\nextension one\nextension  two \n")),
		prototest.Accept("largest size", swap("\n21\n", "\n9223372036854775807\n")),
		prototest.Accept("repeated signature line", text+"\n"+first+"\n"+first+"\n"),
		prototest.Accept("64 signatures", text+"\n"+strings.Repeat(first+"\n", 64)),
		prototest.Accept("ML-DSA-44 cosignature", l.Note(21, 1, mldsa)),
		prototest.Accept("name beyond ASCII", swap("witness.example ", "wítness.example ")),
		prototest.Accept("shortest signature", text+"\n— a AAAAAAA=\n"),

		prototest.Refuse("empty", ""),
		prototest.Refuse("text alone", text),
		prototest.Refuse("no signature", text+"\n"),
		prototest.Refuse("no empty line", text+sigs),
		prototest.Refuse("two empty lines", text+"\n\n"+sigs),
		prototest.Refuse("65 signatures", text+"\n"+strings.Repeat(first+"\n", 65)),
		prototest.Refuse("no final newline", good[:len(good)-1]),
		prototest.Refuse("empty line at the end", good+"\n"),
		prototest.Refuse("text at the end", good+"x\n"),
		prototest.Refuse("carriage returns", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("one carriage return", swap("\n21\n", "\n21\r\n")),
		prototest.Refuse("tab", swap("log.example", "log\texample")),
		prototest.Refuse("NUL", swap("log.example", "log\x00example")),
		prototest.Refuse("byte order mark", "\ufeff\n"+good[1:]),
		prototest.Refuse("invalid UTF-8", swap("log.example", "log\xffexample")),
		prototest.Refuse("empty origin", good[len("log.example/id/2026"):]),
		prototest.Refuse("space in origin", swap("log.example/", "log.example ")),
		prototest.Refuse("no-break space in origin", swap("log.example/", "log.example\u00a0")),
		prototest.Refuse("plus in origin", swap("log.example/", "log.example+")),
		prototest.Refuse("C1 control in origin", swap("log.example/", "log.example\u009b")),
		prototest.Refuse("delete in origin", swap("log.example/", "log.example\x7f")),
		prototest.Refuse("origin of 256 bytes", swap("log.example/", strings.Repeat("o", 249))),
		prototest.Refuse("size with leading zero", swap("\n21\n", "\n021\n")),
		prototest.Refuse("size with plus", swap("\n21\n", "\n+21\n")),
		prototest.Refuse("negative size", swap("\n21\n", "\n-21\n")),
		prototest.Refuse("minus zero", swap("\n21\n", "\n-0\n")),
		prototest.Refuse("size with space", swap("\n21\n", "\n21 \n")),
		prototest.Refuse("size with underscore", swap("\n21\n", "\n2_1\n")),
		prototest.Refuse("hexadecimal size", swap("\n21\n", "\n0x15\n")),
		prototest.Refuse("size in other digits", swap("\n21\n", "\n٢١\n")),
		prototest.Refuse("size 2^63", swap("\n21\n", "\n9223372036854775808\n")),
		prototest.Refuse("size 2^64", swap("\n21\n", "\n18446744073709551616\n")),
		prototest.Refuse("empty size", swap("\n21\n", "\n\n")),
		prototest.Refuse("size 0 with another root", swap("\n21\n", "\n0\n")),
		prototest.Refuse("root without padding", swap(root, root[:43])),
		prototest.Refuse("root of 31 bytes", swap(root, base64.StdEncoding.EncodeToString(make([]byte, 31)))),
		prototest.Refuse("root of 33 bytes", swap(root, base64.StdEncoding.EncodeToString(make([]byte, 33)))),
		prototest.Refuse("root with unused bits set", swap(root, twin(root))),
		prototest.Refuse("root in the URL alphabet", swap(root, strings.Repeat("-_", 21)+"8=")),
		prototest.Refuse("empty extension line", swap(root+"\n", root+"\n\nextension\n")),
		prototest.Refuse("long text", swap(root+"\n", root+"\n"+strings.Repeat("x", 9000)+"\n")),
		prototest.Refuse("hyphen for dash", swap("— log", "- log")),
		prototest.Refuse("no space after dash", swap("— log", "—log")),
		prototest.Refuse("two spaces after dash", swap("— log", "—  log")),
		prototest.Refuse("two spaces after name", swap("2026 ", "2026  ")),
		prototest.Refuse("trailing space", text+"\n"+first+" \n"+second),
		prototest.Refuse("signature name with plus", text+"\n— a+b AAAAAAA=\n"),
		prototest.Refuse("signature without name", text+"\n—  AAAAAAA=\n"),
		prototest.Refuse("signature without bytes", text+"\n— a AAAAAA==\n"),
		prototest.Refuse("signature without base64", text+"\n— a\n"),
		prototest.Refuse("signature with unused bits set", text+"\n— a AAAAAAB=\n"),
	}
}

// twin returns other base64 text that lenient decoders read as the same bytes.
func twin(b64 string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := len(b64) - 2
	return b64[:i] + string(alphabet[strings.IndexByte(alphabet, b64[i])+1]) + b64[i+1:]
}

func TestVectors(t *testing.T) {
	prototest.Vectors(t, "checkpoint.json", *update, cases(), reread)
}

func TestTooLarge(t *testing.T) {
	text := string(testLog().Checkpoint(21).Format())
	line := "— a " + strings.Repeat("AAAA", 3000) + "\n"
	if _, _, err := checkpoint.Split([]byte(text + "\n" + strings.Repeat(line, 20))); err != nil {
		t.Errorf("20 signatures of 9 KB: %v", err)
	}
	if _, _, err := checkpoint.Split([]byte(text + "\n" + strings.Repeat(line, 30))); err == nil {
		t.Error("30 signatures of 9 KB: accepted")
	}
}

func TestParse(t *testing.T) {
	l := testLog()
	text, sigs, err := checkpoint.Split(l.Note(21, 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.Parse(append(text, "one\ntwo\n"...))
	if err != nil {
		t.Fatal(err)
	}
	want := l.Checkpoint(21)
	want.Extensions = []string{"one", "two"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(sigs) != 1 || sigs[0].Name != l.Origin || len(sigs[0].Bytes) != 64 {
		t.Errorf("signatures: %+v", sigs)
	}
}

// TestSplitKeepsText holds that appending to the text that Split returned does
// not write over the note's signatures.
func TestSplitKeepsText(t *testing.T) {
	n := testLog().Note(21, 1)
	before := bytes.Clone(n)
	text, _, err := checkpoint.Split(n)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(text, "overwritten"...)
	if !bytes.Equal(n, before) {
		t.Error("the note changed")
	}
}

func TestSignRefuses(t *testing.T) {
	l := testLog()
	good := l.Checkpoint(21)
	skey, _, err := checkpoint.GenerateKey(l.Origin, checkpoint.Ed25519, checkpoint.LogRole)
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Sign(good, s); err != nil {
		t.Errorf("a good checkpoint: %v", err)
	}
	if _, err := checkpoint.Sign(good); err == nil {
		t.Error("signed by nobody")
	}
	for name, c := range map[string]checkpoint.Checkpoint{
		"negative size":   {Origin: l.Origin, Size: -1, Root: good.Root},
		"newline":         {Origin: l.Origin + "\n", Size: 1, Root: good.Root},
		"empty":           {Size: 1, Root: good.Root},
		"root of size 0":  {Origin: l.Origin, Root: good.Root},
		"empty extension": {Origin: l.Origin, Size: 1, Root: good.Root, Extensions: []string{""}},
		"two lines":       {Origin: l.Origin, Size: 1, Root: good.Root, Extensions: []string{"a\n\nb"}},
	} {
		if _, err := checkpoint.Sign(c, s); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestOpen(t *testing.T) {
	l := testLog()
	other := prototest.NewKey(l.Origin, checkpoint.MLDSA44, checkpoint.LogRole)
	renamed := prototest.NewKeyFromSeed("log.example/id/2027", checkpoint.Ed25519, checkpoint.LogRole, l.Keys[0].Seed())
	var keys []note.Verifier
	for _, k := range []prototest.Key{l.Keys[0], other} {
		v, err := checkpoint.NewVerifier(k.VKey)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, v)
	}
	c := l.Checkpoint(21)
	false1 := l.Keys[0].Sign(l.Checkpoint(20).Format(), 1)
	good := l.Keys[0].Sign(c.Format(), 1)
	for name, test := range map[string]struct {
		note []byte
		by   int
	}{
		"one":             {prototest.Note(c, 1, l.Keys...), 1},
		"both":            {prototest.Note(c, 1, other, l.Keys[0]), 2},
		"the same twice":  {prototest.Note(c, 1, other, other), 1},
		"none":            {prototest.Note(c, 1, renamed), 0},
		"false":           {checkpoint.Join(c.Format(), false1), 0},
		"false, then not": {checkpoint.Join(c.Format(), false1, good), 1},
	} {
		got, by, err := checkpoint.Open(test.note, l.Origin, keys...)
		if err != nil || by != test.by {
			t.Errorf("%s: signed by %d, %v; want %d", name, by, err, test.by)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, b := range map[string][]byte{
		"other origin": prototest.NewLog("other.example/id", l.Keys...).Note(0, 1),
		"no note":      c.Format(),
		"not a text":   checkpoint.Join([]byte("text\n"), good),
	} {
		if _, _, err := checkpoint.Open(b, l.Origin, keys...); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestNoteReadsOurs holds that the note package of the Go project, which others
// use, reads what we sign and signs what we read.
func TestNoteReadsOurs(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c := checkpoint.Checkpoint{Origin: "log.example", Size: 0, Root: sha256.Sum256(nil)}
	ours, err := checkpoint.Sign(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(ours, note.VerifierList(v)); err != nil {
		t.Errorf("note.Open: %v", err)
	}
	theirs, err := note.Sign(&note.Note{Text: string(c.Format())}, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(theirs), string(ours)); diff != "" {
		t.Error(diff)
	}
}

func FuzzSplit(f *testing.F) {
	for _, c := range cases() {
		if len(c.Data()) < 8<<10 {
			f.Add(c.Data())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := reread(b)
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("written again it differs:\n%q\n%q", b, again)
		}
	})
}

func ExampleParse() {
	c, err := checkpoint.Parse([]byte("example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"))
	fmt.Println(c.Origin, c.Size, err)
	// Output: example.com/behind-the-sofa 20852163 <nil>
}
