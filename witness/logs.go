package witness

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"idlog/proto/checkpoint"
)

// Logs is the set of logs a witness cosigns for, each with the keys that may
// sign its checkpoints. It does not change after ParseLogs.
type Logs struct {
	keys   map[string][]logKey // by origin
	public map[string]string   // raw public key -> origin
	urls   map[string]string   // by origin; only package verify fetches from them
}

// A ListError says what is wrong with a list of logs, and where.
type ListError struct {
	Line   int // counted from 1
	Reason error
}

func (e *ListError) Error() string { return fmt.Sprintf("parsing logs: line %d: %v", e.Line, e.Reason) }

// Unwrap returns Reason.
func (e *ListError) Unwrap() error { return e.Reason }

// maxKeys bounds the keys of one origin, so that the lines of all of them and
// ours fit into a note.
const maxKeys = 16

type logKey struct {
	id       uint32
	vkey     string
	verifier note.Verifier
}

// ParseLogs reads lines of c2sp.org/tlog-policy that name logs,
//
//	log <vkey> [<url>]
//
// and empty lines and comments. The name of a key is the origin of its log;
// several lines may name keys of one origin, any of which suffices. Other
// statements of a policy, a key that is no log's and a key named twice are
// errors, each a [*ListError]. An empty list is a list.
func ParseLogs(b []byte) (*Logs, error) {
	l := &Logs{keys: make(map[string][]logKey), public: make(map[string]string), urls: make(map[string]string)}
	line := 0
	for text := range bytes.Lines(b) {
		line++
		fields := strings.FieldsFunc(strings.TrimSuffix(string(text), "\n"), func(r rune) bool { return r == ' ' || r == '\t' })
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] != "log" || len(fields) < 2 || len(fields) > 3 {
			return nil, &ListError{Line: line, Reason: errors.New("want: log <vkey> [<url>]")}
		}
		if err := l.add(fields[1], fields[2:]); err != nil {
			return nil, &ListError{Line: line, Reason: err}
		}
	}
	return l, nil
}

func (l *Logs) add(vkey string, urls []string) error {
	k, err := checkpoint.ParseVKey(vkey)
	if err != nil {
		return err
	}
	if !k.Serves(checkpoint.LogRole) {
		return fmt.Errorf("the key of %s is a witness's", k.Name)
	}
	if other, ok := l.public[string(k.Public)]; ok {
		return fmt.Errorf("the key of %s is already that of %s", k.Name, other)
	}
	if len(l.keys[k.Name]) == maxKeys {
		return fmt.Errorf("more than %d keys of %s", maxKeys, k.Name)
	}
	// Two keys of one name and ID could not both be told from a signature line.
	for _, other := range l.keys[k.Name] {
		if other.id == k.ID {
			return fmt.Errorf("another key has the name and key ID %s+%08x", k.Name, k.ID)
		}
	}
	v, err := checkpoint.NewVerifier(vkey)
	if err != nil {
		return err
	}
	l.public[string(k.Public)] = k.Name
	l.keys[k.Name] = append(l.keys[k.Name], logKey{id: k.ID, vkey: vkey, verifier: v})
	if len(urls) > 0 && l.urls[k.Name] == "" {
		l.urls[k.Name] = urls[0]
	}
	return nil
}

// Len is the number of origins.
func (l *Logs) Len() int { return len(l.keys) }

// Origins returns the origins, ascending.
func (l *Logs) Origins() []string { return slices.Sorted(maps.Keys(l.keys)) }

// Has reports whether an origin is in the list.
func (l *Logs) Has(origin string) bool { return len(l.keys[origin]) > 0 }

// URL is the first that the list names for an origin, or empty.
func (l *Logs) URL(origin string) string { return l.urls[origin] }

// VKeys returns the keys of an origin, ascending.
func (l *Logs) VKeys(origin string) []string {
	var vkeys []string
	for _, k := range l.keys[origin] {
		vkeys = append(vkeys, k.vkey)
	}
	slices.Sort(vkeys)
	return vkeys
}

// Open reads a note that is to be a checkpoint of an origin of the list, and
// returns it with those of its signatures that keys of its log made. An error
// says that no such key has signed it, or that one is said to have and has not.
func (l *Logs) Open(origin string, note []byte) (c checkpoint.Checkpoint, signed []byte, err error) {
	text, sigs, err := checkpoint.Split(note)
	if err != nil {
		return c, nil, err
	}
	if c, err = checkpoint.Parse(text); err != nil {
		return c, nil, err
	}
	if c.Origin != origin {
		return c, nil, fmt.Errorf("the checkpoint is of %s", c.Origin)
	}
	if sigs, err = l.verified(origin, text, sigs); err != nil {
		return c, nil, err
	}
	return c, checkpoint.Join(text, sigs...), nil
}

// verified returns the signature lines of text that keys of the origin made,
// one per key, in the order of the list. It fails if there is none, and if a
// line names a key and is not by it.
//
// SPEC: tlog-witness: "verify the checkpoint signature against the public
// key(s) it trusts for the checkpoint origin, and it MUST ignore signatures from
// unknown keys".
func (l *Logs) verified(origin string, text []byte, sigs []checkpoint.Signature) ([]checkpoint.Signature, error) {
	var good []checkpoint.Signature
	for _, k := range l.keys[origin] {
		var first *checkpoint.Signature // of a repeated line one is enough to keep
		for _, s := range sigs {
			if s.Name != origin || s.ID != k.id {
				continue
			}
			if !k.verifier.Verify(text, s.Bytes) {
				return nil, fmt.Errorf("a signature by key %08x of the log is false", k.id)
			}
			if first == nil {
				first = &s
			}
		}
		if first != nil {
			good = append(good, *first)
		}
	}
	if len(good) == 0 {
		return nil, errors.New("no signature by a key of the log")
	}
	return good, nil
}
