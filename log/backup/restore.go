package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ilog "idlog/log"
	"idlog/log/internal/atomicfile"
	"idlog/log/journal"
	"idlog/log/store/posix"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// Part is one directory of a log that is put back.
type Part string

// The parts of a log.
const (
	PartLog      Part = "log"
	PartJournal  Part = "journal"
	PartSubjects Part = "subjects"
)

// markerName is the file in a directory whose restore has not ended. In the last
// one of a restore it has a text once all of them are complete.
const (
	markerName = "RESTORING"
	complete   = "complete\n"
)

// Target is the log that a backup is put back to.
type Target struct {
	// Log is its configuration. Of it Dir, Heads, Origin, Signers and VKeys count.
	Log               ilog.Config
	Journal, Subjects string
	// Keep are parts that survived and stay as they are.
	Keep []Part
}

// Plan is a restore of which everything that can be known before is known.
type Plan struct {
	// Manifest of the backup.
	Manifest *Manifest
	// Restored are the parts that are put back, in their order.
	Restored []Part
	// Signed is the size that the log has signed, and Size the one that it will have.
	Signed, Size int64
	// LostPayloads are the entries from and below which events have no payload any more: the journal that had them is
	// lost. Equal if there are none. LostPersons is how many persons may have lost their secrets.
	LostPayloads [2]int64
	LostPersons  int64

	dir      string
	target   Target
	note     []byte
	claim    *ilog.Claim
	view     *journal.View // the journal that the log will have
	signed   checkpoint.Checkpoint
	complete bool // but for markers that are to be taken away
	progress Progress
}

// Unfinished returns a *RefusedError if a restore of one of these directories has
// not ended. Whoever opens a log asks first.
func Unfinished(dirs ...string) error {
	for _, d := range dirs {
		if unfinished(d) {
			return &RefusedError{File: d, Problem: "a restore of it has not ended", Remedy: "run the same idlogd restore again"}
		}
	}
	return nil
}

func unfinished(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, markerName))
	return err == nil
}

// Prepare verifies a backup and finds out what putting it back would give. It
// touches nothing; what stands in the way is a *RefusedError, or a
// *log.RefusedError of what is not restored: a log that runs, its heads. Until
// the plan is closed nobody else opens the log.
func Prepare(ctx context.Context, t Target, dir string, progress Progress) (_ *Plan, err error) {
	p := &Plan{dir: dir, target: t, progress: progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	// What is cheap comes first.
	if p.claim, err = ilog.ClaimLog(t.Log); err != nil {
		return nil, err
	}
	if err := p.places(); err != nil {
		return nil, err
	}
	if p.Manifest, err = readManifest(dir); err == nil {
		if err := p.ours(); err != nil {
			return nil, err
		}
	} // else Verify says what is wrong
	if p.Manifest, err = Verify(ctx, dir, progress); err != nil {
		return nil, err
	}
	if p.note, err = readNote(dir, p.Manifest); err != nil {
		return nil, err
	}
	p.signed, p.Signed = p.claim.HighWater, p.claim.HighWater.Size
	return p, p.tail(ctx)
}

// Close gives the log up.
func (p *Plan) Close() error {
	var err error
	if p.view != nil {
		err = p.view.Close()
		p.view = nil
	}
	if p.claim != nil {
		err = errors.Join(err, p.claim.Close())
	}
	return err
}

func (t *Target) place(part Part) string {
	switch part {
	case PartLog:
		return t.Log.Dir
	case PartJournal:
		return t.Journal
	}
	return t.Subjects
}

func (p *Plan) restores(part Part) bool { return slices.Contains(p.Restored, part) }

// places decides what is restored: into directories that are empty, missing, or
// of a restore that did not end.
func (p *Plan) places() error {
	for _, part := range []Part{PartSubjects, PartJournal, PartLog} {
		b, err := os.ReadFile(filepath.Join(p.target.place(part), markerName))
		p.complete = p.complete || err == nil && string(b) == complete && !slices.Contains(p.target.Keep, part)
	}
	for _, part := range []Part{PartSubjects, PartJournal, PartLog} {
		place, kept := p.target.place(part), slices.Contains(p.target.Keep, part)
		names, err := os.ReadDir(place)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("preparing restore: %w", err)
		}
		switch {
		case kept && (vacant(names) || unfinished(place)):
			return &RefusedError{File: place, Problem: fmt.Sprintf("the %s is to be kept, and there is none", part), Remedy: "look whether the right disk is mounted, or restore it too"}
		case kept:
			continue
		case !vacant(names) && !unfinished(place) && !p.complete:
			return &RefusedError{File: place, Problem: "it is not empty: a restore never replaces what is there", Exists: true,
				Remedy: fmt.Sprintf("if it is whole, keep it: --keep %s; if not, move it away first, and do not delete it yet", part)}
		}
		p.Restored = append(p.Restored, part)
	}
	if len(p.Restored) == 0 {
		return &RefusedError{File: p.target.Log.Dir, Problem: "every part is to be kept", Remedy: "there is nothing to restore: serve the log"}
	}
	return nil
}

