package evidence_test

import (
	"bytes"
	"testing"

	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
)

// badRoots adds root leaves that are false, and those that are not, each in a log of its own.
func badRoots(t *testing.T, add func(name string, claim evidence.Claim, proven bool, accused string, parts ...evidence.Part)) {
	t.Helper()
	rootOf := func(l *prototest.Log, n int, change func(*leaf.Root)) *leaf.Root {
		r := prototest.IndexOf(l.Leaves[:n]).Root(l.Origin, at*1000)
		if change != nil {
			change(r)
		}
		return r
	}
	format := func(r *leaf.Root) []byte {
		b, err := r.Format()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// made is a log with the root leaves of these sizes at 40, 41 and so on, the last of them changed.
	made := func(change func(*leaf.Root), sizes ...int) *prototest.Log {
		l := prototest.NewLog(origin, logKey)
		for i := range 40 {
			l.Append(event(t, func(e *leaf.Event) { e.Fields[0], e.Tags[0].Value[0] = byte(i), byte(i) }))
		}
		for i, n := range sizes {
			with := change
			if i < len(sizes)-1 {
				with = nil
			}
			l.Append(format(rootOf(l, n, with)))
		}
		l.Fill(50)
		return l
	}
	shown := func(l *prototest.Log, at ...int64) []evidence.Part {
		var parts []evidence.Part
		for _, i := range at {
			b, err := l.Proof(i, 50, l.Note(50, 0)).Format()
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, evidence.Part{Type: evidence.Proof, Data: b})
		}
		return parts
	}
	own := func(l *prototest.Log, n int, change func(*leaf.Root)) evidence.Part {
		return evidence.Part{Type: evidence.Leaf, Data: format(rootOf(l, n, change))}
	}
	bad := func(name string, proven bool, accused string, parts ...evidence.Part) {
		t.Helper()
		add("bad-root: "+name, evidence.BadRoot, proven, accused, parts...)
	}
	mapRoot := func(r *leaf.Root) { r.MapRoot[0]++ }
	logRoot := func(r *leaf.Root) { r.LogRoot[0]++ }

	honest := made(nil, 20, 30, 30)
	bad("a size above its index", true, origin, shown(made(func(r *leaf.Root) { r.N = 41 }, 20), 40)...)
	bad("of its own index", false, "", shown(made(nil, 40), 40)...)
	bad("of another log", true, origin, shown(made(func(r *leaf.Root) { r.Origin = family + "/other" }, 20), 40)...)
	bad("other roots of nothing", true, origin, shown(made(mapRoot, 0), 40)...)
	bad("the roots of nothing", false, "", shown(made(nil, 0), 40)...)
	bad("other roots of something, alone", false, "", shown(made(mapRoot, 20), 40)...)
	bad("an event", false, "", shown(honest, 7)...)
	forged := shown(made(func(r *leaf.Root) { r.N = 41 }, 20), 40)
	forged[0].Data = bytes.Replace(forged[0].Data, []byte("index 40"), []byte("index 41"), 1)
	bad("not included", false, "", forged...)

	bad("sizes descend", true, origin, shown(made(nil, 20, 19), 40, 41)...)
	bad("sizes that ascend, the other way round", false, "", shown(honest, 41, 40)...)
	bad("one size, two roots", true, origin, shown(made(mapRoot, 20, 20), 40, 41)...)
	bad("one size, one root", false, "", shown(honest, 41, 42)...)
	bad("two sizes", false, "", shown(honest, 40, 41)...)
	bad("one root leaf twice", false, "", shown(honest, 40, 40)...)
	stranger := prototest.NewLog("other.example/id/2026", other)
	stranger.Append(honest.Leaves[:42]...)
	stranger.Fill(50)
	bad("of two logs", false, "", shown(honest, 40)[0], shown(stranger, 41)[0])

	lying := made(logRoot, 20)
	bad("another root of the log", true, origin, shown(lying, 40)[0], ranges(t, lying, 20, 50))
	bad("the root of the log", false, "", shown(honest, 40)[0], ranges(t, honest, 20, 50))
	bad("hashes of another log", false, "", shown(honest, 40)[0], ranges(t, lying, 20, 50))
	bad("hashes of another size", false, "", shown(lying, 40)[0], ranges(t, lying, 19, 50))

	bad("another map root", false, origin, shown(made(mapRoot, 20), 40)[0], own(honest, 20, nil))
	bad("another number of keys", false, origin, shown(made(func(r *leaf.Root) { r.Keys++ }, 20), 40)[0], own(honest, 20, nil))
	bad("the same map root", false, "", shown(honest, 40)[0], own(honest, 20, func(r *leaf.Root) { r.Millis++ }))
	bad("the map root of another size", false, "", shown(honest, 40)[0], own(honest, 19, nil))
	bad("the map root of another tree", false, "", shown(honest, 40)[0], own(honest, 20, func(r *leaf.Root) { r.LogRoot[0]++; r.MapRoot[0]++ }))
	bad("a leaf first", false, "", own(honest, 20, nil), shown(honest, 40)[0])
	bad("a part too many", false, "", append(shown(honest, 40, 41), own(honest, 20, nil))...)
}
