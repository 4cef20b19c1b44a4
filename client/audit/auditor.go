package audit

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"idlog/client/audit/ids"
	"idlog/client/rules"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/policy"
	"idlog/proto/tile"
)

// auditor is one audit. Bundles and heads are read and verified by several
// goroutines, and come in order to the one in sequence, which owns all that has
// no other owner.
type auditor struct {
	cfg      Config
	newest   *policy.Verified
	dir      *Directory // nil unless the log is on disk
	findings *findings  // anybody's
	tiles    atomic.Int64

	report  *Report
	tree    tree
	rest    [][32]byte // leaf hashes of the last bundle, if it is not full
	history rules.History
	ids     *ids.Set

	heads    <-chan chan *head
	known    []*head // by size, not yet reached
	last     int64   // size of the last head of the archive
	ahead    []*head // heads that are not yet reached, in order
	after    time.Time
	good     int64   // size up to which the entries gave the root of every head
	mistaken []*head // heads that have another root than the entries
	mistakes int64

	persons  map[uint64]struct{} // handles that events name, shortened
	enrolled map[uint64]struct{} // leaf hashes of enrolments, shortened
	broken   bool                // hashes are missing: no root can be computed
	blind    bool                // entries are missing: what was announced is not known
}

// A head is a tree head that its log signed.
type head struct {
	size     int64
	root     [32]byte
	at       time.Time // from when on a quorum vouches for it, if one does
	archived bool
	quorum   bool
	known    bool // it comes from the reader and not from the log
	note     []byte
}

func (a *auditor) size() int64 { return a.newest.Checkpoint.Size }

func (a *auditor) run(ctx context.Context) error {
	a.dir, _ = a.cfg.Log.(*Directory)
	a.history.Family = a.report.Family
	a.persons, a.enrolled = make(map[uint64]struct{}), make(map[uint64]struct{})
	a.ids = ids.New(a.cfg.Memory)
	defer a.ids.Close()
	if err := a.remember(); err != nil {
		return err
	}
	if err := a.readAll(ctx); err != nil {
		return err
	}
	whole, err := a.finish(ctx)
	if err != nil {
		return err
	}
	if err := a.duplicates(ctx, whole); err != nil {
		return err
	}
	a.report.Tiles, a.report.Persons = a.tiles.Load(), int64(len(a.persons))
	a.findings.report(a.report)
	if !a.report.Holds() {
		return nil
	}
	return a.advance(ctx)
}

// readAll reads everything, several bundles and heads at a time.
func (a *auditor) readAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	indexes := func(yield func(int64, error) bool) {
		for i := int64(0); i*tile.Width < a.size(); i++ {
			if !yield(i, nil) {
				return
			}
		}
	}
	bundles := inOrder(ctx, g, a.cfg.Workers, indexes, a.read)
	a.heads = inOrder(ctx, g, a.cfg.Workers, a.cfg.Log.Heads(ctx, a.size()), a.verify)
	if a.dir != nil {
		g.Go(func() error {
			return a.dir.strays(ctx, a.size(), func(path string, later bool) {
				if later {
					a.findings.note("files beyond the newest checkpoint, not judged", path)
				} else {
					a.findings.note("files that are no tile", path)
				}
			})
		})
	}
	g.Go(func() error { return a.sequence(ctx, bundles) })
	return g.Wait()
}

