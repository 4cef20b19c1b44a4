package monitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"idlog/client/remote"
	"idlog/client/trust"
	"idlog/proto/checkpoint"
	"idlog/proto/evidence"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/tile"
)

// askEvery is how often witnesses are asked what they have seen.
const askEvery = time.Minute

// thisMachine is who has seen what package trust remembers.
const thisMachine = "a client of this machine"

// skew is how far apart clocks may be.
const skew = time.Minute

// tree is a log as it is now: a verified checkpoint, and the entries below it.
type tree struct {
	*policy.Verified
	reader *tile.Reader
}

// view is a checkpoint that somebody else verified: signed by the log, and by
// the witness that shows it.
type view struct {
	who  string
	head checkpoint.Checkpoint
	note []byte
	time time.Time // of the witness's cosignature; zero if it is none's
}

// witness is one of the policy, asked what it has seen.
type witness struct {
	name string
	key  note.Verifier
	site *remote.Site // nil without a URL
}

// witnesses finds those of the policy. One that cannot be asked is not an error.
func (m *Monitor) witnesses() error {
	for _, w := range m.cfg.Policy.Witnesses {
		key, err := checkpoint.NewVerifier(w.VKey)
		if err != nil {
			return err
		}
		o := witness{name: w.Name, key: key}
		if w.URL != "" {
			// It is not the log's: neither its authority nor our certificate is.
			if o.site, err = remote.New(w.URL, remote.Config{Timeout: 10 * time.Second}); err != nil {
				m.logger.Warn("a witness will not be asked what it has seen", "witness", w.Name, "err", err)
			}
		}
		m.others = append(m.others, o)
	}
	return nil
}

// look is one pass. It returns true if there is more to check at once, and an
// error that weigh knows what to do with.
func (m *Monitor) look(ctx context.Context) (more bool, err error) {
	// 1. The newest checkpoint that the policy accepts.
	v, err := m.verified(ctx, "checkpoint")
	if err != nil {
		return false, err
	}
	t := tree{v, tile.NewReader(v.Checkpoint, m.site.Tile)}
	m.size, m.fresh = v.Checkpoint.Size, v.Oldest()
	// 2. It continues all that was ever accepted.
	if m.at != nil {
		if err := m.continues(ctx, t, view{who: "this monitor", head: m.at.head, note: m.at.note}); err != nil {
			return false, err
		}
	}
	m.late(ctx)
	// 3. Others have seen the same.
	if err := m.compare(ctx, t); err != nil {
		return false, err
	}
	// 4. It, or an older one, has the witnesses that this monitor asks for.
	accepted, err := m.accepted(ctx, t)
	if err != nil {
		return false, err
	}
	m.heard = time.Now()
	// 5. It is remembered, here and for the clients of this machine.
	if accepted != nil {
		if err := m.adopt(ctx, accepted); err != nil {
			return false, err
		}
	}
	if m.at == nil {
		return false, nil
	}
	// 6. Each entry below what was accepted last, once.
	if more, err := m.check(ctx, t); more || err != nil {
		return more, err
	}
	// 7. What a submitter was promised or shown is in it.
	return false, m.hold(ctx, t)
}

// verified fetches a checkpoint of the log and holds it to the policy.
func (m *Monitor) verified(ctx context.Context, path string) (*policy.Verified, error) {
	b, err := m.site.Note(ctx, path)
	if err != nil {
		return nil, err
	}
	v, err := m.cfg.Policy.Verify(b)
	switch {
	case err != nil:
		if q, ok := errors.AsType[*policy.QuorumError](err); ok && q.Origin == m.origin {
			return nil, q
		}
		return nil, &Unverified{m.origin, path, err}
	case v.Checkpoint.Origin != m.origin:
		return nil, &Unverified{m.origin, path, fmt.Errorf("it is of log %s", v.Checkpoint.Origin)}
	}
	for _, c := range v.Cosignatures {
		if c.Time.After(m.newest[c.Witness]) {
			m.newest[c.Witness] = c.Time
		}
	}
	return v, nil
}

