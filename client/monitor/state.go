package monitor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"idlog/client/internal/atomicfile"
	"idlog/client/internal/pause"
	"idlog/client/rules"
	"idlog/proto/checkpoint"
)

// cursor is what was verified and checked. Its file is
//
//	idlog-monitor/v1 SP <base64 SHA-256 of what follows> LF
//	base <decimal> LF        entries below it were never checked
//	checked <decimal> LF     entries below it were
//	after <decimal> LF       seconds since 1970: of the newest cosignature known
//	                         to be older than the entry at checked; 0 if none is
//	looked <decimal> LF      seconds: when the note below was last found to be in force
//	*("seen " name SP <decimal> LF)   the newest cosignature of each witness
//	LF
//	the signed note, verbatim
type cursor struct {
	base, checked int64
	after, looked time.Time
	seen          map[string]time.Time // by the witness's name in the policy
	head          checkpoint.Checkpoint
	note          []byte
}

const cursorHeader = "idlog-monitor/v1 "

func (c *cursor) format() []byte {
	after := int64(0)
	if !c.after.IsZero() {
		after = c.after.Unix()
	}
	body := fmt.Appendf(nil, "base %d\nchecked %d\nafter %d\nlooked %d\n", c.base, c.checked, after, c.looked.Unix())
	for _, name := range slices.Sorted(maps.Keys(c.seen)) {
		body = fmt.Appendf(body, "seen %s %d\n", name, c.seen[name].Unix())
	}
	body = append(append(body, '\n'), c.note...)
	sum := sha256.Sum256(body)
	return append([]byte(cursorHeader+base64.StdEncoding.EncodeToString(sum[:])+"\n"), body...)
}

func parseCursor(b []byte) (*cursor, error) {
	head, note, _ := bytes.Cut(b, []byte("\n\n"))
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return nil, err
	}
	c := &cursor{seen: make(map[string]time.Time), note: note}
	if c.head, err = checkpoint.Parse(text); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(head))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(words[len(words)-1], 10, 64) // written again it would differ
		switch {
		case words[0] == "base":
			c.base = n
		case words[0] == "checked":
			c.checked = n
		case words[0] == "after" && n > 0:
			c.after = time.Unix(n, 0)
		case words[0] == "looked":
			c.looked = time.Unix(n, 0)
		case words[0] == "seen" && len(words) == 3:
			c.seen[words[1]] = time.Unix(n, 0)
		}
	}
	if !bytes.Equal(c.format(), b) || c.base > c.checked || c.checked > c.head.Size {
		return nil, errors.New("its checksum is not that of what it says")
	}
	return c, nil
}

// folder is the directory of one log, but for the memory of ids.
type folder string

func (d folder) file(name string) string { return filepath.Join(string(d), name) }

func (d folder) write(name string, b []byte) error {
	if err := atomicfile.Write(d.file(name), b, 0o600); err != nil {
		return &StateError{err}
	}
	return nil
}

// read returns nil for a file that is not there.
func (d folder) read(name string) ([]byte, error) {
	b, err := os.ReadFile(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &StateError{err}
	}
	return b, nil
}

// remove takes a file away; a crash may bring it back.
func (d folder) remove(name string) error {
	if err := os.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &StateError{err}
	}
	return nil
}

// cursor returns nil if the log was never looked at.
func (d folder) cursor(origin string) (*cursor, error) {
	b, err := d.read("cursor")
	if b == nil || err != nil {
		return nil, err
	}
	c, err := parseCursor(b)
	if err == nil && c.head.Origin != origin {
		err = fmt.Errorf("it is of log %s", c.head.Origin)
	}
	if err != nil {
		return nil, d.damaged("cursor", err)
	}
	return c, nil
}

func (d folder) damaged(name string, err error) error {
	return &StateError{fmt.Errorf("%s is damaged: %w; restore it from a backup, or move the folder away to check the log from its first entry", d.file(name), err)}
}

func (d folder) findings(name string) ([]Finding, error) {
	b, err := d.read(name)
	if err != nil {
		return nil, err
	}
	fs, err := parseFindings(b)
	if err != nil {
		return nil, d.damaged(name, err)
	}
	return fs, nil
}

