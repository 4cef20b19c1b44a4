package seal_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/proto/proof"
	"idlog/proto/prototest"
	"idlog/proto/seal"
)

func reformat(b []byte) ([]byte, error) {
	d, err := seal.Parse(b)
	if err != nil {
		return nil, err
	}
	return d.Format()
}

func syntaxCases(t testing.TB) []prototest.Case {
	w := newWorld(t, nil)
	d := w.disclosure()
	find(d, "actor.login").State = seal.Withheld
	l := find(d, "actor.id")
	l.State, l.ErasedAt = seal.Erased, eraseAlice
	text := func(d *seal.Disclosure) string {
		b, err := d.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := text(d)
	d.Erasures = []proof.Proof{w.proof(eraseAlice), w.proof(eraseEvent)}
	long := text(d)
	one := long[len(good)+1:] // the proofs of erasures
	second := strings.LastIndex(one, "\n\nc2sp.org/tlog-proof@v1\n") + 2
	lines, _, _ := strings.Cut(good, "\n\n")
	tlog := good[len(lines)+2:]
	hash := base64.StdEncoding.EncodeToString(find(d, "actor.login").Commitment[:])
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in the disclosure", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	bare := d.Proof
	bare.Extra = nil
	noLeaf, err := bare.Format()
	if err != nil {
		t.Fatal(err)
	}
	return []prototest.Case{
		prototest.Accept("shown, withheld and erased", good),
		prototest.Accept("proofs of two erasures", long),
		prototest.Accept("250 owners", text(&seal.Disclosure{Lines: []seal.Line{{Path: "a", Owners: owners(250)}}, Proof: d.Proof})),

		prototest.Refuse("empty", ""),
		prototest.Refuse("first line alone", "idlog-disclosure/v1\n"),
		prototest.Refuse("other version", swap("/v1\n", "/v2\n")),
		prototest.Refuse("byte order mark", "\ufeff"+good),
		prototest.Refuse("carriage returns", strings.ReplaceAll(good, "\n", "\r\n")),
		prototest.Refuse("no fields", "idlog-disclosure/v1\n\n"+tlog),
		prototest.Refuse("no proof", lines+"\n"),
		prototest.Refuse("no proof after the empty line", lines+"\n\n"),
		prototest.Refuse("two empty lines", swap("\n\n", "\n\n\n")),
		prototest.Refuse("proof without a leaf", lines+"\n\n"+string(noLeaf)),
		prototest.Refuse("empty line at the end", good+"\n"),
		prototest.Refuse("no final line feed", strings.TrimSuffix(good, "\n")),
		prototest.Refuse("text at the end", good+"x\n"),
		prototest.Refuse("two proofs without an empty line", good+one[:second-1]),
		prototest.Refuse("proofs of erasures descend", good+"\n"+one[second:]+"\n"+one[:second-1]),
		prototest.Refuse("proof of an erasure twice", good+"\n"+one[:second]+one[:second-1]),
		prototest.Refuse("proof of an erasure without a leaf", good+"\n"+string(noLeaf)),

		prototest.Refuse("path is none", swap("\nactor.id ", "\nActor.id ")),
		prototest.Refuse("empty path", swap("\nactor.id ", "\n ")),
		prototest.Refuse("path twice", swap("\nactor.login ", "\nactor.id ")),
		prototest.Refuse("paths descend", swap("\nactor.id ", "\nb ")),
		prototest.Refuse("leading space", swap("\nactor.id", "\n actor.id")),
		prototest.Refuse("two spaces", swap("actor.id ", "actor.id  ")),
		prototest.Refuse("trailing space", swap(hash+"\n", hash+" \n")),
		prototest.Refuse("tab", swap("actor.id ", "actor.id\t")),
		prototest.Refuse("no owners", swap("actor.id 0 ", "actor.id  ")),
		prototest.Refuse("owner with a leading zero", swap("actor.id 0 ", "actor.id 00 ")),
		prototest.Refuse("negative owner", swap("actor.id 0 ", "actor.id -1 ")),
		prototest.Refuse("owner 250", swap("actor.id 0 ", "actor.id 250 ")),
		prototest.Refuse("owner 256", swap("actor.id 0 ", "actor.id 256 ")),
		prototest.Refuse("owners with a trailing comma", swap("actor.id 0 ", "actor.id 0, ")),
		prototest.Refuse("owners descend", swap("raw 0,1 ", "raw 1,0 ")),
		prototest.Refuse("owner twice", swap("raw 0,1 ", "raw 0,0 ")),
		prototest.Refuse("owner and none", swap("raw 0,1 ", "raw -,1 ")),
		prototest.Refuse("unknown state", swap(" withheld ", " hidden ")),
		prototest.Refuse("state in upper case", swap(" withheld ", " Withheld ")),
		prototest.Refuse("withheld without a commitment", swap(" withheld "+hash, " withheld")),
		prototest.Refuse("withheld with a value", swap(" withheld "+hash, " withheld "+hash+" c2E=")),
		prototest.Refuse("commitment without padding", swap(hash, hash[:43])),
		prototest.Refuse("commitment with unused bits set", swap(hash, hash[:42]+"/=")),
		prototest.Refuse("commitment with a carriage return", swap(hash, hash[:8]+"\r"+hash[8:])),
		prototest.Refuse("erased without an index", strings.Replace(good, " 5\n", "\n", 1)),
		prototest.Refuse("erased at a number with a leading zero", strings.Replace(good, " 5\n", " 05\n", 1)),
		prototest.Refuse("erased at a negative number", strings.Replace(good, " 5\n", " -5\n", 1)),
		prototest.Refuse("erased at 2^63", strings.Replace(good, " 5\n", " 9223372036854775808\n", 1)),
		prototest.Refuse("shown without a value", swap(" "+value("mapper", w), "")),
		prototest.Refuse("shown with an empty value", swap(value("mapper", w), "")),
		prototest.Refuse("value of no kind", swap(value("mapper", w), "enp6")),
		prototest.Refuse("value with unused bits set", swap(value("outcome.status", w), "ZTF=")),
		prototest.Refuse("value without padding", swap(value("outcome.status", w), "ZTE")),
		prototest.Refuse("value in the URL alphabet", swap(value("mapper", w), "eP__")),
		prototest.Refuse("value with a carriage return", swap(value("mapper", w), value("mapper", w)+"\r")),
		prototest.Refuse("value that is not canonical", swap(value("outcome.status", w), "ZTAx")),
	}
}

func value(path string, w *world) string {
	return base64.StdEncoding.EncodeToString(w.line(path).Value)
}

func owners(n int) []uint8 {
	var o []uint8
	for i := range n {
		o = append(o, uint8(i))
	}
	return o
}

func TestSyntaxVectors(t *testing.T) {
	prototest.Vectors(t, "disclosure.json", *update, syntaxCases(t), reformat)
}

// TestLines: the lines of a disclosure also travel without a proof.
func TestLines(t *testing.T) {
	w := newWorld(t, nil)
	b, err := seal.FormatLines(w.lines)
	if err != nil {
		t.Fatal(err)
	}
	lines, rest, err := seal.ParseLines(b)
	if err != nil || rest != nil {
		t.Fatalf("rest %q, %v", rest, err)
	}
	if diff := cmp.Diff(w.lines, lines); diff != "" {
		t.Errorf("ParseLines (-want +got):\n%s", diff)
	}
}

func TestFormatRefuses(t *testing.T) {
	line := func(change func(*seal.Line)) []seal.Line {
		l := seal.Line{Path: "a", State: seal.Shown, Value: seal.Int(1)}
		change(&l)
		return []seal.Line{l}
	}
	huge := func(n int) []seal.Line {
		lines := manyLines(n)
		for i := range lines {
			lines[i].State, lines[i].Value = seal.Shown, seal.Bytes(make([]byte, seal.MaxValue-1))
		}
		return lines
	}
	for name, lines := range map[string][]seal.Line{
		"no lines":         nil,
		"path is none":     line(func(l *seal.Line) { l.Path = "a b" }),
		"owners descend":   line(func(l *seal.Line) { l.Owners = []uint8{1, 0} }),
		"owner 250":        line(func(l *seal.Line) { l.Owners = []uint8{250} }),
		"no value":         line(func(l *seal.Line) { l.Value = nil }),
		"malformed value":  line(func(l *seal.Line) { l.Value = seal.Value("i01") }),
		"unknown state":    line(func(l *seal.Line) { l.State = 3 }),
		"negative erasure": line(func(l *seal.Line) { l.State, l.ErasedAt = seal.Erased, -1 }),
		"paths descend":    {{Path: "b"}, {Path: "a"}},
		"2049 lines":       manyLines(2049),
		"over 8 MiB":       huge(25),
	} {
		if _, err := seal.FormatLines(lines); err == nil {
			t.Errorf("%s: formatted", name)
		}
	}
	full, err := seal.FormatLines(manyLines(2048))
	if err != nil {
		t.Fatal(err)
	}
	if lines, _, err := seal.ParseLines(full); err != nil || len(lines) != 2048 {
		t.Errorf("2048 lines: %d, %v", len(lines), err)
	}
	zero := strings.Repeat("A", 43) + "="
	if _, _, err := seal.ParseLines(append(full, "z - withheld "+zero+"\n"...)); err == nil {
		t.Error("parsed 2049 lines")
	}
	if _, err := seal.FormatLines(huge(23)); err != nil {
		t.Errorf("under 8 MiB: %v", err)
	}
	if _, err := seal.Parse(make([]byte, seal.MaxFile+1)); err == nil {
		t.Error("parsed more than 8 MiB")
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range syntaxCases(f) {
		if len(c.Data()) < 1<<14 {
			f.Add(c.Data())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := seal.Parse(b)
		if err != nil {
			return
		}
		again, err := d.Format()
		if err != nil {
			t.Fatalf("parsed and not formatted: %v", err)
		}
		if string(again) != string(b) {
			t.Fatalf("parsed %q, formatted %q", b, again)
		}
	})
}

func FuzzParseLines(f *testing.F) {
	f.Add([]byte("idlog-disclosure/v1\na 0,1 shown " + strings.Repeat("A", 43) + "= c2E=\nb - erased " + strings.Repeat("A", 43) + "= 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, rest, err := seal.ParseLines(b)
		if err != nil {
			return
		}
		again, err := seal.FormatLines(lines)
		if err != nil {
			t.Fatalf("parsed and not formatted: %v", err)
		}
		if rest != nil {
			again = append(append(again, '\n'), rest...)
		}
		if string(again) != string(b) {
			t.Fatalf("parsed %q, formatted %q", b, again)
		}
		for _, l := range lines {
			_ = l.Value.Text()
		}
	})
}
