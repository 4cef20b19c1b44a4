package audit_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/tag"
	"idlog/proto/ticket"
	"idlog/proto/tile"
)

const (
	family = "log.example/id"
	origin = family + "/0"
)

// built is a log in a folder, laid out as HTTP serves it.
type built struct {
	t         testing.TB
	dir       string
	policy    *policy.Policy
	log       note.Signer
	witnesses []note.Signer
	leaves    [][]byte
	hashes    []tlog.Hash
	people    int
}

// build makes a log of its first two leaves, and keys.
func build(t testing.TB) *built {
	t.Helper()
	b := &built{t: t, dir: t.TempDir()}
	text := ""
	signer := func(name string, role checkpoint.Role) (note.Signer, string) {
		skey, vkey, err := checkpoint.GenerateKey(name, checkpoint.Ed25519, role)
		b.check(err)
		s, err := checkpoint.NewSigner(skey)
		b.check(err)
		return s, vkey
	}
	var vkey string
	b.log, vkey = signer(origin, checkpoint.LogRole)
	text += "log " + vkey + "\n"
	for _, name := range []string{"w0", "w1"} {
		w, vkey := signer(name+".example", checkpoint.WitnessRole)
		b.witnesses = append(b.witnesses, w)
		text += "witness " + name + " " + vkey + "\n"
	}
	var err error
	b.policy, err = policy.Parse([]byte(text + "group all all w0 w1\nquorum all\n"))
	b.check(err)
	_, vkey = signer(ticket.KeyName(family), checkpoint.LogRole)
	b.add(&leaf.Shard{Log: family, Received: now(), Genesis: &leaf.Genesis{MapFn: leaf.MapFn, Keys: 1, Ticket: vkey}})
	keys := &leaf.Keys{Log: family, Received: now(), Epoch: 1, VRF: leaf.Hash{9}}
	for _, f := range []uint16{tag.EventID, tag.Session, tag.Class, tag.Target} {
		keys.Commits = append(keys.Commits, leaf.Commit{Field: f, Source: "okta", Commit: leaf.Hash{byte(f)}})
	}
	b.add(keys)
	return b
}

func now() int64 { return time.Now().Unix() }

func (b *built) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *built) add(l leaf.Leaf) {
	b.t.Helper()
	data, err := l.Format()
	b.check(err)
	b.addBytes(data)
}

func (b *built) addBytes(data []byte) {
	b.t.Helper()
	hashes, err := tlog.StoredHashes(int64(len(b.leaves)), data, b.reader())
	b.check(err)
	b.leaves, b.hashes = append(b.leaves, data), append(b.hashes, hashes...)
}

func (b *built) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = b.hashes[x]
		}
		return out, nil
	})
}

func number(kind byte, n int) (h leaf.Hash) {
	binary.BigEndian.PutUint64(h[:], uint64(n)*0x9e3779b97f4a7c15)
	h[8], h[9] = kind, byte(n)
	return h
}

// event returns the event of that number, which names a person of its own for every fourth.
func (b *built) event(n int) *leaf.Event {
	person := number('p', n/4)
	return &leaf.Event{Log: family, Source: "okta", Received: now(), Assurance: leaf.AssurancePushed, Keys: 1, Fields: number('f', n),
		Tags: []leaf.Tag{{Field: 1, Value: number('i', n)}, {Field: 2, Value: person}, {Field: 3, Value: person}, {Field: 6, Value: leaf.Hash{6}}}}
}

func (b *built) enrol() {
	c, e := number('c', b.people), number('e', b.people)
	b.people++
	b.add(&leaf.Subject{Log: family, Received: now(), Keys: 1, Commit: &c, Etags: []leaf.Hash{e}})
}

// fill adds events until the log has this size, and enrols who they name.
func (b *built) fill(size int) {
	b.t.Helper()
	for n := 0; len(b.leaves) < size; n++ {
		if n%4 == 0 {
			b.enrol()
		}
		if len(b.leaves) < size {
			b.add(b.event(n))
		}
	}
}