// contradiction is a finding with its evidence on disk.
func (m *Monitor) contradiction(claim evidence.Claim, key, message string, parts ...evidence.Part) (Finding, error) {
	f := m.finding(Contradiction, string(claim), key, "%s", message)
	if m.acknowledged[f.ID] {
		f.Severity = Warning // and its evidence is kept already
		return f, nil
	}
	var err error
	if _, f.Evidence, err = m.cfg.State.SaveEvidence(claim, parts...); err != nil {
		return f, &StateError{err}
	}
	// If we die here the file stands, and what it shows is looked for again.
	return f, nil
}

// stop delivers contradictions about checkpoints. It always returns an error.
func (m *Monitor) stop(ctx context.Context, found ...Finding) error {
	if slices.ContainsFunc(found, func(f Finding) bool { return f.Severity == Contradiction }) {
		return m.settle(ctx, found)
	}
	return &Behind{m.origin, found[0].Message}
}

// continues verifies that the tree goes on from what is known, or leads to it.
func (m *Monitor) continues(ctx context.Context, t tree, known view) error {
	old, now := known.head, t.Checkpoint
	if old.Size == now.Size {
		if old.Root != now.Root {
			return m.forked(ctx, t, known)
		}
		return nil // of an idle log nothing more is asked
	}
	if old.Size < now.Size {
		root, err := t.reader.Root(ctx, old.Size)
		if err != nil {
			return err
		}
		if root != old.Root {
			return m.forked(ctx, t, known)
		}
		return nil
	}
	// It is smaller. If what it still serves of the larger tree shows that it is
	// not even a part of that, it is worse than an old copy.
	larger := tile.NewReader(old, m.site.Tile)
	if root, err := larger.Root(ctx, now.Size); err == nil && root != now.Root && now.Size > 0 {
		return m.forked(ctx, tree{&policy.Verified{Checkpoint: old, Note: known.note}, larger}, view{who: "the log", head: now, note: t.Note})
	}
	f, err := m.contradiction(evidence.Rollback, fmt.Sprintf("%d %d %x", old.Size, now.Size, now.Root),
		fmt.Sprintf("the log went back from size %d to %d", old.Size, now.Size),
		evidence.Part{Type: evidence.Checkpoint, Data: known.note}, evidence.Part{Type: evidence.Checkpoint, Data: t.Note})
	if err != nil {
		return err
	}
	return m.stop(ctx, f)
}

// forked reports that the tree does not continue what is known, which is not
// larger.
func (m *Monitor) forked(ctx context.Context, t tree, known view) error {
	old, now := known.head, t.Checkpoint
	notes := []evidence.Part{{Type: evidence.Checkpoint, Data: known.note}, {Type: evidence.Checkpoint, Data: t.Note}}
	key := fmt.Sprintf("%d %x %d %x", old.Size, old.Root, now.Size, now.Root)
	if old.Size < now.Size {
		hashes, err := t.reader.Ranges(ctx, old.Size)
		if err != nil {
			return err
		}
		f, err := m.contradiction(evidence.Fork, key, fmt.Sprintf("the log signed a tree of size %d, known to %s, and one of size %d that does not continue it",
			old.Size, known.who, now.Size), append(notes, evidence.Hashes(hashes...))...)
		if err != nil {
			return err
		}
		return m.stop(ctx, f)
	}
	f, err := m.contradiction(evidence.Fork, key, fmt.Sprintf("the log signed two trees of size %d; the other one is known to %s", now.Size, known.who), notes...)
	if err != nil {
		return err
	}
	found := []Finding{f}
	var both []string
	for _, w := range m.others {
		if m.cosigned(known.note, w) && m.cosigned(t.Note, w) {
			both = append(both, w.name)
		}
	}
	if len(both) > 0 {
		f, err := m.contradiction(evidence.WitnessFork, key, fmt.Sprintf("two trees of size %d were both cosigned by %s", now.Size, strings.Join(both, ", ")), notes...)
		if err != nil {
			return err
		}
		found = append(found, f)
	}
	return m.stop(ctx, found...)
}

