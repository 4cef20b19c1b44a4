package posix

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	tposix "github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"idlog/log/store"
)

const (
	// maxBatch is the most leaves that Tessera writes at once. More does not
	// help: its time goes into files, two per 256 leaves. It makes room for so
	// many whenever it writes.
	maxBatch = 2048
	// batchAge is how long Tessera waits for more leaves. Whoever calls Append
	// has collected them already.
	batchAge = time.Millisecond
	// internalInterval is how often Tessera writes its own checkpoint: one small
	// file, and the bound of what the next collection may remove.
	internalInterval = 2 * time.Second
	// collectInterval is how often it removes the partial files of about 100
	// bundles that have become full, which is 25,600 entries. Under a load of
	// small batches these are most of the disk's contents.
	collectInterval = time.Second
)

var _ store.Backend = (*Dir)(nil)

// Create makes an empty log in a directory that must not exist yet. A crash
// within it leaves a directory that the caller, who has not yet noted the log's
// existence, never opens.
func (d *Dir) Create(ctx context.Context) error {
	if _, err := os.Lstat(d.path); err == nil {
		return fmt.Errorf("creating %s: %w", d.path, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(d.path, 0o755); err != nil {
		return err
	}
	a, err := d.Open(ctx) // writes the state of the empty tree
	if err != nil {
		return err
	}
	return a.Close()
}

// Open starts Tessera on the directory.
func (d *Dir) Open(ctx context.Context) (store.Appender, error) {
	skey, _, err := note.GenerateKey(rand.Reader, d.origin+"/internal")
	if err != nil {
		return nil, fmt.Errorf("making the internal key: %w", err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, fmt.Errorf("making the internal key: %w", err)
	}
	driver, err := tposix.New(ctx, tposix.Config{Path: d.path})
	if err != nil {
		return nil, fmt.Errorf("opening tessera: %w", err)
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(maxBatch, batchAge).
		WithCheckpointInterval(internalInterval).
		WithCheckpointRepublishInterval(0).
		WithGarbageCollectionInterval(collectInterval)
	// Tessera's goroutines live until Close, whatever becomes of the context
	// of the call that opened it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t, _, _, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("opening tessera: %w", err)
	}
	size, _, err := d.State(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return &appender{dir: d, add: t.Add, end: cancel, next: size}, nil
}

// An appender is Tessera's, with its misuses made impossible.
type appender struct {
	dir  *Dir
	add  tessera.AddFn
	end  context.CancelFunc
	next int64          // owned by the caller of Append
	busy sync.WaitGroup // batches that Tessera has and has not answered for
}

func (a *appender) Append(ctx context.Context, leaves [][]byte) (int64, error) {
	first := a.next
	for len(leaves) > 0 {
		n := min(len(leaves), maxBatch)
		if err := a.batch(ctx, leaves[:n]); err != nil {
			return 0, fmt.Errorf("appending at %d: %w", a.next, err)
		}
		a.next += int64(n)
		leaves = leaves[n:]
	}
	return first, nil
}

func (a *appender) batch(ctx context.Context, leaves [][]byte) error {
	// Tessera takes a missing state for a new log and an older one for its own,
	// also while it runs.
	if size, _, err := a.dir.State(ctx); err != nil {
		return err
	} else if size != a.next {
		return fmt.Errorf("%s says size %d, want %d", a.dir.WhereState(), size, a.next)
	}
	entries := make([]*tessera.Entry, len(leaves))
	for i, l := range leaves {
		entries[i] = tessera.NewEntry(l) // hashes: outside of the batch's first millisecond
	}
	// Neither Add nor a future hears a context, so a goroutine waits. It may
	// outlive this call and does not outlive Close.
	done := make(chan error, 1)
	first := a.next
	a.busy.Go(func() { done <- a.addAll(entries, first) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for tessera: %w", ctx.Err())
	}
}

// addAll is durable when it returns nil: Tessera has then renamed and synced
// bundle, tiles and state. If we die before, some prefix of the batch may be in
// the log, which the restart finds out by reading.
func (a *appender) addAll(entries []*tessera.Entry, index int64) error {
	futures := make([]tessera.IndexFuture, len(entries))
	for i, e := range entries {
		futures[i] = a.add(context.Background(), e)
	}
	want := uint64(index)
	var first error
	for _, f := range futures {
		got, err := f()
		if err == nil && (got.Index != want || got.IsDup) {
			err = fmt.Errorf("tessera put an entry at %d, want %d", got.Index, want)
		}
		if first == nil {
			first = err
		}
		want++
	}
	return first
}

func (a *appender) Close() error {
	a.busy.Wait()
	a.end()
	return nil
}
