package backup

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
)

// Manifest says what a backup is of and which files it has. On disk:
//
//	idlog-backup/v1
//	origin <origin>
//	vkey <vkey>                      one or more: keys that signed the checkpoint
//	time <RFC 3339, UTC, seconds>
//	generation <decimal>             of the state, from 1
//	size <decimal>                   of the tree
//	root <base64>
//	cursor <decimal>                 entries that the journal knows, at least size
//	files <decimal>
//	file <size> <SHA-256 in hex> <path>   each, ascending by path
//	sum <SHA-256 in hex of all lines above>
type Manifest struct {
	Origin     string
	VKeys      []string
	Time       time.Time
	Generation int64
	Size       int64
	Root       leaf.Hash
	Cursor     int64
	Files      []File
}

// File is one file of a backup. Its path is relative to the backup's folder and
// has slashes.
type File struct {
	Path string
	Size int64
	Sum  leaf.Hash
}

const (
	magic   = "idlog-backup/v1"
	maxPath = 255
)

var errManifest = errors.New("it is not a manifest")

var goodPath = regexp.MustCompile(`^(tiles/tile|state-[1-9][0-9]*)(/[A-Za-z0-9][A-Za-z0-9._@+-]*)+$`)

// Bytes returns the sum of the files' sizes.
func (m *Manifest) Bytes() int64 {
	var n int64
	for i := range m.Files {
		n += m.Files[i].Size
	}
	return n
}

// Format returns the bytes of the manifest. It checks nothing.
func (m *Manifest) Format() []byte {
	b := make([]byte, 0, 1024+128*len(m.Files))
	b = fmt.Appendf(b, "%s\norigin %s\n", magic, m.Origin)
	for _, v := range m.VKeys {
		b = fmt.Appendf(b, "vkey %s\n", v)
	}
	b = fmt.Appendf(b, "time %s\ngeneration %d\nsize %d\nroot %s\ncursor %d\nfiles %d\n",
		m.Time.UTC().Format(time.RFC3339), m.Generation, m.Size, base64.StdEncoding.EncodeToString(m.Root[:]), m.Cursor, len(m.Files))
	for _, f := range m.Files {
		b = append(b, "file "...)
		b = append(strconv.AppendInt(b, f.Size, 10), ' ')
		b = append(hex.AppendEncode(b, f.Sum[:]), ' ')
		b = append(append(b, f.Path...), '\n')
	}
	sum := sha256.Sum256(b)
	return fmt.Appendf(b, "sum %x\n", sum)
}

// ParseManifest reads what Format wrote, and nothing else: every other text is
// an error.
func ParseManifest(b []byte) (*Manifest, error) {
	m, err := parseManifest(b)
	if err == nil && !bytes.Equal(m.Format(), b) {
		err = errors.New("its sum is not that of its lines: it was changed, or not written to its end")
	}
	if err != nil {
		return nil, fmt.Errorf("parsing manifest: %w", err)
	}
	return m, nil
}

// lines takes a manifest apart. After the first error it gives nothing more.
type lines struct {
	rest []byte
	n    int
	err  error
}

// field returns what follows a keyword in the next line.
func (l *lines) field(keyword string) string {
	line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
	value, is := bytes.CutPrefix(line, []byte(keyword+" "))
	if l.n++; l.err == nil && (!ok || !is || len(value) == 0) {
		l.err = fmt.Errorf("line %d is not %q", l.n, keyword)
	}
	if l.err != nil {
		return ""
	}
	l.rest = rest
	return string(value)
}

func (l *lines) next(keyword string) bool { return bytes.HasPrefix(l.rest, []byte(keyword+" ")) }

func (l *lines) number(s string) int64 {
	n, err := checkpoint.ParseSize(s)
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("line %d: %w", l.n, err)
	}
	return n
}

// parseManifest reads fields; that they were written as Format writes them is
// for ParseManifest to find out.
func parseManifest(b []byte) (*Manifest, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic+"\n"))
	if !ok {
		return nil, errManifest
	}
	l, m := &lines{rest: rest, n: 1}, &Manifest{}
	m.Origin = l.field("origin")
	for l.err == nil && l.next("vkey") {
		m.VKeys = append(m.VKeys, l.field("vkey"))
	}
	at := l.field("time")
	m.Generation = l.number(l.field("generation"))
	m.Size = l.number(l.field("size"))
	root := l.field("root")
	m.Cursor = l.number(l.field("cursor"))
	files := l.number(l.field("files"))
	for l.err == nil && l.next("file") {
		f, err := parseFile(l.field("file"))
		if l.err == nil && err != nil {
			l.err = fmt.Errorf("line %d: %w", l.n, err)
		}
		m.Files = append(m.Files, f)
	}
	if l.field("sum"); l.err == nil && len(l.rest) > 0 {
		l.err = errors.New("bytes after its sum")
	}
	var err error
	if m.Time, err = time.Parse(time.RFC3339, at); l.err == nil && err != nil {
		l.err = errors.New("its time is no time")
	}
	if m.Root, err = checkpoint.ParseHash(root); l.err == nil && err != nil {
		l.err = err
	}
	if l.err != nil {
		return nil, l.err
	}
	return m, m.check(files)
}

func parseFile(s string) (File, error) {
	size, rest, _ := strings.Cut(s, " ")
	sum, name, _ := strings.Cut(rest, " ")
	f := File{Path: name}
	var err error
	if f.Size, err = checkpoint.ParseSize(size); err != nil {
		return f, err
	}
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(f.Sum) {
		return f, errors.New("it has no SHA-256")
	}
	f.Sum = leaf.Hash(b)
	// What is restored goes where these paths say.
	if len(name) > maxPath || !goodPath.MatchString(name) {
		return f, fmt.Errorf("%.100q is not the path of a file of a backup", name)
	}
	return f, nil
}

func (m *Manifest) check(files int64) error {
	switch {
	case !checkpoint.ValidName(m.Origin):
		return errors.New("its origin is no name")
	case len(m.VKeys) == 0:
		return errors.New("it names no key")
	case m.Size < 1 || m.Generation < 1 || m.Cursor < m.Size:
		return errors.New("its size, generation or cursor is impossible")
	case int64(len(m.Files)) != files:
		return fmt.Errorf("it has %d files and says %d", len(m.Files), files)
	}
	for i := range m.Files {
		if i > 0 && m.Files[i-1].Path >= m.Files[i].Path {
			return fmt.Errorf("%s is not after the file before it", m.Files[i].Path)
		}
	}
	return nil
}

// find returns the file of a path.
func (m *Manifest) find(name string) (File, bool) {
	i, ok := slices.BinarySearchFunc(m.Files, name, func(f File, name string) int { return cmp.Compare(f.Path, name) })
	if !ok {
		return File{}, false
	}
	return m.Files[i], true
}

// state is the folder of the manifest's own generation.
func (m *Manifest) state() string { return fmt.Sprintf("state-%d", m.Generation) }
