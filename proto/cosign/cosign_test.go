package cosign_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/checkpoint"
	"idlog/proto/cosign"
	"idlog/proto/prototest"
)

var update = flag.Bool("update", false, "write the vectors")

var (
	logKey  = prototest.NewKey("log.example/id/2026", checkpoint.Ed25519, checkpoint.LogRole)
	witness = prototest.NewKey("witness.example", checkpoint.Ed25519, checkpoint.WitnessRole)
	pq      = prototest.NewKey("witness.example", checkpoint.MLDSA44, checkpoint.WitnessRole)
)

func request() cosign.Request {
	l := prototest.NewLog("log.example/id/2026", logKey)
	l.Fill(11)
	return cosign.Request{Old: 7, Proof: l.Consistency(7, 11), Checkpoint: l.Note(11, 1)}
}

func TestRequestVectors(t *testing.T) {
	r := request()
	b, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	hash := base64.StdEncoding.EncodeToString(r.Proof[0][:])
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the request", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	more := 63 - len(r.Proof)
	prototest.Vectors(t, "cosign-request.json", *update, []prototest.Case{
		prototest.Accept("a request", good),
		prototest.Accept("without a proof", "old 0\n\n"+string(r.Checkpoint)),
		prototest.Accept("63 proof lines", swap(hash+"\n", strings.Repeat(hash+"\n", 1+more))),
		prototest.Accept("largest old size", swap("old 7\n", "old 9223372036854775807\n")),
		prototest.Accept("several signatures", "old 0\n\n"+string(r.Checkpoint)+string(r.Checkpoint[bytes.LastIndex(r.Checkpoint, []byte("\n\n"))+2:])),

		prototest.Refuse("empty", ""),
		prototest.Refuse("no old size", swap("old 7\n", "")),
		prototest.Refuse("empty old size", swap("old 7\n", "old \n")),
		prototest.Refuse("old size with leading zero", swap("old 7\n", "old 07\n")),
		prototest.Refuse("negative old size", swap("old 7\n", "old -7\n")),
		prototest.Refuse("old size with trailing space", swap("old 7\n", "old 7 \n")),
		prototest.Refuse("old size 2^63", swap("old 7\n", "old 9223372036854775808\n")),
		prototest.Refuse("two old sizes", swap("old 7\n", "old 7\nold 7\n")),
		prototest.Refuse("two spaces", swap("old 7\n", "old  7\n")),
		prototest.Refuse("64 proof lines", swap(hash+"\n", strings.Repeat(hash+"\n", 2+more))),
		prototest.Refuse("proof line without padding", swap(hash, hash[:43])),
		prototest.Refuse("proof line with unused bits set", swap(hash, hash[:42]+"/=")),
		prototest.Refuse("proof line of 31 bytes", swap(hash, base64.StdEncoding.EncodeToString(make([]byte, 31)))),
		prototest.Refuse("carriage returns", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("no empty line", swap("\n\n"+logKey.Name(), "\n"+logKey.Name())),
		prototest.Refuse("two empty lines", swap("\n\n"+logKey.Name(), "\n\n\n"+logKey.Name())),
		prototest.Refuse("no checkpoint", "old 0\n\n"),
		prototest.Refuse("checkpoint without signatures", good[:strings.LastIndex(good, "\n\n")+1]),
		prototest.Refuse("a note that is no checkpoint", swap("\n11\n", "\neleven\n")),
		prototest.Refuse("no final newline", strings.TrimSuffix(good, "\n")),
		prototest.Refuse("trailing newline", good+"\n"),
	}, func(b []byte) ([]byte, error) {
		r, err := cosign.ParseRequest(b)
		if err != nil {
			return nil, err
		}
		return r.Format()
	})
	got, err := cosign.ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
}

func TestReplyVectors(t *testing.T) {
	text, _, err := checkpoint.Split(request().Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	one := string(witness.Sign(text, 1_800_000_000).Line())
	two := string(pq.Sign(text, 1_800_000_000).Line())
	prototest.Vectors(t, "cosign-reply.json", *update, []prototest.Case{
		prototest.Accept("one", one),
		prototest.Accept("two", one+two),
		prototest.Accept("repeated", one+one),
		prototest.Accept("64", strings.Repeat(one, 64)),
		prototest.Refuse("empty", ""),
		prototest.Refuse("newline", "\n"),
		prototest.Refuse("65", strings.Repeat(one, 65)),
		prototest.Refuse("no final newline", strings.TrimSuffix(one, "\n")),
		prototest.Refuse("empty line before", "\n"+one),
		prototest.Refuse("empty line between", one+"\n"+two),
		prototest.Refuse("empty line after", one+"\n"),
		prototest.Refuse("a whole note", request().Checkpoint),
		prototest.Refuse("carriage return", strings.ReplaceAll(one, "\n", "\r\n")),
		prototest.Refuse("a size", "11\n"),
		prototest.Refuse("HTML", "<html></html>\n"),
	}, func(b []byte) ([]byte, error) {
		sigs, err := cosign.ParseCosignatures(b)
		if err != nil {
			return nil, err
		}
		return cosign.FormatCosignatures(sigs), nil
	})
}

func TestSizeVectors(t *testing.T) {
	prototest.Vectors(t, "cosign-size.json", *update, []prototest.Case{
		prototest.Accept("zero", "0\n"),
		prototest.Accept("a size", "20852014\n"),
		prototest.Accept("largest", "9223372036854775807\n"),
		prototest.Refuse("empty", ""),
		prototest.Refuse("newline", "\n"),
		prototest.Refuse("no newline", "11"),
		prototest.Refuse("two newlines", "11\n\n"),
		prototest.Refuse("carriage return", "11\r\n"),
		prototest.Refuse("leading zero", "011\n"),
		prototest.Refuse("plus", "+11\n"),
		prototest.Refuse("minus", "-11\n"),
		prototest.Refuse("space", " 11\n"),
		prototest.Refuse("2^63", "9223372036854775808\n"),
		prototest.Refuse("words", "eleven\n"),
	}, func(b []byte) ([]byte, error) {
		n, err := cosign.ParseSize(b)
		if err != nil {
			return nil, err
		}
		return cosign.FormatSize(n), nil
	})
}

// TestLimitsHoldWhatIsAllowed reads the largest request that its parts allow.
func TestLimitsHoldWhatIsAllowed(t *testing.T) {
	r := request()
	r.Proof = make([][32]byte, cosign.MaxProof)
	text, _, err := checkpoint.Split(r.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	var sigs []checkpoint.Signature
	for range checkpoint.MaxSignatures {
		sigs = append(sigs, pq.Sign(text, 1))
	}
	r.Checkpoint = checkpoint.Join(text, sigs...)
	b, err := r.Format()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > cosign.MaxRequest {
		t.Errorf("%d bytes are more than MaxRequest", len(b))
	}
	if b := cosign.FormatCosignatures(sigs); len(b) > cosign.MaxReply {
		t.Errorf("%d bytes are more than MaxReply", len(b))
	}
}

func FuzzParseRequest(f *testing.F) {
	b, err := request().Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := cosign.ParseRequest(b)
		if err != nil {
			return
		}
		if again, err := r.Format(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("written again it differs (%v):\n%q\n%q", err, b, again)
		}
	})
}

func FuzzParseCosignatures(f *testing.F) {
	f.Add(witness.Sign([]byte("a\n"), 1).Line())
	f.Fuzz(func(t *testing.T, b []byte) {
		sigs, err := cosign.ParseCosignatures(b)
		if err == nil && !bytes.Equal(cosign.FormatCosignatures(sigs), b) {
			t.Errorf("written again it differs: %q", b)
		}
	})
}
