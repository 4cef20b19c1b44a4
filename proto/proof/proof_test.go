package proof_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/policy"
	"idlog/proto/proof"
	"idlog/proto/prototest"
)

var update = flag.Bool("update", false, "write the vectors")

var (
	logKey  = prototest.NewKey("log.example/id/2026", checkpoint.Ed25519, checkpoint.LogRole)
	witness = prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
)

func testLog(size int64) *prototest.Log {
	l := prototest.NewLog("log.example/id/2026", logKey)
	l.Fill(size)
	return l
}

func format(t *testing.T, p proof.Proof) string {
	t.Helper()
	b, err := p.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func reformat(b []byte) ([]byte, error) {
	p, err := proof.Parse(b)
	if err != nil {
		return nil, err
	}
	return p.Format()
}

func cases(t *testing.T) []prototest.Case {
	l := testLog(11)
	note := l.Note(11, 1_800_000_000, witness)
	p := l.Proof(7, 11, note)
	good := format(t, p)
	bare := p
	bare.Extra = nil
	extra := base64.StdEncoding.EncodeToString(p.Extra)
	hash := base64.StdEncoding.EncodeToString(p.Hashes[0][:])
	withExtra := func(n int) string {
		return strings.Replace(good, extra, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, n)), 1)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the proof", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	return []prototest.Case{
		prototest.Accept("with extra", good),
		prototest.Accept("without extra", format(t, bare)),
		prototest.Accept("no hashes", format(t, testLog(1).Proof(0, 1, testLog(1).Note(1, 1)))),
		prototest.Accept("index 0", swap("index 7\n", "index 0\n")),
		prototest.Accept("largest index", swap("index 7\n", "index 9223372036854775807\n")),
		prototest.Accept("63 hashes", swap(hash+"\n", strings.Repeat(hash+"\n", 60))),
		prototest.Accept("extra of 16384 bytes", withExtra(16384)),

		prototest.Refuse("empty", ""),
		prototest.Refuse("header alone", "c2sp.org/tlog-proof@v1\n"),
		prototest.Refuse("other version", swap("@v1", "@v2")),
		prototest.Refuse("byte order mark", "\ufeff"+good),
		prototest.Refuse("carriage returns", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("carriage returns before the checkpoint", strings.ReplaceAll(good[:len(good)-len(note)], "\n", "\r\n")+string(note)),
		prototest.Refuse("no extra data", swap("extra "+extra, "extra ")),
		prototest.Refuse("extra of 16385 bytes", withExtra(16385)),
		prototest.Refuse("extra without padding", swap("extra "+extra, "extra AA")),
		prototest.Refuse("extra with unused bits set", swap("extra "+extra, "extra AB==")),
		prototest.Refuse("extra in two lines", swap(extra, extra[:8]+"\n"+extra[8:])),
		prototest.Refuse("extra twice", swap("extra "+extra, "extra "+extra+"\nextra "+extra)),
		prototest.Refuse("extra after the index", strings.Replace(format(t, bare), "index 7\n", "index 7\nextra "+extra+"\n", 1)),
		prototest.Refuse("two spaces", swap("extra ", "extra  ")),
		prototest.Refuse("unknown line", swap("index", "note x\nindex")),
		prototest.Refuse("no index", swap("index 7\n", "")),
		prototest.Refuse("empty index", swap("index 7", "index ")),
		prototest.Refuse("index with leading zeros", swap("index 7", "index 007")),
		prototest.Refuse("index with plus", swap("index 7", "index +7")),
		prototest.Refuse("negative index", swap("index 7", "index -7")),
		prototest.Refuse("index with trailing space", swap("index 7", "index 7 ")),
		prototest.Refuse("index 2^63", swap("index 7", "index 9223372036854775808")),
		prototest.Refuse("64 hashes", swap(hash+"\n", strings.Repeat(hash+"\n", 61))),
		prototest.Refuse("hash without padding", swap(hash, hash[:43])),
		prototest.Refuse("hash with unused bits set", swap(hash, hash[:42]+"/=")),
		prototest.Refuse("hash of 31 bytes", swap(hash, base64.StdEncoding.EncodeToString(make([]byte, 31)))),
		prototest.Refuse("hash of 33 bytes", swap(hash, base64.StdEncoding.EncodeToString(make([]byte, 33)))),
		prototest.Refuse("hash with a space before it", swap(hash, " "+hash)),
		prototest.Refuse("no empty line", swap("\n\n"+logKey.Name(), "\n"+logKey.Name())),
		prototest.Refuse("two empty lines", swap("\n\n"+logKey.Name(), "\n\n\n"+logKey.Name())),
		prototest.Refuse("no checkpoint", good[:len(good)-len(note)]),
		prototest.Refuse("checkpoint without signatures", good[:strings.LastIndex(good, "\n\n")+1]),
		prototest.Refuse("a note that is no checkpoint", swap("\n11\n", "\neleven\n")),
		prototest.Refuse("no final newline", strings.TrimSuffix(good, "\n")),
		prototest.Refuse("two proofs", good+good),
		prototest.Refuse("trailing byte", good+"\n"),
	}
}

