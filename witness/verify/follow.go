package verify

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"idlog/proto/checkpoint"
	"idlog/proto/history"
	"idlog/proto/leaf"
	"idlog/proto/mapfn"
	"idlog/proto/tile"
)

const (
	// chunk is how many entries are read between two looks at what else is wanted.
	chunk = 16 * tile.Width
	// hold is how many entries that were read may wait before they are indexed,
	// and half of it how many wait at least: a root leaf speaks of the entries
	// before one of them, or the index has to go back.
	hold = 64 << 10
	// maxRewind is how many entries the index goes back for a root leaf; for one
	// that speaks of an older size it is built again. For a preview, which anybody
	// may ask for, it goes back less.
	maxRewind   = 256 << 10
	maxLookBack = 8 << 10
	// maxStates is how many revisions of the index are remembered.
	maxStates = 1024

	retryMin = 100 * time.Millisecond
	retryMax = 10 * time.Second
	pollMin  = 100 * time.Millisecond

	tellAfter = 30 * time.Second // of trouble
)

// errLongPast says that the index has gone on too far from a size to go back.
var errLongPast = errors.New("the size is long past")

// signedTree is a checkpoint with the signatures of its log that were verified.
type signedTree struct {
	checkpoint.Checkpoint
	note []byte // nil: there is none
}

// A follower follows one log.
type follower struct {
	v           *Verifier
	origin, url string

	// Guarded by Verifier.mu.
	gone   bool
	stop   context.CancelFunc // nil before it was started
	before <-chan struct{}    // if not nil, closed when the one before has closed the index
	done   chan struct{}      // closed at the end of run

	previews chan preview
	wake     chan struct{} // there is something newer, or something is wanted

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed and replaced when read grows, or the log is refused
	waiting int
	newest  signedTree // that was offered; read up to it after target
	target  signedTree // is read under; its log is the one that was read before
	read    int64      // entries that were judged, all below a target
	indexed int64
	want    int64     // a size that somebody asks for
	asked   time.Time // when
	problem string
	since   time.Time // when problem began
	told    bool      // and the logger was told

	reading reading // owned by run
}

// reading is what a follower has in hand.
type reading struct {
	site    *site
	ahead   *ahead // of site
	index   *history.Index
	pending []history.Entry // those read beyond the index
	size    int64           // of what was read: the index and pending
	tree    *compact.Range  // over what was read; nil before the first target
	reader  *tile.Reader    // under the target; nil before it was found to continue the tree
	last    *rootAt         // the last root leaf, nil before the first
	// states are revisions by size, as many as there are in order, oldest first;
	// stops are sizes at which the index must stop on its way.
	states map[int64]history.State
	order  []int64
	stops  map[int64]bool
	// doubted are sizes whose root leaf was found false once: the index was built
	// again, and the next time counts.
	doubted map[int64]bool
}

// rootAt is a root leaf and its index.
type rootAt struct {
	*leaf.Root
	at int64
}

// preview asks the owner of the index for the root of a size.
type preview struct {
	size  int64
	reply chan<- previewed // has room for one
}

type previewed struct {
	root *leaf.Root
	err  error
}

func (v *Verifier) newFollower(origin, url string) *follower {
	return &follower{
		v: v, origin: origin, url: url, done: make(chan struct{}),
		previews: make(chan preview), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		reading: reading{states: make(map[int64]history.State), stops: make(map[int64]bool), doubted: make(map[int64]bool)},
	}
}

// offer tells of a checkpoint whose signature was verified.
func (f *follower) offer(c checkpoint.Checkpoint, note []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Size > f.newest.Size {
		f.newest = signedTree{c, note}
		f.poke()
	}
}

// wanted tells that somebody wants to know of a size.
func (f *follower) wanted(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.newest.Size && n > f.read {
		f.want, f.asked = n, time.Now()
		f.poke()
	}
}

func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// await waits for a moment until done, which is called with mu held, is true.
func (f *follower) await(ctx context.Context, done func() bool) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting++
	defer func() { f.waiting-- }()
	for !done() {
		if f.waiting > maxWaiting || f.v.cfg.Store.Refusal(f.origin) != "" {
			return false
		}
		changed := f.changed
		f.mu.Unlock()
		var late bool
		select {
		case <-changed:
		case <-timer.C:
			late = true
		case <-f.done:
			late = true
		case <-ctx.Done():
			late = true
		}
		f.mu.Lock()
		if late {
			return done()
		}
	}
	return true
}

// behind says how far a size is away.
func (f *follower) behind(n int64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.problem != "" {
		return fmt.Sprintf("%d of %d entries are verified; %s", f.read, n, f.problem)
	}
	return fmt.Sprintf("%d of %d entries are verified", f.read, n)
}

