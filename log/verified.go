package log

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"idlog/log/internal/atomicfile"
	"idlog/log/quorum"
)

// maxSizes bounds how many publications are remembered that no index verifier has
// reached.
const maxSizes = 1 << 16

// verified is the newest checkpoint that the index verifiers have cosigned too. It is
// guarded by Log.mu.
type verified struct {
	newest Published
	// above are sizes beyond newest and when they were first published, ascending,
	// about one a second.
	above []Published
}

// Verified returns the newest checkpoint that is cosigned by the quorum of the index
// verifiers too (SPEC 2.14); At is when that was complete. False if there is none.
func (l *Log) Verified() (Published, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verified.newest, l.verified.newest.Note != nil
}

// Unverified returns since when something larger than Verified is published; false
// if there is nothing larger, or there are no index verifiers.
func (l *Log) Unverified() (since time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.verified.above) == 0 {
		return since, false
	}
	return l.verified.above[0].At, true
}

// Verifiers says how the index verifiers stand. It may be called from any goroutine.
func (l *Log) Verifiers() []quorum.VerifierStatus { return l.verifiers.Status() }

// grew notes what was published; l.mu is held.
func (v *verified) grew(p Published) {
	n := len(v.above)
	if p.Size <= v.newest.Size || n > 0 && (n == maxSizes || p.At.Sub(v.above[n-1].At) < time.Second) {
		return
	}
	v.above = append(v.above, Published{Size: p.Size, At: p.At})
}

// reached notes what was verified; l.mu is held.
func (v *verified) reached(p Published, published Published) {
	v.newest = p
	for len(v.above) > 0 && v.above[0].Size <= p.Size {
		v.above = v.above[1:]
	}
	if len(v.above) == 0 {
		v.above = nil
		v.grew(published)
	}
}

// takeVerified accounts for one answer of an index verifier: its line is archived,
// and with a quorum of them there is a newer verified checkpoint.
func (p *publisher) takeVerified(a quorum.Answer) error {
	if a.Proof != nil {
		if err := p.judge(a); err != nil {
			return err
		}
	}
	lines, head, note := p.l.verifiers.Take(a)
	if lines != nil {
		if err := p.l.heads.AppendLate(a.Size, lines); err != nil {
			return err
		}
	}
	if head != nil {
		p.l.mu.Lock()
		p.l.verified.reached(Published{Size: head.Size, Root: head.Root, Note: note, At: time.Now()}, p.l.published)
		p.l.notify()
		p.l.mu.Unlock()
	}
	return nil
}

func (l *Log) verifiedFile() string { return filepath.Join(l.cfg.Dir, publishedName, "verified") }

// readVerified takes what an earlier process has served, if it still stands under
// the policies. What does not is no danger: the verifiers are asked again.
func (l *Log) readVerified() error {
	if !l.verifiers.Needed() {
		return nil
	}
	defer func() { l.verified.grew(l.published) }()
	note, err := os.ReadFile(l.verifiedFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	c, err := l.openNote(note)
	if err != nil || c.Size > l.published.Size || !quorum.Cosigned(l.cfg.Policy, note) || !quorum.Cosigned(l.cfg.Verifiers, note) {
		l.cfg.Logger.Warn("not serving the verified checkpoint of before: it does not stand under the policies of now", "origin", l.cfg.Origin, "file", l.verifiedFile(), "error", err)
		return nil
	}
	root, err := l.rootAt(c.Size)
	if err != nil {
		return err
	}
	if root != c.Root {
		return refuse(l.verifiedFile(), "it is not of this log", "find out where it comes from: our key signed two trees of one size")
	}
	info, err := os.Stat(l.verifiedFile())
	if err != nil {
		return err
	}
	l.verified.newest = Published{Size: c.Size, Root: c.Root, Note: note, At: info.ModTime()}
	return nil
}

// keepVerified writes what is verified to where the next start finds it, at most
// once a second, and at the end. Nobody waits for it: if we die before, the next
// start serves an older one until the verifiers have answered.
func (l *Log) keepVerified(ctx context.Context) error {
	if !l.verifiers.Needed() {
		return nil
	}
	l.mu.Lock()
	kept := l.verified.newest
	l.mu.Unlock()
	for {
		l.mu.Lock()
		now, changed := l.verified.newest, l.changed
		l.mu.Unlock()
		if string(now.Note) != string(kept.Note) {
			if err := atomicfile.Write(l.verifiedFile(), now.Note); err != nil {
				return l.fail(err)
			}
			kept = now
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
