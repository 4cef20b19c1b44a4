package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	ilog "idlog/log"
	"idlog/log/internal/atomicfile"
	"idlog/log/journal"
	"idlog/proto/checkpoint"
	"idlog/proto/leaf"
	"idlog/proto/tile"
)

// The names in a backup's folder.
const (
	lockName     = "LOCK"
	originName   = "ORIGIN"
	manifestName = "MANIFEST"
	tilesName    = "tiles"
	noteName     = "checkpoint"
	journalName  = "journal"
	subjectsName = "subjects"
	publicName   = "public"
)

// Source is a log that is copied. It may run meanwhile.
type Source struct {
	Origin string
	// VKeys are the log's keys.
	VKeys []string
	// Log has the published tree.
	Log interface {
		Published() (ilog.Published, bool)
		Resource(ctx context.Context, path string) ([]byte, error)
	}
	// Journal and Subjects copy themselves to a folder that does not exist.
	Journal, Subjects interface{ Backup(dir string) error }
	// Public are files without secrets that are copied for people, by the names they get.
	Public map[string]string
}

// Progress is told how far a step is, now and then and by one goroutine at a
// time: files or bytes of a total. Nil is none.
type Progress func(step string, done, total int64)

func (p Progress) tell(step string, done, total int64) {
	if p != nil {
		p(step, done, total)
	}
}

// A RefusedError says that something is not done, and that nothing was touched:
// a person reads what is wrong with File, and what to do.
type RefusedError struct {
	File, Problem, Remedy string
	// Exists says that there is something where nothing may be; Damaged, that a backup is not as it was made.
	Exists, Damaged bool
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %s; %s", e.File, e.Problem, e.Remedy) }

// Make backs a log up to a folder: a new or an empty one, or one that has a
// backup of the same log, which then gets what is new. The log must have
// published something. A *RefusedError has touched nothing. When Make returns
// nil, the backup is durable, and not yet verified: see Verify.
func Make(ctx context.Context, s Source, dir string, now time.Time, progress Progress) (*Manifest, error) {
	m := &maker{source: s, dir: dir, progress: progress}
	made, err := m.make(ctx, now)
	if refused := (*RefusedError)(nil); err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("backing up %s: %w", s.Origin, err)
	}
	return made, err
}

// maker is one backup. It belongs to the goroutine of Make, but for what mu guards.
type maker struct {
	source   Source
	dir      string
	progress Progress
	old      *Manifest // of the backup that the folder has; nil without
	now      Manifest

	mu   sync.Mutex
	done int64 // files
}

