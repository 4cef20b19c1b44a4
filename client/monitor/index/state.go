package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"idlog/client/internal/atomicfile"
	"idlog/proto/leaf"
)

// state is what a room knows besides the index. Its file is
//
//	idlog-monitor-index/v1 SP <base64 SHA-256 of what follows> LF
//	log <origin> LF
//	next <decimal> LF            entries below it were followed
//	bad <decimal> <kind> LF      the first of the false root leaves up to now, and how they are; -1 none
//	since <decimal> <decimal> LF seconds since 1970, and from which entry on: see covered; 0 if all is covered
//	newest <decimal> LF          the newest entry that is no root leaf; -1 before the first
//	last <decimal> LF            the newest root leaf that others are held to; -1 before the first
//	that leaf
type state struct {
	next   int64
	bad    int64
	kind   Kind
	since  time.Time
	from   int64
	newest int64
	last   *leaf.Root
	lastAt int64
}

const (
	stateHeader = "idlog-monitor-index/v1 "
	stateForm   = "log %s\nnext %d\nbad %d %s\nsince %d %d\nnewest %d\nlast %d\n"
)

func newState() state { return state{bad: -1, kind: "none", newest: -1, lastAt: -1} }

// entry is told of an entry that is no root leaf.
func (s *state) entry(e Entry) {
	s.newest = e.Index
	if s.since.IsZero() {
		s.since, s.from = e.Logged, e.Index
	}
}

// covered is told of a root leaf that is true. Of the entries that it does not
// speak of, the time is known of the oldest only if that was waited for before;
// else the leaf's own is taken, which is a little late.
func (s *state) covered(e Entry) {
	switch {
	case e.Root.N > s.newest:
		s.since = time.Time{}
	case e.Root.N > s.from:
		s.since, s.from = e.Logged, e.Root.N
	}
}

func (s *state) format(origin string) []byte {
	since := int64(0)
	if !s.since.IsZero() {
		since = s.since.Unix()
	}
	body := fmt.Appendf(nil, stateForm, origin, s.next, s.bad, s.kind, since, s.from, s.newest, s.lastAt)
	if s.last != nil {
		b, err := s.last.Format()
		if err != nil {
			panic(err) // it was parsed
		}
		body = append(body, b...)
	}
	sum := sha256.Sum256(body)
	return append([]byte(stateHeader+base64.StdEncoding.EncodeToString(sum[:])+"\n"), body...)
}

// parseState reads the file of a log.
func parseState(b []byte, origin string) (state, error) {
	var s state
	_, body, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return s, errors.New("it has one line")
	}
	var named string
	var since int64
	if _, err := fmt.Sscanf(string(body), stateForm, &named, &s.next, &s.bad, &s.kind, &since, &s.from, &s.newest, &s.lastAt); err != nil {
		return s, err
	}
	if since != 0 {
		s.since = time.Unix(since, 0)
	}
	if s.lastAt >= 0 {
		lines := bytes.SplitAfterN(body, []byte("\n"), 7)
		l, err := leaf.Parse(lines[len(lines)-1])
		if err != nil {
			return s, err
		}
		if s.last, ok = l.(*leaf.Root); !ok {
			return s, errors.New("its root leaf is none")
		}
	}
	if named != origin {
		return s, fmt.Errorf("it is of log %s", named)
	}
	if !bytes.Equal(s.format(origin), b) {
		return s, errors.New("its checksum is not that of what it says")
	}
	return s, nil
}

// write replaces the file in one piece. If it is not to be synced, a loss of power
// may leave the old one or one that is damaged.
func write(name string, b []byte, sync bool) error {
	if sync {
		return atomicfile.Write(name, b, 0o600)
	}
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