// ours refuses a backup of another log.
func (p *Plan) ours() error {
	m := p.Manifest
	if m.Origin != p.target.Log.Origin {
		return &RefusedError{File: p.dir, Problem: fmt.Sprintf("it is a backup of %s, not of %s", m.Origin, p.target.Log.Origin), Remedy: "name the backup of this log, or the configuration of the other"}
	}
	return nil
}

// tail finds out which tree the log will have, and refuses one that does not
// lead to what was signed.
func (p *Plan) tail(ctx context.Context) error {
	m, hwm := p.Manifest, p.signed
	if hwm.Size < m.Size {
		return &ilog.RefusedError{File: p.target.Log.Heads, Problem: fmt.Sprintf("the high-water mark %d is below the backup, whose %d entries were signed: the heads are an older copy", hwm.Size, m.Size),
			Remedy: "put back the newest copy of the heads directory; never start this log with an older one"}
	}
	from := p.target.Journal
	if p.restores(PartJournal) {
		from = filepath.Join(p.dir, m.state(), journalName)
	}
	var err error
	if p.view, err = journal.OpenView(from); err != nil {
		return fmt.Errorf("preparing restore: %w", err)
	}
	if p.restores(PartLog) {
		err = p.rebuilt(ctx)
	} else {
		err = p.kept(ctx)
	}
	if err != nil {
		return err
	}
	// Nothing is signed above a journal's cursor: one that ends below is an old copy.
	if known := p.view.Cursor(); known < p.Size && (p.restores(PartJournal) || known < p.Signed) {
		p.LostPayloads = [2]int64{known, p.Size}
	}
	if p.restores(PartSubjects) {
		return p.countPersons(ctx)
	}
	return nil
}

// kept judges a log directory that survived.
func (p *Plan) kept(ctx context.Context) error {
	dir := p.target.Log.Dir
	var err error
	if p.Size, _, err = p.stored().State(ctx); err != nil {
		return &RefusedError{File: dir, Problem: err.Error(), Remedy: "move it away and restore it too"}
	}
	switch {
	case p.Size < p.Signed:
		return &RefusedError{File: dir, Problem: fmt.Sprintf("it has %d entries, and %d were signed", p.Size, p.Signed), Remedy: "move it away and restore it too"}
	case p.Size < p.view.Cursor():
		return &RefusedError{File: dir, Problem: fmt.Sprintf("it has %d entries, and the journal knows %d", p.Size, p.view.Cursor()), Remedy: "move it away and restore it too: the journal has what it lacks"}
	}
	root, err := p.tiles().Root(ctx, p.Manifest.Size)
	if err != nil {
		return &RefusedError{File: dir, Problem: err.Error(), Remedy: "move it away and restore it too"}
	}
	if root != p.Manifest.Root {
		return p.another(fmt.Sprintf("it is of another tree of %d entries than the log has", p.Manifest.Size))
	}
	return nil
}

// tiles reads what was signed of a log directory that survived.
func (p *Plan) tiles() *tile.Reader {
	return tile.NewReader(p.signed, func(ctx context.Context, path string) ([]byte, error) {
		c, err := tile.ParsePath(path)
		if err != nil {
			return nil, err
		}
		return p.stored().Read(ctx, c)
	})
}

// rebuilt finds out what tiles of the backup and leaves of the journal give
// together (SPEC F30).
func (p *Plan) rebuilt(ctx context.Context) error {
	m := p.Manifest
	p.Size = max(m.Size, p.view.Cursor())
	if p.Size < p.Signed {
		which := "the backup's"
		if !p.restores(PartJournal) {
			which = "the one that is kept"
		}
		return &RefusedError{File: p.target.Log.Heads, Problem: fmt.Sprintf("the log has signed %d entries; those from %d to %d are in neither the backup nor the journal, %s", p.Signed, p.Size, p.Signed-1, which),
			Remedy: "find a newer journal and --keep journal, or a log directory that still has them and --keep log, or a newer backup; without them this log can only be read, and a new one begun"}
	}
	root, err := ilog.RootAfter(ctx, reader(p.dir, m), m.Size, p.Signed, p.leaf(ctx))
	if err != nil {
		return fmt.Errorf("preparing restore: %w", err)
	}
	if root != p.signed.Root {
		return p.another(fmt.Sprintf("backup and journal lead to another tree of %d entries than the one that was signed", p.Signed))
	}
	return nil
}