// inOrder does the work on each input, in several goroutines of g, and returns
// the results in the order of the inputs.
func inOrder[In, Out any](ctx context.Context, g *errgroup.Group, workers int, in iter.Seq2[In, error], do func(context.Context, In) (Out, error)) <-chan chan Out {
	type job struct {
		in   In
		done chan Out
	}
	jobs := make(chan job)
	order := make(chan chan Out, 4*workers) // what is held in memory
	g.Go(func() error {
		defer close(jobs)
		defer close(order)
		for v, err := range in {
			if err != nil {
				return err
			}
			j := job{v, make(chan Out, 1)}
			for sent, queued := chan<- job(nil), chan<- chan Out(order); sent != nil || queued != nil; {
				select {
				case queued <- j.done:
					sent, queued = jobs, nil
				case sent <- j:
					sent = nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			for j := range jobs {
				out, err := do(ctx, j.in)
				if err != nil {
					return err
				}
				j.done <- out
			}
			return nil
		})
	}
	return order
}

// verify judges the signatures of one head. It returns nil for what is none.
func (a *auditor) verify(_ context.Context, h Head) (*head, error) {
	if h.Problem != "" {
		a.findings.add(Archive, h.Where, "%s", h.Problem)
		return nil, nil
	}
	c, err := parseNote(h.Note)
	if err != nil {
		a.findings.add(Archive, h.Where, "%v", err)
		return nil, nil
	}
	where := fmt.Sprintf("checkpoint %d", c.Size)
	if c.Origin != a.report.Origin {
		a.findings.add(Archive, where, "is of log %s", c.Origin)
		return nil, nil
	}
	out := &head{size: c.Size, root: c.Root, archived: h.Archived, note: h.Note}
	v, err := a.accept(h.Note)
	quorum, lacks := errors.AsType[*policy.QuorumError](err)
	switch {
	case err == nil:
		out.at, out.quorum = v.Oldest(), true
	case lacks && h.Archived:
		a.findings.add(Quorum, where, "%v", quorum)
	case !lacks:
		a.findings.add(Signature, where, "%v", err)
		return nil, nil
	}
	return out, nil
}

// accept verifies a note by the policy, or else by one that was in force before.
func (a *auditor) accept(note []byte) (*policy.Verified, error) {
	v, err := a.cfg.Policy.Verify(note)
	for _, older := range a.cfg.Older {
		if err == nil {
			break
		}
		if was, olderErr := older.Verify(note); olderErr == nil {
			return was, nil
		}
	}
	return v, err
}

func parseNote(note []byte) (checkpoint.Checkpoint, error) {
	text, _, err := checkpoint.Split(note)
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	return checkpoint.Parse(text)
}

// remember takes what the reader knows of the log from before.
func (a *auditor) remember() error {
	notes := slices.Clone(a.cfg.Known)
	seen, ok, err := a.cfg.State.Seen(a.report.Origin)
	if err != nil {
		return err
	}
	if ok {
		notes = append(notes, seen.Note)
	}
	for _, note := range notes {
		v, err := a.accept(note)
		if _, lacks := errors.AsType[*policy.QuorumError](err); err != nil && !lacks {
			return fmt.Errorf("verifying what is known of the log: %w", err)
		}
		h := &head{known: true, note: note}
		if v != nil {
			h.at, h.quorum = v.Oldest(), true
		}
		c, err := parseNote(note)
		if err != nil {
			return err
		}
		if c.Origin != a.report.Origin {
			return fmt.Errorf("the checkpoint that is known is of log %s, not of %s", c.Origin, a.report.Origin)
		}
		h.size, h.root = c.Size, c.Root
		if h.size > a.size() {
			if err := a.rolledBack(h); err != nil {
				return err
			}
			continue
		}
		a.known = append(a.known, h)
	}
	slices.SortFunc(a.known, func(x, y *head) int { return cmp.Compare(x.size, y.size) })
	return nil
}

// sequence judges the bundles in order.
func (a *auditor) sequence(ctx context.Context, bundles <-chan chan *bundle) error {
	for done := range bundles {
		var b *bundle
		select {
		case b = <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := a.take(ctx, b); err != nil {
			return err
		}
		if a.cfg.Progress != nil {
			a.cfg.Progress(Progress{Entries: min((b.index+1)*tile.Width, a.size()), Size: a.size(), Checkpoints: a.report.Checkpoints, Findings: a.findings.count()})
		}
	}
	// What is left of the archive lies beyond the newest checkpoint, and pull judges it.
	if _, err := a.pull(ctx); err != nil {
		return err
	}
	if a.last == 0 && a.size() > 0 {
		a.findings.note("no archive of checkpoints was read", "when entries were logged is known by the newest checkpoint alone")
	}
	return nil
}

// take judges one bundle: its entries, one window of the archive after the
// other, then the roots of the heads within it, then the tiles above it.
func (a *auditor) take(ctx context.Context, b *bundle) error {
	start := b.index * tile.Width
	end := min(start+tile.Width, a.size())
	a.broken = a.broken || b.hashes == nil
	if b.leaves == nil {
		a.blind = true
		a.findings.note("entries are missing, so keys and enrolments were not judged", fmt.Sprintf("from %d on", start))
	}
	a.report.Bytes += b.bytes
	for at := start; at < end; {
		w, until, err := a.window(ctx, at)
		if err != nil {
			return err
		}
		until = min(until, end)
		if err := a.judge(b, at, until, w); err != nil {
			return err
		}
		at = until
		a.reach(b, at)
	}
	if a.broken {
		return nil
	}
	if end-start < tile.Width {
		a.rest = b.hashes
		return nil
	}
	for _, f := range a.tree.add(b.root) {
		if err := a.compare(ctx, f.Coord, f.hashes); err != nil {
			return err
		}
	}
	return nil
}

// judge judges the entries [from, to) of a bundle, which were logged within a window.
func (a *auditor) judge(b *bundle, from, to int64, w rules.Window) error {
	if b.leaves == nil {
		return nil
	}
	for i := from; i < to; i++ {
		at := i - b.index*tile.Width
		l := b.leaves[at]
		a.report.Entries++
		a.report.Kinds[leaf.KindOf(l)]++
		a.findings.entry(rules.Dated(i, l, w))
		if !a.blind {
			a.findings.entry(a.history.Follow(l))
			a.enrolments(i, l, &b.hashes[at])
		}
		if e, ok := l.(*leaf.Event); ok {
			if err := a.ids.Add(e.Fields, i); err != nil {
				return err
			}
			if id, ok := rules.EventID(e); ok {
				if err := a.ids.Add(id, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// enrolments judges, as far as leaves show it, that persons are enrolled before
// an event names them: a handle has an enrolment of its own, so events name no
// more of them than there are enrolments before; and what is linked or erased
// was enrolled.
func (a *auditor) enrolments(i int64, l leaf.Leaf, hash *[32]byte) {
	switch l := l.(type) {
	case *leaf.Event:
		for _, t := range l.Tags {
			if t.Field != 2 {
				continue
			}
			key := short(&t.Value)
			if _, ok := a.persons[key]; ok {
				continue
			}
			if len(a.persons) == len(a.enrolled) {
				a.findings.entry([]rules.Finding{{Index: i, Rule: rules.Enrolment,
					Problem: fmt.Sprintf("names person number %d, and there are %d enrolments before it", len(a.persons)+1, len(a.enrolled))}})
				return
			}
			a.persons[key] = struct{}{}
		}
	case *leaf.Subject:
		if l.Commit != nil {
			a.enrolled[short(hash)] = struct{}{}
		}
		a.wereEnrolled(i, l.Links)
		a.wereEnrolled(i, l.Unlinks)
	case *leaf.Erasure:
		a.wereEnrolled(i, l.Enrolments)
	}
}

// short is a hash in a map of very many. Who finds two that begin alike, which
// takes 2^32 tries, makes one person of two, and no more.
func short(h *leaf.Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) }

func (a *auditor) wereEnrolled(i int64, enrolments []leaf.Hash) {
	for n, h := range enrolments {
		if _, ok := a.enrolled[short(&h)]; !ok {
			a.findings.entry([]rules.Finding{{Index: i, Rule: rules.Enrolment, Problem: fmt.Sprintf("enrolment %d that it names is no entry before it", n+1)}})
		}
	}
}

// window returns when the entry at an index was logged, and up to where that
// holds: to the smallest archived checkpoint above it that has a quorum.
func (a *auditor) window(ctx context.Context, at int64) (rules.Window, int64, error) {
	for _, h := range a.ahead {
		if h.quorum && h.size > at {
			return rules.Window{After: a.after, Before: h.at}, h.size, nil
		}
	}
	for {
		h, err := a.pull(ctx)
		if err != nil {
			return rules.Window{}, 0, err
		}
		if h == nil { // the newest one is the end of the archive, whether it is there or not
			return rules.Window{After: a.after, Before: a.newest.Oldest()}, a.size(), nil
		}
		a.ahead = append(a.ahead, h)
		if h.quorum && h.size > at {
			return rules.Window{After: a.after, Before: h.at}, h.size, nil
		}
	}
}

// pull returns the next head, of the archive or of what the reader knows, nil
// at the end.
func (a *auditor) pull(ctx context.Context) (*head, error) {
	for done := range a.heads {
		var h *head
		select {
		case h = <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case h == nil || h.size == 0:
		case h.size <= a.last:
			a.findings.add(Archive, fmt.Sprintf("checkpoint %d", h.size), "comes after that of size %d", a.last)
		case h.size > a.size():
			a.findings.note("tree heads beyond the newest checkpoint, whose signatures alone were judged", fmt.Sprint(h.size))
			a.last = h.size
		default:
			a.last = h.size
			return h, nil
		}
	}
	return nil, ctx.Err()
}

// reach passes the heads up to a size, which lies in this bundle or at its
// end, and compares their roots with that of the entries.
func (a *auditor) reach(b *bundle, size int64) {
	for len(a.ahead) > 0 && a.ahead[0].size <= size {
		h := a.ahead[0]
		a.ahead = a.ahead[1:]
		a.pass(b, h)
	}
	for len(a.known) > 0 && a.known[0].size <= size {
		h := a.known[0]
		a.known = a.known[1:]
		a.pass(b, h)
	}
}

func (a *auditor) pass(b *bundle, h *head) {
	if h.quorum && !h.known {
		a.after = h.at
	}
	if a.broken {
		return
	}
	if a.tree.root(b.hashes[:h.size-b.index*tile.Width]) != h.root {
		if a.mistakes++; len(a.mistaken) < MaxFindings {
			a.mistaken = append(a.mistaken, h)
		}
		return
	}
	if a.mistakes == 0 {
		a.good = h.size
	}
	switch {
	case h.known:
	case h.archived && h.quorum:
		if a.report.Checkpoints++; a.report.First.IsZero() {
			a.report.First = h.at
		}
		a.report.Last = h.at
	case !h.archived:
		a.report.Heads++
	}
}