func (m *maker) make(ctx context.Context, now time.Time) (*Manifest, error) {
	// 1. The tree that the tiles will be of. The journal, which is copied after
	// this, has the index of every entry below: nothing is signed before.
	p, ok := m.source.Log.Published()
	if !ok {
		return nil, &RefusedError{File: m.source.Origin, Problem: "nothing is published yet", Remedy: "serve the log until it has published a checkpoint, then back it up"}
	}
	if err := m.claim(ctx, p); err != nil {
		return nil, err
	}
	lock, err := m.begin()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	m.now = Manifest{Origin: m.source.Origin, VKeys: m.source.VKeys, Time: now.UTC().Truncate(time.Second), Generation: 1, Size: p.Size, Root: p.Root}
	if m.old != nil {
		m.now.Generation = m.old.Generation + 1
	}
	// What an interrupted backup left is in nobody's manifest.
	if err := m.sweep(m.old); err != nil {
		return nil, err
	}
	// 2. Journal, then persons: if we die here or anywhere below, the folder has
	// the old backup, if any, and some files that the next one takes away.
	if err := m.state(p.Note); err != nil {
		return nil, err
	}
	// 3. Tiles. What is below a published size never changes.
	if err := m.tiles(ctx, p.Size); err != nil {
		return nil, err
	}
	// 4. The manifest makes all of it the backup.
	slices.SortFunc(m.now.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	if err := m.syncDirs(); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(filepath.Join(m.dir, manifestName), m.now.Format()); err != nil {
		return nil, err
	}
	// If we die here, files of the backup before are still there.
	return &m.now, m.sweep(&m.now)
}

// claim judges the folder and changes nothing.
func (m *maker) claim(ctx context.Context, p ilog.Published) error {
	names, err := os.ReadDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && vacant(names) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking into the folder: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(m.dir, originName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &RefusedError{File: m.dir, Problem: "it is not empty, and not a backup", Remedy: "name a folder that is new, empty, or has a backup of this log", Exists: true}
	case err != nil:
		return err
	case !bytes.Equal(b, origin(m.source.Origin)):
		return &RefusedError{File: m.dir, Problem: fmt.Sprintf("it has a backup of another log: %s", strings.TrimSpace(string(b))), Remedy: "give each log a folder of its own", Exists: true}
	}
	old, err := readManifest(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an interrupted first backup
	} else if err != nil {
		return &RefusedError{File: filepath.Join(m.dir, manifestName), Problem: err.Error(), Remedy: "find out what changed it; back up to another folder", Damaged: true}
	}
	if old.Size > p.Size {
		return &RefusedError{File: m.dir, Problem: fmt.Sprintf("it has a backup of %d entries, and the log has published %d", old.Size, p.Size), Remedy: "the log may have been put back from an old copy: keep that backup, and back up to another folder", Exists: true}
	}
	tiles := tile.NewReader(checkpoint.Checkpoint{Origin: m.source.Origin, Size: p.Size, Root: p.Root}, m.source.Log.Resource)
	if root, err := tiles.Root(ctx, old.Size); err != nil {
		return err
	} else if root != old.Root {
		return &RefusedError{File: m.dir, Problem: fmt.Sprintf("it has a backup of a tree of %d entries that this log does not continue", old.Size), Remedy: "there are two logs under one name: keep that backup, and find out which is the true one", Exists: true}
	}
	m.old = old
	return nil
}

// vacant says that a folder has nothing but what a file system puts there, or a
// marker or an origin that a crash kept from being one.
func vacant(names []os.DirEntry) bool {
	return !slices.ContainsFunc(names, func(e os.DirEntry) bool {
		return !slices.Contains([]string{"lost+found", lockName, markerName + ".tmp", originName + ".tmp"}, e.Name())
	})
}

func origin(name string) []byte { return []byte("origin " + name + "\n") }

// begin makes the folder ours, for this log and for this process.
func (m *maker) begin() (io.Closer, error) {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(m.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(lock); err != nil {
		return nil, errors.Join(&RefusedError{File: lock.Name(), Problem: "another backup or restore uses this folder", Remedy: "wait for it to end", Exists: true}, lock.Close())
	}
	// If we die before this, the folder counts as empty.
	if m.old == nil {
		err = atomicfile.Write(filepath.Join(m.dir, originName), origin(m.source.Origin))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// state copies all but the tiles.
func (m *maker) state(note []byte) error {
	dir := filepath.Join(m.dir, m.now.state())
	if err := os.MkdirAll(filepath.Join(dir, publicName), 0o700); err != nil {
		return err
	}
	m.progress.tell("journal", 0, 2)
	if err := m.source.Journal.Backup(filepath.Join(dir, journalName)); err != nil {
		return err
	}
	m.progress.tell("journal", 1, 2)
	if err := m.source.Subjects.Backup(filepath.Join(dir, subjectsName)); err != nil {
		return err
	}
	m.progress.tell("journal", 2, 2)
	view, err := journal.OpenView(filepath.Join(dir, journalName))
	if err != nil {
		return err
	}
	m.now.Cursor = view.Cursor()
	if err := view.Close(); err != nil {
		return err
	}
	if m.now.Cursor < m.now.Size {
		return fmt.Errorf("the journal knows %d entries of the %d that are published", m.now.Cursor, m.now.Size)
	}
	if err := create(filepath.Join(dir, noteName), note); err != nil {
		return err
	}
	for name, from := range m.source.Public {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := create(filepath.Join(dir, publicName, name), b); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return m.add(name)
	})
}

// add notes a file of the new state. The sum of one that was linked from the
// same file as in the state before is known: only what never changes is linked.
func (m *maker) add(name string) error {
	rel, err := filepath.Rel(m.dir, name)
	if err != nil {
		return err
	}
	f := File{Path: filepath.ToSlash(rel)}
	if m.old != nil {
		before := strings.Replace(f.Path, m.now.state(), m.old.state(), 1)
		if known, ok := m.old.find(before); ok && same(name, filepath.Join(m.dir, before)) {
			f.Size, f.Sum = known.Size, known.Sum
			m.now.Files = append(m.now.Files, f)
			return nil
		}
	}
	if f.Size, f.Sum, err = sum(name); err != nil {
		return err
	}
	m.now.Files = append(m.now.Files, f)
	return nil
}

func same(a, b string) bool {
	x, err1 := os.Lstat(a)
	y, err2 := os.Lstat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// coords yields every tile and bundle of a tree.
func coords(size int64) iter.Seq[tile.Coord] {
	return func(yield func(tile.Coord) bool) {
		for level := tile.Entries; ; level++ {
			for i := int64(0); ; i++ {
				c, ok := tile.At(level, i, size)
				if !ok && i == 0 {
					return
				}
				if !ok {
					break
				}
				if !yield(c) {
					return
				}
			}
		}
	}
}

// tiles copies the tiles and bundles of the tree that are not there yet.
func (m *maker) tiles(ctx context.Context, size int64) error {
	var all []tile.Coord
	for c := range coords(size) {
		all = append(all, c)
	}
	m.progress.tell("tiles", 0, int64(len(all)))
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(4 * runtime.GOMAXPROCS(0)) // most of the time goes into syncs
	for _, c := range all {
		if some.Err() != nil {
			break
		}
		g.Go(func() error { return m.tile(some, c, int64(len(all))) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// tile copies one tile or bundle.
func (m *maker) tile(ctx context.Context, c tile.Coord, total int64) error {
	name := tilesName + "/" + c.Path()
	f, known := File{}, false
	if m.old != nil {
		f, known = m.old.find(name)
	}
	if known {
		info, err := os.Lstat(filepath.Join(m.dir, filepath.FromSlash(name)))
		known = err == nil && info.Size() == f.Size
	}
	if !known {
		b, err := m.source.Log.Resource(ctx, c.Path())
		if err != nil {
			return err
		}
		// One that is in no manifest may be torn, or linked from elsewhere.
		file := filepath.Join(m.dir, filepath.FromSlash(name))
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := create(file, b); err != nil {
			return err
		}
		f = File{Path: name, Size: int64(len(b)), Sum: sha256.Sum256(b)}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Files = append(m.now.Files, f)
	if m.done++; m.done%64 == 0 || m.done == total {
		m.progress.tell("tiles", m.done, total)
	}
	return nil
}

// syncDirs makes the names of all files durable.
func (m *maker) syncDirs() error {
	dirs := map[string]bool{m.dir: true, filepath.Dir(m.dir): true}
	for _, f := range m.now.Files {
		for d := filepath.Dir(filepath.FromSlash(f.Path)); d != "." && !dirs[filepath.Join(m.dir, d)]; d = filepath.Dir(d) {
			dirs[filepath.Join(m.dir, d)] = true
		}
	}
	for d := range dirs {
		if err := atomicfile.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the states that are not that of a manifest, and the tiles that
// it does not have; nil has none.
func (m *maker) sweep(kept *Manifest) error {
	if kept == nil {
		kept = &Manifest{}
	}
	names, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "state-") && n.Name() != kept.state() {
			if err := os.RemoveAll(filepath.Join(m.dir, n.Name())); err != nil {
				return err
			}
		}
	}
	err = filepath.WalkDir(filepath.Join(m.dir, tilesName), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(m.dir, name)
		if err != nil {
			return err
		}
		if _, ok := kept.find(filepath.ToSlash(rel)); ok {
			return nil
		}
		return os.Remove(name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// create writes a file that must not exist.
func create(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sum reads a file and returns its size and SHA-256.
func sum(name string) (int64, leaf.Hash, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, leaf.Hash{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, leaf.Hash(h.Sum(nil)), err
}

func readManifest(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	return ParseManifest(b)
}