func TestVectors(t *testing.T) { prototest.Vectors(t, "proof.json", *update, cases(t), reformat) }

func TestVerify(t *testing.T) {
	pol, err := policy.Parse([]byte("log " + logKey.VKey + "\nwitness w " + witness.VKey + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := testLog(11)
	p := l.Proof(7, 11, l.Note(11, 1_800_000_000, witness))
	leaf := [32]byte(rfc6962.DefaultHasher.HashLeaf(l.Leaves[7]))
	v, err := p.Verify(pol, leaf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Checkpoint(11), v.Checkpoint); diff != "" {
		t.Error(diff)
	}
	for i := range l.Leaves {
		if _, err := p.Verify(pol, [32]byte(rfc6962.DefaultHasher.HashLeaf(l.Leaves[i]))); (err == nil) != (i == 7) {
			t.Errorf("the proof of entry 7 for entry %d: %v", i, err)
		}
	}
	p.Checkpoint = l.Note(11, 1_800_000_000)
	if _, err := p.Verify(pol, leaf); err == nil {
		t.Error("verifies without its witness")
	} else if _, ok := errors.AsType[*policy.QuorumError](err); !ok {
		t.Errorf("without its witness: %v", err)
	}
	p.Checkpoint = l.Note(10, 1_800_000_000, witness)
	if _, err := p.Verify(pol, leaf); err == nil {
		t.Error("verifies under the checkpoint of another size")
	}
	// A tree whose signature lacks: nothing is said about inclusion under it.
	p.Checkpoint = prototest.Note(l.Checkpoint(11), 1, witness)
	if _, err := p.Verify(pol, leaf); !errors.Is(err, policy.ErrNotSigned) {
		t.Errorf("without the log's signature: %v", err)
	}
}

// TestInclusion proves every entry of every size up to 40, and refuses each
// proof with one element changed, dropped or added, and with another index or
// size.
func TestInclusion(t *testing.T) {
	l := testLog(40)
	for size := int64(1); size <= 40; size++ {
		root := l.Checkpoint(size).Root
		for index := range size {
			leaf := [32]byte(rfc6962.DefaultHasher.HashLeaf(l.Leaves[index]))
			hashes := l.Inclusion(index, size)
			check := func(what string, want bool, leaf [32]byte, index, size int64, hashes [][32]byte) {
				if err := proof.Inclusion(leaf, index, size, hashes, root); (err == nil) != want {
					t.Errorf("%d of %d, %s: %v", index, size, what, err)
				}
			}
			check("as it is", true, leaf, index, size, hashes)
			for i := range hashes {
				hashes[i][i%32] ^= 1
				check("hash changed", false, leaf, index, size, hashes)
				hashes[i][i%32] ^= 1
				check("hash dropped", false, leaf, index, size, append(hashes[:i:i], hashes[i+1:]...))
				check("hash repeated", false, leaf, index, size, append(hashes[:i:i], append([][32]byte{hashes[i]}, hashes[i:]...)...))
			}
			check("leaf changed", false, [32]byte{}, index, size, hashes)
			check("index at the size", false, leaf, size, size, hashes)
			check("negative index", false, leaf, -1, size, hashes)
			check("negative size", false, leaf, index, -size, hashes)
			if size > 1 {
				check("index changed", false, leaf, (index+1)%size, size, hashes)
			}
		}
	}
}

// TestConsistency does the same for every pair of sizes up to 24.
func TestConsistency(t *testing.T) {
	l := testLog(24)
	for to := range int64(25) {
		for from := range to + 1 {
			fromRoot, toRoot := l.Checkpoint(from).Root, l.Checkpoint(to).Root
			hashes := l.Consistency(from, to)
			check := func(what string, want bool, from, to int64, fromRoot, toRoot [32]byte, hashes [][32]byte) {
				if err := proof.Consistency(from, to, fromRoot, toRoot, hashes); (err == nil) != want {
					t.Errorf("%d to %d, %s: %v", from, to, what, err)
				}
			}
			check("as it is", true, from, to, fromRoot, toRoot, hashes)
			check("other first root", false, from, to, [32]byte{1}, toRoot, hashes)
			check("other second root", from == 0 && to != 0, from, to, fromRoot, [32]byte{1}, hashes)
			check("hash added", false, from, to, fromRoot, toRoot, append(hashes[:len(hashes):len(hashes)], [32]byte{}))
			check("negative", false, -1, to, fromRoot, toRoot, hashes)
			check("backwards", false, to+1, to, fromRoot, toRoot, hashes)
			for i := range hashes {
				hashes[i][i%32] ^= 1
				check("hash changed", false, from, to, fromRoot, toRoot, hashes)
				hashes[i][i%32] ^= 1
				check("hash dropped", false, from, to, fromRoot, toRoot, append(hashes[:i:i], hashes[i+1:]...))
			}
		}
	}
}

// TestContradicts: of two trees that differ, the proof of the second shows it
// wherever it holds the first root; of one tree no hashes ever do.
func TestContradicts(t *testing.T) {
	l, other := testLog(24), prototest.NewLog("log.example/id/2026", logKey)
	other.Append([]byte("another first entry"))
	other.Fill(24)
	for to := range int64(25) {
		for from := range to + 1 {
			fromRoot, toRoot := l.Checkpoint(from).Root, other.Checkpoint(to).Root
			want := from > 0 && from < to && from&(from-1) != 0
			if got := proof.Contradicts(from, to, fromRoot, toRoot, other.Consistency(from, to)); got != want {
				t.Errorf("%d to %d of another tree: %v", from, to, got)
			}
			for what, hashes := range map[string][][32]byte{
				"its own proof": l.Consistency(from, to), "another's": other.Consistency(from, to), "none": nil, "zeros": make([][32]byte, 63),
			} {
				if proof.Contradicts(from, to, fromRoot, l.Checkpoint(to).Root, hashes) {
					t.Errorf("%d to %d of one tree, %s: contradicts", from, to, what)
				}
			}
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	l := testLog(11)
	good := l.Proof(7, 11, l.Note(11, 1))
	for name, change := range map[string]func(*proof.Proof){
		"negative index": func(p *proof.Proof) { p.Index = -1 },
		"empty extra":    func(p *proof.Proof) { p.Extra = []byte{} },
		"large extra":    func(p *proof.Proof) { p.Extra = make([]byte, proof.MaxExtra+1) },
		"many hashes":    func(p *proof.Proof) { p.Hashes = make([][32]byte, 64) },
		"no checkpoint":  func(p *proof.Proof) { p.Checkpoint = nil },
	} {
		p := good
		change(&p)
		if _, err := p.Format(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	l := testLog(11)
	b, err := l.Proof(7, 11, l.Note(11, 1, witness)).Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := reformat(b)
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("written again it differs:\n%q\n%q", b, again)
		}
	})
}