// preview returns the root leaf that this verifier would make for a size. An error
// that is not errLongPast may be another one later.
func (f *follower) preview(ctx context.Context, n int64) (*leaf.Root, error) {
	reply := make(chan previewed, 1)
	select {
	case f.previews <- preview{n, reply}:
	case <-f.done:
		return nil, errors.New("the log is not followed now")
	case <-ctx.Done():
		return nil, errors.New("the verifier is busy")
	}
	select {
	case p := <-reply:
		return p.root, p.err
	case <-f.done:
		return nil, errors.New("the log is not followed now")
	case <-ctx.Done():
		return nil, errors.New("the verifier is busy")
	}
}

// run follows the log until ctx ends. What fails is tried again, and said by the
// status meanwhile.
func (f *follower) run(ctx context.Context) {
	defer close(f.done)
	if f.url == "" || f.v.cfg.Store.Refusal(f.origin) != "" {
		return
	}
	var err error
	if f.reading.site, err = newSite(f.url, f.v.http); err != nil {
		f.troubled(fmt.Errorf("the log cannot be read: %w", err))
		return
	}
	f.reading.ahead = &ahead{site: f.reading.site}
	defer func() {
		if err := f.closeIndex(); err != nil {
			f.v.cfg.Logger.Error("closing an index", "log", f.origin, "err", err)
		}
	}()
	next := time.NewTimer(0) // when to poll, or to go on reading
	defer next.Stop()
	retry := retryMin
	var polled time.Time
	for ctx.Err() == nil && f.v.cfg.Store.Refusal(f.origin) == "" {
		select {
		case <-ctx.Done():
			return
		case p := <-f.previews:
			root, err := f.look(ctx, p.size)
			p.reply <- previewed{root, err}
			if index := f.indexFailed(err); index != nil {
				f.troubled(index)
			}
			continue
		case <-f.wake:
			if retry > retryMin {
				continue // it fails; the timer says when to try again
			}
		case <-next.C:
		}
		behind, err := f.step(ctx, &polled)
		switch {
		case err == nil:
			f.troubled(nil)
			retry = retryMin
			next.Reset(f.pause(behind, polled))
		case ctx.Err() == nil:
			f.troubled(errors.Join(err, f.indexFailed(err)))
			next.Reset(retry)
			retry = min(2*retry, retryMax)
		}
	}
}

// pause is how long there is nothing to do unless something comes.
func (f *follower) pause(behind bool, polled time.Time) time.Duration {
	if behind {
		return 0
	}
	return max(0, time.Until(polled.Add(f.pollEvery())))
}

// pollEvery is how often to poll: more often while somebody asks for a size that is
// not known.
func (f *follower) pollEvery() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.want > f.newest.Size && time.Since(f.asked) < patience {
		return min(f.v.cfg.Poll, pollMin)
	}
	return f.v.cfg.Poll
}

// step reads on, and polls when it is time. It reports whether there is
// more to read.
func (f *follower) step(ctx context.Context, polled *time.Time) (behind bool, err error) {
	r := &f.reading
	if r.index == nil {
		if err := f.openIndex(); err != nil {
			return false, err
		}
	}
	if time.Since(*polled) >= f.pollEvery() {
		// Also while there is enough to read: tiles of an older size may be gone.
		*polled = time.Now()
		if err := f.poll(ctx); err != nil {
			return false, err
		}
	}
	if r.reader == nil || r.size >= f.target.Size {
		if !f.hasNewer() {
			return false, nil
		}
		if err := f.begin(ctx); err != nil {
			return false, err
		}
	}
	err = f.readOn(ctx)
	if err != nil && f.hasNewer() {
		r.reader = nil // its tiles may be gone: read on under the newest
	}
	return r.reader == nil || r.size < f.target.Size || f.hasNewer(), err
}

// hasNewer reports whether a checkpoint beyond the target is known.
func (f *follower) hasNewer() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest.note != nil && (f.target.note == nil || f.newest.Size > f.target.Size || f.reading.reader == nil)
}

func (f *follower) poll(ctx context.Context) error {
	note, err := f.reading.site.checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("polling: %w", err)
	}
	c, signed, err := f.v.open(f.origin, note)
	if err != nil {
		return fmt.Errorf("polling %s: %w", f.url, err)
	}
	f.offer(c, signed)
	return nil
}

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// begin makes the newest checkpoint the target, if its tree continues what was
// read.
func (f *follower) begin(ctx context.Context) error {
	r := &f.reading
	f.mu.Lock()
	next := f.newest
	f.mu.Unlock()
	if next.Size < r.size {
		f.forget(next)
		return fmt.Errorf("the log shows a tree of size %d, and %d entries were read before", next.Size, r.size)
	}
	reader := tile.NewReader(next.Checkpoint, r.ahead.fetch)
	root, err := reader.Root(ctx, r.size)
	if err != nil {
		return err
	}
	f.mu.Lock()
	before := f.target
	f.mu.Unlock()
	continues := root == f.root()
	if latest := f.v.cfg.Store.Latest(f.origin); before.note == nil && latest != nil && latest.Size <= next.Size {
		// After a start we may have read less than we have cosigned.
		before = signedTree{checkpoint.Checkpoint{Origin: f.origin, Size: latest.Size, Root: latest.Root}, latest.Note}
		if root, err = reader.Root(ctx, latest.Size); err != nil {
			return err
		}
		continues = continues && root == latest.Root
	}
	if !continues {
		f.forget(next)
		f.accuseFork(ctx, before, next, reader)
		return fmt.Errorf("the log shows a tree of size %d that does not continue what was read and cosigned before", next.Size)
	}
	if r.tree == nil {
		if err := f.restore(ctx, reader); err != nil {
			return err
		}
	}
	r.reader = reader
	f.mu.Lock()
	f.target = next
	f.mu.Unlock()
	f.progressed()
	return nil
}