func (m *Monitor) cosigned(signed []byte, w witness) bool {
	_, by, err := checkpoint.Open(signed, m.origin, w.key)
	return err == nil && by > 0
}

// late looks for the cosignatures of witnesses that are slower than the quorum,
// before they are missed. The archive has them.
func (m *Monitor) late(ctx context.Context) {
	missing := slices.ContainsFunc(m.others, func(w witness) bool { return time.Since(m.newest[w.name]) > m.cfg.MaxAge/2 })
	if m.at == nil || !missing {
		return
	}
	if _, err := m.verified(ctx, fmt.Sprintf("archive/%d", m.at.head.Size)); err != nil {
		m.logger.Debug("no late cosignatures", "log", m.origin, "err", err)
	}
}

// compare holds the tree to what others have seen: the clients of this machine
// each time, and the witnesses now and then. What is larger than the tree waits
// until the tree is as large.
func (m *Monitor) compare(ctx context.Context, t tree) error {
	views, err := m.views(ctx)
	if err != nil {
		return err
	}
	for _, v := range views {
		if _, waits := m.ahead[v.who]; !waits {
			m.ahead[v.who] = v
		}
	}
	for who, v := range m.ahead {
		if v.head.Size > t.Checkpoint.Size {
			continue
		}
		if err := m.continues(ctx, t, v); err != nil {
			return err
		}
		delete(m.ahead, who)
	}
	return nil
}

func (m *Monitor) views(ctx context.Context) ([]view, error) {
	var views []view
	seen, ok, err := m.cfg.State.Seen(m.origin)
	if err != nil {
		return nil, &StateError{err}
	}
	if ok {
		views = append(views, view{who: thisMachine, head: checkpoint.Checkpoint{Origin: m.origin, Size: seen.Size, Root: seen.Root}, note: seen.Note})
	}
	if time.Since(m.asked) < askEvery {
		return views, nil
	}
	m.asked = time.Now()
	answers := make([]*view, len(m.others))
	var g errgroup.Group
	for i, w := range m.others {
		if w.site == nil {
			continue
		}
		g.Go(func() error {
			v, err := m.ask(ctx, w)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				m.logger.Warn("a witness does not say what it has seen", "log", m.origin, "witness", w.name, "err", err)
			}
			answers[i] = v
			return nil
		})
	}
	g.Wait()
	for i, v := range answers {
		if v == nil {
			continue
		}
		views = append(views, *v)
		if name := m.others[i].name; v.time.After(m.newest[name]) {
			m.newest[name] = v.time
		}
	}
	return views, nil
}

// ask fetches the newest checkpoint that a witness cosigned. A witness that does
// not serve monitors answers fs.ErrNotExist.
//
// SPEC: tlog-witness: <monitoring prefix>/<hex SHA-256 of origin>/checkpoint. A
// policy has only the submission prefix, which the two usually share.
func (m *Monitor) ask(ctx context.Context, w witness) (*view, error) {
	b, err := w.site.Note(ctx, fmt.Sprintf("%x/checkpoint", sha256.Sum256([]byte(m.origin))))
	if err != nil {
		return nil, err
	}
	head, by, err := checkpoint.Open(b, m.origin, m.keys...)
	switch {
	case err != nil:
		return nil, err
	case by == 0:
		return nil, policy.ErrNotSigned
	case !m.cosigned(b, w):
		return nil, errors.New("it did not cosign what it shows")
	}
	v := &view{who: "witness " + w.name, head: head, note: b}
	_, sigs, _ := checkpoint.Split(b) // Open did
	for _, s := range sigs {
		if t, ok := s.Time(); ok && s.Name == w.key.Name() && s.ID == w.key.KeyHash() {
			v.time = t
		}
	}
	return v, nil
}