// another refuses a backup whose tree is not that of the log.
func (p *Plan) another(problem string) error {
	if !slices.ContainsFunc(p.target.Log.VKeys, func(v string) bool { return slices.Contains(p.Manifest.VKeys, v) }) {
		problem += ": it is of a log of this name that has other keys, " + strings.Join(p.Manifest.VKeys, ", ")
	}
	return &RefusedError{File: p.dir, Problem: problem, Remedy: "backup, journal and heads must be of one log: find out which is not before anything else"}
}

// leaf returns the leaves behind the backup's tiles.
func (p *Plan) leaf(ctx context.Context) func(index int64) ([]byte, error) {
	return func(index int64) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if index%1024 == 0 || index == p.Size-1 {
			p.progress.tell("journal entries", index-p.Manifest.Size+1, p.Size-p.Manifest.Size)
		}
		return p.view.Leaf(index)
	}
}

// stored is a log directory that survived.
func (p *Plan) stored() *posix.Dir {
	return posix.New(ilog.TilesDir(p.target.Log.Dir), p.target.Log.Origin)
}

// countPersons counts the enrolments that are younger than the copy of the
// persons' secrets, which has at least those of the copy of the journal.
func (p *Plan) countPersons(ctx context.Context) error {
	read, end := p.view.Leaf, p.view.Cursor()
	if !p.restores(PartLog) {
		tiles := p.tiles()
		read = func(i int64) ([]byte, error) {
			e, err := tiles.Entry(ctx, i)
			return e.Data, err
		}
		end = p.Signed
	}
	for i := p.Manifest.Cursor; i < end; i++ {
		b, err := read(i)
		if err != nil {
			return fmt.Errorf("preparing restore: %w", err)
		}
		l, err := leaf.Parse(b)
		if s, ok := l.(*leaf.Subject); ok && err == nil && s.Commit != nil {
			p.LostPersons++
		}
	}
	return nil
}

// Run puts the parts back. When it returns nil, everything is durable, and the
// log can be opened. If it fails or we die within it, the directories are marked
// as unfinished, nobody opens them, and the same restore begins anew.
func (p *Plan) Run(ctx context.Context) error {
	if err := p.run(ctx); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}

func (p *Plan) run(ctx context.Context) error {
	last := p.target.place(p.Restored[len(p.Restored)-1])
	if !p.complete {
		// 1. Mark every directory before any of them has something.
		for _, part := range p.Restored {
			if err := mark(p.target.place(part)); err != nil {
				return err
			}
		}
		// 2. Copy. If we die here or anywhere below, the markers stand.
		if err := p.copyAll(ctx); err != nil {
			return err
		}
		// 3. Make the log of tiles and tail. Its identity comes last.
		if p.restores(PartLog) {
			if err := ilog.Rebuild(ctx, p.target.Log, p.note, p.signed, p.Size, p.leaf(ctx)); err != nil {
				return err
			}
		}
		// 4. All of it is there. If we die after this, the next restore takes the markers away.
		if err := atomicfile.Write(filepath.Join(last, markerName), []byte(complete)); err != nil {
			return err
		}
	}
	for _, part := range p.Restored {
		place := p.target.place(part)
		if err := os.Remove(filepath.Join(place, markerName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := atomicfile.SyncDir(place); err != nil {
			return err
		}
	}
	return nil
}

// mark makes a directory, empty but for the marker.
func mark(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, markerName), nil); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Name() == markerName || n.Name() == "lost+found" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, n.Name())); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// copyAll copies the files of the parts that are restored.
func (p *Plan) copyAll(ctx context.Context) error {
	m := p.Manifest
	places := map[string]string{}
	for _, part := range p.Restored {
		switch part {
		case PartLog:
			places[tilesName+"/"] = ilog.TilesDir(p.target.Log.Dir)
		case PartJournal:
			places[m.state()+"/"+journalName+"/"] = p.target.Journal
		case PartSubjects:
			places[m.state()+"/"+subjectsName+"/"] = p.target.Subjects
		}
	}
	dirs := make(map[string]bool)
	var done int64
	for i, f := range m.Files {
		for prefix, place := range places {
			rest, ok := strings.CutPrefix(f.Path, prefix)
			if !ok {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			to := filepath.Join(place, filepath.FromSlash(rest))
			for d := filepath.Dir(to); !dirs[d]; d = filepath.Dir(d) {
				dirs[d] = true
				if d == place {
					break
				}
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := copyFile(filepath.Join(p.dir, filepath.FromSlash(f.Path)), to, f); err != nil {
				return err
			}
		}
		if done += f.Size; i%64 == 0 || i == len(m.Files)-1 {
			p.progress.tell("restoring bytes", done, m.Bytes())
		}
	}
	for d := range dirs {
		if err := atomicfile.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file, durably, and refuses one that changed since it was verified.
func copyFile(from, to string, f File) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, h), in); err != nil {
		return err
	}
	if leaf.Hash(h.Sum(nil)) != f.Sum {
		return damaged(from, "it changed while it was read")
	}
	return out.Sync()
}
