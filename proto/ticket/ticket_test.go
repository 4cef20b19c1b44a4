package ticket_test

import (
	"flag"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/ticket"
)

var update = flag.Bool("update", false, "write the vectors")

const family = "acme.example/id"

var (
	key   = prototest.NewKey(ticket.KeyName(family), checkpoint.Ed25519, checkpoint.LogRole)
	other = prototest.NewKey(ticket.KeyName("other.example/id"), checkpoint.Ed25519, checkpoint.LogRole)
)

func promise() *ticket.Ticket {
	return &ticket.Ticket{Log: family, Leaf: leaf.HashOf([]byte("a leaf")), Received: 1763629200, Deadline: 1763629200 + 24*3600}
}

func signer(t *testing.T, k prototest.Key) note.Signer {
	t.Helper()
	s, err := checkpoint.NewSigner(k.SKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t *testing.T, k prototest.Key) note.Verifier {
	t.Helper()
	v, err := checkpoint.NewVerifier(k.VKey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectors(t *testing.T) {
	good, err := promise().Format()
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the ticket", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	hash := strings.Split(good, "\n")[2]
	prototest.Vectors(t, "ticket.json", *update, []prototest.Case{
		prototest.Accept("a ticket", good),
		prototest.Accept("a deadline at once", swap("1763715600", "1763629200")),
		prototest.Accept("of the second 0", swap("1763629200\n1763715600", "0\n86400")),

		prototest.Refuse("empty", ""),
		prototest.Refuse("another version", swap("/v1", "/v2")),
		prototest.Refuse("without its last newline", strings.TrimSuffix(good, "\n")),
		prototest.Refuse("a line more", good+"\n"),
		prototest.Refuse("a line less", swap("1763715600\n", "")),
		prototest.Refuse("CRLF", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("a log without a name", swap(family, "")),
		prototest.Refuse("a log with a space", swap(family, "acme example")),
		prototest.Refuse("a log of 129 characters", swap(family, strings.Repeat("a", 129))),
		prototest.Refuse("a hash without padding", swap(hash, strings.TrimSuffix(hash, "="))),
		prototest.Refuse("a hash of 31 bytes", swap(hash, strings.Repeat("A", 42)+"==")),
		prototest.Refuse("a hash with unused bits", swap(hash, strings.Repeat("A", 42)+"B=")),
		prototest.Refuse("received with a leading zero", swap("1763629200\n", "01763629200\n")),
		prototest.Refuse("received with a sign", swap("1763629200\n", "+1763629200\n")),
		prototest.Refuse("received before 1970", swap("1763629200\n", "-1\n")),
		prototest.Refuse("received 2^63", swap("1763629200\n", "9223372036854775808\n")),
		prototest.Refuse("a deadline before received", swap("1763715600", "1763629199")),
		prototest.Refuse("a deadline after 24 hours", swap("1763715600", "1763715601")),
		prototest.Refuse("a deadline with a trailing space", swap("1763715600\n", "1763715600 \n")),
	}, func(b []byte) ([]byte, error) {
		p, err := ticket.Parse(string(b))
		if err != nil {
			return nil, err
		}
		text, err := p.Format()
		return []byte(text), err
	})
}

func TestSignAndOpen(t *testing.T) {
	b, err := ticket.Sign(promise(), signer(t, key))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ticket.Open(b, verifier(t, key))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(promise(), got); d != "" {
		t.Error(d)
	}
	if _, err := ticket.Open(b, verifier(t, other)); err == nil {
		t.Error("opened by another key")
	}
	for i := range b {
		b[i] ^= 1
		if got, err := ticket.Open(b, verifier(t, key)); err == nil && !cmp.Equal(got, promise()) {
			t.Errorf("byte %d changed gives another promise", i)
		}
		b[i] ^= 1
	}
	if _, err := ticket.Open(append(make([]byte, 9<<10), b...), verifier(t, key)); err == nil {
		t.Error("opened 9 KiB")
	}
}

// TestOfItsLog holds a key to the family in its name: the key of one log promises nothing for another.
func TestOfItsLog(t *testing.T) {
	if _, err := ticket.Sign(promise(), signer(t, other)); err == nil {
		t.Error("signed with the key of another log")
	}
	text, err := promise().Format()
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: text}, signer(t, other))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.Open(b, verifier(t, other)); err == nil {
		t.Error("opened a promise for another log")
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, change := range map[string]func(*ticket.Ticket){
		"no name":       func(p *ticket.Ticket) { p.Log = "" },
		"a line break":  func(p *ticket.Ticket) { p.Log += "\n" },
		"before 1970":   func(p *ticket.Ticket) { p.Received, p.Deadline = -1, 0 },
		"too long":      func(p *ticket.Ticket) { p.Deadline++ },
		"already over":  func(p *ticket.Ticket) { p.Deadline = p.Received - 1 },
		"wrapped round": func(p *ticket.Ticket) { p.Received, p.Deadline = math.MaxInt64, math.MinInt64 },
	} {
		p := promise()
		change(p)
		if text, err := p.Format(); err == nil {
			t.Errorf("%s: formatted %q", name, text)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, err := promise().Format()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(strings.Replace(good, "1763715600", "1763715601", 1))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ticket.Parse(text)
		if err != nil {
			return
		}
		if again, err := p.Format(); err != nil || again != text {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}
