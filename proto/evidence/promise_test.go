package evidence_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/prototest"
	"idlog/proto/ticket"
)

const (
	day      = 24 * 3600
	deadline = at + day
)

var promiser = prototest.NewKey(ticket.KeyName(family), checkpoint.Ed25519, checkpoint.LogRole)

// promised is a ticket of an event leaf, by a key.
func promised(t *testing.T, key prototest.Key, b []byte, received int64) evidence.Part {
	t.Helper()
	signer, err := note.NewSigner(key.SKey)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("idlog-ticket/v1\n%s\n%s\n%d\n%d\n", family, hashText(leaf.HashOf(b)), received, received+day)
	n, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Part{Type: evidence.Ticket, Data: n}
}

func hashText(h [32]byte) string { return base64.StdEncoding.EncodeToString(h[:]) }

// genesis begins a log of its own, whose tickets a key signs.
func genesis(t *testing.T, key prototest.Key) *prototest.Log {
	t.Helper()
	b, err := (&leaf.Shard{Log: family, Received: at - day, Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: key.VKey}}).Format()
	if err != nil {
		t.Fatal(err)
	}
	l := prototest.NewLog(origin, logKey)
	l.Append(b)
	return l
}

// listed are the roots of the perfect subtrees of the first n entries, and the hash of each entry from there to m.
func listed(t *testing.T, l *prototest.Log, n, m int64) evidence.Part {
	t.Helper()
	part := evidence.Part{Type: evidence.Consistency}
	if n > 0 {
		part = ranges(t, l, n, n)
	}
	for _, b := range l.Leaves[n:m] {
		part.Data = fmt.Appendf(part.Data, "%s\n", hashText(leaf.HashOf(b)))
	}
	return part
}