// forget takes back an offer that cannot be.
func (f *follower) forget(t signedTree) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.newest.Size == t.Size {
		f.newest = f.target
	}
}

// root is the root of what was read.
func (f *follower) root() [32]byte {
	r := &f.reading
	if r.tree == nil {
		return r.index.State().LogRoot
	}
	root, err := r.tree.GetRootHash(nil)
	if err != nil {
		panic(err) // the range begins at 0
	}
	if root == nil {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot())
	}
	return [32]byte(root)
}

// restore finds what a start does not have: the tree below the index, and the last
// root leaf in it.
func (f *follower) restore(ctx context.Context, reader *tile.Reader) error {
	r := &f.reading
	var peaks [][]byte
	if r.size > 0 {
		hashes, err := reader.Ranges(ctx, r.size)
		if err != nil {
			return err
		}
		for _, h := range hashes[:bits.OnesCount64(uint64(r.size))] {
			peaks = append(peaks, append([]byte(nil), h[:]...))
		}
	}
	tree, err := ranges.NewRange(0, uint64(r.size), peaks)
	if err != nil {
		return fmt.Errorf("restoring the tree: %w", err)
	}
	view := r.index.View()
	defer view.Close()
	key := mapfn.Key(mapfn.Root, mapfn.None)
	_, head, err := view.Find(key)
	if err != nil {
		return err
	}
	if head.N > 0 {
		page, err := view.Page(key, head.N-1, 1)
		if err != nil {
			return err
		}
		at := page.Postings[0].Index
		e, err := reader.Entry(ctx, at)
		if err != nil {
			return err
		}
		l, err := leaf.Parse(e.Data)
		root, ok := l.(*leaf.Root)
		if err != nil || !ok {
			return fmt.Errorf("entry %d is indexed as a root leaf and is none: %w", at, history.ErrDamaged)
		}
		r.last = &rootAt{root, at}
	}
	r.tree = tree
	return nil
}

// readOn reads and judges one chunk of entries under the target, and indexes what
// has waited long enough.
func (f *follower) readOn(ctx context.Context) error {
	r := &f.reading
	end := min(f.target.Size, (r.size/tile.Width)*tile.Width+chunk)
	r.ahead.read(ctx, r.size, end, f.target.Size)
	for e, err := range r.reader.Entries(ctx, r.size, end) {
		if err != nil {
			return err
		}
		l, err := leaf.Parse(e.Data)
		if err != nil {
			l = nil // no leaf of ours
		}
		if root, ok := l.(*leaf.Root); ok {
			if err := f.judge(ctx, &rootAt{root, e.Index}, e.Data); err != nil {
				return err
			}
		}
		if err := r.tree.Append(e.Hash[:], nil); err != nil {
			return fmt.Errorf("adding entry %d: %w", e.Index, err)
		}
		r.pending = append(r.pending, history.Entry{Leaf: e.Hash, Keys: mapfn.Of(l)})
		r.size++
	}
	if len(r.pending) > f.v.hold {
		if err := f.advance(r.size - int64(f.v.hold/2)); err != nil {
			return err
		}
	}
	f.progressed()
	return nil
}

// progressed shows what was read to those who wait. What was judged before an index
// was lost stays judged.
func (f *follower) progressed() {
	r := &f.reading
	f.mu.Lock()
	defer f.mu.Unlock()
	f.indexed = r.index.Size()
	if r.size > f.read {
		f.read = r.size
		f.notify()
	}
}

// notify wakes those who wait; mu is held.
func (f *follower) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// troubled says why reading does not go on, nil that it does. What passes within
// moments, as when a log restarts, is for the status alone.
func (f *follower) troubled(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && f.told:
		f.v.cfg.Logger.Info("a log is read again", "log", f.origin)
		fallthrough
	case err == nil:
		f.problem, f.told = "", false
		return
	case f.problem == "":
		f.since = time.Now()
	case !f.told && time.Since(f.since) > tellAfter:
		f.told = true
		f.v.cfg.Logger.Warn("the index of a log is not verified", "log", f.origin, "err", err)
	}
	f.problem = err.Error()
}