// accepted returns the checkpoint to go on with: that of the tree, or one of its
// past that more witnesses have cosigned since; nil if there is none yet.
//
// SPEC F43: the archive collects the cosignatures that come late, for monitors
// that ask for more of them than clients do.
func (m *Monitor) accepted(ctx context.Context, t tree) (*policy.Verified, error) {
	if m.enough(t.Verified) {
		m.waiting = 0
		return t.Verified, nil
	}
	if m.waiting == 0 || m.waiting > t.Checkpoint.Size {
		m.waiting = t.Checkpoint.Size
	}
	v, err := m.verified(ctx, fmt.Sprintf("archive/%d", m.waiting))
	if is[*policy.QuorumError](err) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if v.Checkpoint.Size > t.Checkpoint.Size || !m.enough(v) {
		return nil, nil
	}
	if err := m.continues(ctx, t, view{who: "the archive", head: v.Checkpoint, note: v.Note}); err != nil {
		return nil, err
	}
	m.waiting = 0
	if v.Checkpoint.Size < t.Checkpoint.Size {
		m.waiting = t.Checkpoint.Size
	}
	if m.at != nil && v.Checkpoint.Size < m.at.head.Size {
		return nil, nil
	}
	return v, nil
}

// enough reports whether as many operators cosigned as this monitor asks for.
func (m *Monitor) enough(v *policy.Verified) bool {
	operators := make(map[string]bool)
	for _, c := range v.Cosignatures {
		operators[c.Operator] = true
	}
	return len(operators) >= m.cfg.Witnesses
}

// adopt makes an accepted checkpoint the cursor's. The first one ever is a
// finding.
func (m *Monitor) adopt(ctx context.Context, v *policy.Verified) error {
	next := &cursor{head: v.Checkpoint, note: v.Note, looked: m.heard, seen: m.newest}
	if m.at == nil {
		f := m.finding(Warning, "baseline", "0", "first contact with this log, of size %d: whatever it showed before is not known here. All of its entries are being checked", v.Checkpoint.Size)
		if m.cfg.FromNow {
			next.base, next.checked = v.Checkpoint.Size, v.Checkpoint.Size
			f = m.finding(Alarm, "baseline", fmt.Sprint(next.base),
				"checking begins at entry %d, as it was told to: what is below is never checked, and an event that is logged again is not noticed", next.base)
		}
		if err := m.settle(ctx, []Finding{f}); err != nil {
			return err
		}
	} else {
		next.base, next.checked, next.after = m.at.base, m.at.checked, m.at.after
		// An idle log has its checkpoint cosigned again and again. What comes next
		// was in none of them.
		if last, err := m.cfg.Policy.Verify(m.at.note); err == nil && m.at.checked == m.at.head.Size && last.Oldest().After(next.after) {
			next.after = last.Oldest()
		}
	}
	for _, w := range m.others {
		if _, ever := m.newest[w.name]; !ever {
			m.newest[w.name] = m.heard // from which on it is missed
		}
	}
	if m.at == nil || string(m.at.note) != string(v.Note) || m.heard.Sub(m.at.looked) > time.Minute {
		// If we die before this is done, the last checkpoint stands and the new one
		// is compared with it again; a first contact is reported again.
		if err := m.keep(next); err != nil {
			return err
		}
	}
	seen, ok, err := m.cfg.State.Seen(m.origin)
	if err == nil && (!ok || seen.Size < v.Checkpoint.Size) {
		err = m.cfg.State.Advance(ctx, v, func(ctx context.Context, from, to trust.Seen) ([]leaf.Hash, error) {
			if to.Size != v.Checkpoint.Size {
				return nil, errors.New("a client was faster: it is compared with the next time")
			}
			return tile.NewReader(v.Checkpoint, m.site.Tile).Consistency(ctx, from.Size)
		})
	}
	return err
}
