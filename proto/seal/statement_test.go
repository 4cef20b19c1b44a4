package seal_test

import (
	"testing"

	"idlog/proto/leaf"
	"idlog/proto/seal"
)

func TestOpenStatement(t *testing.T) {
	line := func(path string, v seal.Value, owners ...uint8) seal.Line {
		salt := leaf.Hash{1, byte(len(path))}
		return seal.Line{Path: path, Owners: owners, State: seal.Shown, Salt: salt, Value: v, Commitment: seal.Commitment(salt, path, v)}
	}
	closed := func(l seal.Line, s seal.State) seal.Line {
		return seal.Line{Path: l.Path, Commitment: l.Commitment, State: s, ErasedAt: 7}
	}
	authority, reason := line("authority", seal.String("hr")), line("reason", seal.String(""))
	digest, err := seal.Digest([]seal.Line{authority, reason})
	if err != nil {
		t.Fatal(err)
	}
	s := &leaf.Subject{Fields: &digest}
	opened, err := seal.OpenStatement(s, []seal.Line{closed(authority, seal.Erased), reason})
	if err != nil || opened[0].State != seal.Withheld || opened[0].ErasedAt != 0 || opened[1].State != seal.Shown {
		t.Errorf("%+v, %v", opened, err)
	}
	if opened, err := seal.OpenStatement(s, []seal.Line{authority, closed(reason, seal.Withheld)}); err != nil || opened[1].State != seal.Withheld {
		t.Errorf("%+v, %v", opened, err)
	}
	// Whatever does not stand in the leaf is refused, and so is what may not stand there though it does.
	for name, lines := range map[string][]seal.Line{
		"other value":  {line("authority", seal.String("cfo")), reason},
		"other salt":   {{Path: "authority", State: seal.Shown, Salt: leaf.Hash{9}, Value: authority.Value}, reason},
		"other hash":   {authority, {Path: "reason", Commitment: leaf.Hash{9}}},
		"no reason":    {authority},
		"other path":   {authority, line("reasons", seal.String(""))},
		"another path": {authority, reason, line("remark", seal.String(""))},
		"a number":     {line("authority", seal.Int(7)), reason},
		"no value":     {line("authority", nil), reason},
		"an owner":     {line("authority", seal.String("hr"), 0), reason},
		"nothing":      {},
	} {
		if _, err := seal.OpenStatement(s, lines); err == nil {
			t.Errorf("%s: opened", name)
		}
		if d, err := seal.Digest(lines); err == nil && (name != "other value" && name != "other salt" && name != "other hash") {
			if _, err := seal.OpenStatement(&leaf.Subject{Fields: &d}, lines); err == nil {
				t.Errorf("%s, and the leaf says so: opened", name)
			}
		}
	}
	if _, err := seal.OpenStatement(&leaf.Subject{Commit: &leaf.Hash{}}, []seal.Line{authority, reason}); err == nil {
		t.Error("an enrolment was opened")
	}
}