func (d folder) writeFindings(name string, fs []Finding) error {
	b, err := formatFindings(fs)
	if err != nil {
		return err
	}
	return d.write(name, b)
}

// writeHistory keeps the keys that the log announced.
func (d folder) writeHistory(h *rules.History) error {
	b, err := json.Marshal(h)
	if err != nil {
		return &StateError{err}
	}
	return d.write("keys", b)
}

// remember reads which keys were announced below the cursor.
func (m *Monitor) remember() error {
	m.history = &rules.History{Family: m.family}
	if m.at == nil || m.at.base > 0 || m.at.checked == 0 {
		return nil
	}
	b, err := m.dir.read("keys")
	if err != nil {
		return err
	}
	err = errors.New("it is not there")
	if b != nil {
		err = json.Unmarshal(b, m.history)
	}
	if err == nil && m.history.Family != m.family {
		err = fmt.Errorf("it is of log %q", m.history.Family)
	}
	if err != nil {
		return m.dir.damaged("keys", err)
	}
	m.history.Next = m.at.checked // it was written at the last keys leaf
	return nil
}

// settle delivers findings. When it returns nil all sinks have taken all of
// them; an error is a *StateError, ctx's, or *Stopped after a contradiction.
func (m *Monitor) settle(ctx context.Context, found []Finding) error {
	if len(found) == 0 {
		return nil
	}
	if err := m.dir.writeFindings("outbox", found); err != nil {
		return err
	}
	// If we die from here on, the next start settles the outbox before all else.
	return m.deliver(ctx, found)
}

// deliver is settle of what the outbox holds.
func (m *Monitor) deliver(ctx context.Context, found []Finding) error {
	var stopped []Finding
	for _, f := range found {
		for _, s := range m.cfg.Sinks {
			if err := m.hand(ctx, s, f); err != nil {
				return err
			}
		}
		if f.Severity == Contradiction {
			stopped = append(stopped, f)
		}
	}
	// If we die here, all of it is delivered again.
	if stopped != nil {
		if err := m.dir.writeFindings("stopped", stopped); err != nil {
			return err
		}
	}
	// If we die here, all of it is delivered again, and then we refuse to go on.
	if err := m.dir.remove("outbox"); err != nil {
		return err
	}
	if stopped != nil {
		return &Stopped{Finding: stopped[0]}
	}
	return nil
}

// hand gives one finding to one sink, again and again until it takes it; in
// Once, until handTries are used up.
func (m *Monitor) hand(ctx context.Context, s Sink, f Finding) error {
	for next, failed := firstPause, 1; ; next, failed = min(2*next, longestPause), failed+1 {
		err := s.Deliver(ctx, f)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if m.once && failed == handTries {
			return &Undelivered{Finding: f, Err: err}
		}
		m.logger.Error("a finding was not delivered, trying again", "log", m.origin, "id", f.ID, "kind", f.Kind, "err", err, "pause", next.String())
		if err := pause.For(ctx, next); err != nil {
			return err
		}
	}
}

const (
	firstPause   = 200 * time.Millisecond
	longestPause = time.Minute
	// handTries is how often Once gives a finding to a sink: cron starts it again.
	handTries = 5
)

// resume settles what an earlier run left behind, and returns *Stopped if that
// was a contradiction that nobody acknowledged.
func (m *Monitor) resume(ctx context.Context) error {
	left, err := m.dir.findings("outbox")
	if err != nil {
		return err
	}
	if err := m.deliver(ctx, left); err != nil {
		return err
	}
	stopped, err := m.dir.findings("stopped")
	if err != nil || len(stopped) == 0 {
		return err
	}
	if !m.cfg.Acknowledge {
		return &Stopped{Finding: stopped[0], Before: true}
	}
	known, err := m.dir.findings("acknowledged")
	if err != nil {
		return err
	}
	if err := m.dir.writeFindings("acknowledged", append(known, stopped...)); err != nil {
		return err
	}
	// If we die here, it is to be acknowledged once more, and stands there twice.
	for _, f := range stopped {
		m.acknowledged[f.ID] = true
	}
	return m.dir.remove("stopped")
}

// keep writes a cursor and goes on from it.
func (m *Monitor) keep(c *cursor) error {
	if err := m.dir.write("cursor", c.format()); err != nil {
		return err
	}
	m.at = c
	return nil
}