// promises are the vectors of broken promises: a log of 40 entries that promised a leaf and never logged it.
func promises(t *testing.T, add func(name string, claim evidence.Claim, proven bool, accused string, parts ...evidence.Part)) {
	l := genesis(t, promiser)
	l.Fill(40)
	lost := event(t, nil)
	cp := func(b []byte) evidence.Part { return evidence.Part{Type: evidence.Checkpoint, Data: b} }
	proved := func(l *prototest.Log, index int64) evidence.Part {
		size := int64(len(l.Leaves))
		b, err := l.Proof(index, size, l.Note(size, at)).Format()
		if err != nil {
			t.Fatal(err)
		}
		return evidence.Part{Type: evidence.Proof, Data: b}
	}
	tick, body, first := promised(t, promiser, lost, at), evidence.Part{Type: evidence.Leaf, Data: lost}, proved(l, 0)
	early, late := cp(l.Note(30, at-61, witness, second)), cp(l.Note(40, deadline+1, witness, second))
	claim := func(name string, proven bool, parts ...evidence.Part) {
		t.Helper()
		accused := ""
		if proven {
			accused = origin
		}
		add("broken-promise: "+name, evidence.BrokenPromise, proven, accused, parts...)
	}
	claim("every entry is listed", true, tick, body, first, late, listed(t, l, 0, 40))
	for _, n := range []int64{1, 2, 31, 32, 39, 40} {
		claim(fmt.Sprintf("entries from %d on are listed", n), true, tick, body, first,
			cp(l.Note(n, at-61, witness, second)), late, listed(t, l, n, 40))
	}
	text := l.Checkpoint(40).Format()
	claim("one cosigned after the deadline, one at it", false, tick, body, first,
		cp(checkpoint.Join(text, logKey.Sign(text, 0), witness.Sign(text, deadline), second.Sign(text, deadline+1))), listed(t, l, 0, 40))
	claim("the deadline is not over", false, tick, body, first, cp(l.Note(40, deadline, witness, second)), listed(t, l, 0, 40))
	claim("nobody saw that the deadline is over", false, tick, body, first, cp(l.Note(40, deadline+1)), listed(t, l, 0, 40))
	claim("half a quorum saw it", false, tick, body, first, cp(l.Note(40, deadline+1, witness)), listed(t, l, 0, 40))
	claim("the earlier checkpoint is too late", false, tick, body, first, cp(l.Note(30, at-60, witness, second)), late, listed(t, l, 30, 40))
	claim("the earlier checkpoint has no quorum", false, tick, body, first, cp(l.Note(30, at-61, witness)), late, listed(t, l, 30, 40))
	claim("the checkpoints the wrong way round", false, tick, body, first, late, early, listed(t, l, 30, 40))
	claim("the earlier checkpoint is of another history", false, tick, body, first, cp(foreign(t).Note(30, at-61, witness, second)), late, listed(t, l, 30, 40))
	claim("an entry is not listed", false, tick, body, first, early, late, listed(t, l, 30, 39))
	claim("an entry more is listed", false, tick, body, first, early, cp(l.Note(39, deadline+1, witness, second)), listed(t, l, 30, 40))
	claim("the hashes of another history", false, tick, body, first, late, listed(t, foreign(t), 0, 40))
	cut := listed(t, l, 30, 40)
	cut.Data = cut.Data[:len(cut.Data)-1]
	claim("the hashes have no end", false, tick, body, first, early, late, cut)
	claim("no checkpoint", false, tick, body, first, listed(t, l, 0, 40))
	claim("no genesis", false, tick, body, late, listed(t, l, 0, 40))
	claim("entry 1 is no genesis", false, tick, body, proved(l, 1), late, listed(t, l, 0, 40))
	claim("no leaf", false, tick, first, late, listed(t, l, 0, 40))
	claim("another leaf than was promised", false, tick, evidence.Part{Type: evidence.Leaf, Data: event(t, func(e *leaf.Event) { e.Keys++ })},
		first, late, listed(t, l, 0, 40))
	claim("a promise of another second", false, promised(t, promiser, lost, at+1), body, first, late, listed(t, l, 0, 40))
	claim("a promise under another key of the name", false,
		promised(t, prototest.NewKeyFromSeed(promiser.Name(), checkpoint.Ed25519, checkpoint.LogRole, [32]byte{1}), lost, at), body, first, late, listed(t, l, 0, 40))
	claim("a promise under the log's key", false, promised(t, logKey, lost, at), body, first, late, listed(t, l, 0, 40))

	kept := genesis(t, promiser)
	kept.Fill(20)
	kept.Append(lost)
	kept.Fill(40)
	claim("it was kept", false, tick, body, proved(kept, 0), cp(kept.Note(40, deadline+1, witness, second)), listed(t, kept, 0, 40))
	claim("another leaf that is the leaf", false, tick, body, proved(kept, 0), cp(kept.Note(40, deadline+1, witness, second)), proved(kept, 20))

	other := genesis(t, promiser)
	other.Fill(20)
	other.Append(event(t, func(e *leaf.Event) { e.Received++ }), event(t, func(e *leaf.Event) { e.Tags[0].Value[0]++ }),
		event(t, func(e *leaf.Event) { e.Source = "entra" }))
	over := cp(other.Note(23, deadline+1, witness, second))
	claim("another leaf of the event", true, tick, body, proved(other, 0), over, proved(other, 20))
	claim("a leaf of another event", false, tick, body, proved(other, 0), over, proved(other, 21))
	claim("a leaf of that id and another source", false, tick, body, proved(other, 0), over, proved(other, 22))
	claim("another leaf, and the deadline is not over", false, tick, body, proved(other, 0), cp(other.Note(23, deadline, witness, second)), proved(other, 20))

	sent := evidence.Part{Type: evidence.Submission, Data: []byte("what was sent")}
	add("broken-promise: a ticket as it is kept", evidence.BrokenPromise, false, origin, tick, body, first, early, sent)
	add("broken-promise: a ticket as it is kept, without a checkpoint", evidence.BrokenPromise, false, origin, tick, body, first, sent)
	claim("a kept ticket that somebody else signed", false, promised(t, logKey, lost, at), body, first, sent)
}

// foreign is another history of the log.
func foreign(t *testing.T) *prototest.Log {
	l := genesis(t, promiser)
	l.Append([]byte("another entry"))
	l.Fill(40)
	return l
}
