package source_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idlog/log/source"
)

var secrets = source.Secrets{
	Names:      []string{"password", "client_secret", "qs.code"},
	Parameters: []string{"token", "password"},
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ in, want, pointers string }{
		{`{}`, `{}`, ""},
		{` {"a" : 1 , "password":"x" } `, ` {"a" : 1 , "password":null } `, "/password"},
		{`{"Password":"x","PASSWORD":7}`, `{"Password":null,"PASSWORD":null}`, "/PASSWORD /Password"},
		{`{"pass\u0077ord":"x"}`, `{"pass\u0077ord":null}`, "/password"},
		{`{"password":"x","password":"y"}`, `{"password":null,"password":null}`, "/password"},
		{`{"password":null,"a":{"password":true}}`, `{"password":null,"a":{"password":true}}`, ""},
		{`{"password":{"value":"x","b":[1]}}`, `{"password":null}`, "/password"},
		{`{"password":["x"]}`, `{"password":null}`, "/password"},
		{`[[{"client_secret":"x"}],{"client_secret":"y"}]`, `[[{"client_secret":null}],{"client_secret":null}]`, "/0/0/client_secret /1/client_secret"},
		{`{"a/b~c":{"password":1e9}}`, `{"a/b~c":{"password":null}}`, "/a~1b~0c/password"},
		{`{"code":"x","qs":{"code":"y"},"p":{"qs":[{"code":"z"}]}}`, `{"code":"x","qs":{"code":null},"p":{"qs":[{"code":null}]}}`, "/p/qs/0/code /qs/code"},
		{`{"u":"/a?b=c&token=d"}`, `{"u":null}`, "/u"},
		{`{"u":"token=d"}`, `{"u":null}`, "/u"},
		{`{"u":"/a#TOKEN=d"}`, `{"u":null}`, "/u"},
		{`{"u":"/a?token=&b=c","v":"mytoken=x","w":"token","x":"a=token"}`, `{"u":"/a?token=&b=c","v":"mytoken=x","w":"token","x":"a=token"}`, ""},
		{`"password=x"`, `null`, ""},
		{`{"body":"{\"a\":{\"password\":\"x\"}}"}`, `{"body":null}`, "/body"},
		{`{"body":" [ {\"u\":\"?token=x\"} ]"}`, `{"body":null}`, "/body"},
		{`{"body":"{\"a\":1}","c":"{not json password"}`, `{"body":"{\"a\":1}","c":"{not json password"}`, ""},
		{`{"Operations":[{"op":"replace","path":"password","value":"x"}]}`, `{"Operations":[{"op":"replace","path":"password","value":null}]}`, "/Operations/0/value"},
		{`{"path":"urn:x:2.0:User:password","value":{"a":1}}`, `{"path":"urn:x:2.0:User:password","value":null}`, "/value"},
		{`{"path":"a[b eq 1].Password","VALUE":"x"}`, `{"path":"a[b eq 1].Password","VALUE":null}`, "/VALUE"},
		{`{"path":"title","value":"x"}`, `{"path":"title","value":"x"}`, ""},
		{"{\"a\":\"\xff\",\"password\":\"\xfe\\\"\"}", "{\"a\":\"\xff\",\"password\":null}", "/password"},
	} {
		masked, pointers, err := secrets.Mask([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		}
		if string(masked) != c.want || strings.Join(pointers, " ") != c.pointers {
			t.Errorf("%s:\n got %s %q\nwant %s %q", c.in, masked, pointers, c.want, c.pointers)
		}
	}
	for _, in := range []string{"", " ", "{", `{"a":}`, "nul", `{"a":1}{`, `{"a":1,}`, "[1 2]", "\ufeff{}", strings.Repeat("[", 20_000)} {
		if _, _, err := secrets.Mask([]byte(in)); err == nil {
			t.Errorf("%.20q is masked", in)
		}
	}
}

// An event has room for 256 pointers: beyond, what holds the secrets is masked.
func TestMaskTooMany(t *testing.T) {
	list := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"password":"x","n":1},`, n), ",") + "]"
	}
	_, pointers, err := secrets.Mask([]byte(`{"users":` + list(256) + `}`))
	if err != nil || len(pointers) != 256 || !slices.IsSorted(pointers) {
		t.Errorf("256 secrets: %d pointers, %v", len(pointers), err)
	}
	masked, pointers, err := secrets.Mask([]byte(`{"a":[1],"users":` + list(257) + `,"b":2}`))
	if err != nil {
		t.Fatal(err)
	}
	if string(masked) != `{"a":[1],"users":null,"b":2}` {
		t.Errorf("257 secrets: %s", masked)
	}
	if diff := cmp.Diff([]string{"/users"}, pointers); diff != "" {
		t.Error(diff)
	}
	deep := strings.Repeat(`{"`+strings.Repeat("x", 3000)+`":`, 12) + `{"password":"x"}` + strings.Repeat("}", 12)
	masked, pointers, err = secrets.Mask([]byte(deep))
	if err != nil || len(pointers) != 1 || len(pointers[0]) > 32<<10 || strings.Contains(string(masked), "password") {
		t.Errorf("a long pointer: %d pointers, %v", len(pointers), err)
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte(`{"a":["?token=x",{"password":{"b":1}}],"c":"{\"password\":1}","path":"password","value":[0]}`))
	f.Add([]byte(`"password=\u0000"`))
	f.Fuzz(func(t *testing.T, in []byte) {
		masked, pointers, err := secrets.Mask(in)
		if err != nil {
			if json.Valid(in) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(masked) {
			t.Fatalf("masked is no JSON: %q", masked)
		}
		if !slices.IsSorted(pointers) || len(slices.Compact(slices.Clone(pointers))) != len(pointers) {
			t.Fatalf("pointers %q", pointers)
		}
		if len(pointers) == 0 && string(masked) != string(in) {
			t.Fatalf("nothing was masked, and it became %q", masked)
		}
		again, none, err := secrets.Mask(masked)
		if err != nil || string(again) != string(masked) || len(none) != 0 {
			t.Fatalf("masked again: %q %q %v", again, none, err)
		}
	})
}

func TestValue(t *testing.T) {
	v, err := source.Parse([]byte(`{"a":{"B":"x","b":"y\u00e9\ud800"},"n":-1.5e1,"i":"7","f":48.2082004,"t":true,"z":null,"l":[1,"2",[]],"o":{"k":1},"k":1,"k":2}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{v.Get("a", "b").Text(), "y\u00e9\ufffd"},
		{v.Get("A", "B").Text(), "x"},
		{v.Get("n").Text(), "-1.5e1"},
		{v.Get("t").Text(), "true"},
		{v.Get("z").Text(), ""},
		{v.Get("l").Text(), ""},
		{v.Get("l").Any(), `[1,"2",[]]`},
		{v.Get("o").Any(), `{"k":1}`},
		{v.Get("k").Text(), "2"},
		{v.Get("not", "there").Any(), ""},
		{string(v.Get("not", "there").Raw()), ""},
		{v.First("z", "not", "i", "n"), "7"},
		{fmt.Sprint(v.Names()), "[a n i f t z l o k]"},
		{fmt.Sprint(v.Get("i").Int()), "7 true"},
		{fmt.Sprint(v.Get("n").Int()), "0 false"},
		{fmt.Sprint(v.Get("f").Micro()), "48208200 true"},
		{fmt.Sprint(v.Get("t").Micro()), "0 false"},
		{fmt.Sprint(v.Get("t").Bool()), "true true"},
		{fmt.Sprint(v.Get("i").Bool()), "false false"},
		{fmt.Sprint(len(v.Get("l").Elements())), "3"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