// sign returns the cosigned checkpoint of a size, with another root if it is given.
func (b *built) sign(size int64, root ...byte) []byte {
	b.t.Helper()
	r, err := tlog.TreeHash(size, b.reader())
	b.check(err)
	c := checkpoint.Checkpoint{Origin: origin, Size: size, Root: r}
	copy(c.Root[:], root)
	n, err := checkpoint.Sign(c, append([]note.Signer{b.log}, b.witnesses...)...)
	b.check(err)
	return n
}

func (b *built) write(path string, data []byte) {
	b.t.Helper()
	name := filepath.Join(b.dir, filepath.FromSlash(path))
	b.check(os.MkdirAll(filepath.Dir(name), 0o700))
	b.check(os.WriteFile(name, data, 0o600))
}

func (b *built) read(path string) []byte {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, filepath.FromSlash(path)))
	b.check(err)
	return data
}

// publish writes all that there is, and a checkpoint and an archive of these
// sizes, the last of which is all.
func (b *built) publish(sizes ...int64) {
	b.t.Helper()
	size := int64(len(b.leaves))
	for _, s := range append(sizes, size) {
		b.write("archive/"+strconv.FormatInt(s, 10), b.sign(s))
	}
	b.write("checkpoint", b.sign(size))
	for level := tile.Entries; level < 8; level++ {
		for index := int64(0); ; index++ {
			c, ok := tile.At(level, index, size)
			if !ok {
				break
			}
			b.write(c.Path(), b.tile(c))
		}
	}
}

// tile returns what must be at c.
func (b *built) tile(c tile.Coord) (data []byte) {
	for i := c.Index * tile.Width; i < c.Index*tile.Width+int64(c.Width); i++ {
		if c.Level == tile.Entries {
			var err error
			data, err = tile.AppendBundle(data, b.leaves[i])
			b.check(err)
			continue
		}
		h := b.hashes[tlog.StoredHashIndex(8*c.Level, i)]
		data = append(data, h[:]...)
	}
	return data
}

// flip turns a bit of a file over; a negative offset counts from its end.
func (b *built) flip(path string, at int) {
	data := bytes.Clone(b.read(path))
	data[(at+len(data))%len(data)] ^= 1
	b.write(path, data)
}

// heads writes the archive as an operator keeps it: segments of these heads,
// of which those with a quorum are archived.
func (b *built) heads(dir string, sizes ...int64) {
	b.t.Helper()
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	var out []byte
	frame := func(kind byte, number int64, rest []byte) {
		body := append(binary.BigEndian.AppendUint64([]byte{kind}, uint64(number)), rest...)
		var head []byte
		head = binary.BigEndian.AppendUint32(head, uint32(len(body)))
		head = binary.BigEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
		head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
		out = append(append(append(out, head...), body...), '\n')
	}
	frame('O', 1, []byte(origin))
	for _, size := range sizes {
		text, sigs, err := checkpoint.Split(b.sign(size))
		b.check(err)
		frame('H', time.Now().UnixMilli(), text)
		frame('S', size, sigs[0].Line())
		if size%2 == 0 { // of odd sizes nobody knows whether a quorum signed
			frame('Q', size, append(sigs[1].Line(), sigs[2].Line()...))
		}
	}
	b.write(filepath.Join(dir, "00000001.heads"), out)
}

// serve serves the folder as a log does.
func (b *built) serve() string {
	files := http.FileServer(http.Dir(b.dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, ok := strings.CutPrefix(r.URL.Path, "/archive/"); ok {
			least, err := strconv.ParseInt(from, 10, 64)
			b.check(err)
			for ; least <= int64(len(b.leaves)); least++ {
				if data, err := os.ReadFile(filepath.Join(b.dir, "archive", fmt.Sprint(least))); err == nil {
					w.Write(data)
					return
				}
			}
			http.NotFound(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	b.t.Cleanup(s.Close)
	return s.URL
}
